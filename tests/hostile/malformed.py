"""Files that no honest encoder has written: each follows from its number, so that a finding can be made again.

`malformed(7)` is the same bytes on every machine with the same encoders. A sound file of some format is broken in one way: bits
flipped, cut, its length fields made to lie, its parts put in another order, its dimensions blown up, another file grown into it;
or a trap of the format itself is set: recursion, entities, tables that point at themselves, text that inflates.
"""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.golden.samples import encoded, scene, translucent


@dataclass(frozen=True, slots=True)
class Malformed:
    """`how` says what was done, for whoever reads a finding."""

    number: int
    format: str
    how: str
    data: bytes

    def __str__(self) -> str:
        return f"malformed({self.number}): {self.format}, {self.how}, {len(self.data)} bytes"


SVG: Final = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}">{inside}</svg>'


def _turning() -> list:
    return [scene().resize((60, 45)).rotate(20 * index) for index in range(4)]


def _animated(format: str) -> bytes:
    first, *rest = _turning()
    return encoded(first, format, save_all=True, append_images=rest, duration=50)


_SMALL: Final = (160, 120)
SOUND: Final[dict[str, Callable[[], bytes]]] = {
    "jpeg": lambda: encoded(scene().resize(_SMALL), "JPEG", quality=85, exif=_exif()),
    "progressive jpeg": lambda: encoded(scene().resize(_SMALL), "JPEG", quality=85, progressive=True),
    "cmyk jpeg": lambda: encoded(scene().resize(_SMALL).convert("CMYK"), "JPEG"),
    "png": lambda: encoded(scene().resize(_SMALL), "PNG"),
    "palette png": lambda: encoded(scene().resize(_SMALL).quantize(32), "PNG"),
    "translucent png": lambda: encoded(translucent().resize(_SMALL), "PNG"),
    "gif": lambda: encoded(scene().resize(_SMALL).quantize(32), "GIF"),
    "animated gif": lambda: _animated("GIF"),
    "webp": lambda: encoded(scene().resize(_SMALL), "WEBP"),
    "lossless webp": lambda: encoded(translucent().resize(_SMALL), "WEBP", lossless=True),
    "animated webp": lambda: _animated("WEBP"),
    "avif": lambda: encoded(scene().resize(_SMALL), "AVIF", speed=9),
    "heic": lambda: encoded(scene().resize(_SMALL), "HEIF"),
    "tiff": lambda: encoded(scene().resize(_SMALL), "TIFF"),
    "lzw tiff": lambda: encoded(scene().resize(_SMALL), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": lambda: encoded(scene().resize(_SMALL), "TIFF", compression="jpeg"),
    "svg": lambda: SVG.format(
        width=80, height=60, inside='<g fill="red"><rect width="9" height="9"/><text y="20">a</text></g>'
    ).encode(),
}


def _exif() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", 6
    return exif.tobytes()


@cache
def sound(name: str) -> bytes:
    """The file that is broken."""
    return SOUND[name]()


def malformed(number: int) -> Malformed:
    """The file of this number."""
    dice = random.Random(number)
    format = dice.choice(list(SOUND))
    traps = TRAPS.get(_family(format), ())
    if traps and dice.random() < 0.25:
        trap = dice.choice(traps)
        return Malformed(number, format, trap.__name__.replace("_", " "), trap(dice))
    ways = dice.sample(WAYS, k=dice.choice((1, 1, 1, 2)))
    data = sound(format)
    for way in ways:
        data = way(dice, format, data)
    if _family(format) == "png" and dice.random() < 0.6:
        data = _with_true_checksums(data)  # else libpng looks no further than the first chunk
    return Malformed(number, format, " and ".join(way.__name__.replace("_", " ") for way in ways), data)


def _family(format: str) -> str:
    return format.rsplit(" ", 1)[-1]


# Ways that any file can be broken


def bits_flipped(dice: random.Random, format: str, data: bytes) -> bytes:
    broken = bytearray(data)
    # Mostly near the beginning, where the structure is.
    reach = len(broken) if dice.random() < 0.5 else min(len(broken), 400)
    for _ in range(dice.choice((1, 2, 8, 64)) if broken else 0):
        broken[dice.randrange(reach)] ^= 1 << dice.randrange(8)
    return bytes(broken)


def cut_short(dice: random.Random, format: str, data: bytes) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def a_hole_of_zeros(dice: random.Random, format: str, data: bytes) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice((1, 4, 64, 1024))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def noise_put_in(dice: random.Random, format: str, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.randbytes(dice.choice((1, 3, 100, 5000))) + data[at:]


def a_part_repeated(dice: random.Random, format: str, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at : at + dice.choice((2, 50, 500))] * dice.choice((2, 20, 400)) + data[at:]


def spliced_with_another_format(dice: random.Random, format: str, data: bytes) -> bytes:
    other = sound(dice.choice(list(SOUND)))
    return data[: dice.randrange(len(data) + 1)] + other[dice.randrange(len(other) + 1) :]


def another_file_behind_it(dice: random.Random, format: str, data: bytes) -> bytes:
    return data + dice.choice(
        (b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(60), b"%PDF-1.7\n%%EOF", sound(dice.choice(list(SOUND))))
    )


def another_magic_before_it(dice: random.Random, format: str, data: bytes) -> bytes:
    magic = dice.choice(
        (
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"RIFF\x10\x00\x00\x00WEBPVP8 ",
            b"II*\x00",
            b"MM\x00*",
            b"\x00\x00\x00\x18ftypavif",
            b"<svg ",
        )
    )
    return magic + data[dice.choice((0, len(magic))) :]


def lengths_that_lie(dice: random.Random, format: str, data: bytes) -> bytes:
    fields = list(_lengths(_family(format), data))
    broken = bytearray(data)
    for at, size, order in dice.sample(fields, k=min(len(fields), dice.choice((1, 1, 3)))):
        true = int.from_bytes(data[at : at + size], order)
        most = (1 << 8 * size) - 1
        lie = dice.choice((0, 1, 2, true - 1, true + 1, true * 2, most, most >> 1, (most >> 1) + 1, dice.randrange(most + 1)))
        broken[at : at + size] = (lie & most).to_bytes(size, order)
    return bytes(broken)


def parts_in_another_order(dice: random.Random, format: str, data: bytes) -> bytes:
    head, parts = _parts(_family(format), data)
    match dice.randrange(4):
        case 0:
            dice.shuffle(parts)
        case 1 if parts:
            parts.insert(dice.randrange(len(parts) + 1), dice.choice(parts))
        case 2 if parts:
            parts.pop(dice.randrange(len(parts)))
        case 3 if parts:
            parts = [part for part in parts for _ in range(dice.choice((1, 1, 200)))]
    return head + b"".join(parts)


def dimensions_blown_up(dice: random.Random, format: str, data: bytes) -> bytes:
    wide = dice.choice((0, 1, 16_384, 65_500, 65_535, 2**31 - 1, 2**32 - 1))
    tall = dice.choice((0, 1, 160, 65_500, 65_535, 2**31 - 1))
    broken = bytearray(data)
    family = _family(format)
    if family == "svg":
        return re.sub(rb'width="80"', b'width="%d"' % wide, data).replace(b'height="60"', b'height="%d"' % tall)
    sides: list[tuple[str, int, tuple[int, ...]]] = []
    """Layout, place and numbers; a file that was broken before may end in front of them."""
    if family == "jpeg" and (frame := re.search(rb"\xff[\xc0\xc2]\x00", data)):
        sides = [(">HH", frame.start() + 5, (tall & 0xFFFF, wide & 0xFFFF))]
    elif family == "png":
        sides = [(">II", 16, (wide, tall))]
    elif family == "gif":
        sides = [("<HH", 6, (wide & 0xFFFF, tall & 0xFFFF))]
    elif family == "webp":
        sides = [("<HH", 26, (wide & 0xFFFF, tall & 0xFFFF))]
    elif family in ("avif", "heic") and (extent := data.find(b"ispe")) > 0:
        sides = [(">II", extent + 8, (wide, tall))]
    elif family == "tiff":
        order = "<" if data[:2] == b"II" else ">"
        sides = [(f"{order}HII", at + 2, (4, 1, wide if tag == 256 else tall)) for at, tag in _entries(data) if tag in (256, 257)]
    for layout, at, numbers in sides:
        if at + struct.calcsize(layout) <= len(broken):
            struct.pack_into(layout, broken, at, *numbers)
    return bytes(broken)


WAYS: Final = (
    bits_flipped,
    bits_flipped,
    cut_short,
    a_hole_of_zeros,
    noise_put_in,
    a_part_repeated,
    spliced_with_another_format,
    another_file_behind_it,
    another_magic_before_it,
    lengths_that_lie,
    lengths_that_lie,
    parts_in_another_order,
    dimensions_blown_up,
)


# How each format is put together


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield at, min(end, len(data))
        at = end


def _riff_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        yield at, min(end, len(data))
        at = end


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:  # from here on it is entropy-coded
            yield at, len(data)
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield at, min(end, len(data))
        at = end


_CONTAINERS: Final = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"moov": 8, b"trak": 8}


def _boxes(data: bytes, at: int = 0, until: int | None = None) -> Iterator[tuple[int, int]]:
    until = len(data) if until is None else until
    while at + 8 <= until:
        end = at + int.from_bytes(data[at : at + 4], "big")
        if end <= at + 7:
            return
        yield at, min(end, until)
        inside = _CONTAINERS.get(data[at + 4 : at + 8])
        if inside is not None:
            yield from _boxes(data, at + inside, min(end, until))
        at = end


def _entries(data: bytes) -> Iterator[tuple[int, int]]:
    """Offsets and tags of a TIFF's first directory (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    if directory + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    for index in range(count):
        at = directory + 2 + 12 * index
        if at + 12 > len(data):
            return
        yield at, struct.unpack_from(f"{order}H", data, at)[0]


def _sub_blocks(data: bytes) -> Iterator[int]:
    """Where a GIF's sub-blocks say how long they are (GIF89a, section 15)."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0) if len(data) > 13 else len(data)
    while at < len(data):
        match data[at]:
            case 0x21:
                at += 2
            case 0x2C if at + 10 < len(data):
                packed = data[at + 9]
                at += 11 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
            case _:
                return
        while at < len(data) and data[at]:
            yield at
            at += data[at] + 1
        at += 1


def _lengths(family: str, data: bytes) -> Iterator[tuple[int, int, str]]:
    """(offset, bytes, byte order) of what says how long, how many or where."""
    match family:
        case "jpeg":
            yield from ((at + 2, 2, "big") for at, _ in _jpeg_segments(data))
        case "png":
            yield from ((at, 4, "big") for at, _ in _png_chunks(data))
        case "webp":
            yield from ((at + 4, 4, "little") for at in (0, *(at for at, _ in _riff_chunks(data))))
        case "avif" | "heic":
            yield from ((at, 4, "big") for at, _ in _boxes(data))
            if (places := data.find(b"iloc")) > 0:
                yield from ((places + offset, 4, "big") for offset in range(8, 40, 4))
        case "tiff":
            order = "little" if data[:2] == b"II" else "big"
            yield (4, 4, order)
            for at, _ in _entries(data):
                yield from ((at, 2, order), (at + 2, 2, order), (at + 4, 4, order), (at + 8, 4, order))
        case "gif":
            yield from ((at, 1, "big") for at in _sub_blocks(data))


def _parts(family: str, data: bytes) -> tuple[bytes, list[bytes]]:
    """What begins the file, and the parts that can change places."""
    match family:
        case "jpeg":
            return data[:2], [data[start:end] for start, end in _jpeg_segments(data)]
        case "png":
            return data[:8], [data[start:end] for start, end in _png_chunks(data)]
        case "webp":
            return data[:12], [data[start:end] for start, end in _riff_chunks(data)]
        case "avif" | "heic":
            top, at = [], 0
            for start, end in _boxes(data):
                if start >= at:
                    top.append(data[start:end])
                    at = end
            return b"", top
        case "svg":
            return b"", re.findall(rb"<[^>]*>|[^<]+", data)
        case _:
            size = max(1, len(data) // 12)
            return data[:16], [data[at : at + size] for at in range(16, len(data), size)]


def _with_true_checksums(data: bytes) -> bytes:
    return data[:8] + b"".join(
        data[start : end - 4] + struct.pack(">I", zlib.crc32(data[start + 4 : end - 4])) for start, end in _png_chunks(data)
    )


def chunk(name: bytes, data: bytes) -> bytes:
    """One of a PNG (PNG specification, section 5.3)."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def segment(marker: int, data: bytes) -> bytes:
    """One of a JPEG (ITU-T T.81, annex B)."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def box(name: bytes, data: bytes) -> bytes:
    """One of HEIF and AVIF (ISO/IEC 14496-12, section 4.2)."""
    return struct.pack(">I", len(data) + 8) + name + data


# Traps


def text_that_inflates(dice: random.Random) -> bytes:
    data = sound("png")
    kind = dice.choice((b"zTXt", b"iTXt", b"iCCP"))
    squeezed = zlib.compress(bytes(dice.choice((10, 60)) * 1024 * 1024), 9)
    head = b"Raw profile type exif\0\0" if kind != b"iTXt" else b"XML:com.adobe.xmp\0\1\0\0\0"
    return data[:33] + chunk(kind, head + squeezed) * dice.choice((1, 4)) + data[33:]


def pixels_that_inflate(dice: random.Random) -> bytes:
    side = dice.choice((4000, 20_000))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, dice.choice((0, 1))))
    rows = zlib.compress(bytes((side // 8 + 1) * dice.choice((side, 10))), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def ten_thousand_chunks(dice: random.Random) -> bytes:
    data = sound("png")
    return data[:33] + chunk(b"tEXt", b"Comment\0x") * 10_000 + data[33:]


def a_directory_that_points_at_itself(dice: random.Random) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005, 0x014A))
    tiff = b"II*\0" + struct.pack("<IH", 8, 4) + entries + struct.pack("<I", 8)
    data = sound("progressive jpeg")
    return data[:2] + segment(0xE1, b"Exif\0\0" + tiff) + data[2:]


def a_thousand_profiles(dice: random.Random) -> bytes:
    data = sound("progressive jpeg")
    piece = b"ICC_PROFILE\0" + bytes((dice.randrange(256), dice.randrange(256))) + dice.randbytes(3000)
    return data[:2] + segment(0xE2, piece) * 1000 + data[2:]


def tables_of_nothing(dice: random.Random) -> bytes:
    data = sound("jpeg")
    table = segment(0xC4, bytes([dice.randrange(256)]) + dice.randbytes(16) + dice.randbytes(dice.randrange(256)))
    return data[:2] + table * dice.choice((1, 60)) + data[2:]


def many_scans(dice: random.Random) -> bytes:
    data = sound("progressive jpeg")
    begin = data.index(b"\xff\xda")
    return data[:begin] + data[begin:-2] * dice.choice((5, 120)) + data[-2:]


def pages_in_a_ring(dice: random.Random) -> bytes:
    data = bytearray(sound("tiff"))
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    struct.pack_into(f"{order}I", data, directory + 2 + 12 * count, dice.choice((directory, 8, 4)))
    return bytes(data)


def a_frame_for_every_byte(dice: random.Random) -> bytes:
    frame = b"\x21\xf9\x04\0\1\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    return (
        b"GIF89a"
        + struct.pack("<HH", *dice.choice(((1, 1), (5000, 5000))))
        + b"\x80\0\0\0\0\0\xff\xff\xff"
        + frame * dice.choice((300, 3000))
        + b"\x3b"
    )


