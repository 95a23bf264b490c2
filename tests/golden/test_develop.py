"""develop: sizes and formats exact, pixels within a stated distance, whatever the picture was packed in."""

import io

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, ImageOps
from tests.golden.samples import ADOBE_RGB, DISPLAY_P3, decoded, distance, encoded, in_space, profile, scene, translucent
from tests.photographs import photographs

from safelight.imaging import PRESETS, Format, Limits, Preset, Recipe
from safelight.imaging.geometry import fit_inside
from safelight.imaging.pipeline import develop

THUMB = Recipe(presets=(Preset("thumb_150", 150), Preset("thumb_300", 300)), master_side=600)
"""Enough to see that a picture is right, in a tenth of the time."""


def thumb(data, format=Format.WEBP, preset="thumb_300"):
    return develop(data, THUMB).file(preset, format).data


@pytest.mark.parametrize("size", ((2500, 1100), (1100, 2500), (451, 300), (150, 150), (1, 1), (10_000, 10), (3, 900)))
def test_every_preset_has_its_exact_size_as_webp_and_as_progressive_jpeg(size):
    developed = develop(encoded(scene().resize(size), "PNG", compress_level=1))

    for preset in PRESETS:
        for format in (Format.WEBP, Format.JPEG):
            file = developed.file(preset.name, format)
            picture = decoded(file.data)
            assert picture.format == format.name
            assert picture.size == (file.width, file.height) == fit_inside(*size, preset.side)
            assert format is Format.WEBP or picture.info.get("progressive")
    assert decoded(developed.file("master", Format.JPEG).data).size == fit_inside(*size, 2048)
    lesser = [side for side, least in ((1200, 1500), (600, 750)) if max(size) >= least]
    assert len(developed.files) == 2 * len(PRESETS) + 1 + len(lesser)
    for side in lesser:
        picture = decoded(developed.file(f"master_{side}", Format.JPEG).data)
        assert picture.size == fit_inside(*size, side)
        assert not picture.info.get("progressive")


def test_equal_sizes_are_encoded_once_and_share_their_bytes():
    developed = develop(encoded(scene().resize((200, 150)), "JPEG"))

    large, medium = (developed.file(name, Format.WEBP) for name in ("large", "medium"))
    assert large.data is medium.data
    assert len({id(file.data) for file in developed.files}) == 2 + 2 + 1


PACKED = {
    "jpeg": (lambda: encoded(scene(), "JPEG", quality=95), 2.0),
    "progressive jpeg": (lambda: encoded(scene(), "JPEG", quality=95, progressive=True), 2.0),
    "jpeg shrunk on load": (lambda: encoded(scene().resize((6000, 4500)), "JPEG", quality=90), 2.0),
    "png": (lambda: encoded(scene(), "PNG"), 1.5),
    "interlaced png": (lambda: bytes(pyvips.Image.new_from_array(np.asarray(scene())).pngsave_buffer(interlace=True)), 1.5),
    "palette png": (lambda: encoded(scene().quantize(256), "PNG"), 3.5),
    "png with opaque alpha": (lambda: encoded(scene().convert("RGBA"), "PNG"), 1.5),
    "16-bit png": (
        lambda: bytes(
            (pyvips.Image.new_from_array(np.asarray(scene())) * 257)
            .cast("ushort")
            .copy(interpretation="rgb16")
            .pngsave_buffer(bitdepth=16)
        ),
        1.5,
    ),
    "gif": (lambda: encoded(scene().quantize(256), "GIF"), 3.5),
    "webp": (lambda: encoded(scene(), "WEBP", quality=95), 2.0),
    "lossless webp": (lambda: encoded(scene(), "WEBP", lossless=True), 1.5),
    "avif": (lambda: encoded(scene(), "AVIF", quality=90), 2.0),
    "heic": (lambda: encoded(scene(), "HEIF", quality=90), 2.0),
    "tiff": (lambda: encoded(scene(), "TIFF"), 1.5),
    "tiff with lzw": (lambda: encoded(scene(), "TIFF", compression="tiff_lzw"), 1.5),
    "tiff with jpeg": (lambda: encoded(scene(), "TIFF", compression="jpeg", quality=95), 2.0),
    "16-bit tiff": (
        lambda: bytes(
            (pyvips.Image.new_from_array(np.asarray(scene())) * 257).cast("ushort").copy(interpretation="rgb16").tiffsave_buffer()
        ),
        1.5,
    ),
}


@pytest.mark.parametrize("name", PACKED)
def test_the_picture_is_the_same_whatever_it_was_packed_in(name):
    make, most = PACKED[name]
    data = make()

    for format in (Format.WEBP, Format.JPEG):
        assert distance(thumb(data, format), scene()) < most


