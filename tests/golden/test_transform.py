"""transform: pixels as a slow implementation by Pillow and numpy makes them, under the text that asks for them.

The slow one shares nothing with ours but the rules of docs/reference/transforms.md. Its master is ours as Pillow decodes it;
results are compared as PNG, so that what differs is the work and not the encoder.
"""

import io
import time
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import color
from skimage import data as photographs
from tests.golden.samples import decoded, encoded, scene
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption, CorruptImage, OverMaxBytes, SafelightError, TooManyPixels, UnsupportedFormat
from safelight.imaging import Format
from safelight.imaging.transform import Focal, Size, Source, best_format, parse, plan
from safelight.imaging.transform.apply import STEPS, transform
from safelight.imaging.transform.spec import FORMATS

ORIGINAL = (1024, 768)
"""Twice the master: coordinates in a request must not be taken for the master's."""


@cache
def master() -> bytes:
    return encoded(Image.fromarray(photographs.astronaut()[:384]), "JPEG", quality=95, subsampling=0)


def made(text, data=None, size=ORIGINAL):
    return transform(data or master(), parse(text), source_width=size[0], source_height=size[1])


def pixels(file):
    return np.asarray(decoded(file.data).convert("RGBA"), float)


def whole():
    return np.asarray(decoded(master()), float)


