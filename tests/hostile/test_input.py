"""Hostile files through the sandbox: the right code, in less than two seconds, and nothing left behind."""

import asyncio
import os
import struct
import zlib
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np
import pytest
import pytest_asyncio
import pyvips
from tests.golden.samples import encoded, scene, translucent
from tests.hostile.family import grandchildren

from safelight.errors import (
    CorruptImage,
    DecodeBudgetExceeded,
    EmptyFile,
    SafelightError,
    TooManyBytes,
    TooManyFrames,
    TooManyPixels,
    UnsupportedFormat,
)
from safelight.imaging import Format, Limits, Preset, Recipe, Sandbox
from safelight.imaging.spec import lesser_sides

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = Recipe(presets=(Preset("thumb_150", 150),), master_side=300)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    # Two CPU seconds for whatever comes, counted by the kernel: wall clocks tell more of the machine's other work.
    async with Sandbox(slots=2, limits=Limits(cpu_s=2)) as sandbox:
        yield sandbox


@contextmanager
def shared(data):
    fd = os.memfd_create("input")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)


async def develop(sandbox, data, recipe=SMALL):
    with shared(data) as fd:
        return await sandbox.develop(fd, recipe)


async def refused(sandbox, data, *errors):
    """The error; anything but these, a spent budget for example, fails."""
    with pytest.raises(errors or (CorruptImage, UnsupportedFormat)) as caught:
        await develop(sandbox, data)
    assert type(caught.value) in (errors or (CorruptImage, UnsupportedFormat))
    return caught.value


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def nothing_left(sandbox):
    yield
    for _ in range(200):
        if not (left := grandchildren()):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"left behind: {left}")


def turning(count=4, size=(120, 90)):
    return [scene().resize(size).rotate(20 * index) for index in range(count)]


SOUND = {
    "jpeg": lambda: encoded(scene(), "JPEG", quality=90),
    "progressive": lambda: encoded(scene(), "JPEG", quality=90, progressive=True),
    "cmyk": lambda: encoded(scene().convert("CMYK"), "JPEG"),
    "png": lambda: encoded(scene(), "PNG"),
    "png with alpha": lambda: encoded(translucent(), "PNG"),
    "gif": lambda: encoded(scene().quantize(64), "GIF"),
    "animated gif": lambda: encoded(turning()[0], "GIF", save_all=True, append_images=turning()[1:], duration=50),
    "webp": lambda: encoded(scene(), "WEBP"),
    "lossless webp": lambda: encoded(scene(), "WEBP", lossless=True),
    "animated webp": lambda: encoded(turning()[0], "WEBP", save_all=True, append_images=turning()[1:], duration=50),
    "avif": lambda: encoded(scene(), "AVIF"),
    "avif with alpha": lambda: encoded(translucent(), "AVIF"),
    "heic": lambda: encoded(scene(), "HEIF"),
    "tiff": lambda: encoded(scene(), "TIFF"),
    "tiff with lzw": lambda: encoded(scene(), "TIFF", compression="tiff_lzw"),
    "tiff with jpeg": lambda: encoded(scene(), "TIFF", compression="jpeg"),
    "svg": lambda: (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><g><text y="12">words</text><rect width="9" height="9"/></g></svg>'
    ),
}


@cache
def sound(name):
    return SOUND[name]()


@pytest.mark.parametrize("name", SOUND)
async def test_every_sound_file_is_developed_inside_the_sandbox(sandbox, name):
    developed = await develop(sandbox, sound(name), Recipe())

    sides = lesser_sides(max(developed.header.width, developed.header.height))
    assert len(developed.files) == 13 + len(sides)


async def test_a_small_drawing_that_takes_for_ever_is_given_up_long_before_a_large_photograph_would_be():
    path = f'<path stroke="red" stroke-dasharray="0.001" d="M0 0{" L499 499 L0 250" * 40_000}"/>'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="500">{path}</svg>'.encode()
    async with Sandbox(slots=1, limits=Limits(cpu_s=14)) as patient:
        error = await refused(patient, drawing, DecodeBudgetExceeded)

    assert "of its size" in error.detail  # not the budget of the largest


