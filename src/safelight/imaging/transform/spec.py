"""Spec: everything that may be asked of a picture by URL, as one value in its one normal form. No pixels, no drivers.

Every grammar (the native one, and those spoken for the sake of other servers' clients) ends here. Whatever has no effect is
removed and whatever can be said in two ways is said in one, when the value is made, so that requests for the same pixels are
equal, hash alike and have one `text`: the key under which the result is kept. What concerns headers only (a download's name)
is no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.spec import RENDER_QUALITY
from safelight.imaging.transform.values import (
    CLEAR,
    UNPADDED,
    WHITE,
    Animation,
    Fit,
    Flip,
    Focal,
    Gravity,
    Metadata,
    Padding,
    Profile,
    Region,
    Rgba,
    decimal,
    number,
    whole,
)
from safelight.imaging.transform.watermark import Layer, Watermark

MAX_SIDE: Final = 8192
"""Of the box, after the pixel ratio; padding comes on top. WebP holds 16383."""
MAX_PAD: Final = 1024
MAX_RADIUS: Final = MAX_SIDE // 2
"""Half of the longest side that can be, so it stands for `max`: as round as goes."""
MAX_BLUR: Final = 100
MAX_FACTOR: Final = 4
MAX_CELL: Final = 1024
MAX_LIFT: Final = 100
EVERYTHING: Final = "full"
"""How a transform without any option is written, since an empty name would be odd in a URL."""
AUTO: Final = "auto"
"""The extension of a URL whose format the client's Accept header decides."""
ORIGINAL: Final = "original"
"""The extension of a URL that keeps the original's format."""
AUTO_QUALITY: Final = "auto"
"""The least quality that looks as it should is sought for every picture."""
MAX_PAGE: Final = 1000
MIN_BYTES, MAX_BYTES = 500, 9_999_999
"""Less holds no picture of any format together with its headers."""

