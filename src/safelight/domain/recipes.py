"""Recipes: how a tenant wants its pictures developed, in versions that never change, and which pictures each one is for. Pure.

What a recipe does not say, the installation says. A picture carries the version that held when it came in, so that a retry a day
later, and delivery a year later, do the same; a recipe that is removed changes nothing of what was developed by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from safelight.domain.ids import AlbumId
from safelight.domain.names import NAME, version_of
from safelight.errors import BadField, BadOption, Missing
from safelight.imaging import PRESETS, Format
from safelight.imaging import Recipe as Development
from safelight.imaging.spec import ANALYSES, Preset
from safelight.imaging.transform import Fit, Layer, Named, Spec, Watermark, parse, parse_request

MAX_RECIPES: Final = 20
MAX_VERSIONS: Final = 50
MAX_SIZES: Final = 10
"""Of one recipe."""
MAX_SIDE: Final = 2048
"""Of a size, as of the largest preset: up to here our own master has the pixels."""
MAX_PLACES: Final = 200
"""Albums and tags that have a recipe."""
MAX_BYTES: Final = 65_536
"""Of all versions of all recipes of a tenant: they are part of its record, which every request reads."""
FORMATS: Final = (Format.WEBP.value, Format.JPEG.value, Format.AVIF.value)
_SIDES: Final = {preset.name: preset.side for preset in PRESETS}
_NOTHING: Final[Named] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSize:
    """A rendition that a recipe names itself. 0 is a free side; where it says nothing of formats and quality, the recipe does."""

    name: str
    width: int = 0
    height: int = 0
    fit: Fit = Fit.SCALE_DOWN
    formats: tuple[str, ...] = ()
    webp_quality: int | None = None
    jpeg_quality: int | None = None
    avif_quality: int | None = None

    def text(self, format: Format, quality: int | None) -> str:
        """As a transform in the native grammar, at its own quality or else at this one."""
        mine: int | None = getattr(self, f"{format.value}_quality")
        said = {"w": self.width, "h": self.height, "fit": self.fit.value, "q": quality if mine is None else mine}
        return f"{','.join(f'{name}={value}' for name, value in said.items() if value)}.{format.extension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One version of a recipe. None, or nothing, is what the installation does."""

    name: str
    version: int = 1
    renditions: tuple[str, ...] = ()
    """Presets that are made when a picture comes in; the others are made when they are asked for."""
    formats: tuple[str, ...] = ()
    """In which each of them is made."""
    sizes: tuple[OwnSize, ...] = ()
    """Made beside them, by name."""
    webp_quality: int | None = None
    jpeg_quality: int | None = None
    avif_quality: int | None = None
    watermark: str = ""
    """In the native grammar, in its one normal form; '' for none."""
    tiles: bool | None = None
    """Whether the pyramid for zooming is made at once; None for large pictures only."""
    analysis: tuple[str, ...] = ANALYSES
    webhooks: bool = True
    """Whether endpoints are told of these pictures as they come in and are ready."""

    @property
    def reference(self) -> str:
        """`shop@2`."""
        return f"{self.name}@{self.version}"

    @property
    def mark(self) -> Watermark | None:
        """What is laid over every rendition."""
        return parse(f"{self.watermark}.webp").watermark if self.watermark else None

    def size(self, name: str) -> OwnSize | None:
        """Its own size of this name."""
        return next((size for size in self.sizes if size.name == name), None)

    def quality(self, format: Format) -> int | None:
        """Of what is encoded as this; None for what is usual."""
        quality: int | None = getattr(self, f"{format.value}_quality", None)
        return quality

    def over(self, usual: Development) -> Development:
        """The installation's way, and this where it says something."""
        said: dict[str, Any] = {
            f"{format}_quality": quality for format in FORMATS if (quality := self.quality(Format(format))) is not None
        }
        if self.renditions:
            said["presets"] = tuple(Preset(name, _SIDES[name]) for name in self.renditions)
        if self.formats:
            said["formats"] = tuple(map(Format, self.formats))
        developing = replace(usual, watermark=self.watermark, analysis=self.analysis, **said)
        sizes = tuple(
            (size.name, size.text(format, getattr(developing, f"{format.value}_quality")))
            for size in self.sizes
            for format in (map(Format, size.formats) if size.formats else developing.formats)
        )
        return replace(developing, sizes=sizes)

    def said(self) -> dict[str, Any]:
        """What it says, for `kept`: no more than differs from saying nothing."""
        said = _said(self, "name", "version")
        return said | {"sizes": [_said(size) for size in self.sizes]} if self.sizes else said


def kept(name: str, version: int, said: Mapping[str, Any]) -> Recipe:
    """The recipe of which `said` was kept."""
    values = _read_back(said)
    sizes = tuple(OwnSize(**_read_back(size), fit=Fit(size.get("fit", Fit.SCALE_DOWN))) for size in said.get("sizes", ()))
    return Recipe(name=name, version=version, **{**values, "sizes": sizes})