@pytest.mark.parametrize("name", ("webp", "interlaced png", "progressive jpeg", "jpeg"))
async def test_large_honest_files_are_developed_inside_the_sandbox(name):
    # Beyond 100 MB of pixels libvips would decode to a file on disc, which a child may not write.
    large = pyvips.Image.new_from_array(np.asarray(scene())).resize(15)
    make = {
        "webp": lambda: large.webpsave_buffer(effort=0),
        "interlaced png": lambda: large.pngsave_buffer(interlace=True, compression=1),
        "progressive jpeg": lambda: large.jpegsave_buffer(interlace=True),
        "jpeg": lambda: large.jpegsave_buffer(),
    }
    async with Sandbox(slots=1) as patient:
        assert (await develop(patient, bytes(make[name]()))).header.width == 7200


@pytest.mark.parametrize("name", SOUND)
async def test_a_file_cut_short_is_refused_wherever_it_is_cut(sandbox, name):
    data = sound(name)
    cuts = [data[: max(1, len(data) * percent // 100)] for percent in (1, 5, 15, 30, 45, 50, 60, 75, 90, 97)]

    ends = await asyncio.gather(*(develop(sandbox, cut) for cut in cuts), return_exceptions=True)
    assert [type(end) for end in ends if type(end) not in {CorruptImage, UnsupportedFormat}] == []


@pytest.mark.parametrize("name", SOUND)
async def test_a_file_of_which_parts_are_noise_is_refused_or_developed_but_never_harms(sandbox, name):
    whole = sound(name)
    rng = np.random.default_rng(7)
    for _ in range(6):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 12):
            data[at] = rng.integers(0, 256)
        try:
            await develop(sandbox, bytes(data))
        except (CorruptImage, UnsupportedFormat, TooManyPixels, TooManyFrames):
            continue


async def test_an_empty_file_is_refused(sandbox):
    await refused(sandbox, b"", EmptyFile)


async def test_a_file_of_too_many_bytes_is_refused(sandbox):
    async with Sandbox(slots=1, limits=Limits(max_bytes=1000)) as small:
        await refused(small, sound("png"), TooManyBytes)


@pytest.mark.parametrize(
    "data",
    (
        b"\0" * 100,
        b"hello",
        b"<html><svg xmlns='http://www.w3.org/2000/svg'/></html>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"push graphic-context\nviewbox 0 0 1 1\nimage over 0,0 0,0 'https://x/'\npop graphic-context",
        b"PK\x03\x04" + b"\0" * 50,
        b"BM" + b"\0" * 60,
        b"\x76\x2f\x31\x01" + b"\0" * 60,
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"vips" + b"\0" * 60,
        b"id=ImageMagick",
        b"P6 1 1 255 abc",
        b"1,2,3\n4,5,6\n",
    ),
    ids=lambda data: data[:8].decode("latin-1").encode("unicode_escape").decode(),
)
async def test_what_is_no_picture_of_ours_is_refused(sandbox, data):
    await refused(sandbox, data, UnsupportedFormat)


async def test_a_file_is_what_its_bytes_say_whatever_it_is_called(sandbox):
    for name, format in (("png", Format.PNG), ("gif", Format.GIF), ("heic", Format.HEIC)):
        with shared(sound(name)) as fd:
            assert (await sandbox.probe(fd)).format is format


@pytest.mark.parametrize(
    "payload",
    (b"<script>alert(1)</script>", b"PK\x03\x04evil.zip", b"%PDF-1.7 evil", b"<?php system($_GET[0]); ?>", b"GIF89a/*evil*/=1;"),
)
@pytest.mark.parametrize("name", ("jpeg", "png", "gif", "webp"))
async def test_of_a_polyglot_only_the_picture_is_served(sandbox, name, payload):
    data = sound(name) + payload * 20

    try:
        developed = await develop(sandbox, data)
    except CorruptImage:
        return
    assert not any(payload in file.data for file in developed.files)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *, kind=2, depth=8, body=b"", extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(body, 9)) + chunk(b"IEND", b"")


def jpeg_of(width, height, **options):
    """A small JPEG whose header lies."""
    data = bytearray(encoded(scene().resize((16, 16)), "JPEG", **options))
    at = next(index for index in range(len(data)) if data[index] == 0xFF and data[index + 1] in {0xC0, 0xC2})
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff_of(width, height):
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 200),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 10),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0").ljust(220, b"\0")


