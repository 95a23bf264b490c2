"""kill -9 in the middle of an erasure: it still ends, with nothing left in the data directory and a certificate."""

from __future__ import annotations

from tests.acceptance.erasing import killed_again_and_again, rows
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
    certificate = killed_again_and_again(new_server, url)

    assert certificate["removed"]["images"] == certificate["removed"]["versions"] == IMAGES
    with new_server.client() as client:
        assert [image["id"] for image in client.get("/images").json()["images"]] == [other]
        assert client.get("/images", headers=mine).status_code == 401
    assert new_server.stop() == 0
    kept = list(rows(new_server.data_dir))
    assert kept
    assert not [(path, row) for path, _, row in kept if id in row or "quetzalcoatl" in row]
    assert not [(path, row) for path, table, row in kept if table != "trail" and any(image in row for image in images)]
    files = [str(path) for path in new_server.data_dir.rglob("*")]
    assert not [path for path in files if any(image in path for image in images)]