def _said(one: Recipe | OwnSize, *but: str) -> dict[str, Any]:
    """Its fields that differ from saying nothing."""
    return {
        each.name: getattr(one, each.name)
        for each in fields(one)
        if each.name not in but and getattr(one, each.name) != each.default
    }


def _read_back(said: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in said.items() if key != "fit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Which recipe is for which pictures, by its name; '' for none."""

    default: str = ""
    albums: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, albums: Iterable[AlbumId], tags: Iterable[str]) -> str:
        """The name for a picture with these: its album's, the oldest first, else its tag's in the order of the alphabet, else the default."""
        named = [self.albums[album] for album in sorted(albums) if album in self.albums]
        named += [self.tags[tag] for tag in sorted(tags) if tag in self.tags]
        return named[0] if named else self.default

    def of(self, name: str) -> Places:
        """Those of one recipe."""
        return Places(
            default=name if self.default == name else "",
            albums={album: each for album, each in self.albums.items() if each == name},
            tags={tag: each for tag, each in self.tags.items() if each == name},
        )

    def given(self, name: str, *, default: bool, albums: Iterable[AlbumId], tags: Iterable[str]) -> Places:
        """This recipe is for these and no others, whichever they had before. Raises BadField for too many."""
        places = Places(
            default=name if default else "" if self.default == name else self.default,
            albums={album: each for album, each in self.albums.items() if each != name} | dict.fromkeys(albums, name),
            tags={tag: each for tag, each in self.tags.items() if each != name} | dict.fromkeys(tags, name),
        )
        if len(places.albums) + len(places.tags) > MAX_PLACES:
            raise BadField(f"At most {MAX_PLACES} albums and tags of a tenant have a recipe.", field="albums")
        return places

    @property
    def is_nowhere(self) -> bool:
        """For no picture at all."""
        return not (self.default or self.albums or self.tags)


@dataclass(frozen=True, slots=True)
class Recipes:
    """All that a tenant has. Versions are kept as they were said, and read when somebody asks for one."""

    versions: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def get(self, reference: str) -> Recipe:
        """`shop` as it is now, or `shop@2` for ever. Raises Missing."""
        found = version_of(reference, self.versions)
        if found is None:
            raise Missing(f"There is no recipe {reference[:50]!r}.")
        name, number = found
        return kept(name, number, self.versions[name][number - 1])

    def held(self, albums: Iterable[AlbumId], tags: Iterable[str]) -> Recipe | None:
        """What a picture with these is developed by now."""
        name = self.places.chosen(albums, tags)
        return self.get(name) if name else None

    def has_size(self, name: str) -> bool:
        """Whether any version of any recipe has a size of its own of this name."""
        return any(
            size["name"] == name for versions in self.versions.values() for said in versions for size in said.get("sizes", ())
        )

    def with_version(self, recipe: Recipe) -> Recipes:
        """With this as what its name means from now on; the same when it says nothing new. Raises BadField for too many."""
        versions, said = self.versions.get(recipe.name, ()), recipe.said()
        if versions and kept(recipe.name, 1, versions[-1]).said() == said:
            return self
        if len(versions) >= MAX_VERSIONS or (not versions and len(self.versions) >= MAX_RECIPES):
            raise BadField(f"A tenant has {MAX_RECIPES} recipes of {MAX_VERSIONS} versions at most.", field="name")
        after = {**self.versions, recipe.name: (*versions, said)}
        if sum(len(str(each)) for texts in after.values() for each in texts) > MAX_BYTES:
            raise BadField(f"The recipes of a tenant take {MAX_BYTES} bytes at most, every version counted.", field="name")
        return replace(self, versions=after)

    def without(self, name: str) -> Recipes:
        """Without any version of it, where it is for no pictures any more. Raises Missing."""
        if name not in self.versions:
            raise Missing(f"There is no recipe {name[:50]!r}.")
        return replace(self, versions={other: each for other, each in self.versions.items() if other != name})


NO_RECIPES: Final = Recipes()


def checked(name: str, document: Mapping[str, Any], watermarks: Named = _NOTHING) -> Recipe:
    """The recipe that a document asks for. Raises BadField, which names the field: `quality.webp`.

    `watermarks` are the installation's, by name; what a name stands for now is what this version means for ever.
    """
    if not NAME.fullmatch(name):
        raise BadField(
            "A recipe's name has 1 to 32 lower-case letters, digits, dashes and underscores, a letter first.", field="name"
        )
    if strange := sorted(document.keys() - _READ.keys()):
        raise BadField(f"A recipe has no field {str(strange[0])[:50]!r}.", field=str(strange[0])[:50])
    said: dict[str, Any] = {}
    for key, value in document.items():
        if value is not None:
            said |= _READ[key](key, value, watermarks)
    return Recipe(name=name, **said)