def webp_of(width, height):
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += b"VP8L" + struct.pack("<I", 6) + b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + b"\0"
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def heif_of(name, width, height):
    """A sound HEIF whose properties lie."""
    data = bytearray(sound(name))
    at = -1
    while (at := data.find(b"ispe", at + 1)) >= 0:
        data[at + 8 : at + 16] = struct.pack(">II", width, height)
    return bytes(data)


GIANTS = {
    "png": lambda: png(65_535, 65_535, kind=6),
    "one bit png": lambda: png(30_000, 30_000, kind=0, depth=1, body=bytes(30_000 * 3751)),
    "flat png": lambda: png(20_000, 20_000, kind=0, body=bytes(1000)),
    "interlaced png": lambda: png(8_000, 8_000)[:28] + b"\x01" + png(8_000, 8_000)[29:],
    "jpeg": lambda: jpeg_of(65_500, 65_500),
    "progressive jpeg": lambda: jpeg_of(65_500, 65_500, progressive=True),
    "progressive jpeg of 64 megapixels": lambda: jpeg_of(8_000, 8_000, progressive=True),
    "tiff": lambda: tiff_of(65_536, 65_536),
    "gif": lambda: (
        b"GIF89a"
        + struct.pack("<HH", 65_535, 65_535)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65_535, 65_535)
        + b"\0\x02\x02\x4c\x01\0;"
    ),
    "webp": lambda: webp_of(16_383, 16_383),
    "avif": lambda: heif_of("avif", 16_000, 16_000),
    "heic": lambda: heif_of("heic", 60_000, 60_000),
}


@pytest.mark.parametrize("name", GIANTS)
async def test_a_giant_is_refused_by_its_header(sandbox, name):
    data = GIANTS[name]()
    if name == "interlaced png":  # the checksum of the changed header
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]

    with shared(data) as fd:
        # libvips does not open a GIF frame of that size at all.
        with pytest.raises((TooManyPixels, CorruptImage) if name in {"gif", "webp"} else TooManyPixels):
            await sandbox.probe(fd)
    await refused(sandbox, data, TooManyPixels, CorruptImage)


async def test_a_header_that_promises_more_than_there_is_is_refused(sandbox):
    # Not so a JPEG whose scan ends early but in order: cameras write such files, and what is missing is grey.
    for data in (png(5000, 5000, body=bytes(100)), tiff_of(5000, 5000), heif_of("avif", 3000, 3000)):
        await refused(sandbox, data, CorruptImage)


def gif_of(frames, side=1):
    """A GIF of frames as small in bytes as they get."""
    place = b"\0\0\0\0" + struct.pack("<HH", side, side)
    frame = b"!\xf9\x04\0\x01\0\0\0," + place + b"\0\x02\x02D\x01\0"
    return b"GIF89a" + place[4:] + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


@pytest.mark.parametrize("frames", (1001, 10_000, 100_000))
async def test_too_many_frames_are_refused(sandbox, frames):
    await refused(sandbox, gif_of(frames), TooManyFrames)


async def test_as_many_frames_as_allowed_are_developed(sandbox):
    assert (await develop(sandbox, gif_of(1000))).header.frames == 1000


async def test_many_large_frames_are_refused_though_one_would_pass(sandbox):
    await refused(sandbox, gif_of(30, side=2000), TooManyPixels)


@pytest.mark.parametrize("name", ("zTXt", "iTXt", "iCCP"))
async def test_chunks_that_swell_are_not_unpacked(sandbox, name):
    swollen = zlib.compress(bytes(100_000_000), 6)
    body = {"zTXt": b"a\0\0" + swollen, "iTXt": b"a\0\x01\0\0\0" + swollen, "iCCP": b"a\0\0" + swollen}[name]
    data = png(64, 48, body=b"".join(b"\0" + bytes(64 * 3) for _ in range(48)), extra=chunk(name.encode(), body))

    with suppress(CorruptImage):
        await develop(sandbox, data)


