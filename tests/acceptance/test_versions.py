"""Other bytes for an image: versions, what is delivered meanwhile, and the way back."""

from __future__ import annotations

import httpx
from tests.pictures import jpeg, png

FIRST, SECOND = jpeg(640, 480, seed=31), png(300, 500, seed=32)


def upload(client: httpx.Client, data: bytes, **fields: str) -> dict:
    answer = client.post("/images", files={"file": ("first.jpg", data)}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_replacing_the_bytes_makes_a_version_and_every_earlier_one_can_come_back(client):
    record = upload(client, FIRST, title="Kept words")
    path = f"/images/{record['id']}"
    old_url = record["renditions"][0]["url"]
    replaced = client.put(f"{path}/original", files={"file": ("second.png", SECOND)}, headers={"if-match": record["etag"]})

    assert replaced.status_code == 200, replaced.text
    assert (replaced.json()["version"], replaced.json()["title"], replaced.json()["status"]) == (2, "Kept words", "ready")
    assert (replaced.json()["width"], replaced.json()["height"], replaced.json()["type"]) == (300, 500, "image/png")
    versions = client.get(f"{path}/versions").json()
    assert [(v["version"], v["is_current"], v["file_name"]) for v in versions] == [
        (2, True, "second.png"),
        (1, False, "first.jpg"),
    ]
    assert client.get(f"{path}/original").content == SECOND
    assert client.get(f"{path}/original", params={"version": 1}).content == FIRST

    restored = client.post(f"{path}/versions/1/restore")
    assert (restored.json()["version"], restored.json()["width"]) == (3, 640)
    assert client.get(f"{path}/original").content == FIRST
    assert len(client.get(f"{path}/versions").json()) == 3
    # The old address still shows the image, as it is now, and nobody may keep that for a year.
    answer = httpx.get(old_url)
    assert answer.status_code == 200
    assert "immutable" not in answer.headers["cache-control"]


def test_a_replacement_that_cannot_be_developed_changes_nothing(client):
    record = upload(client, jpeg(seed=33))
    path = f"/images/{record['id']}"
    broken = jpeg(seed=34)
    refused = client.put(f"{path}/original", files={"file": broken[: len(broken) // 2]})

    assert (refused.status_code, refused.json()["code"]) == (422, "corrupt_image")
    now = client.get(path).json()
    assert (now["version"], now["sha256"], now["status"]) == (1, record["sha256"], "ready")
    assert httpx.get(now["renditions"][0]["url"]).status_code == 200
    assert len(client.get(f"{path}/versions").json()) == 1
    # and the next one that can be developed is taken
    assert client.put(f"{path}/original", files={"file": jpeg(seed=35)}).json()["sha256"] != record["sha256"]


def test_replacing_is_refused_where_it_makes_no_sense(client):
    record = upload(client, jpeg(seed=36))
    path = f"/images/{record['id']}"

    stale = client.put(f"{path}/original", files={"file": SECOND}, headers={"if-match": '"999"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    assert client.post(f"{path}/versions/7/restore").json()["code"] == "not_found"
    assert client.put(f"{path}/original", files={"file": SECOND}, data={"title": "x"}).json()["code"] == "bad_field"
    client.delete(path)
    trashed = client.put(f"{path}/original", files={"file": SECOND})
    assert (trashed.status_code, trashed.json()["code"]) == (409, "wrong_state")
    assert client.get(f"{path}/original").status_code == 404
    client.post(f"{path}/restore")
    assert client.get(f"{path}/original").status_code == 200


def test_a_port_that_is_taken_is_refused_by_name(server, tmp_path):
    import subprocess
    import sys

    command = [sys.executable, "-m", "safelight", "serve", "--port", str(server.port), "--data-dir", str(tmp_path / "data")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert ran.returncode == 1
    assert str(server.port) in ran.stderr
    assert "Traceback" not in ran.stderr
