"""tiled: a region made of the pyramid is the region made of the original, whatever the original is and wherever its tiles meet."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from tests.golden.samples import decoded, encoded, scene
from tests.golden.test_from_original import TURNED, stored

from safelight.errors import CorruptImage
from safelight.imaging import Format, Limits
from safelight.imaging.libvips import Stop
from safelight.imaging.tiles import tiled
from safelight.imaging.transform import Size, parse
from safelight.imaging.transform.apply import transform_tiles
from safelight.imaging.transform.from_original import transform_original
from safelight.imaging.transform.pyramid import Index, check, window

SIZE = Size(2600, 1500)


def of_tiles(pyramid: bytes, text: str, size: Size = SIZE):
    spec = parse(text)
    found = window(spec, size)
    assert found is not None, text
    tiles = [pyramid[start:end] for row in Index.read(pyramid, size).rows(found, size) for start, end in pairwise(row)]
    return transform_tiles(tiles, found, spec, source_width=size.width, source_height=size.height, stop=Stop())


def apart(first: bytes, second: bytes) -> float:
    """Mean difference of levels; the sizes are equal."""
    one, other = (np.asarray(decoded(data).convert("RGB"), float) for data in (first, second))
    assert one.shape == other.shape
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize(
    "text",
    [
        "c=0:0:512:512.png",
        "c=512:512:512:512.png",
        "c=2560:1024:40:476.png",
        "c=500:500:30:30.png",
        "c=100:300:900:700.png",
        "c=1000:400:800:700,w=300.png",
        "c=1800:900:800:600,fit=fill,h=150,w=400.png",
        "c=600:500:800:800,fit=cover,g=south-east,h=500,r=90,w=400.png",
        "c=0:0:200:100,fit=fill,h=300,w=600.png",
        "c=1500:700:300:200,fl=h,gr=true.png",
        "c=2599:1499:1:1.png",
    ],
)
def test_a_region_of_tiles_is_the_originals_region(text):
    original = encoded(scene(*SIZE), "PNG")
    pyramid = tiled(original, Limits())
    check(pyramid, SIZE)

    made, expected = of_tiles(pyramid, text), transform_original(original, parse(text), Limits())
    assert (made.width, made.height) == (expected.width, expected.height)
    assert apart(made.data, expected.data) < 1.5


@pytest.mark.parametrize("orientation", TURNED)
def test_tiles_stand_upright(orientation):
    pyramid = tiled(stored(scene(*SIZE), orientation, quality=95, subsampling=0), Limits())
    text = "c=300:200:900:400,w=450.png"

    assert apart(of_tiles(pyramid, text).data, transform_original(encoded(scene(*SIZE), "PNG"), parse(text), Limits()).data) < 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
def test_tiles_of_any_mode_are_colour_or_grey_on_white(mode):
    picture = scene(*SIZE).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    original = encoded(picture, "TIFF")
    pyramid = tiled(original, Limits())
    text = "c=300:200:900:400,w=450.jpg"

    assert of_tiles(pyramid, text).format is Format.JPEG
    assert apart(of_tiles(pyramid, text).data, transform_original(original, parse(text), Limits()).data) < 3


def test_a_cut_file_has_no_tiles():
    data = encoded(scene(*SIZE), "JPEG", quality=90)
    with pytest.raises(CorruptImage):
        tiled(data[: len(data) // 2], Limits())


def test_a_tile_is_not_decoded_as_the_whole():
    """Not a clock: a pyramid whose other tiles are no pictures still gives this one."""
    pyramid = tiled(encoded(scene(*SIZE), "PNG"), Limits())
    index = Index.read(pyramid, SIZE)
    spoilt = bytearray(pyramid)
    for number, (start, end) in enumerate(pairwise(index.offsets)):
        if number != 7:
            spoilt[start:end] = bytes(end - start)

    made = of_tiles(bytes(spoilt), "c=512:512:512:512.png")
    assert Image.open(io.BytesIO(made.data)).size == (512, 512)
