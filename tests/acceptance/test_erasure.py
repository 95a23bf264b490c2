"""kill -9 in the middle of an erasure: it still ends, with nothing left in the data directory and a certificate."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import httpx
from tests.pictures import jpeg

IMAGES = 8


def test_an_erasure_that_is_killed_again_and_again_still_ends(new_server):
    new_server.start()
    with new_server.client() as client:
        id = client.post("/admin/users", json={"name": "quetzalcoatl"}).json()["id"]
        token = client.post("/admin/api-keys", json={"user": id}).json()["token"]
        mine = {"authorization": f"Bearer {token}"}
        sent = [client.post("/images", files={"file": jpeg(80, 60, seed=n)}, headers=mine) for n in range(IMAGES)]
        assert {answer.status_code for answer in sent} == {201}
        images = [answer.json()["id"] for answer in sent]
        other = client.post("/images", files={"file": jpeg(90, 60, seed=99)}).json()["id"]
        url = client.delete(f"/admin/users/{id}").headers["location"]
    for pause_s in (0.0, 0.3):
        time.sleep(pause_s)  # wherever it is by then
        new_server.kill()
        new_server.start()
    deadline = time.monotonic() + 120
    while (certificate := httpx.get(f"{new_server.url}{url}", timeout=30).json()["certificate"]) is None:
        assert time.monotonic() < deadline, new_server.log[-4000:]
        time.sleep(0.2)

    assert certificate["removed"]["images"] == certificate["removed"]["versions"] == IMAGES
    with new_server.client() as client:
        assert [image["id"] for image in client.get("/images").json()["images"]] == [other]
        assert client.get("/images", headers=mine).status_code == 401
    assert new_server.stop() == 0
    for path in sorted(new_server.data_dir.rglob("*.db")):
        if path.name == "workflows.db":  # runs are pruned by the engine's own clock; they hold ids and nothing else
            continue
        with closing(sqlite3.connect(path)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [(table, repr(row)) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
        assert not [row for _, row in rows if id in row or "quetzalcoatl" in row], path
        assert not [row for table, row in rows if table != "trail" and any(image in row for image in images)], path
    files = [str(path) for path in new_server.data_dir.rglob("*")]
    assert not [path for path in files if any(image in path for image in images)]
