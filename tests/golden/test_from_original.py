"""from_original: whatever the original is, its transform is that of the upright picture; and what a master cannot have is kept."""

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageSequence
from tests.golden.samples import decoded, encoded, profile, scene, translucent
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption, CorruptImage, DecodeBudgetExceeded, OverMaxBytes, TooManyPixels
from safelight.imaging import Format, Limits, libvips
from safelight.imaging.metadata.packet import Credits, packet
from safelight.imaging.transform import Source, parse, plan
from safelight.imaging.transform.apply import transform
from safelight.imaging.transform.from_original import transform_original

TURNED = {
    1: lambda picture: picture,
    2: lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    4: lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    6: lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    7: lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    8: lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
}
"""How a camera stores an upright picture under each EXIF orientation: the way back of what a viewer does."""


def stored(picture: Image.Image, orientation: int, format: str = "JPEG", **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(TURNED[orientation](picture), format, exif=exif, **options)


def made(data: bytes, text: str, **more) -> Image.Image:
    file = transform_original(data, parse(text), Limits(), **more)
    picture = decoded(file.data)
    assert picture.size == (file.width, file.height)
    return picture


def away(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one.convert("RGBA"), float) - np.asarray(other.convert("RGBA"), float)).mean())


def gif(frames: list[Image.Image], **options) -> bytes:
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], **options)


def png_text(data: bytes) -> bytes:
    """What the zTXt chunk of a PNG says, unpacked (PNG third edition, section 11.3.3.3)."""
    at = data.index(b"zTXt") + 4
    keyword, _, rest = data[at : at + int.from_bytes(data[at - 8 : at - 4], "big")].partition(b"\0")
    assert keyword == b"XML:com.adobe.xmp"
    return zlib.decompress(rest[1:])


PLAIN = ("w=120", "c=40:20:200:300,w=90", "fit=cover,g=0.2x0.9,h=90,w=50", "r=90,w=70", "fl=h,w=300", "full", "fit=contain,w=600")


@pytest.mark.parametrize("text", PLAIN)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_original_gives_what_the_upright_one_gives(orientation, text):
    upright = made(stored(scene(), 1, quality=98, subsampling=0), f"{text}.png")
    turned = made(stored(scene(), orientation, quality=98, subsampling=0), f"{text}.png")

    assert away(upright, turned) < 1.0


@settings(max_examples=120, deadline=None)
@given(specs(side=400, pad=20, source=500, formats=(Format.PNG,)), st.integers(1, 8), st.sampled_from(("JPEG", "PNG")))
def test_any_transform_of_any_orientation_has_the_size_of_the_plan_and_shows_the_same(spec, orientation, format):
    options = {"quality": 98, "subsampling": 0} if format == "JPEG" else {}
    spec = replace(spec, trim=0, sharpen=0, contrast=1, max_bytes=0, page=1)
    try:
        planned = plan(spec, Source.whole(480, 360))
    except (BadOption, TooManyPixels) as refusal:
        with pytest.raises(type(refusal)):
            transform_original(stored(scene(), orientation, format, **options), spec, Limits())
        return
    upright, turned = (transform_original(stored(scene(), way, format, **options), spec, Limits()) for way in (1, orientation))

    assert (turned.width, turned.height) == decoded(turned.data).size == tuple(planned.canvas)
    if "auto" not in str(spec.gravity):  # what catches the eye may lie elsewhere after another rounding
        assert away(decoded(upright.data), decoded(turned.data)) < 3.0


@pytest.mark.parametrize("format", ("PNG", "TIFF", "WEBP"))
def test_what_is_clear_in_the_original_stays_clear(format):
    options = {"lossless": True} if format == "WEBP" else {}
    picture = made(encoded(translucent(), format, **options), "w=240.webp")
    alpha = np.asarray(picture.convert("RGBA"))[..., 3]

    assert alpha[:, 2].min() > 245 and alpha[:, -3].max() < 10
    flat = np.asarray(made(encoded(translucent(), format, **options), "bg=00ff00,w=240.jpg"))
    assert (np.abs(flat[:, -3].astype(int) - (0, 255, 0)) < 20).all()


def test_rounded_corners_do_not_bring_back_what_is_clear():
    alpha = np.asarray(made(encoded(translucent(), "PNG"), "ra=20,w=240.png"))[..., 3]

    assert alpha[90, -3] < 10 and alpha[0, 0] == 0 and alpha[90, 2] > 245


def test_blur_does_not_draw_colour_out_of_what_is_clear():
    picture = Image.new("RGBA", (200, 100), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 100, 100))
    pixels = np.asarray(made(encoded(picture, "PNG"), "bl=8.png")).astype(int)

    seen = pixels[50, :, 3] > 20
    assert pixels[50, seen, 0].max() < 10