FORMATS: Final = (Format.AVIF, Format.WEBP, Format.JPEG, Format.PNG, Format.GIF)
"""What goes out."""
PLAYING_FORMATS: Final = frozenset({Format.WEBP, Format.GIF})
_CLEAR_FORMATS: Final = frozenset({Format.AVIF, Format.WEBP, Format.PNG, Format.GIF})
_FACTORS: Final = ("brightness", "contrast", "saturation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One transform. Raises BadOption with the option's long name where a value is out of range.

    `width` and `height` are pixels of the output box along its own axes, 0 = free. `format` None is not decided yet (`.auto`).
    `radius` MAX_RADIUS is `max`; `threshold` 0 is none; `quality` 0 is the format's default, AUTO_QUALITY is sought; `max_bytes` 0 is any;
    `background` None is clear, white in a JPEG.
    """

    format: Format | None
    width: int = 0
    height: int = 0
    fit: Fit = Fit.SCALE_DOWN
    gravity: Gravity | Focal = Gravity.CENTER
    crop: Region | None = None
    trim: int = 0
    rotate: int = 0
    flip: Flip = Flip.NONE
    background: Rgba | None = None
    pad: Padding = UNPADDED
    blur: float = 0.0
    sharpen: float = 0.0
    edges: float = 0.0
    pixelate: int = 0
    brightness: float = 1.0
    lift: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0
    grayscale: bool = False
    duotone: tuple[Rgba, Rgba] | None = None
    threshold: int = 0
    radius: int = 0
    quality: int | Literal["auto"] = 0
    progressive: bool = True
    max_bytes: int = 0
    animation: Animation = Animation.KEEP
    page: int = 1
    metadata: Metadata = Metadata.NONE
    icc: Profile = Profile.SRGB
    watermark: Watermark | None = None

    def __post_init__(self) -> None:
        """Check, then bring into the normal form."""
        self._check()
        self._settle_box()
        self._settle_turn()
        self._settle_colour()
        self._settle_file()
        self._settle_mark()

    @property
    def text(self) -> str:
        """The canonical native spelling with its extension, as in `fit=cover,h=200,w=300.webp`: `parse` gives back this value."""
        options = ",".join(f"{name}={value}" for name, value in sorted(self._said().items()))
        return f"{options or EVERYTHING}.{self.format.extension if self.format else AUTO}"

    @property
    def paper(self) -> Rgba:
        """What shows where the picture does not. Opaque in a JPEG."""
        if self.background is not None:
            return self.background
        return CLEAR if self.format in _CLEAR_FORMATS or self.format is None else WHITE

    @property
    def has_paper(self) -> bool:
        """Whether anything may show beside the picture: bars, padding, rounded corners."""
        return self.fit is Fit.PAD or any(self.pad) or self.radius > 0

    @property
    def encoder_quality(self) -> int:
        """1 to 100: what was asked, else what the format gets by default."""
        said = 0 if self.quality == AUTO_QUALITY else self.quality
        return said or (RENDER_QUALITY.get(self.format, 0) if self.format else 0)

    def resolved(self, format: Format) -> Spec:
        """The same with its format decided; an already decided one stays. Raises BadOption for formats that only come in."""
        return self if self.format is not None else replace(self, format=format)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise BadOption(f"Safelight does not deliver {self.format.value}.", option="format")
        if self.rotate not in {0, 90, 180, 270}:
            raise BadOption("rotate is 0, 90, 180 or 270.", option="rotate")
        self._set(
            width=whole("width", self.width, 1, MAX_SIDE) if self.width else 0,
            height=whole("height", self.height, 1, MAX_SIDE) if self.height else 0,
            trim=whole("trim", self.trim, 0, 100),
            pad=Padding(*(whole("pad", side, 0, MAX_PAD) for side in self.pad)),
            radius=whole("radius", self.radius, 0, MAX_RADIUS),
            quality=self.quality
            if self.quality == AUTO_QUALITY
            else whole("quality", self.quality, 1, 100)
            if self.quality
            else 0,
            max_bytes=whole("max_bytes", self.max_bytes, MIN_BYTES, MAX_BYTES) if self.max_bytes else 0,
            page=whole("page", self.page, 1, MAX_PAGE),
            blur=decimal("blur", self.blur, 0.3, MAX_BLUR) if self.blur else 0.0,
            sharpen=decimal("sharpen", self.sharpen, 0, 10),
            edges=decimal("edges", self.edges, 0.1, 10) if self.edges else 0.0,
            pixelate=whole("pixelate", self.pixelate, 0, MAX_CELL),
            threshold=whole("threshold", self.threshold, 0, 255),
            lift=decimal("lift", self.lift, -MAX_LIFT, MAX_LIFT),
            gamma=decimal("gamma", self.gamma, 0.1, 5),
            **{name: decimal(name, getattr(self, name), 0, MAX_FACTOR) for name in _FACTORS},
        )

    def _settle_box(self) -> None:
        """One free side leaves nothing to cut or to fill, two leave nothing to fit."""
        if not (self.width and self.height):
            grows = self.fit.enlarges and (self.width or self.height)
            self._set(fit=Fit.CONTAIN if grows else Fit.SCALE_DOWN)
        if not self.fit.cuts:
            self._set(gravity=Gravity.CENTER)
        if self.crop and self.crop.is_everything:
            self._set(crop=None)
        if self.pixelate == 1:
            self._set(pixelate=0)

    def _settle_turn(self) -> None:
        """The eight ways a picture can lie, each written in one way: `v` and `hv` hold half a turn."""
        half = self.flip in {Flip.V, Flip.HV}
        mirrored = self.flip in {Flip.H, Flip.V}
        rotate = (self.rotate + 180 * half) % 360
        flip = Flip.H if mirrored else Flip.NONE
        if mirrored and rotate == 180:
            rotate, flip = 0, Flip.V
        self._set(rotate=rotate, flip=flip)

    def _settle_colour(self) -> None:
        if self.threshold:
            self._set(duotone=None, saturation=1.0, grayscale=False)
        elif self.duotone:
            dark, bright = self.duotone
            self._set(duotone=(Rgba(*dark.rgb), Rgba(*bright.rgb)), saturation=1.0, grayscale=False)
        elif self.grayscale or self.saturation == 0:
            self._set(grayscale=True, saturation=1.0)

    def _settle_file(self) -> None:
        paper = self.background
        if paper is None or paper.alpha == 0:
            paper = None
        elif self.format is Format.JPEG:
            paper = paper.over(WHITE)
            paper = None if paper == WHITE else paper
        self._set(background=paper)
        if self.format in {Format.PNG, Format.GIF} or (self.format and self.quality == RENDER_QUALITY[self.format]):
            self._set(quality=0)
        if self.format not in {Format.JPEG, None}:
            self._set(progressive=True)
        if self.format is Format.GIF:
            self._set(metadata=Metadata.NONE, icc=Profile.SRGB)
        if self.page > 1 or (self.format and self.format not in PLAYING_FORMATS):
            # One page does not play, nor do these formats: there is nothing to choose.
            self._set(animation=Animation.KEEP)

    def _settle_mark(self) -> None:
        if self.watermark is not None and self.watermark.opacity == 0:
            self._set(watermark=None)
        elif self.watermark is not None and not self.has_paper and self.watermark.layer is Layer.CANVAS:
            self._set(watermark=self.watermark.on(Layer.PICTURE))  # they are the same

    def _said(self) -> dict[str, str]:
        said = self.watermark.said() if self.watermark else {}
        for name, short in (
            ("width", "w"),
            ("height", "h"),
            ("trim", "t"),
            ("rotate", "r"),
            ("pixelate", "px"),
            ("max_bytes", "mb"),
            ("threshold", "th"),
        ):
            if value := getattr(self, name):
                said[short] = str(value)
        if self.quality:
            said["q"] = str(self.quality)
        if self.page > 1:
            said["pg"] = str(self.page)
        if self.animation is not Animation.KEEP:
            said["an"] = str(self.animation)
        if self.metadata is not Metadata.NONE:
            said["md"] = str(self.metadata)
        if self.icc is not Profile.SRGB:
            said["icc"] = str(self.icc)
        for name, short, usual in (
            ("blur", "bl", 0),
            ("sharpen", "sh", 0),
            ("edges", "ed", 0),
            ("brightness", "br", 1),
            ("lift", "li", 0),
            ("contrast", "co", 1),
            ("saturation", "sa", 1),
            ("gamma", "ga", 1),
        ):
            if (value := getattr(self, name)) != usual:
                said[short] = number(value)
        if self.fit is not Fit.SCALE_DOWN:
            said["fit"] = str(self.fit)
        if self.gravity is not Gravity.CENTER:
            said["g"] = str(self.gravity)
        if self.crop:
            said["c"] = str(self.crop)
        if self.flip:
            said["fl"] = str(self.flip)
        if self.background:
            said["bg"] = str(self.background)
        if any(self.pad):
            said["p"] = str(self.pad)
        if self.grayscale:
            said["gr"] = "true"
        if self.duotone:
            said["du"] = ":".join(map(str, self.duotone))
        if self.radius:
            said["ra"] = "max" if self.radius == MAX_RADIUS else str(self.radius)
        if not self.progressive:
            said["pr"] = "false"
        return said
