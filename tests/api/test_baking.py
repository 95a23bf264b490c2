"""AVIFs are made in a hurry for the first visitor, and again in the background: the better one takes the place of the first."""

from __future__ import annotations

import asyncio

from tests.golden.samples import decoded, encoded, scene


async def upload(app, **fields: str) -> str:
    picture = encoded(scene(1200, 900), "JPEG")
    return (await app.client.post("/images", files={"file": ("a.jpg", picture)}, data=fields)).json()["id"]


async def signed(app, image: str, transform: str) -> str:
    return (await app.client.post(f"/images/{image}/urls", json={"transforms": [transform]})).json()["urls"][0]


async def keys(app, image: str) -> list[str]:
    tenant = (await app.safelight.accounts.authenticate(app.token)).tenant
    found = await app.safelight.delivery.renditions.store.piles(f"{tenant}/{image}/")
    return [pile.key for pile in found if "/g" in pile.key]


async def baked(app, image: str) -> str:
    """The key of the better one, when there is nothing else any more."""
    for _ in range(1200):
        found = await keys(app, image)
        if len(found) == 1 and "/t-" in found[0]:
            return found[0]
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def test_the_better_avif_takes_the_place_of_the_first_with_another_etag(run, tmp_path):
    async with run({"delivery": {"disk_path": tmp_path / "shelf"}}) as app:
        image = await upload(app, visibility="public")
        url = await signed(app, image, "w=300.avif")
        first = await app.client.get(url)
        assert first.headers["cache-control"] == "public, max-age=60", "it will be another one"
        await baked(app, image)

        better = await app.client.get(url, headers={"if-none-match": first.headers["etag"]})
        assert better.status_code == 200
        assert len(better.content) < len(first.content)
        assert better.headers["etag"] != first.headers["etag"]
        assert "immutable" in better.headers["cache-control"]
        assert decoded(better.content).size == decoded(first.content).size == (300, 225)
        assert better.headers["server-timing"].startswith("store")
        assert (await app.client.get(url)).headers["server-timing"].startswith("memory")
        assert (await app.client.get(url)).content == better.content
        counted = (await app.client.get("/me/usage")).json()["transformations"]
        assert counted == 1, "nobody has asked for the better one"


async def test_a_first_one_is_delivered_until_it_is_baked_and_is_made_once(run):
    async with run() as app:
        started: list[str] = []

        async def never(tenant: str, key: str, payload: dict) -> None:
            started.append(key)

        image = await upload(app)
        object.__setattr__(app.safelight.delivery.renditions, "bake_later", never)
        url = await signed(app, image, "w=200.avif")
        answers = [await app.client.get(url) for _ in range(3)]
        app.safelight.delivery.renditions.drafts.clear()
        answers.append(await app.client.get(url))

        assert [answer.headers["server-timing"].partition(";")[0] for answer in answers] == [
            "rendered",
            "draft",
            "draft",
            "draft",
        ]
        assert len({answer.headers["etag"] for answer in answers}) == 1
        assert len(set(started)) == 1
        assert len(started) == 2, "whoever finds it in the store asks again, should the first word have been lost"


async def test_what_cannot_be_made_smaller_stays_and_is_final(run):
    async with run() as app:

        async def never(tenant: str, key: str, payload: dict) -> None:
            payloads.append(payload)

        payloads: list[dict] = []
        image = await upload(app)
        object.__setattr__(app.safelight.delivery.renditions, "bake_later", never)
        url = await signed(app, image, "w=200.avif")
        await app.client.get(url)
        store, (payload,) = app.safelight.delivery.renditions.store, payloads
        await store.put(payload["draft"], b"tiny", media_type="image/avif")
        app.safelight.delivery.renditions.drafts.clear()
        for run_id in ("bake-one", "bake-two"):  # a step may run twice
            await app.safelight.workflows.start("bake", run_id, payload)
        await baked(app, image)

        assert (await app.client.get(url)).content == b"tiny"


async def test_one_whose_image_was_purged_meanwhile_is_not_baked(run):
    async with run() as app:
        payloads: list[dict] = []

        async def never(tenant: str, key: str, payload: dict) -> None:
            payloads.append(payload)

        image = await upload(app)
        bake_later = app.safelight.delivery.renditions.bake_later
        object.__setattr__(app.safelight.delivery.renditions, "bake_later", never)
        url = await signed(app, image, "w=200.avif")
        first = await app.client.get(url)
        await app.client.post("/admin/purges", json={"image": image})
        object.__setattr__(app.safelight.delivery.renditions, "bake_later", bake_later)
        await app.safelight.workflows.start("bake", "bake-test", payloads[0])

        assert (await app.client.get(url)).headers["server-timing"].startswith("rendered")
        for _ in range(1200):
            if not [key for key in await keys(app, image) if "/g0/" in key] and len(await keys(app, image)) == 1:
                break
            await app.safelight.purges.go_on()
            await asyncio.sleep(0.05)
        assert "/g1/t-" in await baked(app, image)
        assert len((await app.client.get(url)).content) <= len(first.content)


async def test_what_is_warmed_is_at_its_best_at_once(run):
    async with run() as app:
        image = await upload(app)
        url = await signed(app, image, "w=300.avif")
        begun = await app.client.post(f"/images/{image}/warm", json={"transforms": ["w=300.avif"]})
        for _ in range(1200):
            if (await app.client.get(begun.headers["location"])).json()["state"] == "done":
                break
            await asyncio.sleep(0.05)
        answer = await app.client.get(url)

        assert answer.headers["server-timing"].startswith("store")
        assert "immutable" in answer.headers["cache-control"]


async def test_it_can_be_switched_off(run):
    async with run({"delivery": {"bake_avif": False}}) as app:
        image = await upload(app)
        url = await signed(app, image, "w=300.avif")
        first = await app.client.get(url)
        assert "immutable" in first.headers["cache-control"]
        assert (await app.client.get(url)).headers["server-timing"].startswith("memory")
        assert "/t-" in (await keys(app, image))[0]


async def test_what_is_sought_or_made_of_the_original_is_not_baked(run):
    async with run() as app:
        image = await upload(app)
        for transform in ("w=200,quality=auto.avif", "w=200,max_bytes=4000.avif"):
            answer = await app.client.get(await signed(app, image, transform))
            assert "immutable" in answer.headers["cache-control"], transform