@pytest.mark.parametrize("name", ("grey jpeg", "16-bit grey png", "grey with alpha", "float tiff", "one bit png"))
def test_grey_pictures_stay_grey(name):
    grey = scene().convert("L")
    pixels = np.asarray(grey)
    data = {
        "grey jpeg": lambda: encoded(grey, "JPEG", quality=95),
        "16-bit grey png": lambda: encoded(Image.fromarray(pixels.astype(np.uint16) * 257), "PNG"),
        "grey with alpha": lambda: encoded(grey.convert("LA"), "PNG"),
        "float tiff": lambda: encoded(Image.fromarray(pixels.astype(np.float32) / 255), "TIFF"),
        "one bit png": lambda: encoded(grey.point(lambda v: 255 * (v > 120)).convert("1"), "PNG"),
    }[name]()
    expected = grey.point(lambda v: 255 * (v > 120)) if name == "one bit png" else grey

    rgb = np.asarray(decoded(thumb(data)).convert("RGB"), int)
    assert distance(thumb(data), expected) < 2.5
    assert np.ptp(rgb, axis=2).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ("JPEG", "PNG", "WEBP", "TIFF"))
def test_exif_orientation_is_applied_and_told(orientation, format):
    # What undoes each orientation is its own inverse but for the two quarter turns.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose values
    stored = scene().transpose(Image.Transpose(undo[orientation])) if orientation > 1 else scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, format, exif=exif, **({"quality": 95} if format in {"JPEG", "WEBP"} else {}))

    developed = develop(data, THUMB)
    assert ImageOps.exif_transpose(decoded(data)).size == scene().size
    assert (developed.header.width, developed.header.height, developed.header.orientation) == (480, 360, orientation)
    assert distance(developed.file("thumb_300", Format.WEBP).data, scene()) < 2.5
    assert distance(developed.file("master", Format.JPEG).data, scene()) < 2.5


def test_a_large_photograph_on_its_side_is_shrunk_and_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(scene().resize((5000, 3750)).transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=90)

    developed = develop(data)
    assert developed.file("large", Format.JPEG).height == 1536
    assert distance(developed.file("large", Format.WEBP).data, scene()) < 2.5


SPACES = {
    "display p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), 2.2),
    "adobe rgb": ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), 2.19921875),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("format", ("JPEG", "PNG", "WEBP", "TIFF", "HEIF"))
def test_wide_gamut_pictures_land_in_srgb(space, format):
    icc = {"display p3": DISPLAY_P3, "adobe rgb": ADOBE_RGB}[space]
    stored = in_space(scene(), *SPACES[space])
    data = encoded(stored, format, icc_profile=icc, **({} if format in {"PNG", "TIFF"} else {"quality": 95}))

    assert distance(thumb(data), scene()) < 2.5
    assert distance(encoded(stored, "PNG"), scene()) > 3.5  # it would have shown


