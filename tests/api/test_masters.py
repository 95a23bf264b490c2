"""Delivery reads the smallest master that has the pixels; the large one stands in for one that is lost or spoilt."""

from __future__ import annotations

from tests.golden.samples import decoded, encoded, scene


async def widths(app, id, *texts):
    urls = (await app.client.post(f"/images/{id}/urls", json={"transforms": list(texts)})).json()["urls"]
    return [decoded((await app.client.get(url)).raise_for_status().content).size for url in urls]


async def test_small_pictures_need_no_large_master_and_large_ones_no_small_ones(run):
    async with run() as app:
        made = (await app.client.post("/images", files={"file": ("a.jpg", encoded(scene().resize((2400, 1800)), "JPEG"))})).json()
        buckets = app.safelight.development.buckets
        keys = {pile.key.rpartition("/")[2]: pile.key for pile in await buckets.originals.piles("") if made["id"] in pile.key}
        assert {"original", "master.jpg", "master_1200.jpg", "master_600.jpg"} == keys.keys()
        large = await buckets.originals.get(keys["master.jpg"])

        await buckets.originals.purge(keys["master.jpg"])
        assert await widths(app, made["id"], "w=500.webp", "w=1000.webp") == [(500, 375), (1000, 750)]

        await buckets.originals.put(keys["master.jpg"], large)
        await buckets.originals.purge(keys["master_600.jpg"])
        await buckets.originals.purge(keys["master_1200.jpg"])
        assert await widths(app, made["id"], "w=501.webp", "w=1001.webp") == [(501, 376), (1001, 751)]


async def test_a_master_that_is_too_small_for_lesser_ones_has_none(run):
    async with run() as app:
        made = (await app.client.post("/images", files={"file": ("a.jpg", encoded(scene(), "JPEG"))})).json()
        keys = [
            pile.key.rpartition("/")[2]
            for pile in await app.safelight.development.buckets.originals.piles("")
            if made["id"] in pile.key
        ]
        assert sorted(keys) == ["master.jpg", "original"]
        assert await widths(app, made["id"], "w=150.webp") == [(150, 113)]
