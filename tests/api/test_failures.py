"""What happens when a part of ours fails while a picture is developed: retries, dead letters, and the way back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.dbos import DbosWorkflows
from safelight.domain.queries import ImageQuery
from safelight.errors import BackendUnavailable
from safelight.flows import Retry


class MoodyStorage(MemoryStorage):
    """A real storage that does not answer to the next so many puts."""

    failures = 0

    async def put(self, key, body, **options):
        if self.failures > 0:
            self.failures -= 1
            raise BackendUnavailable
        return await super().put(key, body, **options)


def impatient(folder, attempts):
    """The durable engine with the same flows, but without rests."""

    def engine(bound):
        flows = {
            name: replace(
                flow, steps=tuple(replace(s, retry=Retry(attempts=attempts, first_wait_s=0.01, backoff=1)) for s in flow.steps)
            )
            for name, flow in bound.flows.items()
        }
        return DbosWorkflows(f"sqlite:///{folder / 'workflows.db'}", replace(bound, flows=flows), concurrency=4)

    return engine


async def eventually(ask, wanted, within_s=60.0):
    """What `ask` tells, as soon as it is what was wanted."""
    told = None
    for _ in range(int(within_s / 0.05)):
        told = await ask()
        if wanted(told):
            return told
        await asyncio.sleep(0.05)
    raise AssertionError(told)


def dead_letters(app):
    async def listed():
        return (await app.client.get("/admin/failures")).json()["failures"]

    return listed


async def test_a_backend_that_stumbles_is_tried_again_and_nobody_notices(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 5)) as app:
        storage.failures = 2
        answer = await app.client.post("/images", files={"file": jpeg()})

        assert (answer.status_code, answer.json()["status"]) == (201, "ready")


async def test_what_cannot_succeed_becomes_a_dead_letter_and_a_retry_makes_it_ready(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 2)) as app:
        storage.failures = 10_000
        answer = await app.client.post("/images", files={"file": jpeg()})
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["problem"]["code"]) == ("failed", "backend_unavailable")

        listed = await eventually(dead_letters(app), bool)  # the image is told a moment before the letter can be read
        assert [failure["flow"] for failure in listed] == ["develop"]
        assert listed[0]["payload"]["image"] == answer.json()["id"]
        path = f"/admin/failures/{listed[0]['id']}"
        assert (await app.client.get(path)).json()["attempts"] == 2

        storage.failures = 0
        assert (await app.client.post(f"{path}/retry")).status_code == 202

        async def record():
            return (await app.client.get(f"/images/{answer.json()['id']}")).json()

        ready = await eventually(record, lambda r: r["status"] == "ready")
        assert len(ready["renditions"]) == 12
        assert (await app.client.get("/admin/failures")).json()["failures"] == []
        assert (await app.client.post(f"{path}/retry")).json()["code"] == "wrong_state"


async def test_dead_letters_are_retried_and_discarded_by_filter(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 1)) as app:
        storage.failures = 10_000
        for seed in range(3):
            await app.client.post("/images", files={"file": jpeg(seed=seed)})
        listed = await eventually(dead_letters(app), lambda found: len(found) == 3)
        tenant, later = listed[0]["tenant"], "2100-01-01T00:00:00Z"
        ask = app.client

        async def count(**filters):
            return len((await ask.get("/admin/failures", params=filters)).json()["failures"])

        assert listed[0]["log"][0].split(" ", 1)[1].startswith("try failed step=develop tries=1 error=BackendUnavailable")
        assert [await count(tenant=tenant), await count(tenant="0" * 26)] == [3, 0]
        assert [await count(flow="develop"), await count(flow="mail")] == [3, 0]
        assert [await count(cause="BACKENDunavailable"), await count(cause="nothing like it")] == [3, 0]
        assert [await count(before=later), await count(after=later), await count(before="2000-01-01T00:00:00Z")] == [3, 0, 0]

        # Without a word of which ones, nothing happens; nor with a word that means nothing.
        for method, path in (("POST", "/admin/failures/retry"), ("DELETE", "/admin/failures")):
            for filters in ({}, {"all": "true", "flow": "develop"}, {"fow": "develop"}, {"before": "soon"}, {"tenant": "x" * 99}):
                refused = await ask.request(method, path, params=filters)
                assert (refused.status_code, refused.json()["code"]) == (400, "bad_field"), filters
        assert await count() == 3

        none = await ask.post("/admin/failures/retry", params={"flow": "mail"})
        assert (none.status_code, none.json()) == (202, {"count": 0, "has_more": False})
        some = (await ask.request("DELETE", "/admin/failures", params={"cause": "unavailable", "limit": 1})).json()
        assert (some, await count()) == ({"count": 1, "has_more": True}, 2)
        storage.failures = 0
        retried = (await ask.post("/admin/failures/retry", params={"all": "true"})).json()
        assert retried == {"count": 2, "has_more": False}

        async def ready():
            return (await ask.get("/images", params={"status": "ready"})).json()["images"]

        assert len(await eventually(ready, lambda found: len(found) == 2)) == 2
        assert await count() == 0


async def test_a_dead_letter_can_be_discarded(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 1)) as app:
        storage.failures = 10_000
        await app.client.post("/images", files={"file": jpeg()})
        listed = await eventually(dead_letters(app), bool)  # the image is told a moment before the letter can be read

        assert (await app.client.delete(f"/admin/failures/{listed[0]['id']}")).status_code == 204
        assert (await app.client.get("/admin/failures")).json()["failures"] == []
        assert (await app.client.get("/admin/failures/nothing")).json()["code"] == "not_found"


async def test_an_original_that_cannot_be_stored_leaves_no_row_and_answers_503(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=storage, renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        storage.failures = 1
        answer = await app.client.post("/images", files={"file": jpeg()})

        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        assert "retry-after" in answer.headers
        assert (await app.client.get("/images")).json()["images"] == []


async def test_a_rendition_that_was_lost_is_made_again_from_the_master(run, tmp_path):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions, workflows=impatient(tmp_path, 1)) as app:
        record = (await app.client.post("/images", files={"file": jpeg()})).json()
        for stored in await renditions.scan(""):
            await renditions.delete(stored.key)
        url = next(r["url"] for r in record["renditions"] if r["preset"] == "thumb_300" and r["format"] == "webp")
        answers = await asyncio.gather(*(app.client.get(url) for _ in range(20)))

        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert 'safelight_renders_total{source="master"} 1.0' in (await app.client.get("/metrics")).text


async def test_the_clock_purges_what_has_been_in_the_trash_for_its_days(run, tmp_path):
    originals, renditions = MemoryStorage(), MemoryStorage()
    overrides = {"originals": originals, "renditions": renditions, "workflows": impatient(tmp_path, 1)}
    async with run({"trash": {"days": 0}}, **overrides) as app:
        kept = (await app.client.post("/images", files={"file": jpeg(seed=1)})).json()
        gone = (await app.client.post("/images", files={"file": jpeg(seed=2)})).json()
        await app.client.delete(f"/images/{gone['id']}")

        assert await app.safelight.library.purge_expired() == 1
        assert (await app.client.get(f"/images/{gone['id']}")).status_code == 404

        async def left():
            return {stored.key.split("/")[1] for bucket in (originals, renditions) for stored in await bucket.scan("")}

        assert await eventually(left, lambda ids: ids == {kept["id"]})


async def test_objects_that_no_row_knows_are_removed_and_others_stay(run, tmp_path):
    originals, renditions = MemoryStorage(), MemoryStorage()
    overrides = {"originals": originals, "renditions": renditions, "workflows": impatient(tmp_path, 1)}
    async with run(**overrides) as app:
        record = (await app.client.post("/images", files={"file": jpeg()})).json()
        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        async with app.safelight.catalog.tenant(tenant.id) as records:
            (image,) = (await records.images.page(ImageQuery())).images
        for bucket in (originals, renditions):
            await bucket.put(f"{tenant.id}/{'0' * 26}/1/original", b"left by a crash")

        swept = await app.safelight.upkeep.sweep_orphans(before=app.safelight.library.clock())

        assert swept == 2
        assert (await app.client.get(f"/images/{record['id']}/original")).status_code == 200
        assert {s.key.split("/")[1] for s in await originals.scan("")} == {image.id}


@pytest.mark.parametrize("part", ["catalog", "search", "workflows"])
async def test_readiness_names_the_part_that_does_not_answer(run, tmp_path, part):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        await next(p for p in app.safelight.parts if p.name == part).close()

        async def silent():
            answer = await app.client.get("/health/ready")
            return answer.status_code, {name for name, state in answer.json()["parts"].items() if state != "ok"}

        await eventually(silent, lambda said: said == (503, {part}))  # on a busy machine another one may be late for once


async def test_reindexing_finds_again_what_the_search_had_lost(run, tmp_path):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        record = (await app.client.post("/images", files={"file": jpeg()}, data={"title": "Marmot"})).json()

        async def found():
            return (await app.client.get("/images/search", params={"q": "marmot"})).json()["results"]

        await eventually(found, bool)
        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        await app.safelight.library.search_index.remove(tenant.id, [record["id"]])
        assert await found() == []

        assert (await app.client.post("/admin/reindex")).json() == {"documents": 1}
        assert [r["image"]["id"] for r in await found()] == [record["id"]]