async def test_many_chunks_and_segments_do_not_hang(sandbox):
    text = chunk(b"tEXt", b"a\0b") * 200_000
    jpeg = sound("jpeg")
    for data in (
        png(8, 8, body=(b"\0" + bytes(24)) * 8, extra=text),
        jpeg[:2] + (b"\xff\xe1\0\x08Exif\0\0" * 100_000) + jpeg[2:],
    ):
        with suppress(CorruptImage):
            await develop(sandbox, data)


async def test_boxes_nested_and_counted_without_end_do_not_hang(sandbox):
    head = sound("avif")[:32]
    for data in (
        head + b"\0\0\0\x08free" * 200_000,
        head + b"\0\0\0\0meta" * 1000,
        head + (b"\xff" * 4 + b"meta") * 1000,
        head + b"\0\0\0\x01mdat" + b"\xff" * 8,
    ):
        await refused(sandbox, data, CorruptImage, UnsupportedFormat)


XLINK = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="20"'


def laughs():
    entities = "".join(f"<!ENTITY l{n} '" + f"&l{n - 1};" * 10 + "'>" for n in range(1, 10))
    return f"<!DOCTYPE svg [<!ENTITY l0 'ha'>{entities}]><svg {XLINK}><text>&l9;</text></svg>"


def copies():
    groups = "".join(f"<g id='g{n}'>" + f"<use href='#g{n - 1}'/>" * 10 + "</g>" for n in range(1, 12))
    return f"<svg {XLINK}><g id='g0'><rect/></g>{groups}</svg>"


def nested(depth):
    return "".join(f"<g id='i{n}'>" for n in range(depth))


DRAWINGS = {
    "script": f"<svg {XLINK}><script>alert(1)</script></svg>",
    "script of another prefix": f'<svg {XLINK} xmlns:s="http://www.w3.org/2000/svg"><s:script>1</s:script></svg>',
    "event": f'<svg {XLINK} onload="alert(1)"/>',
    "foreign object": f"<svg {XLINK}><foreignObject><body xmlns='http://www.w3.org/1999/xhtml'/></foreignObject></svg>",
    "page": f"<svg {XLINK}><g><p xmlns='http://www.w3.org/1999/xhtml'>x</p></g></svg>",
    "image by http": f'<svg {XLINK}><image href="http://169.254.169.254/latest/meta-data/"/></svg>',
    "image by file": f'<svg {XLINK}><image xlink:href="file:///etc/passwd"/></svg>',
    "image by path": f'<svg {XLINK}><image xlink:href="../../secret.png"/></svg>',
    "image as svg in data": f'<svg {XLINK}><image href="data:image/svg+xml;base64,PHN2Zy8+"/></svg>',
    "use elsewhere": f'<svg {XLINK}><use href="other.svg#x"/></svg>',
    "include": f'<svg {XLINK} xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd" parse="text"/></svg>',
    "style url": f"<svg {XLINK}><rect style='fill:url(http://evil/x.svg#a)'/></svg>",
    "style url with escapes": f"<svg {XLINK}><rect style='fill:u\\72l(http://evil/x)'/></svg>",
    "fill url": f"<svg {XLINK}><rect fill='url(//evil/x#a)'/></svg>",
    "import": f"<svg {XLINK}><style>@import 'http://evil/x.css';</style></svg>",
    "import in cdata": f"<svg {XLINK}><style><![CDATA[@\\69mport url(http://evil/x.css);]]></style></svg>",
    "font": f"<svg {XLINK}><style>@font-face {{ font-family: x; src: url('http://evil/x.woff') }}</style></svg>",
    "style sheet": f'<?xml version="1.0"?><?xml-stylesheet href="http://evil/x.css"?><svg {XLINK}/>',
    "base": f'<svg {XLINK} xml:base="http://evil/"><rect/></svg>',
    "entity": f'<!DOCTYPE svg [<!ENTITY a "b">]><svg {XLINK}><text>&a;</text></svg>',
    "external entity": f'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg {XLINK}><text>&a;</text></svg>',
    "parameter entity": f'<!DOCTYPE svg [<!ENTITY % a SYSTEM "http://evil/x.dtd"> %a;]><svg {XLINK}/>',
    "billion laughs": laughs(),
    "quadratic blowup": f"<!DOCTYPE svg [<!ENTITY a '{'a' * 50_000}'>]><svg {XLINK}><text>{'&a;' * 10_000}</text></svg>",
    "copies of copies": copies(),
    "copies without ids between": f"<svg {XLINK}><g id='a'>"
    + "<rect/>" * 3000
    + "</g>"
    + "<use xlink:href='#a'/>" * 3000
    + "</svg>",
    "a copy of itself": f"<svg {XLINK}><g id='a'><use href='#a'/></g></svg>",
    "two that copy each other": f"<svg {XLINK}><g id='a'><use href='#b'/></g><g id='b'><use href='#a'/></g></svg>",
    "deep": f"<svg {XLINK}>{'<g>' * 100_000}{'</g>' * 100_000}</svg>",
    "many": f"<svg {XLINK}>{'<g/>' * 300_000}</svg>",
    "many nested with ids": f"<svg {XLINK}>" + nested(250) + "<g/>" * 150_000 + "</g>" * 250 + "<use href='#i0'/></svg>",
}