def resized(array, width, height, *, linear=True):
    """Lanczos over the whole, in floating point, of light or of stored values."""
    if linear:
        array = np.where(array <= 0.04045 * 255, array / 255 / 12.92, ((array / 255 + 0.055) / 1.055) ** 2.4)
    bands = [
        Image.fromarray(array[..., band].astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
        for band in range(3)
    ]
    array = np.stack([np.asarray(band, float) for band in bands], -1)
    if linear:
        array = array.clip(0, 1)
        array = 255 * np.where(array <= 0.0031308, array * 12.92, 1.055 * array ** (1 / 2.4) - 0.055)
    return array.clip(0, 255)


def luma(array):
    return (array @ np.array([0.2126, 0.7152, 0.0722]))[..., None].repeat(3, -1)


def gaussian(array, sigma):
    size = int(4 * sigma) + 1
    kernel = np.exp(-(np.arange(-size, size + 1) ** 2) / 2 / sigma**2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        margin = [(size, size) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(array, margin, mode="edge")
        array = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, padded)
    return array


def unsharp(array, amount):
    padded = np.pad(array, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    soft = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return (array + amount * (array - soft)).clip(0, 255)


def cells(array, side):
    """Means of squares; at the right and below the last pixels stand for what is missing."""
    height, width = array.shape[:2]
    padded = np.pad(array, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    means = padded.reshape(padded.shape[0] // side, side, -1, side, 3).mean((1, 3))
    return means.repeat(side, 0).repeat(side, 1)[:height, :width]


def crisp(array, sigma):
    """libvips documents its curve: nothing below 2 levels of lightness, three times what is above, at most 10 up and 20 down."""
    lab = color.rgb2lab(array / 255)
    high = lab[..., 0] - gaussian(lab[..., :1], sigma)[..., 0]
    lab[..., 0] += np.where(abs(high) < 2, 0, 3 * (high - 2 * np.sign(high))).clip(-20, 10)
    with warnings.catch_warnings():  # of colours outside of sRGB, which are clipped here as there
        warnings.simplefilter("ignore")
        return (255 * color.lab2rgb(lab)).clip(0, 255)


def disc(width, height, radius):
    """Coverage by sixteen samples a side."""
    fine = 16
    y, x = (np.mgrid[0 : height * fine, 0 : width * fine] + 0.5) / fine
    dx = np.maximum(np.maximum(radius - x, x - (width - radius)), 0)
    dy = np.maximum(np.maximum(radius - y, y - (height - radius)), 0)
    inside = (dx**2 + dy**2 <= radius**2).astype(float)
    return 255 * inside.reshape(height, fine, width, fine).mean((1, 3))


def on(paper, array, left, top, width, height):
    canvas = np.empty((height, width, 3))
    canvas[:] = paper
    canvas[top : top + array.shape[0], left : left + array.shape[1]] = array
    return canvas


SMALL = lambda: resized(whole(), 128, 96)
SLOW = {
    "full": (lambda: whole(), 0.5),
    "w=128": (lambda: SMALL(), 1.0),
    "w=300": (lambda: resized(whole(), 300, 225), 1.0),
    "fit=contain,w=1024": (lambda: resized(whole(), 1024, 768, linear=False), 2.5),
    "fit=fill,h=200,w=100": (lambda: resized(whole(), 100, 200), 1.0),
    "fit=cover,h=96,w=96": (lambda: resized(whole()[:, 64:448], 96, 96), 1.0),
    "fit=cover,g=west,h=96,w=96": (lambda: resized(whole()[:, :384], 96, 96), 1.0),
    "fit=cover,g=south-east,h=96,w=96": (lambda: resized(whole()[:, 128:], 96, 96), 1.0),
    "fit=cover,g=1x0.5,h=96,w=96": (lambda: resized(whole()[:, 128:], 96, 96), 1.0),
    "fit=cover,g=0.4063x0.5,h=96,w=96": (lambda: resized(whole()[:, 16:400], 96, 96), 1.0),
    "c=200:100:400:300,w=100": (lambda: resized(whole()[50:200, 100:300], 100, 75), 1.0),
    "c=25p:50p:50p:25p": (lambda: whole()[192:288, 128:384], 0.5),
    "r=90,w=96": (lambda: np.rot90(SMALL(), -1), 1.0),
    "r=180,w=128": (lambda: np.rot90(SMALL(), 2), 1.0),
    "r=270,w=96": (lambda: np.rot90(SMALL()), 1.0),
    "fl=h,w=128": (lambda: SMALL()[:, ::-1], 1.0),
    "fl=v,w=128": (lambda: SMALL()[::-1], 1.0),
    "fl=h,r=90,w=96": (lambda: np.rot90(SMALL(), -1)[:, ::-1], 1.0),
    "br=1.5,w=128": (lambda: (SMALL() * 1.5).clip(0, 255), 1.5),
    "co=1.5,w=128": (lambda: ((SMALL() - 127.5) * 1.5 + 127.5).clip(0, 255), 1.5),
    "ga=2,w=128": (lambda: 255 * (SMALL() / 255) ** 0.5, 1.5),
    "sa=2,w=128": (lambda: (luma(SMALL()) + 2 * (SMALL() - luma(SMALL()))).clip(0, 255), 1.5),
    "gr=true,w=128": (lambda: luma(SMALL()), 1.0),
    "th=128,w=128": (lambda: 255.0 * (luma(SMALL()) >= 127.5), 4.0),
    "du=112244:ffeecc,w=128": (
        lambda: np.array([17, 34, 68]) + luma(SMALL()) / 255 * np.array([238, 204, 136]),
        1.0,
    ),
    "bl=2,w=128": (lambda: gaussian(SMALL(), 2), 1.5),
    "bl=7,w=128": (lambda: gaussian(SMALL(), 7), 1.5),
    "bl=9,w=300": (lambda: gaussian(resized(whole(), 300, 225), 9), 1.5),
    "bl=30,w=300": (lambda: gaussian(resized(whole(), 300, 225), 30), 2.5),
    "sh=1.5,w=128": (lambda: unsharp(SMALL(), 1.5), 1.5),
    "ed=1,w=128": (lambda: crisp(SMALL(), 1), 1.5),
    "px=10,w=128": (lambda: cells(SMALL(), 10), 1.5),
    "li=20,w=128": (lambda: (SMALL() + 51).clip(0, 255), 1.5),
    "li=-12.5,w=128": (lambda: (SMALL() - 31.875).clip(0, 255), 1.5),
    "fit=aspect-crop,h=96,w=96": (lambda: resized(whole()[:, 64:448], 96, 96), 1.0),
    "fit=aspect-crop,h=400,w=600": (lambda: whole()[21:362], 1.0),
    "bg=336699,fit=pad,h=128,w=128": (lambda: on((0x33, 0x66, 0x99), SMALL(), 0, 16, 128, 128), 1.0),
    "bg=ffffff,p=1:2:3:4,w=128": (lambda: on(255, SMALL(), 4, 1, 134, 100), 1.0),
}


@pytest.mark.parametrize("text", SLOW)
def test_pixels_are_those_of_the_slow_implementation(text):
    slow, most = SLOW[text]
    expected = slow()
    assert parse(f"{text}.png").text == f"{text}.png", "filed under another name than its own"

    result = pixels(made(f"{text}.png"))
    assert result.shape == (*expected.shape[:2], 4)
    assert (result[..., 3] == 255).all()
    assert np.abs(result[..., :3] - expected).mean() < most
    # Each channel on its own and no shift: a picture moved by a pixel, or with two channels swapped, would be further off.
    assert np.abs((result[..., :3] - expected).mean((0, 1))).max() < most


@pytest.mark.parametrize("format", (Format.WEBP, Format.AVIF, Format.JPEG, Format.GIF))
@pytest.mark.parametrize("text", ("w=300", "bg=336699,fit=pad,h=128,w=128", "gr=true,w=200", "du=112244:ffeecc,w=200"))
def test_every_format_shows_the_same_picture(text, format):
    file = made(f"{text}.{format.extension}")
    lossless = made(f"{text}.png")

    assert decoded(file.data).format == format.name
    assert (file.width, file.height) == decoded(file.data).size == decoded(lossless.data).size
    assert np.abs(pixels(file) - pixels(lossless)).mean() < (10 if format is Format.GIF else 4)


@pytest.mark.parametrize("format", (Format.WEBP, Format.AVIF, Format.PNG))
@pytest.mark.parametrize("radius", ("10", "33", "max"))
def test_corners_are_rounded_and_clear(format, radius):
    file = made(f"ra={radius},w=128.{format.extension}")

    alpha = pixels(file)[..., 3]
    expected = disc(128, 96, 48 if radius == "max" else int(radius))
    assert np.abs(alpha - expected).mean() < 0.5
    assert np.abs(alpha - expected).max() < (90 if format is Format.AVIF else 30)


def test_corners_of_a_jpeg_lie_on_the_background():
    white, blue = (pixels(made(text)) for text in ("ra=max,w=128.jpg", "bg=00f,ra=max,w=128.jpg"))

    assert np.abs(white[0, 0, :3] - 255).max() < 12
    assert np.abs(blue[0, 0, :3] - (0, 0, 255)).max() < 12
    assert np.abs(white[40:60, 40:80] - blue[40:60, 40:80]).mean() < 1


def test_a_half_clear_background_shows_half_through():
    result = pixels(made("bg=ff000080,p=10,ra=20,w=128.png"))

    assert (result[0, 0] == (255, 0, 0, 128)).all()
    assert (result[10, 10] == (255, 0, 0, 128)).all()
    assert (result[60, 70, 3] == 255).all()


def test_padding_is_clear_where_nothing_else_is_said():
    result = pixels(made("p=10,w=128.webp"))

    assert (result[:10, :, 3] == 0).all()
    assert (result[10:-10, 10:-10, 3] == 255).all()


def test_blur_does_not_smear_the_paper_into_the_picture():
    plain, padded = pixels(made("bl=10,w=128.png")), pixels(made("bg=f00,bl=10,p=20,w=128.png"))

    assert (padded[20:-20, 20:-20] == plain).all()


def test_a_border_of_one_colour_is_trimmed():
    photograph = decoded(master())
    framed = Image.new("RGB", (photograph.width + 100, photograph.height + 60), (240, 240, 240))
    framed.paste(photograph, (70, 20))
    data = encoded(framed, "JPEG", quality=95, subsampling=0)

    trimmed = made("t=40.png", data, framed.size)
    assert abs(trimmed.width - photograph.width) <= 12
    assert abs(trimmed.height - photograph.height) <= 12
    part = made("c=0p:0p:50p:50p,t=40.png", data, framed.size)
    assert np.abs(pixels(part) - pixels(trimmed)[: part.height, : part.width]).mean() < 0.5


def test_a_picture_of_one_colour_is_not_trimmed_away():
    data = encoded(Image.new("RGB", (60, 40), "navy"), "JPEG")

    assert decoded(made("t=50.webp", data, (60, 40)).data).size == (60, 40)


@pytest.mark.parametrize("side", ("left", "right", "top", "bottom"))
def test_saliency_finds_what_stands_out(side):
    across = side in {"left", "right"}
    field = np.full((300, 900, 3) if across else (900, 300, 3), 120, np.uint8)
    patch = np.random.default_rng(1).integers(0, 255, (100, 100, 3), np.uint8)
    patch[..., 0] |= 192
    at = 60 if side in {"left", "top"} else 740
    if across:
        field[100:200, at : at + 100] = patch
    else:
        field[at : at + 100, 100:200] = patch
    data = encoded(Image.fromarray(field), "JPEG", quality=90)

    found = pixels(made("fit=cover,g=auto,h=100,w=100.png", data, field.shape[1::-1]))
    centred = pixels(made("fit=cover,h=100,w=100.png", data, field.shape[1::-1]))
    assert found[..., :3].std() > centred[..., :3].std() + 10


def test_saliency_looks_only_at_the_crop():
    field = np.full((300, 900, 3), 120, np.uint8)
    field[100:200, 60:160] = (255, 40, 40)
    data = encoded(Image.fromarray(field), "JPEG", quality=90)

    result = pixels(made("c=500:0:400:300,fit=cover,g=auto,h=50,w=50.png", data, (900, 300)))
    assert np.abs(result[..., :3] - 120).max() < 10


def test_fine_bright_detail_keeps_its_light():
    field = np.zeros((1200, 1200), np.uint8)
    field[::2, ::2] = 255
    data = encoded(Image.fromarray(field).convert("RGB"), "JPEG", quality=98, subsampling=0)

    for text in ("w=400.png", "w=600.png", "fit=cover,w=400,h=100.png"):
        assert abs(pixels(made(text, data, (1200, 1200)))[..., :3].mean() - 137) < 4


@pytest.mark.parametrize("grey", (True, False), ids=("grey", "colour"))
@pytest.mark.parametrize(
    "text", ("w=50", "sa=2,w=50", "gr=true,w=50", "du=000:f00,w=50", "bg=f00,p=3,w=50", "ra=9,w=50", "fit=cover,g=auto,h=9,w=50")
)
def test_grey_masters_go_through_every_step(text, grey):
    data = encoded(scene().convert("L" if grey else "RGB"), "JPEG")

    for format in FORMATS:
        file = made(f"{text}.{format.extension}", data, (480, 360))
        assert decoded(file.data).size == (file.width, file.height)


def test_progressive_is_the_default_of_a_jpeg_and_can_be_switched_off():
    assert decoded(made("w=300.jpg").data).info.get("progressive")
    assert not decoded(made("pr=false,w=300.jpg").data).info.get("progressive")


def test_quality_is_obeyed():
    for extension in ("jpg", "webp", "avif"):
        low, high = (len(made(f"q={quality},w=300.{extension}").data) for quality in (20, 95))
        assert low < high / 2


def test_nothing_but_pixels_is_in_the_file():
    exif = Image.Exif()
    exif[0x010F] = "SECRETMAKER"
    data = encoded(scene(), "JPEG", exif=exif, comment=b"SECRETCOMMENT")

    for format in FORMATS:
        assert b"SECRET" not in made(f"w=99.{format.extension}", data, (480, 360)).data


def test_an_undecided_format_is_refused():
    with pytest.raises(BadOption):
        made("w=300.auto")

    spec = parse("w=300.auto")
    assert (
        transform(master(), spec.resolved(best_format("image/webp", spec)), source_width=1024, source_height=768).format
        is Format.WEBP
    )


def test_what_is_no_master_is_refused():
    with pytest.raises(UnsupportedFormat):
        made("w=300.webp", b"<svg/>")
    with pytest.raises(CorruptImage):
        made("w=300.webp", master()[: len(master()) // 2])


def test_the_steps_are_documented_in_their_order():
    page = __import__("safelight.imaging.transform.reference", fromlist=["page"]).page()

    assert ", ".join(f"`{step}`" for step in STEPS) in page


@cache
def small_master(width, height, mode):
    noise = np.random.default_rng(width * 1000 + height).integers(0, 255, (height, width, 3), np.uint8)
    return encoded(Image.fromarray(noise).convert(mode), "JPEG")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", ("RGB", "L"))
def test_a_single_pixel_has_a_quality_too(format, mode):
    file = transform(small_master(1, 1, mode), parse(f"q=auto.{format.extension}"), source_width=1, source_height=1)

    assert (file.width, file.height) == (1, 1)


@settings(max_examples=250, deadline=None)
@given(
    specs(side=90, pad=9, source=200, formats=FORMATS),
    st.sampled_from(((1, 1), (1, 40), (64, 1), (2, 2), (3, 5), (33, 20), (20, 60), (64, 64))),
    st.sampled_from(("RGB", "L")),
    st.integers(1, 5),
)
def test_any_valid_transform_of_any_master_has_exactly_the_planned_size(spec, size, mode, scale):
    original = Size(size[0] * scale, size[1] * scale)
    try:
        planned = plan(spec, Source(original, Size(*size)))
    except (BadOption, TooManyPixels):
        planned = None

    try:
        file = transform(small_master(*size, mode), spec, source_width=original.width, source_height=original.height)
    except SafelightError as error:
        # Trimming may leave less than the crop begins behind; nothing else may go wrong with a sound master.
        assert isinstance(error, BadOption | OverMaxBytes)
        assert planned is None or spec.trim or spec.max_bytes
    else:
        picture = Image.open(io.BytesIO(file.data))
        picture.load()
        assert picture.size == (file.width, file.height)
        assert picture.format == spec.format.name
        if not spec.trim:
            assert picture.size == planned.canvas


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_focal_point_is_in_the_picture(x, y):
    """A red dot is put there, and must be seen in the cut."""
    field = np.full((120, 200, 3), 90, np.uint8)
    point = Focal(x, y)
    column, row = min(199, int(point.x * 200)), min(119, int(point.y * 120))
    field[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = (255, 0, 0)
    data = encoded(Image.fromarray(field), "JPEG", quality=95, subsampling=0)

    spec = replace(parse("fit=cover,h=40,w=40.png"), gravity=point)
    result = pixels(transform(data, spec, source_width=2000, source_height=1200))
    assert (result[..., 0] - result[..., 1]).max() > 60


def test_huge_enlargements_and_slivers_end_quickly():
    started = time.process_time()
    for text in (
        "fit=fill,h=1,w=8192.webp",
        "fit=fill,h=8192,w=1.avif",
        "bl=100,fit=cover,h=1000,w=1000.jpg",
        "fit=contain,w=2000.jpg",
    ):
        made(text, small_master(1, 40, "RGB"), (1, 40))

    assert time.process_time() - started < 10
