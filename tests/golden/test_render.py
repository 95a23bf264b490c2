"""render: any size from our own master, and nothing but a master."""

import pytest
from tests.golden.samples import decoded, distance, encoded, scene

from safelight.errors import CorruptImage, UnsupportedFormat
from safelight.imaging import Format
from safelight.imaging.geometry import fit_inside
from safelight.imaging.pipeline import develop, render


@pytest.fixture(scope="module")
def master():
    return develop(encoded(scene().resize((2400, 1800)), "JPEG", quality=92)).file("master", Format.JPEG).data


@pytest.mark.parametrize("format", (Format.WEBP, Format.JPEG, Format.AVIF))
@pytest.mark.parametrize("side", (1, 150, 400, 600, 601, 1200, 2048, 9000))
def test_every_size_and_format_comes_from_the_master(master, side, format):
    file = render(master, side=side, format=format)
    picture = decoded(file.data)

    assert picture.format == format.name
    assert picture.size == (file.width, file.height) == fit_inside(2048, 1536, side)
    assert side == 1 or distance(file.data, scene()) < 3


def test_quality_is_obeyed(master):
    low, high = (len(render(master, side=600, format=Format.WEBP, quality=quality).data) for quality in (20, 95))

    assert low < high / 2


@pytest.mark.parametrize("format", (Format.GIF, Format.PNG, Format.TIFF, Format.HEIC, Format.SVG))
def test_formats_that_only_come_in_are_refused(master, format):
    with pytest.raises(UnsupportedFormat):
        render(master, side=100, format=format)


def test_what_is_no_master_is_refused(master):
    with pytest.raises(UnsupportedFormat):
        render(b"<svg/>", side=100, format=Format.WEBP)
    with pytest.raises(CorruptImage):
        render(master[: len(master) // 2], side=100, format=Format.WEBP)