@pytest.mark.parametrize("name", DRAWINGS)
async def test_a_drawing_that_is_a_program_is_refused(sandbox, name):
    error = await refused(sandbox, DRAWINGS[name].encode(), UnsupportedFormat)

    assert error.code == "unsupported_format"


@pytest.mark.parametrize("encoding", ("utf-16", "utf-16-be", "utf-7"))
async def test_another_encoding_hides_nothing(sandbox, encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><svg {XLINK}><script>1</script></svg>'
    mark = "\ufeff" if encoding == "utf-16-be" else ""

    await refused(sandbox, (mark + text).encode(encoding))


@pytest.mark.parametrize(
    "text",
    (
        f"<svg {XLINK}>",
        f"<svg {XLINK}><rect></svg>",
        f"<svg {XLINK}>&nbsp;</svg>",
        f'<?xml version="1.0" encoding="x-mac-farsi"?><svg {XLINK}/>',
        f"<svg {XLINK}><q:r/></svg>",
    ),
)
async def test_a_drawing_that_is_no_xml_is_refused(sandbox, text):
    await refused(sandbox, text.encode(), CorruptImage)


async def test_honest_drawings_pass(sandbox):
    picture = encoded(scene().resize((8, 6)), "PNG")
    import base64

    drawing = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Created with an editor -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg {XLINK} xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape">
<style>.a {{ fill: url(#g); }} .b {{ fill: url("#g") }}</style><defs><linearGradient id="g"><stop stop-color="#f00"/></linearGradient></defs>
<a href="https://example.com/"><rect class="a" width="20" height="20"/></a><g id="s"><circle r="3" inkscape:label="x"/></g>
<use xlink:href="#s" x="5" y="5"/><use href="#s" x="9" y="9"/><text x="1" y="9">words &amp; more</text>
<image width="8" height="6" href="data:image/png;base64,{base64.b64encode(picture).decode()}"/></svg>"""

    assert (await develop(sandbox, drawing.encode())).header.width == 2048


async def test_filters_that_take_for_ever_end_in_time():
    blur = (
        "<feGaussianBlur stdDeviation='500'/><feTurbulence numOctaves='50' baseFrequency='.5'/><feMorphology radius='400'/>" * 200
    )
    drawing = f"<svg {XLINK}><filter id='f' x='-10' y='-10' width='30' height='30'>{blur}</filter><rect filter='url(#f)' width='40' height='20'/></svg>"
    async with Sandbox(slots=1, limits=Limits(wall_s=1.0, cpu_s=1)) as hasty:
        with pytest.raises(DecodeBudgetExceeded):
            await develop(hasty, drawing.encode())


async def test_refusals_name_the_limit_and_no_driver(sandbox):
    error = await refused(sandbox, GIANTS["jpeg"](), TooManyPixels)
    corrupt = await refused(sandbox, sound("png")[:500], CorruptImage)

    assert error.extra["limit"] == Limits().max_pixels
    assert isinstance(error, SafelightError)
    for said in (error.detail, corrupt.detail):
        assert not any(word in said.lower() for word in ("vips", "png", "libjpeg", "heif", "/"))
