"""Records out of a cache: as fresh as out of the catalog, seen by nobody else, and not kept longer than they are true."""

from __future__ import annotations

import asyncio

import pytest
from tests.pictures import jpeg

from safelight.adapters.cache.memory import MemoryCache
from safelight.errors import Missing
from safelight.services.remembered import Remembered


async def uploaded(running, seed=1, **fields):
    answer = await running.client.post("/images", files={"file": jpeg(seed=seed)}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def reads(running, what, outcome):
    for line in (await running.client.get("/metrics")).text.splitlines():
        if line.startswith(f'safelight_cache_reads_total{{outcome="{outcome}",what="{what}"}}'):
            return float(line.split()[-1])
    return 0.0


async def test_a_record_is_read_once_and_every_change_is_seen_at_once(run):
    async with run(cache=MemoryCache()) as running:
        client = running.client
        image = await uploaded(running, visibility="public")
        path = f"/images/{image['id']}"
        for n in range(3):
            assert (await client.get(path)).status_code == (await client.get(path)).status_code == 200
            await client.patch(path, json={"title": f"title {n}"})
            assert (await client.get(path)).json()["title"] == f"title {n}"
            assert (await client.get("/images")).json()["images"][0]["title"] == f"title {n}"
        await client.delete(path)
        assert (await client.get(path)).json()["trashed_at"] is not None
        assert (await client.get("/images")).json()["images"] == []
        assert (await client.get(f"/i/{image['id']}/large.webp")).status_code == 404
        await client.post(f"{path}/restore")
        assert (await client.get(f"/i/{image['id']}/large.webp")).status_code == 200
        await client.delete(path)
        await client.delete(f"{path}?purge=true")

        assert (await client.get(path)).status_code == 404
        assert await reads(running, "record", "hit") > 0
        assert await reads(running, "page", "miss") > 0


async def test_pages_of_albums_follow_the_album_and_its_images(run):
    async with run(cache=MemoryCache()) as running:
        client = running.client
        first, second = await uploaded(running, 1), await uploaded(running, 2)
        album = (await client.post("/albums", json={"title": "Sea"})).json()["id"]

        async def listed():
            return {image["id"] for image in (await client.get("/images", params={"album": album})).json()["images"]}

        assert await listed() == await listed() == set()
        await client.post(f"/albums/{album}/images", json={"images": [first["id"], second["id"]]})
        assert await listed() == await listed() == {first["id"], second["id"]}
        await client.delete(f"/images/{first['id']}")
        assert await listed() == {second["id"]}
        assert await reads(running, "page", "hit") > 0


async def test_what_one_user_had_read_another_still_may_not(run):
    async with run(cache=MemoryCache()) as running:
        image = await uploaded(running)
        for _ in range(2):
            assert (await running.client.get(f"/images/{image['id']}")).status_code == 200
        user = (await running.client.post("/admin/users", json={"name": "ann", "role": "user"})).json()
        key = (
            await running.client.post("/admin/api-keys", json={"user": user["id"], "name": "k", "scopes": ["read", "write"]})
        ).json()
        as_ann = {"authorization": f"Bearer {key['token']}"}
        hits = await reads(running, "record", "hit")

        # Until the record comes from the cache, which its own notices may still clear, and the refusal from the rules.
        async with asyncio.timeout(30):
            while await reads(running, "record", "hit") == hits:
                assert (await running.client.get(f"/images/{image['id']}", headers=as_ann)).status_code == 404
        assert (await running.client.get("/images", headers=as_ann)).json()["images"] == []


async def test_an_image_that_is_not_there_is_remembered_until_it_is(run):
    async with run(cache=MemoryCache()) as running:
        image = await uploaded(running, visibility="public")
        await running.client.delete(f"/images/{image['id']}")
        await running.client.delete(f"/images/{image['id']}?purge=true")
        known = await reads(running, "tenant", "hit")
        async with asyncio.timeout(30):  # the purge's own notices may still come in between and are obeyed first
            while await reads(running, "tenant", "hit") < known + 2:
                assert (await running.client.get(f"/i/{image['id']}/large.webp")).status_code == 404


async def test_without_a_shared_cache_everything_is_read_from_the_catalog(run):
    async with run() as running:
        image = await uploaded(running)
        await running.client.get(f"/images/{image['id']}")

        assert await reads(running, "record", "hit") == await reads(running, "record", "miss") == 0


async def test_a_reader_who_is_overtaken_by_a_change_leaves_nothing_stale(run):
    cache = MemoryCache()
    async with run(cache=cache) as running:
        image = await uploaded(running)
        remembered: Remembered = running.safelight.library.remembered
        async with running.safelight.catalog.directory() as directory:
            tenant = await directory.tenant_of(image["id"])
        read_catalog = Remembered._image

        async def overtaken(self, tenant, image_id):
            found = await read_catalog(self, tenant, image_id)
            await running.client.patch(f"/images/{image_id}", json={"title": "newer"})
            return found

        await cache.forget([f"image:{image['id']}"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Remembered, "_image", overtaken)
            old = await remembered.image(tenant, image["id"])

        assert old.title == ""
        assert (await remembered.image(tenant, image["id"])).title == "newer"
        with pytest.raises(Missing):
            await remembered.image(tenant, "0" * 26)
