"""Formats: which picture formats come in or go out, and how the first bytes of a file tell them apart.

A name or a declared type is never asked: the magic number decides, and the loader is chosen by it alone, so a file
cannot be checked as one thing and decoded as another. Only reads bytes; called by doors, services and the sandbox.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

SNIFF_BYTES: Final = 4096
"""How much of a file's beginning `sniff` looks at."""


class Format(StrEnum):
    """A picture format that Safelight takes in; the first five also go out."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    AVIF = "avif"
    TIFF = "tiff"
    HEIC = "heic"
    SVG = "svg"

    @property
    def media_type(self) -> str:
        """As registered with IANA."""
        return "image/svg+xml" if self is Format.SVG else f"image/{self.value}"

    @property
    def extension(self) -> str:
        """The usual one, without a dot."""
        return "jpg" if self is Format.JPEG else self.value


# ISO/IEC 14496-12 section 4.3 and the brands of AV1 Image File Format section 10 and ISO/IEC 23008-12 annex B.
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})

_TIFF_MAGIC: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))

_BEFORE_THE_ROOT: Final = re.compile(
    r"""\s*(?:
        <\?.*?\?>                           # XML declaration, processing instructions
      | <!--.*?-->
      | <!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>    # with its internal subset, which the SVG guard will refuse
    )""",
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
_SVG_ROOT: Final = re.compile(r"\s*<(?:[A-Za-z_][\w.-]*:)?svg[\s/>]")


def sniff(head: bytes) -> Format | None:
    """The format that these first bytes begin, or None. More than `SNIFF_BYTES` are not looked at."""
    head = bytes(head[:SNIFF_BYTES])
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Format.GIF
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.WEBP
    if head.startswith(_TIFF_MAGIC):
        return Format.TIFF
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    return Format.SVG if _is_svg(head) else None


def _sniff_brands(head: bytes) -> Format | None:
    size = int.from_bytes(head[:4], "big")
    major, compatible = head[8:12], head[16 : min(size, len(head))]
    brands = [major, *(compatible[at : at + 4] for at in range(0, len(compatible) - 3, 4))]
    # The major brand speaks first: "mif1" says nothing of the codec, then the compatible ones decide.
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return Format.AVIF
        if brand in _HEIC_BRANDS:
            return Format.HEIC
    return None


def _is_svg(head: bytes) -> bool:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            text = head[len(mark) :].decode(encoding, "replace")
            break
    else:
        text = head.decode("utf-8", "replace")
    at = 0
    while step := _BEFORE_THE_ROOT.match(text, at):
        at = step.end()
    return _SVG_ROOT.match(text, at) is not None
