"""kill -9 in the middle of a redevelopment: every picture ends once in the new recipe's shape."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import httpx
import pytest
from tests.acceptance.conftest import until
from tests.pictures import jpeg

PICTURES = 30


@pytest.mark.slow
def test_every_picture_is_developed_again_once_although_the_server_is_killed(new_server):
    new_server.start()
    with new_server.client() as client:
        ids = [
            client.post("/images", files={"file": jpeg(160, 120, seed=n)}, data={"visibility": "public"}).json()["id"]
            for n in range(PICTURES)
        ]
        recipe = {"renditions": ["thumb_150"], "formats": ["webp"], "watermark": "wmt=Sold,wmp=center,wms=80"}
        assert client.put("/admin/recipes/sold", json=recipe).status_code == 200
        one = client.post("/redevelopments", json={"recipe": "sold", "rate": 20}).json()

        def state():
            return client.get(f"/redevelopments/{one['id']}").json()

        for ended in (3, 12):
            until(lambda ended=ended: state()["done"] + state()["under_way"] >= ended)
            new_server.kill()
            new_server.start()
        done = until(lambda: (now := state())["state"] == "done" and now)
        assert {name: done[name] for name in ("total", "done", "failed", "skipped", "under_way")} == {
            "total": PICTURES, "done": PICTURES, "failed": 0, "skipped": 0, "under_way": 0,
        }  # fmt: skip
        for id in ids:
            record = client.get(f"/images/{id}").json()
            assert (record["status"], record["recipe"]) == ("ready", "sold@1")
            assert [(each["preset"], each["format"]) for each in record["renditions"]] == [("thumb_150", "webp")]
            assert "v=1p1" in record["renditions"][0]["url"], "developed again once, and not twice"
            assert httpx.get(record["renditions"][0]["url"], timeout=30).status_code == 200
        assert client.get("/admin/failures").json()["failures"] == []
    # One event each, however often the process died between two of its steps.
    with sqlite3.connect(f"file:{new_server.data_dir}/catalog.db?mode=ro", uri=True) as catalog:
        begun = catalog.execute("SELECT image, count(*) FROM journal WHERE name = 'image.redeveloping' GROUP BY image").fetchall()
    assert sorted(begun) == sorted((id, 1) for id in ids)

    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
    environment |= {"SAFELIGHT_URL": new_server.url, "SAFELIGHT_API_KEY": new_server.api_key}

    def told(*arguments, said=""):
        command = [sys.executable, "-m", "safelight", *arguments]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, input=said)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert json.loads(told("redevelop", one["id"], "--json"))["done"] == PICTURES
    assert (
        told("redevelop", "--filter", "status=ready", "--filter", "before=2100-01-01", "--dry-run").strip()
        == f"{PICTURES} pictures would be developed again."
    )
    described = 'renditions = ["thumb_300"]\nformats = ["jpeg"]\n\n[quality]\njpeg = 60\n'
    assert told("recipe", "set", "plain", "-", said=described).startswith("plain@1 is in force")
    assert "all others" in told("recipe", "apply", "plain", "--default")
    assert "plain@1" in told("recipe", "list")
    again = json.loads(told("redevelop", "--rate", "100", "--json"))
    assert (again["state"], again["done"], again["recipe"]) == ("done", PICTURES, None)
    with new_server.client() as client:
        assert {client.get(f"/images/{id}").json()["recipe"] for id in ids} == {"plain@1"}
