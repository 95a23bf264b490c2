"""Negotiation: what real clients send, and what they get."""

import pytest

from safelight.imaging import Format
from safelight.imaging.transform import best_format, parse

PLAIN = parse("w=300.auto")
CLIENTS = (
    ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Format.AVIF),  # Chromium
    ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", Format.AVIF),  # Firefox
    ("image/webp,*/*", Format.WEBP),
    ("IMAGE/WEBP;q=0.1", Format.WEBP),
    ("image/avif;q=0, image/webp", Format.WEBP),
    ("image/avif; q=0.000", Format.JPEG),
    ("*/*", Format.JPEG),
    ("", Format.JPEG),
    (",;,=;q", Format.JPEG),
    ("image/avifx", Format.JPEG),
)


@pytest.mark.parametrize(("accept", "format"), CLIENTS)
def test_a_client_gets_the_smallest_that_it_names(accept, format):
    assert best_format(accept, PLAIN) is format


@pytest.mark.parametrize(
    ("text", "format"),
    (
        ("ra=max.auto", Format.PNG),
        ("fit=pad,w=3,h=3.auto", Format.PNG),
        ("bg=fff,ra=max.auto", Format.JPEG),
        ("bg=ffffff80,ra=max.auto", Format.PNG),
    ),
)
def test_what_is_clear_stays_clear_for_old_clients(text, format):
    assert best_format("*/*", parse(text)) is format
