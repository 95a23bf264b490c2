"""The main job from outside: a real server, real photographs, plain HTTP."""

from __future__ import annotations

import hashlib
import io
import time

import httpx
import pytest
from PIL import Image as Pillow
from tests.photographs import photographs
from tests.pictures import animation, encoded, jpeg, noise

PHOTOGRAPHS = photographs("small")
PRESETS = {"thumb_150": 150, "thumb_300": 300, "thumb_400": 400, "thumb_600": 600, "medium": 1200, "large": 2048}


def upload(client: httpx.Client, data: bytes, name: str = "picture.jpg", **fields: str) -> dict:
    answer = client.post("/images", files={"file": (name, data)}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def uploaded(server) -> dict:
    """One real photograph, taken in once."""
    path = PHOTOGRAPHS[0]
    with server.client() as client:
        return upload(client, path.read_bytes(), path.name, title="A real photograph", tags="Real, photograph") | {
            "path": str(path)
        }


@pytest.mark.parametrize("path", PHOTOGRAPHS, ids=lambda path: path.name)
def test_a_real_photograph_becomes_a_record_with_every_rendition_ready(client, path):
    record = upload(client, path.read_bytes(), path.name)

    with Pillow.open(path) as original:
        sides = original.size
    assert record["status"] == "ready"
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {record["width"], record["height"]} == set(sides)
    assert len(record["thumbhash"]) > 8
    assert record["dominant_color"].startswith("#")
    assert {(r["preset"], r["format"]) for r in record["renditions"]} == {(p, f) for p in PRESETS for f in ("webp", "jpeg")}
    for rendition in record["renditions"]:
        limit = PRESETS[rendition["preset"]]
        assert max(rendition["width"], rendition["height"]) == min(limit, max(sides))


def in_format(format: str) -> bytes:
    picture = noise(500, 300, seed=50)
    match format:
        case "svg":
            return b'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="300"><circle cx="99" cy="99" r="50" fill="#c33"/></svg>'
        case "heic":
            import pillow_heif

            pillow_heif.register_heif_opener()
            return encoded(picture, "HEIF", quality=80)
        case "animated.webp":
            return animation(frames=4, format="WEBP")
        case "animated.gif":
            return animation(frames=4)
        case _:
            return encoded(picture, {"jpg": "JPEG", "tif": "TIFF"}.get(format, format.upper()))


@pytest.mark.parametrize("format", ["jpg", "png", "gif", "animated.gif", "webp", "animated.webp", "avif", "tif", "heic", "svg"])
def test_every_format_that_is_promised_is_taken_and_delivered(client, format):
    record = upload(client, in_format(format), f"picture.{format}")

    assert (record["status"], record["frames"]) == ("ready", 4 if "animated" in format else 1)
    for rendition in record["renditions"]:
        with Pillow.open(io.BytesIO(httpx.get(rendition["url"]).content)) as picture:
            assert picture.size == (rendition["width"], rendition["height"])


def test_every_delivery_url_answers_with_exactly_what_the_record_says(client, server, uploaded):
    with httpx.Client() as stranger:
        for rendition in uploaded["renditions"]:
            answer = stranger.get(rendition["url"])

            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == rendition["type"]
            assert len(answer.content) == rendition["bytes"]
            with Pillow.open(io.BytesIO(answer.content)) as picture:
                assert picture.size == (rendition["width"], rendition["height"])
                assert not picture.getexif()


def test_the_jpeg_twin_is_progressive(uploaded):
    url = next(r["url"] for r in uploaded["renditions"] if r["format"] == "jpeg" and r["preset"] == "thumb_300")

    with Pillow.open(io.BytesIO(httpx.get(url).content)) as picture:
        assert picture.info.get("progressive")


def test_a_private_image_is_not_delivered_without_a_signature_or_with_another(server, uploaded):
    url = uploaded["renditions"][0]["url"]
    plain, _, query = url.partition("?")
    tampered = url[:-2] + ("AA" if url[-2:] != "AA" else "BB")

    assert httpx.get(plain).status_code == 404
    assert httpx.get(tampered).json()["code"] == "bad_signature"
    assert httpx.get(f"{plain}?{query.replace('sig=', 'sig=x')}").status_code == 403
    assert httpx.get(url.replace("thumb_150", "thumb_300")).status_code == 403
    assert httpx.get(url.replace("exp=1", "exp=2")).status_code == 403


def test_an_unsigned_request_for_a_private_image_looks_like_one_for_no_image(server, uploaded):
    there = httpx.get(f"{server.url}/i/{uploaded['id']}/thumb_150.webp")
    not_there = httpx.get(f"{server.url}/i/{'0' * 26}/thumb_150.webp")

    assert (there.status_code, there.content) == (not_there.status_code, not_there.content)


def test_delivery_speaks_conditions_and_ranges(uploaded):
    rendition = next(r for r in uploaded["renditions"] if r["preset"] == "medium" and r["format"] == "jpeg")
    whole = httpx.get(rendition["url"])
    etag = whole.headers["etag"]

    assert httpx.get(rendition["url"], headers={"if-none-match": etag}).status_code == 304
    assert httpx.get(rendition["url"], headers={"if-modified-since": whole.headers["last-modified"]}).status_code == 304
    part = httpx.get(rendition["url"], headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert httpx.get(rendition["url"], headers={"range": "bytes=99999999-"}).status_code == 416
    parts = httpx.get(rendition["url"], headers={"range": "bytes=0-3,10-13"})
    assert parts.headers["content-type"].startswith("multipart/byteranges")
    assert whole.content[10:14] in parts.content
    assert httpx.head(rendition["url"]).headers["content-length"] == str(len(whole.content))
    assert "private" in whole.headers["cache-control"]
    assert "immutable" in whole.headers["cache-control"]
    assert "vary" not in whole.headers


def test_a_public_image_needs_no_signature_and_may_be_kept_by_everybody(client):
    record = upload(client, jpeg(seed=51), visibility="public")
    url = record["renditions"][0]["url"]
    answer = httpx.get(url)

    assert "sig=" not in url
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert httpx.get(url.partition("?")[0]).headers["cache-control"] == "public, max-age=60"


def test_avif_is_made_from_the_master_when_asked_for(client, uploaded):
    client.patch(f"/images/{uploaded['id']}", json={"visibility": "unlisted"})
    url = uploaded["renditions"][0]["url"].partition("?")[0].rpartition("/")[0] + "/thumb_400.avif"
    answer = httpx.get(url, timeout=30)
    client.patch(f"/images/{uploaded['id']}", json={"visibility": "private"})

    assert answer.headers["content-type"] == "image/avif"
    assert answer.content[4:12] == b"ftypavif"
    assert httpx.get(url).status_code == 404


def test_the_original_comes_back_as_it_went_in(client, uploaded):
    whole = client.get(f"/images/{uploaded['id']}/original")
    part = client.get(f"/images/{uploaded['id']}/original", headers={"range": "bytes=100-199"})

    assert hashlib.sha256(whole.content).hexdigest() == uploaded["sha256"]
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{uploaded['bytes']}"
    assert httpx.get(uploaded["original_url"]).status_code == 401


def test_an_image_that_is_not_there_is_missing_whatever_its_id(client):
    assert client.get("/images/" + "x" * 10_000).status_code in (404, 414)
    assert client.get("/images/" + "0" * 26).json()["code"] == "not_found"


def test_words_change_by_merge_patch_under_if_match(client):
    record = upload(client, jpeg(seed=1), title="Before", custom='{"a": {"b": 1, "c": 2}}')
    path = f"/images/{record['id']}"
    patched = client.patch(
        path,
        json={
            "title": "After",
            "description": None,
            "tags": ["New", "new", " two  words "],
            "custom": {"a": {"b": None}, "d": 3},
        },
        headers={"if-match": record["etag"]},
    )

    assert patched.json()["title"] == "After"
    assert patched.json()["tags"] == ["new", "two words"]
    assert patched.json()["custom"] == {"a": {"c": 2}, "d": 3}
    assert client.patch(path, json={"title": "x"}, headers={"if-match": record["etag"]}).status_code == 412
    assert client.patch(path, json={"width": 3}).json()["code"] == "bad_field"


def test_search_finds_words_beginnings_and_typing_errors_and_nothing_that_was_trashed(client):
    record = upload(client, jpeg(seed=2), "IMG_7731.jpg", title="Kingfisher over Windermere", tags="bird")

    def found(text: str) -> list[str]:
        for _ in range(50):
            ids = [r["image"]["id"] for r in client.get("/images/search", params={"q": text}).json()["results"]]
            if ids:
                return ids
            time.sleep(0.05)
        return []

    assert found("kingfisher") == [record["id"]]
    assert found("windermere king") == [record["id"]]
    assert found("7731") == [record["id"]]
    corrected = client.get("/images/search", params={"q": "kingfischer"}).json()
    assert [r["image"]["id"] for r in corrected["results"]] == [record["id"]]
    assert corrected["corrected"] == "kingfisher"
    assert corrected["facets"]["tag"] == {"bird": 1}
    client.delete(f"/images/{record['id']}")
    assert client.get("/images/search", params={"q": "kingfisher"}).json()["results"] == []


def test_the_trash_hides_restores_and_purges(client):
    record = upload(client, jpeg(seed=3))
    path, url = f"/images/{record['id']}", record["renditions"][0]["url"]

    assert client.delete(path).status_code == 204
    assert httpx.get(url).status_code == 404
    assert record["id"] not in {image["id"] for image in client.get("/images").json()["images"]}
    assert record["id"] in {image["id"] for image in client.get("/images", params={"trashed": "true"}).json()["images"]}
    assert client.post(f"{path}/restore").status_code == 200
    assert httpx.get(url).status_code == 200
    assert client.delete(path, params={"purge": "true"}).json()["code"] == "wrong_state"
    client.delete(path)
    assert client.delete(path, params={"purge": "true"}).status_code == 204
    assert client.get(path).status_code == 404
    assert httpx.get(url).status_code == 403


def test_pages_follow_each_other_without_gaps_or_repeats(client):
    ids = [upload(client, jpeg(64, 64, seed=100 + n), tags="paged")["id"] for n in range(7)]
    seen: list[str] = []
    answer = client.get("/images", params={"tag": "paged", "limit": 3})
    while True:
        seen += [image["id"] for image in answer.json()["images"]]
        if "next" not in answer.links:
            break
        answer = client.get(answer.links["next"]["url"])

    assert seen == ids[::-1]


def test_an_album_keeps_its_order_and_its_cover(client):
    a, b, c = (upload(client, jpeg(64, 64, seed=200 + n))["id"] for n in range(3))
    album = client.post("/albums", json={"title": "Summer"}).json()
    path = f"/albums/{album['id']}"
    client.post(f"{path}/images", json={"images": [a, b, c]})
    client.post(f"{path}/images", json={"images": [c], "before": a})
    patched = client.patch(path, json={"title": "Winter", "cover": b})

    listed = client.get("/images", params={"album": album["id"], "sort": "position"}).json()["images"]
    assert [image["id"] for image in listed] == [c, a, b]
    assert (patched.json()["title"], patched.json()["cover"], patched.json()["image_count"]) == ("Winter", b, 3)
    assert client.delete(f"{path}/images/{b}").json()["cover"] is None
    assert client.delete(path).status_code == 204
    assert client.get(f"/images/{a}").status_code == 200


def test_an_animation_stays_animated_as_webp(client):
    record = upload(client, animation(frames=6), "wave.gif")
    url = next(r["url"] for r in record["renditions"] if r["preset"] == "thumb_150" and r["format"] == "webp")

    with Pillow.open(io.BytesIO(httpx.get(url).content)) as picture:
        assert picture.n_frames == 6
    assert record["frames"] == 6


def test_the_same_bytes_again_are_told(client):
    first = upload(client, jpeg(seed=4))
    second = upload(client, jpeg(seed=4))

    assert second["duplicate_of"] == first["id"]
    assert client.get("/images", params={"sha256": first["sha256"]}).json()["images"][0]["id"] == first["id"]


def test_whoever_does_not_want_to_wait_gets_202_and_finds_it_ready_soon(client):
    data = jpeg(3000, 2000, seed=5)
    answer = client.post("/images", files={"file": data}, headers={"prefer": "respond-async"})

    assert answer.status_code == 202
    assert answer.json()["status"] == "developing"
    for _ in range(100):
        record = client.get(answer.headers["location"]).json()
        if record["status"] == "ready":
            break
        time.sleep(0.1)
    assert record["status"] == "ready"


def test_positions_and_serial_numbers_stay_with_the_owner(client):
    picture = noise(400, 300, seed=6)
    exif = Pillow.Exif()
    exif[0x010F], exif[0x0110] = "Makers", "Model 1"
    exif.get_ifd(0x8769)[0xA431] = "SERIAL-12345"
    exif.get_ifd(0x8825).update({1: "N", 2: (54.0, 22.0, 30.0), 3: "W", 4: (2.0, 56.0, 0.0)})
    record = upload(client, encoded(picture, "JPEG", exif=exif))

    assert "SERIAL-12345" not in client.get(f"/images/{record['id']}").text
    assert record["location"] is None
    asked = client.get(f"/images/{record['id']}", params={"include": "location"}).json()
    assert asked["location"]["latitude"] == pytest.approx(54.375)
    assert "Model 1" in asked["camera"]
    for rendition in record["renditions"]:
        assert b"SERIAL-12345" not in httpx.get(rendition["url"]).content


def test_another_user_sees_nothing_of_it_until_it_is_public(client, server, uploaded):
    user = client.post("/admin/users", json={"name": f"guest {time.time_ns()}"}).json()
    token = client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read", "write"]}).json()["token"]
    guest = httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"})
    path = f"/images/{uploaded['id']}"

    with guest:
        assert guest.get(path).status_code == 404
        assert guest.patch(path, json={"title": "mine"}).status_code == 404
        assert guest.delete(path).status_code == 404
        assert guest.get(f"{path}/original").status_code == 404
        assert uploaded["id"] not in {image["id"] for image in guest.get("/images").json()["images"]}
        assert guest.get("/admin/failures").json()["code"] == "forbidden"
        client.patch(path, json={"visibility": "public"})
        assert guest.get(path).status_code == 200
        assert guest.patch(path, json={"title": "mine"}).status_code == 403
        client.patch(path, json={"visibility": "private"})
        assert guest.get(path).status_code == 404


def test_a_retired_signing_key_opens_nothing_while_the_new_one_does(client, server):
    record = upload(client, jpeg(seed=7))
    old_url = record["renditions"][0]["url"]
    old_kid = dict(httpx.URL(old_url).params)["kid"]
    client.post("/admin/signing-keys")
    new_url = client.get(f"/images/{record['id']}").json()["renditions"][0]["url"]

    assert httpx.get(old_url).status_code == 200
    assert dict(httpx.URL(new_url).params)["kid"] != old_kid
    assert client.post(f"/admin/signing-keys/{old_kid}/retire").status_code == 204
    assert httpx.get(old_url).json()["code"] == "bad_signature"
    assert httpx.get(new_url).status_code == 200


def test_every_request_has_a_correlation_id_and_the_log_carries_it_but_no_secret(client, server, uploaded):
    answer = client.get("/images", headers={"x-request-id": "my-request-0001"})

    assert answer.headers["x-request-id"] == "my-request-0001"
    for _ in range(40):  # the line is written after the answer
        if '"my-request-0001"' in server.log:
            break
        time.sleep(0.05)
    assert '"my-request-0001"' in server.log
    assert server.api_key not in server.log
    assert "sig=" not in server.log


def test_health_and_figures_are_told(client, server):
    assert httpx.get(f"{server.url}/health/live").json() == {"status": "ok"}
    parts = httpx.get(f"{server.url}/health/ready").json()["parts"]
    assert parts.keys() == {"catalog", "storage", "search", "sandbox", "workflows", "cache"}
    figures = httpx.get(f"{server.url}/metrics").text
    assert "safelight_images_accepted" in figures
    assert figures.endswith("# EOF\n")


def test_nothing_is_answered_without_a_key(server):
    for path in ("/images", "/images/search", "/albums", "/tags", "/admin/failures"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_second_server_on_the_same_data_is_refused_by_name(server, tmp_path):
    import subprocess
    import sys

    second = subprocess.run(
        [sys.executable, "-m", "safelight", "serve", "--port", "0", "--data-dir", str(server.data_dir)],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert second.returncode == 1
    assert "data_dir_in_use" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_first_start_tells_its_key_once_and_a_restart_keeps_everything(new_server):
    new_server.start()
    first = new_server.greeting
    with new_server.client() as client:
        record = upload(client, jpeg(seed=8), visibility="public")
    assert new_server.stop() == 0
    new_server.start()

    assert first["api_key"] == new_server.api_key
    assert new_server.greeting["api_key"] is None
    assert (new_server.data_dir / "admin.key").stat().st_mode & 0o777 == 0o600
    with new_server.client() as client:
        assert client.get(f"/images/{record['id']}").json()["status"] == "ready"
    assert httpx.get(f"{new_server.url}/i/{record['id']}/large.webp").status_code == 200


def test_bytes_at_rest_are_not_readable(new_server):
    new_server.start()
    with new_server.client() as client:
        upload(client, jpeg(seed=52))
    blobs = [path for path in (new_server.data_dir / "objects").rglob("*") if path.is_file() and "blobs" in path.parts]

    assert len(blobs) == 14
    assert not any(b"JFIF" in path.read_bytes()[:64] or b"WEBP" in path.read_bytes()[:64] for path in blobs)
    assert (new_server.data_dir / "keys" / "master.key").stat().st_mode & 0o777 == 0o600


def test_a_shutdown_lets_the_upload_in_flight_finish(new_server):
    import threading

    new_server.start()
    answers: list[httpx.Response] = []
    with new_server.client() as client:
        data = jpeg(4000, 3000, seed=9)
        sending = threading.Thread(target=lambda: answers.append(client.post("/images", files={"file": data})))
        sending.start()
        time.sleep(0.4)
        code = new_server.stop()
        sending.join(30)

    assert code == 0
    assert answers[0].status_code in (201, 202)
