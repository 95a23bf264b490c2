"""kill -9 in the middle of a tenant's erasure: it still ends, with nothing left of it in the data directory, and the tenant beside it whole."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import httpx
from tests.acceptance.conftest import until
from tests.pictures import jpeg

IMAGES = 8


def test_a_tenants_erasure_that_is_killed_again_and_again_still_ends(new_server):
    new_server.start()
    with new_server.client() as client:
        made = client.post("/admin/tenants", json={"name": "quetzalcoatl"}).json()
        theirs = {"authorization": f"Bearer {made['token']}"}
        sent = [client.post("/images", files={"file": jpeg(80, 60, seed=n)}, headers=theirs) for n in range(IMAGES)]
        assert {answer.status_code for answer in sent} == {201}
        gone = [made["id"], made["admin"], *(answer.json()["id"] for answer in sent)]
        other = client.post("/images", files={"file": jpeg(90, 60, seed=99)}).json()
        assert client.post(f"/admin/tenants/{made['id']}/suspend").status_code == 200
        url = client.delete(f"/admin/tenants/{made['id']}").headers["location"]
    for pause_s in (0.0, 0.3):
        time.sleep(pause_s)  # wherever it is by then
        new_server.kill()
        new_server.start()
    certificate = until(lambda: httpx.get(f"{new_server.url}{url}", timeout=30).json()["certificate"], within_s=180)

    assert certificate["removed"]["images"] == certificate["removed"]["versions"] == IMAGES
    with new_server.client() as client:
        assert [image["id"] for image in client.get("/images").json()["images"]] == [other["id"]]
        assert client.get(f"/images/{other['id']}/original").content == jpeg(90, 60, seed=99)
        assert client.get("/images", headers=theirs).status_code == 401
        assert [one["name"] for one in client.get("/admin/tenants").json()] == ["default"]
    assert new_server.stop() == 0
    for path in sorted(new_server.data_dir.rglob("*.db")):
        if path.name == "workflows.db":  # runs are pruned by the engine's own clock; they hold ids and nothing else
            continue
        with closing(sqlite3.connect(path)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = [(table, repr(row)) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
        assert not [row for _, row in rows if "quetzalcoatl" in row], path
        stays = {"tenants", "trail", "trail_heads"}
        left = [row for table, row in rows if table not in stays and any(id in row for id in gone)]
        assert not [row for row in left if "erasures/" not in row], path  # where the certificate is
    files = [str(path) for path in new_server.data_dir.rglob("*")]
    assert not [path for path in files if any(id in path for id in gone) and "erasures" not in path]
