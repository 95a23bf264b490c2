"""An original is developed from the upload while its client waits, and from the store in every other case."""

from __future__ import annotations

import asyncio

from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage


class Watched(MemoryStorage):
    """Remembers which objects were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    async def open(self, key, **options):
        self.opened.append(key)
        return await super().open(key, **options)


async def ready(client, image):
    async with asyncio.timeout(60):
        while (record := (await client.get(f"/images/{image}")).json())["status"] == "developing":
            await asyncio.sleep(0.05)
    return record


async def test_while_the_client_waits_nothing_is_fetched(run):
    originals = Watched()
    async with run(originals=originals, renditions=MemoryStorage()) as app:
        created = await app.client.post("/images", files={"file": jpeg()})
        replaced = await app.client.put(f"/images/{created.json()['id']}/original", files={"file": jpeg(64, 48)})

    assert (created.status_code, replaced.status_code) == (201, 200)
    assert (replaced.json()["width"], replaced.json()["height"]) == (64, 48)
    assert originals.opened == []


async def test_when_nobody_waits_the_store_has_it(run):
    originals = Watched()
    async with run(originals=originals, renditions=MemoryStorage()) as app:
        created = await app.client.post("/images", files={"file": jpeg()}, headers={"prefer": "respond-async"})
        record = await ready(app.client, created.json()["id"])

    assert created.status_code == 202
    assert record["status"] == "ready"
    assert len(originals.opened) == 1


async def test_many_uploads_at_once_each_become_their_own_picture(run):
    async with run(renditions=MemoryStorage()) as app:
        sizes = [(40 + number, 30) for number in range(24)]
        posts = [app.client.post("/images", files={"file": jpeg(*size)}) for size in sizes]
        records = [answer.json() for answer in await asyncio.gather(*posts)]

    assert [(record["width"], record["height"]) for record in records] == sizes