@pytest.mark.parametrize(
    "text", ("w=60.webp", "w=60.gif", "fit=cover,h=40,w=40.webp", "r=90,w=50,gr=true.webp", "p=4,ra=10,w=50.webp")
)
def test_an_animation_goes_on_playing(text):
    colours = ("red", "lime", "blue")
    data = gif([Image.new("RGB", (120, 90), colour) for colour in colours], duration=[70, 110, 150], loop=3)
    picture = made(data, text)
    shown = [
        frame.convert("RGB").getpixel((picture.width // 2, picture.height // 2)) for frame in ImageSequence.Iterator(picture)
    ]

    assert len(shown) == 3
    if "gr" not in text:
        assert [max(range(3), key=pixel.__getitem__) for pixel in shown] == [0, 1, 2]
    assert picture.info["loop"] in (3, 4)  # Pillow counts repetitions of a GIF, not rounds


@pytest.mark.parametrize(("text", "colour"), (("pg=1", 0), ("pg=2", 1), ("pg=3", 2), ("an=first", 0)))
def test_one_frame_can_be_asked_for(text, colour):
    data = gif([Image.new("RGB", (60, 40), name) for name in ("red", "lime", "blue")])
    spec = replace(
        parse(f"{text},w=30.webp"),
        animation=parse("an=first.webp").animation if "pg=1" in text else parse(f"{text}.webp").animation,
    )
    file = transform_original(data, spec, Limits())
    pixel = decoded(file.data).convert("RGB").getpixel((15, 10))

    assert getattr(decoded(file.data), "n_frames", 1) == 1
    assert max(range(3), key=pixel.__getitem__) == colour


def test_a_page_of_a_tiff_can_be_asked_for_and_one_that_is_not_there_is_refused():
    pages = [Image.new("RGB", (60, 40), name) for name in ("red", "lime")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])

    assert made(data, "pg=2.png").convert("RGB").getpixel((5, 5)) == (0, 255, 0)
    with pytest.raises(BadOption) as refused:
        made(data, "pg=3.png")
    assert refused.value.extra["option"] == "page"


P3 = profile((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), 2.2, "Display P3")


def test_the_originals_colours_stay_with_their_profile_or_become_srgb():
    data = encoded(Image.new("RGB", (40, 40), (200, 40, 40)), "PNG", icc_profile=P3)
    kept, srgb = made(data, "icc=keep,w=20.png"), made(data, "w=20.png")

    assert ImageCms.ImageCmsProfile(io.BytesIO(kept.info["icc_profile"])).profile
    assert np.abs(np.array(kept.convert("RGB").getpixel((5, 5))) - (200, 40, 40)).max() <= 1
    assert "icc_profile" not in srgb.info
    assert srgb.convert("RGB").getpixel((5, 5))[0] > 205


@pytest.mark.parametrize("format", (Format.JPEG, Format.WEBP, Format.AVIF, Format.PNG))
def test_credits_travel_and_positions_do_not(format):
    exif = Image.Exif()
    exif[0x8298] = "secret owner"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 12.0, 34.56)
    data = encoded(scene(), "JPEG", exif=exif, xmp=b"<x:xmpmeta>48.1234</x:xmpmeta>")
    xmp = packet(Credits(creator="Ann & Bob", copyright="© 2026 <Ann>"))
    file = transform_original(data, parse(f"md=copyright,w=60.{format.extension}"), Limits(), xmp=xmp)

    assert xmp in (png_text(file.data) if format is Format.PNG else file.data)
    assert b"secret owner" not in file.data and b"48.1234" not in file.data and not decoded(file.data).getexif()
    bare = transform_original(data, parse(f"w=60.{format.extension}"), Limits())
    assert b"xmp" not in bare.data.lower() and b"secret owner" not in bare.data


def test_an_overlong_packet_still_fits_a_jpeg():
    xmp = packet(
        Credits(title="&" * 9000, description="&" * 9000, creator="&" * 9000, copyright="ü" * 9000, keywords=["&" * 900] * 900)
    )

    assert len(xmp) < 65_502
    assert made(encoded(scene(), "PNG"), "w=60.jpg", xmp=xmp).size == (60, 45)


@pytest.mark.parametrize("format", ("jpg", "webp", "avif"))
def test_max_bytes_is_met_by_lowering_quality_and_never_size(format):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (200, 300, 3), np.uint8))
    data = encoded(noise, "PNG")
    free = transform_original(data, parse(f"full.{format}"), Limits())
    most = len(free.data) // 2
    bound = transform_original(data, parse(f"mb={most}.{format}"), Limits())

    assert most * 0.5 < len(bound.data) <= most
    assert decoded(bound.data).size == (300, 200)
    with pytest.raises(OverMaxBytes):
        transform_original(data, parse(f"mb=500.{format}"), Limits())


def test_a_png_that_is_too_large_is_refused_at_once():
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (100, 100, 3), np.uint8))

    with pytest.raises(OverMaxBytes):
        made(encoded(noise, "PNG"), "mb=1000.png")


def test_a_transform_that_is_told_to_stop_stops():
    stop = libvips.Stop()
    stop.now()
    master = encoded(scene(), "JPEG")

    with pytest.raises(DecodeBudgetExceeded):
        transform(master, parse("w=100.webp"), source_width=480, source_height=360, stop=stop)
    assert transform(master, parse("w=100.webp"), source_width=480, source_height=360, stop=libvips.Stop(60)).width == 100


def test_pixels_that_stream_are_stopped_on_their_way():
    stop = libvips.Stop()
    image = libvips.open_pixels(encoded(Image.new("RGB", (9000, 9000)), "JPEG"), Format.JPEG)
    watched = stop.watching(image)
    stop.now()

    with pytest.raises(DecodeBudgetExceeded), libvips.decoding():
        watched.copy_memory()


def test_damaged_originals_are_refused():
    data = encoded(scene(), "JPEG")[:-4000]

    with pytest.raises(CorruptImage):
        made(data, "w=100.webp")
