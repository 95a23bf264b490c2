"""Watermarks, pixel by pixel: laid as a slow implementation by numpy lays them, on whatever picture, wherever it is made."""

import io
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.golden.samples import decoded, encoded, scene, translucent

from safelight.errors import BadOption
from safelight.imaging import Format, Limits, Sandbox, libvips
from safelight.imaging.transform import Fonts, Size, parse
from safelight.imaging.transform.apply import transform
from safelight.imaging.transform.fonts import bundled
from safelight.imaging.transform.from_original import transform_original
from safelight.imaging.transform.lettering import drawn
from safelight.imaging.transform.placing import placed
from safelight.imaging.transform.stamp import marked

LOGO = (160, 100)


def logo() -> Image.Image:
    """Half clear, half red, with a blue corner: shows where it lies, how large it is and how it is turned."""
    pixels = np.zeros((LOGO[1], LOGO[0], 4), np.uint8)
    pixels[:, LOGO[0] // 2 :] = (200, 30, 30, 255)
    pixels[:30, :40] = (20, 20, 220, 160)
    return Image.fromarray(pixels)


@cache
def mark() -> bytes:
    return encoded(logo(), "PNG")


@cache
def master() -> bytes:
    return encoded(scene(), "JPEG", quality=98, subsampling=0)


def made(text: str, data: bytes | None = None, ink: bytes | None = None) -> Image.Image:
    file = transform(data or master(), parse(text), source_width=480, source_height=360, mark=mark() if ink is None else ink)
    picture = decoded(file.data)
    assert picture.size == (file.width, file.height)
    return picture


def array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGBA"), float)


def slowly(base: Image.Image, stamp: Image.Image, text: str) -> np.ndarray:
    """The base with the stamp where the placing says, one pixel after the other, by Porter and Duff's `over`."""
    watermark = parse(text).watermark
    placing = placed(watermark, Size(*stamp.size), Size(*base.size))
    small = np.asarray(stamp.resize(placing.inner, Image.Resampling.LANCZOS), float)
    small = np.rot90(small, -watermark.rotate // 90) if watermark.rotate else small
    out = array(base)
    height, width = out.shape[:2]
    across = (
        [placing.left]
        if placing.step is None
        else range(placing.left % placing.step.width - placing.step.width, width, placing.step.width)
    )
    down = (
        [placing.top]
        if placing.step is None
        else range(placing.top % placing.step.height - placing.step.height, height, placing.step.height)
    )
    for top in down:
        for left in across:
            for y in range(max(0, top), min(height, top + small.shape[0])):
                for x in range(max(0, left), min(width, left + small.shape[1])):
                    *colour, alpha = small[y - top, x - left]
                    alpha = alpha / 255 * watermark.opacity / 100
                    under = out[y, x, 3] / 255
                    total = alpha + under * (1 - alpha)
                    if total:
                        mixed = [
                            (c * alpha + b * under * (1 - alpha)) / total for c, b in zip(colour, out[y, x, :3], strict=True)
                        ]
                        out[y, x] = (*mixed, 255 * total)
    return out


@pytest.mark.parametrize(
    "options",
    (
        "wmo=100,wms=1x,wmp=north-west,wmm=10:20",
        "wms=1x",
        "wms=0.5x,wmp=west,wmm=7",
        "wms=1x,wmr=90,wmp=north",
        "wms=1x,wmr=180,wmp=center,wmm=-20:13",
        "wms=1x,wmr=270,wmp=east,wmo=33.3",
        "wms=1x,wmp=south-east,wmm=-60:-40",
        "wms=1x,wmp=north-west,wmm=-1024:-1024",
        "wms=0.4x,wmp=tile,wmm=11:3",
        "wms=0.4x,wmp=tile,wmr=90",
        "wms=100,wmp=center",
        "wms=1x,wmp=tile,wmm=300",
    ),
)
def test_a_mark_is_laid_over_as_a_slow_hand_would(options):
    base = made("full.png")
    text = f"wm=logo,{options}.png"

    expected = slowly(base, logo(), text)
    away = np.abs(array(made(text)) - expected)
    assert away.max() <= (2 if "wms=1x" in options else 60), "kernels differ at hard edges of what is resized"
    assert away.mean() < 0.4


def test_on_a_clear_picture_the_mark_is_what_is_seen():
    base = encoded(translucent(), "PNG")
    text = "wm=logo,wms=1x,wmp=east,wmm=0,wmo=80.png"
    file = transform_original(base, parse(text), Limits(), mark=mark())

    expected = slowly(Image.open(io.BytesIO(base)), logo(), text)
    got = array(decoded(file.data))
    assert np.abs(got[..., 3] - expected[..., 3]).max() <= 2
    seen = expected[..., 3] > 20
    assert np.abs(got - expected)[seen].max() <= 4


@pytest.mark.parametrize("format", ("GIF", "WEBP"))
def test_every_frame_of_an_animation_carries_it(format):
    frames = [Image.new("RGB", (200, 150), colour) for colour in ("white", "lime", "black", "yellow")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=80, loop=0)
    text = f"wm=logo,wmo=100,wms=1x,wmp=north-west,wmm=0.{format.lower()}"

    file = transform_original(data, parse(text), Limits(), mark=mark())
    played = [frame.convert("RGB") for frame in ImageSequence.Iterator(decoded(file.data))]
    assert len(played) == len(frames)
    for frame, plain in zip(played, frames, strict=True):
        assert np.abs(np.subtract(frame.getpixel((120, 50)), (200, 30, 30))).max() < 40
        assert np.abs(np.subtract(frame.getpixel((190, 140)), plain.getpixel((0, 0)))).max() < 25


def test_grey_pictures_carry_coloured_marks():
    picture = made("gr=true,wm=logo,wms=1x,wmp=center,wmo=100.png").convert("RGB")

    red, green, blue = picture.getpixel((300, 180))
    assert (red, green, blue) == (200, 30, 30)
    assert len(set(picture.getpixel((5, 5)))) == 1


def test_on_the_picture_it_is_rounded_off_and_on_the_canvas_it_is_not():
    text = "bg=fff,p=60,ra=max,wm=logo,wmo=100,wms=1x,wmp=south-east,wmm=0"
    inside, above = made(f"{text}.png").convert("RGB"), made(f"{text},wml=canvas.png").convert("RGB")

    assert inside.size == above.size == (600, 480)
    assert inside.getpixel((599, 479)) == (255, 255, 255)
    assert inside.getpixel((535, 415)) == (255, 255, 255), "the corner of the picture is cut off, and the mark with it"
    assert above.getpixel((599, 479)) == (200, 30, 30)


def test_a_picture_that_is_too_small_is_left_alone():
    assert (array(made("wm=logo,h=99.png")) == array(made("h=99.png"))).all()
    assert (array(made("wm=logo,h=100.png")) != array(made("h=100.png"))).any()


def test_a_mark_is_turned_about_its_middle_and_keeps_its_colours():
    picture = made("wm=logo,wms=1x,wmr=30,wmp=center,wmo=100.png").convert("RGB")

    # Of the upright mark, the middle of its red half; clockwise by 30 degrees about the middle of the picture.
    x, y = 240 + 40 * np.cos(np.pi / 6), 180 + 40 * np.sin(np.pi / 6)
    assert picture.getpixel((round(x), round(y))) == (200, 30, 30)


@pytest.mark.parametrize(("ground", "colour"), ((0, "000"), (0, "fff"), (255, "000"), (255, "fff"), (128, "808080")))
@pytest.mark.parametrize("edge", ("outline", "shadow"))
def test_words_can_be_read_on_any_ground(ground, colour, edge):
    plain = encoded(Image.new("RGB", (480, 360), (ground,) * 3), "JPEG", quality=98)
    text = f"wmt=Safelight,wmc={colour},wme={edge},wms=80,wmp=center.png"

    levels = array(made(text, plain, drawn(parse(text).watermark, Fonts())))[..., :3]
    assert np.abs(levels - ground).max() > 50


def test_words_are_words_and_never_markup():
    plain = parse("wmt=<span size='200000'>a</span> & <b.png").watermark
    letters = decoded(drawn(plain, Fonts()))
    assert letters.width > 10 * letters.height, "one line of small letters, as it is spelled"

    assert drawn(parse("wmt=&amp;.png").watermark, Fonts()) != drawn(parse("wmt=&.png").watermark, Fonts())


def test_letters_without_a_font_are_refused_before_anything_is_drawn():
    with pytest.raises(BadOption) as caught:
        drawn(parse("wmt=日.png").watermark, Fonts())
    assert caught.value.extra["option"] == "watermark_text"


FOREIGN = """
import os, sys
os.environ["FONTCONFIG_FILE"] = sys.argv[1]
from safelight.imaging.transform import Fonts, parse
from safelight.imaging.transform.lettering import drawn
import hashlib
print(hashlib.sha256(drawn(parse("wmt=Safelight नमस्ते.png").watermark, Fonts())).hexdigest())
assert os.environ["FONTCONFIG_FILE"] == sys.argv[1]
"""


def test_the_fonts_of_the_machine_take_no_part(tmp_path):
    # A machine that has other fonts by default, and one that has none.
    rich, poor = tmp_path / "rich.conf", tmp_path / "poor.conf"
    rich.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>/usr/share/fonts</dir>'
        '<match target="pattern"><edit name="family" mode="assign" binding="strong"><string>DejaVu Serif</string></edit></match></fontconfig>'
    )
    poor.write_text('<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>')
    ran = [
        subprocess.run([sys.executable, "-c", FOREIGN, str(config)], capture_output=True, text=True, check=True)
        for config in (rich, poor)
    ]

    assert ran[0].stdout == ran[1].stdout
    assert [each.stderr for each in ran] == ["", ""]


def with_another_letter(font: bytes) -> tuple[bytes, str, str]:
    """A font that has a letter less and the next one more, with the same look (OpenType `cmap`, format 12); and the two."""
    data = bytearray(font)

    def number(at: int, size: int = 4) -> int:
        return int.from_bytes(data[at : at + size], "big")

    cmap = next(number(at + 8) for at in range(12, 12 + 16 * number(4, 2), 16) if data[at : at + 4] == b"cmap")
    starts = [cmap + number(at + 4) for at in range(cmap + 4, cmap + 4 + 8 * number(cmap + 2, 2), 8)]
    table = next(start for start in starts if number(start, 2) == 12)
    groups = range(table + 16, table + 4 + 12 * number(table + 12), 12)
    alone = [at for at in groups if number(at) == number(at + 4) < number(at + 12) - 1 and chr(number(at) + 1).isalpha()]
    was = number(alone[0])
    data[alone[0] : alone[0] + 8] = (was + 1).to_bytes(4, "big") * 2
    return bytes(data), chr(was), chr(was + 1)


def test_what_one_font_lacks_another_that_is_named_may_have(tmp_path):
    font, old, new = with_another_letter(bundled().read_bytes())
    path = tmp_path / "more.ttf"
    path.write_bytes(font)
    text = f"""
import sys
from pathlib import Path
from safelight.imaging.transform import Fonts, parse
from safelight.imaging.transform.lettering import drawn
sys.stdout.buffer.write(drawn(parse("wmt={new},wme=none.png").watermark, Fonts((Path({str(path)!r}),))))
"""
    with pytest.raises(BadOption):
        Fonts().check(new)
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True)

    expected = drawn(parse(f"wmt={old},wme=none.png").watermark, Fonts())
    assert decoded(ran.stdout).size == pytest.approx(decoded(expected).size, abs=9), "of another weight perhaps, but no box"


async def test_the_sandbox_lays_the_mark_that_it_is_given():
    spec = parse("wmt=© Safelight,wms=60,wmo=100.png")
    ink = drawn(spec.watermark, Fonts())
    data = encoded(translucent(), "PNG")
    async with Sandbox(slots=1) as sandbox:
        fd = os.memfd_create("original")
        os.write(fd, data)
        try:
            file = await sandbox.transform(fd, spec, mark=ink)
        finally:
            os.close(fd)

    assert file.data == transform_original(data, spec, Limits(), mark=ink).data


def test_other_hands_can_lay_the_same_mark():
    watermark = parse("wm=logo,wms=1x.png").watermark
    image = libvips.open_pixels(encoded(made("full.png"), "PNG"), Format.PNG).copy_memory()

    done = marked(image, watermark, mark())
    assert (np.asarray(done.numpy(), float) == array(made("wm=logo,wms=1x.png"))[..., :3]).all()
    assert marked(image.crop(0, 0, 99, 300), watermark, mark()).width == 99
