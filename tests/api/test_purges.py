"""A purge by hand: what was made on request is made anew, and nothing that was made before is served again."""

from __future__ import annotations

import asyncio

from tests.golden.samples import encoded, scene

from safelight.domain.purges import SETTLE

OLD = b"made before the purge"


async def upload(app, **fields: str) -> str:
    answer = await app.client.post("/images", files={"file": ("a.jpg", encoded(scene(), "JPEG"))}, data=fields)
    return answer.json()["id"]


async def signed(app, image: str, *transforms: str) -> list[str]:
    return (await app.client.post(f"/images/{image}/urls", json={"transforms": list(transforms)})).json()["urls"]


async def keys(app, image: str) -> list[str]:
    """Of everything that is kept of the image beside its original."""
    tenant = (await app.safelight.accounts.authenticate(app.token)).tenant
    return [pile.key for pile in await app.safelight.delivery.renditions.store.piles(f"{tenant}/{image}/")]


async def age(app, image: str, *urls: str) -> None:
    """Have each URL answered by bytes that can be told from what would be made now."""
    for url in urls:
        await app.client.get(url)
    made = [key for key in await keys(app, image) if "/g" in key]
    for key in made:
        await app.safelight.delivery.renditions.store.put(key, OLD, media_type="image/webp")
        app.safelight.delivery.renditions.memory.drop(key)
    if app.safelight.delivery.renditions.shelf is not None:
        await app.safelight.delivery.renditions.shelf.drop(made[0].partition("/1/")[0] + "/")
    assert {(await app.client.get(url)).content for url in urls} == {OLD}
    assert {(await app.client.get(url)).content for url in urls} == {OLD}


async def source(app, url: str) -> str:
    return (await app.client.get(url)).headers["server-timing"].partition(";")[0]


async def is_in_the_trail(app, action: str, of: str) -> bool:
    for _ in range(1200):
        found = (await app.client.get("/admin/audit", params={"object": of})).json()["entries"]
        if any(entry["action"] == action for entry in found):
            return True
        await asyncio.sleep(0.05)
    return False


async def ended(app, purge: dict) -> dict:
    for _ in range(1200):
        found = (await app.client.get(f"/admin/purges/{purge['id']}")).json()
        if found["state"] in ("done", "failed"):
            return found
        await app.safelight.purges.go_on()
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_a_purged_image_is_made_anew_and_nothing_older_is_left(run, tmp_path):
    async with run({"delivery": {"disk_path": tmp_path / "shelf"}}) as app:
        image, other = await upload(app), await upload(app)
        (url,), (others,) = await signed(app, image, "w=90.webp"), await signed(app, other, "w=90.webp")
        preset = (await app.client.get(f"/images/{image}")).json()["renditions"][0]["url"]
        before = await app.client.get(preset)
        await app.client.get(others)
        await age(app, image, url)
        outdated = [key for key in await keys(app, image) if "/g" in key]
        presets = [key for key in await keys(app, image) if "/g" not in key]

        asked = await app.client.post("/admin/purges", json={"image": image})
        assert (asked.status_code, asked.json()["state"], asked.json()["images"]) == (202, "removing", 1)
        assert (await app.client.get(url)).content != OLD
        assert (await source(app, url), await source(app, preset), await source(app, others)) == ("memory", "store", "memory")
        assert (await app.client.get(preset)).headers["etag"] == before.headers["etag"]
        assert (await ended(app, asked.json()))["images_done"] == 1

        assert set(outdated).isdisjoint(await keys(app, image))
        assert set(presets) < set(await keys(app, image))
        assert OLD not in [path.read_bytes() for path in (tmp_path / "shelf").rglob("*.webp")]
        assert await is_in_the_trail(app, "image.uncached", f"image/{image}")


async def test_urls_of_before_a_purge_go_on_and_are_not_kept_for_long(run):
    async with run() as app:
        image = await upload(app, visibility="public")
        (url,) = await signed(app, image, "w=90.webp")
        first = await app.client.get(url)
        assert "immutable" in first.headers["cache-control"]

        await app.client.post("/admin/purges", json={"image": image})
        again = await app.client.get(url, headers={"if-modified-since": first.headers["last-modified"]})
        assert again.status_code in (200, 304)
        assert again.headers["cache-control"] == "public, max-age=60"
        (fresh,) = await signed(app, image, "w=90.webp")
        assert fresh.partition("?v=")[2].startswith("1.1&")
        assert "immutable" in (await app.client.get(fresh)).headers["cache-control"]


async def test_purging_a_tag_or_a_tenant_forgets_its_images_the_trash_too(run):
    async with run() as app:
        tagged, trashed, plain = await upload(app, tags="sea"), await upload(app, tags="sea"), await upload(app)
        urls = {image: (await signed(app, image, "w=90.webp"))[0] for image in (tagged, trashed, plain)}
        for image, url in urls.items():
            await age(app, image, url)
        await app.client.delete(f"/images/{trashed}")

        purge = (await app.client.post("/admin/purges", json={"tag": "Sea"})).json()
        assert purge["state"] == "removing"
        await app.client.post(f"/images/{trashed}/restore")
        assert [(await app.client.get(urls[image])).content == OLD for image in (tagged, trashed, plain)] == [False, False, True]
        assert (await ended(app, purge))["images_done"] == 2

        purge = (await app.client.post("/admin/purges", json={"tenant": True})).json()
        assert (await app.client.get(urls[plain])).content != OLD
        assert (await ended(app, purge))["images_done"] == 3


async def test_a_watermark_that_was_purged_is_laid_on_anew(run):
    async with run() as app:
        image, logo = await upload(app), await upload(app)
        (url,) = await signed(app, image, f"w=300,wm={logo}.webp")
        await age(app, image, url)

        await app.client.post("/admin/purges", json={"image": logo})
        assert (await app.client.get(url)).content != OLD


async def test_whoever_asks_all_the_time_never_sees_older_bytes_after_newer_ones(run):
    async with run() as app:
        image = await upload(app)
        (url,) = await signed(app, image, "w=90.webp")
        await age(app, image, url)
        seen: list[bytes] = []
        is_over = asyncio.Event()

        async def visit() -> None:
            while not is_over.is_set():
                seen.append((await app.client.get(url)).content)
                await asyncio.sleep(0.02)

        visitors = [asyncio.create_task(visit()) for _ in range(4)]
        purge = (await app.client.post("/admin/purges", json={"image": image})).json()
        answered_at = len(seen)
        assert (await ended(app, purge))["state"] == "done"
        is_over.set()
        await asyncio.gather(*visitors)

        # Each of the four may have been under way when it was answered.
        assert OLD not in seen[answered_at + 4 :]
        assert len(seen) > answered_at + 4
        assert SETTLE.total_seconds() > app.safelight.delivery.known._ttl, "old bytes would be made again behind the purge"