def test_wide_gamut_survives_16_bits_and_alpha():
    pixels = pyvips.Image.new_from_array(np.asarray(in_space(scene(), *SPACES["display p3"])))
    image = (pixels * 257).cast("ushort").copy(interpretation="rgb16").bandjoin(65535 // 2)
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", DISPLAY_P3)

    picture = np.asarray(decoded(thumb(bytes(image.pngsave_buffer(bitdepth=16)))), float)
    wanted = np.asarray(scene().resize((300, 225), Image.Resampling.BOX), float)
    assert np.abs(picture[..., :3] - wanted).mean() < 3
    assert np.abs(picture[..., 3] - 127).mean() < 2


@pytest.mark.parametrize("has_profile", (True, False), ids=("with profile", "without"))
@pytest.mark.parametrize("format", ("JPEG", "TIFF"))
def test_cmyk_lands_in_srgb(has_profile, format):
    ink = pyvips.Image.new_from_array(np.asarray(scene())).icc_transform("cmyk", input_profile="srgb")
    if not has_profile:
        ink = ink.copy()
        ink.remove("icc-profile-data")
    data = bytes(ink.jpegsave_buffer(Q=95) if format == "JPEG" else ink.tiffsave_buffer())

    assert distance(thumb(data, Format.JPEG), scene()) < 9  # ink has a smaller gamut


@pytest.mark.parametrize("damage", ("cut", "noise", "header only", "wrong space", "empty"))
@pytest.mark.parametrize("mode", ("RGB", "L", "CMYK"))
def test_a_broken_profile_costs_no_picture(damage, mode):
    icc = {
        "cut": DISPLAY_P3[: len(DISPLAY_P3) // 2],
        "noise": DISPLAY_P3[:128] + bytes(range(256)) * 2,
        "header only": DISPLAY_P3[:128],
        "wrong space": DISPLAY_P3 if mode != "RGB" else DISPLAY_P3.replace(b"mntrRGB ", b"mntrCMYK"),
        "empty": b"\0" * 200,
    }[damage]
    data = encoded(scene().convert(mode), "JPEG", quality=95, icc_profile=icc)

    expected = scene().convert(mode) if mode != "CMYK" else scene()
    assert distance(thumb(data), expected) < (30 if mode == "CMYK" else 9)


def test_alpha_stays_in_webp_and_lies_on_white_in_jpeg():
    data = encoded(translucent(), "PNG")

    webp, jpeg = decoded(thumb(data)), decoded(thumb(data, Format.JPEG))
    assert (webp.mode, jpeg.mode) == ("RGBA", "RGB")
    assert np.abs(np.asarray(webp)[..., 3].astype(int) - np.linspace(255, 0, 300)).mean() < 2
    assert np.asarray(jpeg)[:, -3:].min() > 245
    # Colour is averaged by how much of it shows: no dark fringe where the picture fades.
    paper = Image.new("RGBA", translucent().size, "white")
    paper.alpha_composite(translucent())
    assert distance(thumb(data), paper) < 2.5


def test_colour_hidden_under_alpha_does_not_bleed():
    pixels = np.zeros((400, 400, 4), np.uint8)
    pixels[:, ::2] = (255, 0, 0, 255)
    pixels[:, 1::2] = (0, 255, 0, 0)

    small = np.asarray(decoded(thumb(encoded(Image.fromarray(pixels), "PNG"), preset="thumb_150")))
    assert small[..., 1].max() < 30
    assert abs(int(small[..., 3].mean()) - 127) < 6


def test_opaque_alpha_is_dropped():
    assert decoded(thumb(encoded(scene().convert("RGBA"), "PNG"))).mode == "RGB"


@pytest.mark.parametrize("format", ("GIF", "WEBP"))
def test_animations_stay_animated_with_their_delays_and_loops(format):
    turned = [scene().resize((400, 300)).rotate(angle) for angle in (0, 40, 80, 120, 160)]
    delays = [50, 60, 70, 80, 500]
    options = {"quality": 90} if format == "WEBP" else {}
    data = encoded(turned[0], format, save_all=True, append_images=turned[1:], duration=delays, loop=3, **options)

    developed = develop(data)
    plays = 4 if format == "GIF" else 3  # GIF counts repetitions, WebP times
    assert developed.header.frames == 5
    for name, width in (("thumb_150", 150), ("large", 400)):
        moving, still = decoded(developed.file(name, Format.WEBP).data), decoded(developed.file(name, Format.JPEG).data)
        assert (moving.n_frames, moving.width, moving.info["loop"]) == (5, width, plays)
        assert distance(developed.file(name, Format.JPEG).data, turned[0]) < 4
        assert not getattr(still, "is_animated", False)
        seen = []
        for index in range(5):
            moving.seek(index)
            moving.load()
            seen.append(moving.info["duration"])
            buffer = io.BytesIO()
            moving.convert("RGB").save(buffer, "PNG")
            assert distance(buffer.getvalue(), turned[index]) < 6
        assert seen == delays
    assert decoded(developed.file("master", Format.JPEG).data).format == "JPEG"


def test_the_edge_of_one_frame_does_not_bleed_into_the_next():
    frames = [Image.new("RGB", (300, 300), color) for color in ("white", "black", "white")]

    moving = decoded(thumb(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80), preset="thumb_150"))
    for index, level in enumerate((255, 0, 255)):
        moving.seek(index)
        assert np.abs(np.asarray(moving.convert("L"), int) - level).max() <= 3


def test_transparent_animations_keep_their_alpha():
    frames = [Image.new("RGBA", (200, 200), (0, 0, 0, 0)) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame.paste((200, 30, 30, 255), (index * 50, 50, index * 50 + 60, 150))

    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=80, lossless=True)
    alpha = np.asarray(decoded(thumb(data, preset="thumb_150")).convert("RGBA"))[..., 3]
    assert (alpha[0, 0], alpha[75, 10]) == (0, 255)


def test_a_drawing_is_rasterised_at_full_size_and_transparent():
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="20" height="20" fill="#0080ff"/></svg>'

    developed = develop(svg)
    large = np.asarray(decoded(developed.file("large", Format.WEBP).data))
    assert (developed.header.format, large.shape) == (Format.SVG, (1024, 2048, 4))
    assert np.abs(large[500, 500].astype(int) - (0, 128, 255, 255)).max() <= 4
    assert large[500, 1500, 3] == 0
    assert np.asarray(decoded(developed.file("large", Format.JPEG).data))[500, 1500].min() > 250


@pytest.mark.parametrize(
    "size",
    ('width="100000" height="50000"', 'viewBox="0 0 2 1"', 'width="100%" height="50%" viewBox="0 0 2 1"', 'width="2" height="1"'),
)
def test_drawings_of_any_size_of_their_own_are_drawn_as_large_as_we_say(size):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="#08f"/></svg>'.encode()

    developed = develop(svg, THUMB, Limits(svg_side=500))
    assert (developed.header.width, developed.header.height) == (500, 250)
    assert developed.file("thumb_150", Format.WEBP).height == 75


def test_nothing_of_the_metadata_is_served():
    exif = Image.Exif()
    exif[0x010F], exif[0x8298] = "SECRETMAKER", "SECRETCOPY"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.9), 3: "E", 4: (2.0, 17.0, 40.2)})
    exif.get_ifd(0x8769).update({0xA431: "SECRETSERIAL", 0x927C: b"SECRETNOTE" * 50})
    thumbnail = encoded(scene().resize((160, 120)), "JPEG")
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRETXMP</x:xmpmeta>"
    inputs = {
        "JPEG": encoded(scene(), "JPEG", exif=exif, icc_profile=DISPLAY_P3, xmp=xmp, comment=b"SECRETCOMMENT"),
        "PNG": encoded(scene(), "PNG", exif=exif, icc_profile=DISPLAY_P3),
        "WEBP": encoded(scene(), "WEBP", exif=exif, icc_profile=DISPLAY_P3, xmp=xmp),
        "HEIF": encoded(scene(), "HEIF", exif=exif.tobytes(), icc_profile=DISPLAY_P3, xmp=xmp),
        "AVIF": encoded(scene(), "AVIF", exif=exif.tobytes(), icc_profile=DISPLAY_P3, xmp=xmp),
    }
    jpeg = inputs["JPEG"]
    inputs["JPEG with a thumbnail"] = jpeg[:2] + b"\xff\xed" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + jpeg[2:]

    for name, data in inputs.items():
        developed = develop(data, THUMB)
        assert developed.facts.private["BodySerialNumber"] == "SECRETSERIAL", name
        assert developed.facts.location is not None
        assert developed.facts.icc == "Wide P3"
        for file in developed.files:
            for trace in (b"SECRET", b"Exif", b"GPS", b"EXIF", b"XMP", b"xmpmeta", b"ICC", b"acsp", b"8BIM", b"Photoshop"):
                assert trace not in file.data, (name, file.preset, file.format, trace)
            assert file.data.count(b"\xff\xd8\xff") == (file.format is Format.JPEG)


