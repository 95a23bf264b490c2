"""sniff: the magic number decides, nothing else."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.imaging import Format, sniff


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("head", "format"),
    (
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", Format.JPEG),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Format.PNG),
        (b"GIF87a", Format.GIF),
        (b"GIF89a", Format.GIF),
        (b"RIFF\x24\0\0\0WEBPVP8 ", Format.WEBP),
        (b"II*\0", Format.TIFF),
        (b"MM\0*", Format.TIFF),
        (b"II+\0", Format.TIFF),
        (ftyp(b"avif"), Format.AVIF),
        (ftyp(b"avis"), Format.AVIF),
        (ftyp(b"mif1", b"mif1", b"avif"), Format.AVIF),
        (ftyp(b"heic"), Format.HEIC),
        (ftyp(b"mif1", b"mif1", b"heic"), Format.HEIC),
        (ftyp(b"msf1", b"hevc"), Format.HEIC),
        (ftyp(b"heic", b"avif"), Format.HEIC),
        (b"<svg/>", Format.SVG),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", Format.SVG),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand -->\n<svg>', Format.SVG),
        (b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd"><svg >', Format.SVG),
        (b'<!DOCTYPE svg [ <!ENTITY a "b>"> ]><svg>', Format.SVG),
        (b"<s:svg xmlns:s='http://www.w3.org/2000/svg'>", Format.SVG),
        ("\ufeff<svg>".encode("utf-16-le"), Format.SVG),
        ("\ufeff<svg>".encode("utf-16-be"), Format.SVG),
        (b"", None),
        (b"\xff\xd8", None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (ftyp(b"isom", b"mp42"), None),
        (ftyp(b"mif1"), None),
        (b"BM\x36\0\0\0", None),
        (b"%PDF-1.7", None),
        (b"%!PS-Adobe", None),
        (b"push graphic-context", None),
        (b"<html><svg>", None),
        (b"<!-- <svg> -->", None),
        (b"<svgx>", None),
        (b" " * 5000 + b"<svg>", None),
    ),
)
def test_the_first_bytes_tell_the_format(head, format):
    assert sniff(head) is format


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_sniff_never_raises(head):
    assert sniff(head) is None or isinstance(sniff(head), Format)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="<>!-?[]svgDOCTYPE \n'\"", max_size=400))
def test_sniff_never_hangs_on_what_looks_like_xml(text):
    assert sniff(text.encode() * 10) in {None, Format.SVG}


@pytest.mark.parametrize(
    ("format", "media_type", "extension"),
    ((Format.JPEG, "image/jpeg", "jpg"), (Format.SVG, "image/svg+xml", "svg"), (Format.HEIC, "image/heic", "heic")),
)
def test_a_format_knows_its_media_type_and_extension(format, media_type, extension):
    assert (format.media_type, format.extension) == (media_type, extension)


def test_talking_about_pictures_loads_no_decoder():
    code = """
import sys
from safelight.imaging import Developed, Facts, File, Format, Header, Limits, PRESETS, Preset, Recipe, Sandbox, sniff
print(sorted({"pyvips", "numpy", "pi_heif", "PIL"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"


def test_the_public_names_are_sorted_and_all_there():
    from safelight import imaging

    assert list(imaging.__all__) == sorted(imaging.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(getattr(imaging, name) for name in imaging.__all__)
    with pytest.raises(AttributeError):
        imaging.nothing
