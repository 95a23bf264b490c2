"""Lesser masters: what is made of one is the picture that is made of the large one, and nearer to the original than that."""

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from tests.golden.samples import decoded, encoded
from tests.golden.test_transform import resized

from safelight.imaging import Format
from safelight.imaging.pipeline import develop
from safelight.imaging.transform import parse
from safelight.imaging.transform.apply import lesser_side, transform

SIZE = (2500, 1900)


KNOWN = {"source_width": SIZE[0], "source_height": SIZE[1]}


def photograph():
    return np.array(Image.fromarray(photographs.astronaut()).resize(SIZE, Image.Resampling.LANCZOS))


def board():
    """The photograph with fine bright lines on dark ground, which averaging stored values darkens."""
    pixels = photograph()
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    pixels[:600] = np.where((x // 3 + y // 3) % 3, 20, 235).astype(np.uint8)[:600, :, None]
    return pixels


def masters_of(pixels):
    developed = develop(encoded(Image.fromarray(pixels), "PNG", compress_level=1))
    return {name: developed.file(name, Format.JPEG).data for name in ("master", "master_1200", "master_600")}


@pytest.fixture(scope="module")
def masters():
    return masters_of(photograph())


@pytest.mark.parametrize(
    "text",
    (
        "w=600",
        "w=511",
        "w=333,h=222,fit=cover,g=north-west",
        "w=300",
        "w=150,blur=2",
        "w=901",
        "w=200,h=200,fit=pad,bg=ff8800",
        "c=10p:5p:40p:60p,w=240",
        "w=240,h=240,fit=cover,g=auto",
        "w=400,r=90,flip=h",
    ),
)
def test_a_transform_of_a_lesser_master_is_the_one_of_the_large_one(masters, text):
    spec = parse(f"{text}.png")
    side = lesser_side(spec, *SIZE)
    assert side

    large = transform(masters["master"], spec, **KNOWN)
    lesser = transform(masters[f"master_{side}"], spec, is_lesser=True, **KNOWN)

    assert (lesser.width, lesser.height) == (large.width, large.height) == decoded(lesser.data).size
    one, other = (np.asarray(decoded(file.data), float) for file in (lesser, large))
    assert np.abs(one - other).mean() < 2.5
    shifted = np.abs(other[:, 1:] - other[:, :-1]).mean()
    assert np.abs(one - other).mean() < shifted / 2


def test_fine_bright_detail_is_nearer_to_the_light_that_was_there_than_by_the_large_one():
    pixels = board()
    masters, spec = masters_of(pixels), parse("w=511.png")
    large = transform(masters["master"], spec, **KNOWN)
    lesser = transform(masters["master_600"], spec, is_lesser=True, **KNOWN)
    wanted = resized(pixels.astype(float), lesser.width, lesser.height)

    off = [np.abs(np.asarray(decoded(file.data), float) - wanted).mean() for file in (lesser, large)]
    assert off[0] < off[1]


def test_a_border_is_looked_for_in_the_large_one_only():
    assert lesser_side(parse("trim=10,w=200.png"), *SIZE) == 0
