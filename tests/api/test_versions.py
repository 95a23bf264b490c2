"""Replacements whose end is uncertain: bytes that a record may name are never removed, and bytes that none names are in nobody's way."""

from __future__ import annotations

import asyncio

from tests.faulty import silent
from tests.pictures import jpeg, png

from safelight.domain.ids import ImageId, TenantId

FIRST, SECOND = jpeg(64, 48, seed=91), png(30, 50, seed=92)


async def uploaded(app) -> str:
    answer = await app.client.post("/images", files={"file": FIRST})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def image_of(app, image: str):
    async with app.safelight.catalog.directory() as directory:
        tenant: TenantId = await directory.tenant_of(ImageId(image))
    async with app.safelight.catalog.tenant(tenant) as records:
        return await records.images.get(ImageId(image))


async def test_a_replacement_whose_commit_nobody_has_heard_of_keeps_its_bytes(run):
    async with run() as app:
        image = await uploaded(app)
        ingest = app.safelight.ingest
        catalog = ingest.catalog
        object.__setattr__(ingest, "catalog", silent(catalog))
        answer = await app.client.put(f"/images/{image}/original", files={"file": SECOND})
        object.__setattr__(ingest, "catalog", catalog)

        assert answer.status_code == 503
        assert (await image_of(app, image)).version == 2
        assert (await app.client.get(f"/images/{image}/original")).content == SECOND
        assert (await app.client.get(f"/images/{image}/original", params={"version": 1})).content == FIRST


async def test_a_replacement_that_was_cut_off_before_its_commit_is_in_the_way_of_none(run):
    async with run() as app:
        image = await uploaded(app)
        left = (await image_of(app, image)).key_of_version(2)
        await app.safelight.ingest.originals.put(left, b"cut off", media_type="image/png", if_absent=True)
        replaced = await app.client.put(f"/images/{image}/original", files={"file": SECOND})
        restored = await app.client.post(f"/images/{image}/versions/1/restore")

        assert (replaced.status_code, replaced.json()["version"]) == (200, 3)
        assert (restored.status_code, restored.json()["version"]) == (200, 4)
        assert (await app.client.get(f"/images/{image}/original", params={"version": 3})).content == SECOND
        assert (await app.client.get(f"/images/{image}/original", params={"version": 2})).status_code == 404


async def test_of_two_replacements_at_once_one_is_told_of_the_other(run):
    async with run() as app:
        image = await uploaded(app)
        etag = (await app.client.get(f"/images/{image}")).headers["etag"]
        answers = await asyncio.gather(
            *(
                app.client.put(f"/images/{image}/original", files={"file": data}, headers={"if-match": etag})
                for data in (SECOND, png(31, 51, seed=93))
            )
        )
        taken = [answer for answer in answers if answer.status_code == 200]

        assert len(taken) == 1
        assert {answer.status_code for answer in answers} <= {200, 409, 412}
        now = await image_of(app, image)
        assert (now.sha256, len(now.versions)) == (taken[0].json()["sha256"], 2)
