"""A full album takes no more, and what is in it can still be moved."""

from __future__ import annotations

from tests.pictures import jpeg

from safelight.services import albums


async def test_images_of_a_full_album_can_be_moved_and_none_is_added(run, monkeypatch):
    monkeypatch.setattr(albums, "MAX_ALBUM_IMAGES", 2)
    async with run() as app:
        sent = [await app.client.post("/images", files={"file": jpeg(40, 30, seed=seed)}) for seed in range(3)]
        first, second, third = (answer.json()["id"] for answer in sent)
        album = f"/albums/{(await app.client.post('/albums', json={'title': 'Full'})).json()['id']}"
        assert (await app.client.post(f"{album}/images", json={"images": [first, second]})).status_code == 200
        moved = await app.client.post(f"{album}/images", json={"images": [second], "before": first})
        refused = await app.client.post(f"{album}/images", json={"images": [third, first]})
        page = await app.client.get("/images", params={"album": album.rpartition("/")[2], "sort": "position"})

        assert moved.status_code == 200, moved.text
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_field")
        assert [image["id"] for image in page.json()["images"]] == [second, first]
