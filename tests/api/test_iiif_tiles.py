"""Tiles of large pictures: one pyramid however many look, kept with the picture, made again when it is lost, gone with it."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image
from tests.golden.samples import encoded, scene

from safelight.adapters.storage.memory import MemoryStorage

WIDTH, HEIGHT = 2600, 1500


@pytest.fixture(scope="module")
def picture() -> bytes:
    return encoded(scene(WIDTH, HEIGHT), "JPEG", quality=90)


async def put(app, picture: bytes) -> str:
    answer = await app.client.post("/images", files={"file": ("large.jpg", picture)}, data={"visibility": "public"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def made_of(app) -> dict[str, float]:
    samples = app.safelight.instruments.registry.collect()
    return {
        sample.labels["source"]: sample.value
        for metric in samples
        if metric.name == "safelight_renders"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


async def pyramids(renditions: MemoryStorage) -> list[str]:
    return [stored.key for stored in await renditions.scan("") if stored.key.endswith(".tiles")]


def grid():
    for y in range(0, HEIGHT, 512):
        for x in range(0, WIDTH, 512):
            w, h = min(512, WIDTH - x), min(512, HEIGHT - y)
            yield f"{x},{y},{w},{h}/{w},{h}/0/default.jpg", (x, y, w, h)


async def test_many_tiles_at_once_are_one_pyramid_and_every_one_is_its_part(run, picture):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions) as app:
        id = await put(app, picture)
        assert await pyramids(renditions) == []
        tiles = dict(grid())
        answers = await asyncio.gather(*(app.client.get(f"/iiif/3/{id}/{path}") for path in tiles))

        whole = scene(WIDTH, HEIGHT)
        for answer, (path, (x, y, w, h)) in zip(answers, tiles.items(), strict=True):
            assert answer.status_code == 200, (path, answer.text)
            tile = Image.open(io.BytesIO(answer.content)).convert("RGB")
            expected = whole.crop((x, y, x + w, y + h))
            assert tile.size == expected.size
            near = [
                abs(a - b)
                for a, b in zip(tile.resize((1, 1)).getpixel((0, 0)), expected.resize((1, 1)).getpixel((0, 0)), strict=True)
            ]
            assert max(near) <= 3, path
        assert len(await pyramids(renditions)) == 1
        assert (made_of(app).get("pyramid"), made_of(app).get("tiles"), made_of(app).get("original", 0)) == (1, len(tiles), 0)


async def test_a_pyramid_that_is_lost_or_torn_is_made_again(run, picture):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions) as app:
        id = await put(app, picture)
        assert (await app.client.get(f"/iiif/3/{id}/0,0,512,512/max/0/default.jpg")).status_code == 200
        (key,) = await pyramids(renditions)
        app.safelight.delivery.renderer.pyramids.headers.drop(key)

        await renditions.purge(key)
        assert (await app.client.get(f"/iiif/3/{id}/512,0,512,512/max/0/default.jpg")).status_code == 200
        assert made_of(app)["pyramid"] == 2

        app.safelight.delivery.renderer.pyramids.headers.drop(key)
        await renditions.put(key, b"SLtiles1 torn")
        assert (await app.client.get(f"/iiif/3/{id}/1024,0,512,512/max/0/default.jpg")).status_code == 200
        assert made_of(app)["pyramid"] == 3


async def test_one_that_vanishes_behind_our_back_costs_a_decoding_and_no_answer(run, picture):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions) as app:
        id = await put(app, picture)
        assert (await app.client.get(f"/iiif/3/{id}/0,0,512,512/max/0/default.jpg")).status_code == 200
        (key,) = await pyramids(renditions)
        await renditions.purge(key)  # its header is still remembered

        assert (await app.client.get(f"/iiif/3/{id}/512,0,512,512/max/0/default.jpg")).status_code == 200
        assert made_of(app)["original"] == 1
        assert (await app.client.get(f"/iiif/3/{id}/1024,0,512,512/max/0/default.jpg")).status_code == 200
        assert (made_of(app)["original"], made_of(app)["pyramid"]) == (1, 2)


async def test_the_largest_are_tiled_before_anybody_looks(run, picture):
    renditions = MemoryStorage()
    settings = {"develop": {"tiled_pixels": WIDTH * HEIGHT}}
    async with run(settings, originals=MemoryStorage(), renditions=renditions) as app:
        await put(app, picture)
        async with asyncio.timeout(60):
            while not await pyramids(renditions):
                await asyncio.sleep(0.02)
        await put(app, encoded(scene(WIDTH, HEIGHT - 1), "JPEG"))
        assert len(await pyramids(renditions)) == 1


async def test_a_pyramid_goes_with_its_picture(run, picture):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions) as app:
        id = await put(app, picture)
        assert (await app.client.get(f"/iiif/3/{id}/0,0,512,512/max/0/default.jpg")).status_code == 200
        assert len(await pyramids(renditions)) == 1
        assert (await app.client.delete(f"/images/{id}")).is_success
        assert (await app.client.delete(f"/images/{id}?purge=true")).is_success
        async with asyncio.timeout(60):
            while await pyramids(renditions):
                await asyncio.sleep(0.02)


async def test_signed_regions_come_from_tiles_too(run, picture):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        id = await put(app, picture)
        answer = await app.client.post(f"/images/{id}/urls", json={"transforms": ["c=300:200:400:400.webp"]})
        assert Image.open(io.BytesIO((await app.client.get(answer.json()["urls"][0])).content)).size == (400, 400)
        assert (made_of(app).get("tiles"), made_of(app).get("original", 0)) == (1, 0)