def boxes_in_boxes(dice: random.Random) -> bytes:
    inner = b""
    for _ in range(dice.choice((50, 3000))):
        inner = box(dice.choice((b"meta", b"iprp", b"moov")), inner)
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + inner


def a_grid_of_itself(dice: random.Random) -> bytes:
    """An item that is derived from itself: `dimg` references in a ring."""
    return re.sub(rb"(cdsc|thmb|auxl|dimg)", b"dimg", sound("heic")).replace(b"hvc1", b"grid", 1)


def groups_in_groups(dice: random.Random) -> bytes:
    depth = dice.choice((200, 20_000))
    return SVG.format(width=10, height=10, inside="<g>" * depth + "</g>" * depth).encode()


def a_use_of_itself(dice: random.Random) -> bytes:
    rings = '<g id="a"><use xlink:href="#b"/></g><g id="b"><use xlink:href="#a"/></g>'
    laughs = '<rect id="l0" width="1" height="1"/>' + "".join(
        f'<g id="l{n}">' + f'<use xlink:href="#l{n - 1}"/>' * 10 + "</g>" for n in range(1, 9)
    )
    patterns = '<pattern id="p" width="1" height="1"><rect fill="url(#p)" width="9" height="9"/></pattern><rect fill="url(#p)" width="9" height="9"/>'
    return SVG.format(width=20, height=20, inside=dice.choice((rings, laughs + '<use xlink:href="#l8"/>', patterns))).encode()


