"""What our master cannot give comes from the original: more pixels, clear parts, frames, pages, colours; and what the file says."""

from __future__ import annotations

import io
import socket
import time
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageSequence
from tests.golden.samples import encoded, scene, translucent


def uploaded(client: httpx.Client, data: bytes, name: str) -> dict:
    answer = client.post("/images", files={"file": (name, data)})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def fetched(client: httpx.Client, image: dict, transform: str, **headers: str) -> httpx.Response:
    answer = client.post(f"/images/{image['id']}/urls", json={"transforms": [transform]})
    assert answer.status_code == 200, answer.text
    return httpx.get(answer.json()["urls"][0], headers=headers, timeout=60)


def opened(answer: httpx.Response) -> Pillow.Image:
    assert answer.status_code == 200, answer.text
    return Pillow.open(io.BytesIO(answer.content))


@pytest.fixture(scope="module")
def large(server) -> dict:
    """3000 x 2000, stored on its side."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    with server.client() as client:
        return uploaded(
            client, encoded(scene(3000, 2000).transpose(Pillow.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif), "large.jpg"
        )


@pytest.fixture(scope="module")
def film(server) -> dict:
    frames = [Pillow.new("RGB", (160, 120), colour) for colour in ("red", "lime", "blue")]
    with server.client() as client:
        return uploaded(client, encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=90), "film.gif")


def test_a_target_beyond_the_master_has_the_originals_own_pixels(client, large):
    picture = opened(fetched(client, large, "w=2900.jpg"))

    assert picture.size == (2900, 1933)
    wanted = np.asarray(scene(3000, 2000).resize((290, 193), Pillow.Resampling.BOX), float)
    assert np.abs(np.asarray(picture.resize((290, 193), Pillow.Resampling.BOX), float) - wanted).mean() < 3


def test_a_region_of_a_large_original_is_cut_where_it_was_asked_for(client, large):
    picture = opened(fetched(client, large, "c=0:0:700:450.png"))

    assert picture.size == (700, 450)
    assert np.abs(np.array(picture.convert("RGB").getpixel((100, 100))) - (210, 60, 50)).max() < 12


def test_clear_parts_stay_clear(client):
    image = uploaded(client, encoded(translucent(), "PNG"), "glass.png")

    assert opened(fetched(client, image, "w=100.webp")).convert("RGBA").getpixel((98, 30))[3] < 20
    assert opened(fetched(client, image, "w=100.original")).format == "PNG"
    assert opened(fetched(client, image, "w=100.auto", accept="*/*")).format == "PNG"


def test_an_animation_plays_on_and_one_over_the_budget_shows_its_first_frame(client, film):
    playing, still = fetched(client, film, "w=80.webp"), fetched(client, film, "fit=contain,w=5000.webp")

    assert len(list(ImageSequence.Iterator(opened(playing)))) == 3
    assert "safelight-animation" not in playing.headers
    assert still.headers["safelight-animation"] == "first-frame"
    assert getattr(opened(still), "n_frames", 1) == 1
    assert opened(fetched(client, film, "w=80.auto", accept="image/avif,*/*")).format == "GIF"
    third = opened(fetched(client, film, "pg=3,w=80.png")).convert("RGB").getpixel((40, 30))
    assert third[2] > 200 > third[0]


def test_a_page_that_is_not_there_is_named(client, film):
    answer = fetched(client, film, "pg=4.webp")

    assert (answer.status_code, answer.json()["code"], answer.json()["option"]) == (400, "bad_option", "page")


def test_too_few_bytes_are_refused_with_how_many_it_takes(client, large):
    answer = fetched(client, large, "mb=600,w=900.webp")

    assert (answer.status_code, answer.json()["code"]) == (422, "over_max_bytes")
    assert len(fetched(client, large, "mb=9000,w=400.jpg").content) <= 9000


def test_quality_auto_is_a_file_of_the_asked_size(client, large):
    assert opened(fetched(client, large, "h=300,q=auto,w=300.webp")).size == (300, 200)


def test_copyright_is_written_when_asked_for(client):
    exif = Pillow.Exif()
    exif[0x8298] = "(c) Ann"
    image = uploaded(client, encoded(scene(300, 200), "JPEG", exif=exif), "owned.jpg")

    assert b"(c) Ann" in fetched(client, image, "md=copyright,w=90.jpg").content
    assert b"(c) Ann" not in fetched(client, image, "w=90.jpg").content


def test_the_focal_point_moves_the_cut_and_the_address(client, large):
    transform = "fit=cover,g=focal,h=100,w=100.png"
    urls, seen = [], set()
    for point in ({"x": 0, "y": 0.5}, {"x": 1, "y": 0.5}, None):
        changed = client.patch(f"/images/{large['id']}", json={"focal_point": point})
        assert (changed.status_code, changed.json()["focal_point"]) == (200, point)
        urls += client.post(f"/images/{large['id']}/urls", json={"transforms": [transform]}).json()["urls"]
        answer = httpx.get(urls[-1], timeout=60)
        seen.add(opened(answer).convert("RGB").tobytes())
        assert "immutable" in answer.headers["cache-control"]
    assert len(seen) == 3
    assert len({url.partition("v=")[2].partition("&")[0] for url in urls}) == 3
    assert "immutable" not in httpx.get(urls[0], timeout=60).headers["cache-control"], "an old address shows what is now"
    assert client.patch(f"/images/{large['id']}", json={"focal_point": {"x": 2, "y": 0}}).status_code == 400


def test_work_ends_when_the_client_hangs_up(client, large):
    url = urlsplit(
        client.post(f"/images/{large['id']}/urls", json={"transforms": ["fit=contain,q=90,w=5700.avif"]}).json()["urls"][0]
    )

    def abandoned() -> float:
        lines = httpx.get(f"{client.base_url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("safelight_deliveries_abandoned_total"))

    before = abandoned()
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\n\r\n".encode())
        time.sleep(0.3)  # long enough to have begun, far too short to be done
    deadline = time.monotonic() + 60
    while abandoned() == before:
        assert time.monotonic() < deadline, "nobody noticed"
        time.sleep(0.1)
