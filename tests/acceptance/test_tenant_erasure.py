"""kill -9 in the middle of a tenant's erasure: it still ends, with nothing left of it in the data directory, and the tenant beside it whole."""

from __future__ import annotations

from tests.acceptance.erasing import killed_again_and_again, rows
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
    certificate = killed_again_and_again(new_server, url)

    assert certificate["removed"]["images"] == certificate["removed"]["versions"] == IMAGES
    with new_server.client() as client:
        assert [image["id"] for image in client.get("/images").json()["images"]] == [other["id"]]
        assert client.get(f"/images/{other['id']}/original").content == jpeg(90, 60, seed=99)
        assert client.get("/images", headers=theirs).status_code == 401
        assert [one["name"] for one in client.get("/admin/tenants").json()] == ["default"]
    assert new_server.stop() == 0
    kept = list(rows(new_server.data_dir))
    assert kept
    assert not [(path, row) for path, _, row in kept if "quetzalcoatl" in row]
    stays = {"tenants", "trail", "trail_heads"}
    left = [(path, row) for path, table, row in kept if table not in stays and any(id in row for id in gone)]
    assert not [row for row in left if "erasures/" not in row[1]]  # where the certificate is
    files = [str(path) for path in new_server.data_dir.rglob("*")]
    assert not [path for path in files if any(id in path for id in gone) and "erasures" not in path]
