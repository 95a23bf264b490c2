"""The header that the server reads by itself is the one that the sandbox would tell, or none."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.photographs import photographs
from tests.pictures import encoded, noise

from safelight.errors import SafelightError
from safelight.imaging import Limits, jpeg_header
from safelight.imaging.probe import probe

LIMITS = Limits()


def jpeg(size=(61, 40), mode="RGB", orientation=None, **options) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if orientation is not None:
        exif[0x0112] = orientation
    return encoded(noise(*size).convert(mode), "JPEG", exif=exif, **options)


@pytest.mark.parametrize("mode", ("RGB", "L", "CMYK"))
@pytest.mark.parametrize("progressive", (False, True))
@pytest.mark.parametrize("orientation", (None, *range(1, 9)))
def test_a_plain_jpeg_is_told_as_the_decoder_tells_it(mode, progressive, orientation):
    data = jpeg(mode=mode, orientation=orientation, progressive=progressive, restart_marker_rows=2, comment=b"hello")

    assert jpeg_header.parse(data) == probe(data, LIMITS)


@pytest.mark.parametrize("photograph", photographs("small"), ids=lambda path: path.name)
def test_a_real_photograph_is_told_as_the_decoder_tells_it(photograph):
    data = photograph.read_bytes()
    told = jpeg_header.parse(data[: jpeg_header.HEAD_BYTES])

    assert told in (None, probe(data, LIMITS))


def test_the_photographs_of_cameras_are_plain():
    plain = [path.name for path in photographs("small") if jpeg_header.parse(path.read_bytes())]

    assert plain, "or nothing is won"


@given(st.data())
def test_whatever_is_changed_both_tell_the_same_or_one_of_them_nothing(data):
    whole = jpeg(orientation=6, progressive=data.draw(st.booleans()))
    at = data.draw(st.integers(0, whole.index(b"\xff\xda") + 12))
    changed = whole[:at] + data.draw(st.binary(min_size=1, max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    told = jpeg_header.parse(changed)
    try:
        decoder = probe(changed, LIMITS)
    except SafelightError:
        return  # what is broken inside a table shows when it is developed

    assert told in (None, decoder)


@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd(tail):
    for head in (tail, b"\xff\xd8" + tail, b"\xff\xd8\xff\xe1\x01\x00Exif\0\0" + tail, jpeg()[:200] + tail):
        jpeg_header.parse(head)


@pytest.mark.parametrize(
    "limits",
    (
        Limits(max_bytes=100),
        Limits(max_pixels=61 * 40 - 1),
    ),
)
def test_what_passes_a_limit_is_left_to_the_sandbox(tmp_path, limits):
    (tmp_path / "a").write_bytes(jpeg())
    fd = os.open(tmp_path / "a", os.O_RDONLY)

    assert jpeg_header.read(fd, limits) is None
    assert jpeg_header.read(fd, LIMITS) is not None
    os.close(fd)


def test_a_progressive_file_has_the_limit_of_those_that_are_decoded_whole(tmp_path):
    (tmp_path / "a").write_bytes(jpeg(progressive=True))
    fd = os.open(tmp_path / "a", os.O_RDONLY)

    assert jpeg_header.read(fd, Limits(max_buffered_pixels=61 * 40 - 1)) is None
    os.close(fd)


@pytest.mark.parametrize("cut", (0, 1, 2, 3, 10, 30, 100, 400))
def test_a_head_that_ends_too_early_tells_nothing(cut):
    assert jpeg_header.parse(jpeg()[:cut]) is None


def test_two_blocks_of_exif_are_not_plain():
    data = jpeg(orientation=6)
    start = data.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")

    assert jpeg_header.parse(data[:end] + data[end:]) is not None
    assert jpeg_header.parse(data[:end] + data[start:]) is None
