"""Accounts elsewhere: what an entry of Cloudinary's or imgix's listing becomes here. Pure; docs/howto/move-from-*.md has the tables.

Field names are those of their APIs, and of tables whose header says the same in any case: `Public ID` is `public_id`.
Cloudinary: https://cloudinary.com/documentation/admin_api (resources). imgix: https://docs.imgix.com/apis/management/assets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote

import orjson

from safelight.cli.intake import kept_custom, kept_tags
from safelight.cli.listings import Broken, Entry
from safelight.domain.albums import MAX_ALBUM_TITLE
from safelight.domain.images import MAX_DESCRIPTION, MAX_TITLE, normal_file_name

Service = Literal["cloudinary", "imgix"]

PAGES: Final = frozenset({"resources", "data"})
"""What the APIs call the array of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A picture of an account elsewhere, in our words. `stamp` changes with its bytes."""

    name: str
    stamp: str
    url: str
    size_bytes: int = 0
    file_name: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    album: str = ""
    """The folder that it lies in; '' at the top."""
    custom: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """How it is told of."""
        return self.name


@dataclass(frozen=True, slots=True)
class Other:
    """Something of the account that is no picture."""

    name: str
    reason: str


def asset_of(service: Service, entry: Entry, *, base_url: str = "") -> Asset | Other | Broken:
    """What the entry lists. `base_url` is where imgix delivers paths that stand without an address."""
    try:
        return _READ[service](entry.fields, base_url)
    except _Wrong as error:
        return Broken(entry.line, str(error))


class _Wrong(Exception):
    """Why an entry lists nothing."""


def _cloudinary(fields: Mapping[str, Any], _base_url: str) -> Asset | Other:
    name = _text(fields, "public_id")
    if not name:
        raise _Wrong("has no public_id")
    if (kind := _text(fields, "resource_type")) not in ("", "image"):
        return Other(name, f"not an image but {kind[:20]}")
    url = _url(_text(fields, "secure_url") or _text(fields, "url"), "secure_url")
    said = _context(fields.get("context"))
    folder, _, last = name.rpartition("/")
    extension = _text(fields, "format")
    kept = _text(fields, "original_filename") or _text(fields, "display_name") or last
    return Asset(
        name=name,
        stamp=f"{_text(fields, 'version')} {url}",
        url=url,
        size_bytes=_number(fields, "bytes"),
        file_name=_named(kept, extension),
        title=(said.get("caption") or said.get("title") or "")[:MAX_TITLE],
        description=(said.get("alt") or said.get("description") or "")[:MAX_DESCRIPTION],
        tags=kept_tags(_many(fields.get("tags"))),
        album=(_text(fields, "asset_folder") or _text(fields, "folder") or folder)[:MAX_ALBUM_TITLE],
        custom=kept_custom("cloudinary", {"public_id": name}, {"context": said, "metadata": fields.get("metadata")}),
    )


def _imgix(fields: Mapping[str, Any], base_url: str) -> Asset | Other:
    inner = fields.get("attributes")
    said: Mapping[str, Any] = {**fields, **inner} if isinstance(inner, dict) else fields
    path = _text(said, "origin_path").lstrip("/")
    if not path:
        raise _Wrong("has no origin_path")
    kind = (_text(said, "media_kind") or _text(said, "content_type").partition("/")[0]).casefold()
    if kind not in ("", "image", "application"):
        return Other(path, f"not an image but {kind[:20]}")
    url = _url(_text(said, "url") or (f"{base_url.rstrip('/')}/{quote(path)}" if base_url else ""), "url; give --base-url")
    folder, _, last = path.rpartition("/")
    tags = [*_many(said.get("tags")), *_many(said.get("categories"))]
    size = _number(said, "file_size")
    return Asset(
        name=path,
        stamp=f"{_text(said, 'date_modified')} {size} {url}",
        url=url,
        size_bytes=size,
        file_name=normal_file_name(last),
        title=_text(said, "name")[:MAX_TITLE],
        description=_text(said, "description")[:MAX_DESCRIPTION],
        tags=kept_tags(tags),
        album=folder[:MAX_ALBUM_TITLE],
        custom=kept_custom("imgix", {"origin_path": path}, {"custom_fields": said.get("custom_fields")}),
    )


_READ: Final[Mapping[Service, Callable[[Mapping[str, Any], str], Asset | Other]]] = {"cloudinary": _cloudinary, "imgix": _imgix}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\x00", "").strip()


def _number(fields: Mapping[str, Any], name: str) -> int:
    text = _text(fields, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _url(text: str, name: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise _Wrong(f"has no {name}")
    return text


def _named(name: str, extension: str) -> str:
    named = normal_file_name(name)
    has_it = not extension or named.casefold().endswith(f".{extension.casefold()}")
    return named if has_it else normal_file_name(f"{named}.{extension}")


def _many(value: Any) -> list[str]:
    """A list; the keys of an object (imgix: each with how sure it is; 0 has been taken out); what stands between commas."""
    if isinstance(value, Mapping):
        return [str(key) for key, sure in value.items() if sure != 0]
    if isinstance(value, str):
        try:
            read = orjson.loads(value) if value.startswith(("[", "{")) else None
        except orjson.JSONDecodeError:
            read = None
        return _many(read) if isinstance(read, list | dict) else value.split(",")
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _context(value: Any) -> dict[str, str]:
    """`{"custom": {"caption": …}}`, the same without `custom`, or as Cloudinary spells it in tables: `caption=…|alt=…`."""
    if isinstance(value, str):
        pairs = (pair.partition("=") for pair in value.split("|"))
        return {key.strip(): text.strip() for key, equals, text in pairs if equals}
    if not isinstance(value, Mapping):
        return {}
    inner = value.get("custom")
    said = inner if isinstance(inner, Mapping) else value
    return {str(key): text.replace("\x00", "") for key, text in said.items() if isinstance(text, str)}
