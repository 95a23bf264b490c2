"""imgproxy's signatures: what its own client for Node makes is believed and understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safelight.imaging.transform import Size
from safelight.imaging.transform import parse as native
from safelight.imaging.transform.imgproxy import parse
from safelight.signing import imgproxy

KEY, SALT = b"k" * 32, b"s" * 32
URLS = json.loads((Path(__file__).parent / "imgproxy.json").read_text())
"""Of the key and salt above, by `@imgproxy/imgproxy-node`; `bench/clients/check.mjs` writes them."""
MEANT = (
    "fit=crop,g=auto,h=200,w=300",
    "q=60,w=300",
    "bg=ff0000,h=300,p=60:10,w=300",
    "bl=2,c=0:200:100:200,ed=0.7,px=4,r=90",
)


@pytest.mark.parametrize(("url", "meant"), tuple(zip(URLS, MEANT, strict=True)))
def test_what_the_client_signs_is_believed_and_understood(url, meant):
    signature, _, rest = url.removeprefix("https://images.example/imgproxy/").partition("/")
    assert imgproxy.verify(KEY, SALT, f"/{rest}", signature)
    assert imgproxy.sign(KEY, SALT, f"/{rest}") == signature

    order = parse(f"/{rest}")
    assert order.origin.name == "01j00000000000000000000000"
    said = order.wish.spec(Size(600, 400)).text
    assert said == native(f"{meant}.{said.rpartition('.')[2]}").text


@pytest.mark.parametrize("size", (8, 12, 31, 32))
def test_a_short_signature_is_the_beginning_of_the_long_one(size):
    short = imgproxy.sign(KEY, SALT, "/a", size_bytes=size)

    assert imgproxy.verify(KEY, SALT, "/a", short, size_bytes=size)
    assert imgproxy.verify(KEY, SALT, "/a", short + "=" * (-len(short) % 4), size_bytes=size)
    assert not imgproxy.verify(KEY, SALT, "/a", short, size_bytes=size - 1)
    assert not imgproxy.verify(KEY, SALT, "/b", short, size_bytes=size)


@pytest.mark.parametrize("signature", ("", "=", "*", "A", "é", "unsafe", "A" * 10_000))
def test_nonsense_is_not_a_signature(signature):
    assert not imgproxy.verify(KEY, SALT, "/a", signature)