def entities_in_entities(dice: random.Random) -> bytes:
    entities = '<!ENTITY a "ha">' + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 20}">' for n in range(7))
    return f"<!DOCTYPE svg [{entities}]>".encode() + SVG.format(width=9, height=9, inside="<text>&h;</text>").encode()


def filters_without_end(dice: random.Random) -> bytes:
    steps = '<feTurbulence baseFrequency="0.9" numOctaves="9"/><feGaussianBlur stdDeviation="500"/>' * dice.choice((2, 60))
    side = dice.choice((100, 4000))
    return SVG.format(
        width=side, height=side, inside=f'<filter id="f">{steps}</filter><rect width="100%" height="100%" filter="url(#f)"/>'
    ).encode()


def a_world_outside(dice: random.Random) -> bytes:
    where = dice.choice(
        (
            "file:///etc/passwd",
            "http://127.0.0.1:1/",
            "http://169.254.169.254/latest",
            "/dev/zero",
            "data:image/svg+xml;base64,PHN2Zy8+",
        )
    )
    inside = dice.choice(
        (
            '<image xlink:href="{0}" width="9" height="9"/>',
            '<style>@import url("{0}");</style>',
            '<use href="{0}#a"/>',
            '<script href="{0}"/>',
        )
    )
    return SVG.format(width=9, height=9, inside=inside.format(where)).encode()


def a_path_without_end(dice: random.Random) -> bytes:
    return SVG.format(
        width=500,
        height=500,
        inside=f'<path stroke="red" stroke-dasharray="0.001" d="M0 0{" L499 499 L0 250" * dice.choice((1000, 40_000))}"/>',
    ).encode()


TRAPS: Final[dict[str, tuple[Callable[[random.Random], bytes], ...]]] = {
    "jpeg": (a_directory_that_points_at_itself, a_thousand_profiles, tables_of_nothing, many_scans),
    "png": (text_that_inflates, pixels_that_inflate, ten_thousand_chunks),
    "gif": (a_frame_for_every_byte,),
    "avif": (boxes_in_boxes,),
    "heic": (boxes_in_boxes, a_grid_of_itself),
    "tiff": (pages_in_a_ring,),
    "svg": (groups_in_groups, a_use_of_itself, entities_in_entities, filters_without_end, a_world_outside, a_path_without_end),
}
