"""Any transform by signed URL: one text, one picture, made once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io

import httpx
import pytest
from libthumbor import CryptoURL
from PIL import Image as Pillow
from tests.photographs import photographs


@pytest.fixture(scope="module")
def image(server) -> dict:
    path = photographs("small")[0]
    with server.client() as client:
        return client.post("/images", files={"file": (path.name, path.read_bytes())}).json()


def signed(client: httpx.Client, image: dict, *transforms: str) -> list[str]:
    answer = client.post(f"/images/{image['id']}/urls", json={"transforms": transforms})
    assert answer.status_code == 200, answer.text
    return answer.json()["urls"]


def opened(answer: httpx.Response) -> Pillow.Image:
    assert answer.status_code == 200, answer.text
    return Pillow.open(io.BytesIO(answer.content))


@pytest.mark.parametrize(
    ("transform", "size", "format"),
    [
        ("w=200,h=100,fit=cover.webp", (200, 100), "WEBP"),
        ("width=123,height=321,fit=pad,background=ff0000.jpg", (123, 321), "JPEG"),
        ("w=64,h=64,fit=fill.png", (64, 64), "PNG"),
        ("w=80,h=80,fit=cover,radius=max.png", (80, 80), "PNG"),
        ("w=100,h=50,fit=cover,r=90.webp", (100, 50), "WEBP"),
        ("w=90,h=90,fit=crop,g=auto,grayscale=true,blur=2.avif", (90, 90), "AVIF"),
    ],
)
def test_a_signed_transform_has_exactly_the_size_and_format_asked_for(client, image, transform, size, format):
    (url,) = signed(client, image, transform)
    picture = opened(httpx.get(url, timeout=30))

    assert (picture.size, picture.format) == (size, format)


def test_a_transform_needs_a_signature_even_of_a_public_image_and_no_other_fits(client, image):
    first, second = signed(client, image, "w=50.webp", "w=51.webp")
    stolen = first.replace("w=50", "w=51")

    assert httpx.get(second).status_code == 200
    assert httpx.get(stolen).json()["code"] == "bad_signature"
    assert httpx.get(first.partition("?")[0]).status_code == 404
    client.patch(f"/images/{image['id']}", json={"visibility": "public"})
    assert httpx.get(first.partition("?")[0]).json()["code"] == "bad_signature"
    client.patch(f"/images/{image['id']}", json={"visibility": "private"})


def test_auto_gives_the_best_that_the_client_shows_and_says_that_it_varies(client, image):
    (url,) = signed(client, image, "w=60.auto")

    for accept, kind in (("image/avif,image/webp,*/*", "image/avif"), ("image/webp,*/*", "image/webp"), ("*/*", "image/jpeg")):
        answer = httpx.get(url, headers={"accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept")
    assert "vary" not in httpx.get(signed(client, image, "w=60.webp")[0]).headers


def test_equal_requests_written_differently_are_one_rendition(client, image):
    short, long = signed(client, image, "w=70,h=40,f=webp.webp", "height=40,width=70.webp")
    first, second = httpx.get(short), httpx.get(long)

    assert first.headers["etag"] == second.headers["etag"]


def test_a_download_is_offered_under_its_name(client, image):
    (url,) = signed(client, image, "w=40,download=my cat.jpg")

    assert 'filename="my cat.jpg"' in httpx.get(url).headers["content-disposition"]


@pytest.mark.parametrize(
    "transform",
    ["w=0.webp", "w=99999.webp", "colour=red.webp", "w=1,w=2.webp", "w=.webp", "w=10.exe", "blur=nan.webp", "fit=wild,w=9.webp"],
)
def test_an_option_that_means_nothing_is_refused_by_name(client, image, transform):
    answer = client.post(f"/images/{image['id']}/urls", json={"transforms": [transform]})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_option")
    assert httpx.get(str(client.base_url) + f"/i/{image['id']}/{transform}").status_code in (400, 404)


def test_the_clients_of_imgproxy_and_thumbor_are_served_over_a_real_socket(client, image):
    """Percent-encoding on the wire is what imgproxy signs, so it must come through the server as it was sent."""
    key, salt = b"key of an imgproxy", b"salt of an imgproxy"
    client.post("/admin/signing-keys", json={"grammar": "imgproxy", "secret": key.hex(), "salt": salt.hex()})
    client.post("/admin/signing-keys", json={"grammar": "thumbor", "secret": "key of a thumbor"})
    path = f"/rs:fill:90:60:1/plain/safelight%3A%2F%2F{image['id']}@webp"
    digest = hmac.new(key, salt + path.encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    thumbor = CryptoURL(key="key of a thumbor").generate(width=90, height=60, filters=["format(webp)"], image_url=image["id"])

    answers = [httpx.get(f"{client.base_url}{url}") for url in (f"/imgproxy/{signature}{path}", f"/thumbor{thumbor}")]
    assert [opened(answer).size for answer in answers] == [(90, 60)] * 2
    native = httpx.get(signed(client, image, "w=90,h=60,fit=cover.webp")[0])
    assert {answer.headers["etag"] for answer in answers} == {native.headers["etag"]}
