"""IIIF Image API 3.0 and 2.1 at level 2, asked by the consortium's own validator of a running server."""

from __future__ import annotations

import io
import random
import sys
import types
import urllib.request
import zlib
from functools import partial

import httpx
import pytest
from PIL import Image as Pillow
from tests.acceptance.conftest import Server
from tests.pictures import encoded

# Two of its modules load libmagic, for formats that level 2 does not have; they are not asked.
sys.modules.setdefault("magic", types.ModuleType("magic"))
from iiif_validator import validator

INFO = validator.ValidationInfo()
BEYOND = ("linkheader_canonical", "linkheader_profile", "rot_mirror", "rot_mirror_180", "size_up")
"""Of level 3, what we have too."""
KNOWN = {
    (
        "3.0",
        "size_noup",
    ): "It wants 400 for `!2000,3000` of 1000 x 1000. 3.0, 4.2 has `!w,h` be as large as possible but not larger than"
    " the region, so 1000 x 1000 is the answer; its complaint is raised without arguments, as a TypeError.",
    (
        "3.0",
        "size_up",
    ): "It wants `^max` to be the region's size, and says itself that this needs more thought. 3.0, 4.2 has it scaled to"
    " the largest that maxWidth, maxHeight and maxArea permit.",
}
"""Where the validator and the specification disagree; what is right about them is asked below."""


def cases():
    for version in ("2.0", "3.0"):
        for name, about in sorted(validator.TestSuite(INFO).list_tests(version).items()):
            if about["level"] <= 2 or name in BEYOND:
                yield pytest.param(version, name, id=f"{version}-{name}")


@pytest.fixture(scope="module")
def image(embedded: Server) -> dict:
    """The validator's own picture: ten squares by ten, of colours that it knows."""
    picture = Pillow.new("RGB", (1000, 1000))
    for x, column in enumerate(INFO.colorInfo):
        for y, colour in enumerate(column):
            picture.paste(colour, (100 * x, 100 * y, 100 * x + 100, 100 * y + 100))
    with embedded.client() as client:
        made = client.post("/images", files={"file": ("squares.png", encoded(picture, "PNG"))}, data={"visibility": "public"})
        assert made.status_code == 201, made.text
        return made.json()


@pytest.mark.parametrize(("version", "name"), list(cases()))
def test_the_validator_agrees(embedded: Server, image: dict, version: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It gives a server five seconds, which a busy machine may not have.
    monkeypatch.setattr(validator, "urlopen", lambda request, timeout: urllib.request.urlopen(request, timeout=60))
    random.seed(zlib.crc32(f"{version} {name}".encode()))
    api = validator.ImageAPI(
        image["id"], embedded.url.removeprefix("http://"), f"iiif/{version[0]}", version=version, debug=False
    )
    ask = partial(validator.TestSuite(INFO).run_test, name, api)

    if (version, name) in KNOWN:
        with pytest.raises((TypeError, validator.ValidatorError)):
            ask()
            raise api.exception or AssertionError("it agrees by now: take it out of KNOWN")
        return
    ask()
    assert api.exception is None, (api.urls, str(api.exception))


def test_nothing_is_enlarged_unless_it_is_said(embedded: Server, image: dict) -> None:
    def asked(size: str) -> tuple[int, tuple[int, int] | None]:
        answer = httpx.get(f"{embedded.url}/iiif/3/{image['id']}/full/{size}/0/default.jpg", timeout=60)
        return answer.status_code, Pillow.open(io.BytesIO(answer.content)).size if answer.is_success else None

    for size in ("1001,", ",1001", "1001,1001", "1200,10", "pct:101", "pct:200"):
        assert asked(size) == (400, None), size
    for size, made in {
        "!2000,3000": (1000, 1000),
        "^!2000,3000": (2000, 2000),
        "^1500,": (1500, 1500),
        "^,1500": (1500, 1500),
        "^1500,1200": (1500, 1200),
        "^pct:150": (1500, 1500),
        "^max": (4096, 4096),
        "max": (1000, 1000),
    }.items():
        assert asked(size) == (200, made), size
    assert asked("^4097,10") == (400, None)