def test_the_header_tells_what_cannot_be_streamed():
    def is_buffered(data):
        return develop(data, THUMB).header.is_buffered

    assert not is_buffered(encoded(scene(), "JPEG"))
    assert not is_buffered(encoded(scene(), "PNG"))
    assert is_buffered(encoded(scene(), "JPEG", progressive=True))
    assert is_buffered(PACKED["interlaced png"][0]())
    assert is_buffered(encoded(scene(), "WEBP"))


def test_fine_bright_detail_keeps_its_light_in_thumbnails():
    # One white pixel in four: a quarter of the light, which sRGB writes as 137 and gamma-light averaging as 64.
    pixels = np.zeros((600, 600), np.uint8)
    pixels[::2, ::2] = 255
    developed = develop(encoded(Image.fromarray(pixels).convert("RGB"), "PNG"))

    for name in ("thumb_150", "thumb_300"):
        assert abs(np.asarray(decoded(developed.file(name, Format.JPEG).data).convert("L"), float).mean() - 137) < 4


def test_placeholders_and_fingerprints_describe_the_picture():
    first, again, other = (
        develop(encoded(picture, "JPEG", quality=quality), THUMB)
        for picture, quality in (
            (scene(), 95),
            (scene().resize((900, 675)), 60),
            (scene().transpose(Image.Transpose.ROTATE_180), 95),
        )
    )

    def bits(one, two):
        return (int(one.phash, 16) ^ int(two.phash, 16)).bit_count()

    assert bits(first, again) <= 4 < 16 < bits(first, other)
    assert 15 <= len(first.thumbhash) <= 25
    assert first.dominant_color.startswith("#")


@pytest.mark.parametrize("path", photographs("small"), ids=lambda path: path.name)
def test_real_photographs_are_developed(path):
    with Image.open(path) as original:
        expected = original.convert("RGB")
        if icc := original.info.get("icc_profile"):
            given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            expected = ImageCms.profileToProfile(expected, given, srgb)

    developed = develop(path.read_bytes())
    assert (developed.header.width, developed.header.height) == expected.size
    assert distance(developed.file("large", Format.WEBP).data, expected) < 6
    assert distance(developed.file("thumb_600", Format.JPEG).data, expected) < 7


def test_a_profile_that_is_srgb_changes_nothing():
    icc = profile((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), 2.2, "sRGB IEC61966-2.1")

    assert distance(thumb(encoded(scene(), "JPEG", quality=95, icc_profile=icc)), scene()) < 2.0