def _chosen(among: Iterable[str], *, may_be_empty: bool) -> Callable[[str, Any, Named], dict[str, Any]]:
    known = tuple(among)

    def read(key: str, value: Any, _watermarks: Named) -> dict[str, Any]:
        is_list = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        if not is_list or not set(value) <= set(known) or len(set(value)) != len(value) or not (value or may_be_empty):
            raise BadField(f"{key} is a list of some of {', '.join(known)}, each once.", field=key)
        # One order, so that a recipe that means the same is the same.
        return {key: tuple(one for one in known if one in value)}

    return read


def _flag(key: str, value: Any, _watermarks: Named) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise BadField(f"{key} is true or false.", field=key)
    return {key: value}


def _sizes(key: str, value: Any, _watermarks: Named) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadField(f"{key} is a table of names, each with a width, a height or both.", field=key)
    if len(value) > MAX_SIZES:
        raise BadField(f"A recipe has {MAX_SIZES} sizes of its own at most.", field=key)
    return {key: tuple(_own_size(name, said) for name, said in sorted(value.items(), key=lambda item: str(item[0])))}


def _own_size(name: Any, said: Any) -> OwnSize:
    where = f"sizes.{str(name)[:50]}"
    # What begins with "master" is kept apart and never delivered.
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in _SIDES or name.startswith("master"):
        raise BadField(
            "The name of a size has 1 to 32 lower-case letters, digits, dashes and underscores, a letter first, is no preset's, and does"
            " not begin with master.",
            field=where,
        )
    if not isinstance(said, Mapping):
        raise BadField(f"{where} is a table like {{width = 400, height = 300, fit = 'cover'}}.", field=where)
    if strange := sorted(map(str, said.keys() - {"width", "height", "fit", "formats", "quality"})):
        raise BadField(f"A size has no field {strange[0][:50]!r}.", field=f"{where}.{strange[0][:50]}")
    sides = {}
    for side in ("width", "height"):
        pixels = said.get(side)
        if pixels is not None and (type(pixels) is not int or not 1 <= pixels <= MAX_SIDE):
            raise BadField(f"{where}.{side} is a whole number from 1 to {MAX_SIDE}.", field=f"{where}.{side}")
        sides[side] = pixels or 0
    fit = Fit.SCALE_DOWN if said.get("fit") is None else said["fit"]
    if not isinstance(fit, str) or fit not in set(Fit):
        raise BadField(f"{where}.fit is one of {', '.join(Fit)}.", field=f"{where}.fit")
    if not all(sides.values()) and (not any(sides.values()) or Fit(fit) is not Fit.SCALE_DOWN):
        raise BadField(f"{where} has a width, a height or both; with fit both.", field=f"{where}.width")
    more: dict[str, Any] = {}
    for field_, read in (("formats", _chosen(FORMATS, may_be_empty=False)), ("quality", _qualities)):
        if said.get(field_) is not None:
            more |= read(f"{where}.{field_}", said[field_], _NOTHING)
    formats = more.pop(f"{where}.formats", ())
    return OwnSize(name=name, **sides, fit=Fit(fit), formats=formats, **more)


def _qualities(key: str, value: Any, _watermarks: Named) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadField(f"{key} is a table of {', '.join(FORMATS)}.", field=key)
    said = {}
    for format, quality in value.items():
        if format not in FORMATS:
            raise BadField(f"{key} has {', '.join(FORMATS)}; not {str(format)[:50]!r}.", field=f"{key}.{str(format)[:50]}")
        if quality is None:
            continue
        if type(quality) is not int or not 1 <= quality <= 100:
            raise BadField(f"{key}.{format} is a whole number from 1 to 100.", field=f"{key}.{format}")
        said[f"{format}_quality"] = quality
    return said


def _mark(key: str, value: Any, watermarks: Named) -> dict[str, Any]:
    if not isinstance(value, str):
        raise BadField(f"{key} is text like 'wm=logo' or 'wmt=Draft,wmp=tile'.", field=key)
    if not value:
        return {key: ""}
    try:
        spec = parse_request(f"{value}.webp", named=watermarks).spec
    except BadOption as error:
        raise BadField(f"{key}: {error.detail}", field=key) from None
    if spec.watermark is None or spec != Spec(format=Format.WEBP, watermark=spec.watermark):
        raise BadField(f"{key} has the options of a watermark and no others.", field=key)
    # On the canvas it would lie beside the picture as soon as somebody asks for padding.
    mark = spec.watermark.on(Layer.PICTURE)
    return {key: ",".join(f"{name}={text}" for name, text in mark.said().items())}


_READ: Final[Mapping[str, Callable[[str, Any, Named], dict[str, Any]]]] = {
    "renditions": _chosen(_SIDES, may_be_empty=False),
    "formats": _chosen(FORMATS, may_be_empty=False),
    "sizes": _sizes,
    "quality": _qualities,
    "watermark": _mark,
    "tiles": _flag,
    "analysis": _chosen(ANALYSES, may_be_empty=True),
    "webhooks": _flag,
}
"""What reads each field of a document."""
