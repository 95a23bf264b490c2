"""Original: what a request means for one picture, and which pixels it needs. Pure; called by delivery before any byte is fetched.

Most transforms are made of our own master, in a thread. What the master does not have (pixels beyond its 2048, frames, clear
parts, other colours than sRGB) needs the file that came in, and that is decoded in the sandbox only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from safelight.errors import BadOption
from safelight.imaging.formats import Format
from safelight.imaging.transform.cost import FIXED, estimate
from safelight.imaging.transform.grammar import Request
from safelight.imaging.transform.negotiation import best_format
from safelight.imaging.transform.placing import is_large_enough, layer_of
from safelight.imaging.transform.plan import MAX_GIF_PIXELS, Size, Source, between, plan
from safelight.imaging.transform.pyramid import TILE, Window, levels, window
from safelight.imaging.transform.spec import PLAYING_FORMATS, Spec
from safelight.imaging.transform.values import WHITE, Animation, Focal, Gravity, Profile

_KEPT: Final = {Format.TIFF: Format.PNG, Format.SVG: Format.PNG, Format.HEIC: Format.JPEG}
"""What comes nearest to a format that only comes in."""
_DECODER: Final = {Format.AVIF: 15, Format.HEIC: 9, Format.WEBP: 8, Format.GIF: 8}
"""Bytes that decoding one pixel of an original holds; 4 where nothing is said. A JPEG counts as progressive: the record does not tell."""
_TILE_BYTES: Final = 6
"""For each pixel of a tile: itself, and its place in what is cut of it."""
_TILED_BYTES: Final = 3
"""For each pixel of a pyramid's picture: the level below, and its files."""
MAX_PLAYED_GIF_PIXELS: Final = 4 * MAX_GIF_PIXELS
"""Of all frames. Later frames find most of their colours chosen, so that a frame is cheaper than a still of its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the record knows of the delivered version. Width and height are pixels as seen, `profile` the name of its ICC profile."""

    format: Format
    width: int
    height: int
    frames: int = 1
    has_alpha: bool = False
    profile: str = ""
    focal_point: Focal | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A spec that is decided, without what means nothing for this picture: equal pixels have equal specs."""

    spec: Spec
    needs_original: bool
    weight: int
    """Bytes of memory that making it takes at the peak."""
    window: Window | None = None
    """The tiles of the original's pyramid that have the pixels, where a few of them do."""
    is_cut_short: bool = False
    """An animation that should have gone on playing is over the budget: its first frame is shown."""


def settle(request: Request, original: Original, accept: str, *, max_animation_pixels: int, has_master: bool = True) -> Settled:
    """Without a master of ours, all is made of the original. Raises what `plan` raises, and BadOption for a page of what has one."""
    spec = request.spec
    if spec.page > original.frames and original.format is not Format.TIFF:
        raise BadOption(f"The image has {original.frames} pages.", option="page")
    plays = original.frames > 1 and spec.animation is Animation.KEEP and spec.page == 1
    kept = _KEPT.get(original.format, original.format) if request.is_original else None
    is_cut_short = False
    if plays:
        playing = spec.format or kept or best_format(accept, spec, plays=True)
        most = min(max_animation_pixels, MAX_PLAYED_GIF_PIXELS) if playing is Format.GIF else max_animation_pixels
        canvas = plan(spec, Source.whole(original.width, original.height)).canvas
        fits = original.frames * max(canvas.width * canvas.height, original.width * original.height) <= most
        plays = playing in PLAYING_FORMATS and fits
        is_cut_short = playing in PLAYING_FORMATS and not fits
    spec = spec.resolved(kept or best_format(accept, spec, plays=plays, has_alpha=original.has_alpha))
    gravity = spec.gravity
    if gravity is Gravity.FOCAL:
        gravity = original.focal_point or Gravity.CENTER
    spec = replace(
        spec,
        gravity=gravity,
        animation=Animation.KEEP if plays or original.frames == 1 else Animation.FIRST,
        background=spec.background if spec.has_paper or original.has_alpha else None,
        icc=spec.icc if original.profile and not original.profile.lower().startswith("srgb") else Profile.SRGB,
    )
    needs_original = plays or not has_master or _is_beyond_master(spec, original)
    if spec.watermark and not spec.trim:
        source = (Source.whole if needs_original else Source.of)(original.width, original.height)
        if not is_large_enough(layer_of(spec, plan(spec, source))):
            spec = replace(spec, watermark=None)
    if not needs_original:
        weight = estimate(spec, Source.of(original.width, original.height))
        return Settled(spec, False, weight, is_cut_short=is_cut_short)
    size = Size(original.width, original.height)
    is_plain = has_master and original.frames == 1 and (not original.has_alpha or spec.paper == WHITE)
    tiles = window(spec, size) if is_plain else None
    if tiles is not None:
        joined = tiles.columns * tiles.rows * TILE * TILE * _TILE_BYTES
        weight = joined + estimate(spec, Source(size, levels(size)[tiles.level].size))
        return Settled(spec, True, weight, tiles)
    return Settled(spec, True, _weight(spec, original, plays=plays), is_cut_short=is_cut_short)


def tiling_weight(original: Original) -> int:
    """Bytes of memory that cutting an original into its pyramid takes at the peak."""
    return FIXED + original.width * original.height * (_DECODER.get(original.format, 4) + _TILED_BYTES)


def is_playing(spec: Spec, frames: int) -> bool:
    """Whether a settled spec of so many frames is an animation."""
    return frames > 1 and spec.animation is Animation.KEEP and spec.page == 1 and spec.format in PLAYING_FORMATS


def _is_beyond_master(spec: Spec, original: Original) -> bool:
    if spec.page > 1 or spec.icc is Profile.KEEP or (original.has_alpha and spec.paper != WHITE):
        return True
    master, whole = Source.of(original.width, original.height).pixels, Size(original.width, original.height)
    if master == whole:
        return False
    planned = plan(spec, Source(whole, whole))
    at_hand = between(planned.crop, whole, master)
    return planned.resize.width > at_hand.width or planned.resize.height > at_hand.height


def _weight(spec: Spec, original: Original, *, plays: bool) -> int:
    source = Source.whole(original.width, original.height)
    frames = original.frames if plays else 1
    decoded = original.width * original.height * frames * _DECODER.get(original.format, 4)
    canvas = plan(spec, source).canvas
    return FIXED + decoded + estimate(spec, source) + (frames - 1) * canvas.width * canvas.height * 12
