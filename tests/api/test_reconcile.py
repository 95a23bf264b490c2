"""Reconciling: what does not agree is found and mended, and what does is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.faulty import spoil
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.events import ImageAccepted
from safelight.domain.images import Status
from safelight.domain.queries import ImageQuery
from safelight.services.development import document
from safelight.services.reconciler import ALL, GRACE, SAFE, Drift
from safelight.testing.factories import make_image, make_tenant, make_user

NONE: frozenset[Drift] = frozenset()
WAIT_S = 60.0


@pytest.fixture
async def app(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        yield app


async def tenant_of(app):
    async with app.safelight.catalog.directory() as directory:
        (tenant,) = await directory.tenants()
    return tenant.id


async def upload(app, **data):
    """The record when it is ready and its flow is over, so that nobody is at work on it."""
    answer = await app.client.post("/images", files={"file": jpeg(seed=hash(str(data)) % 1000)}, data=data)
    assert answer.status_code == 201, answer.text
    image = await image_of(app, answer.json()["id"])
    await until(lambda: indexed(app, image))
    return image


async def image_of(app, id):
    async with app.safelight.catalog.tenant(await tenant_of(app)) as records:
        return await records.images.get(id)


async def indexed(app, image):
    return image.id in await app.safelight.development.search.digests(image.tenant)


async def until(ask):
    async with asyncio.timeout(WAIT_S):
        while not (found := await ask()):
            await asyncio.sleep(0.05)
    return found


async def reconciled(app, mends=ALL, grace=timedelta(0)):
    """Of each kind that was found, how many were found and mended."""
    report = await app.safelight.reconciler.run(mends=mends, grace=grace)
    app.safelight.relay.nudge()
    return {kind: (finding.count, finding.mended) for kind, finding in report.findings.items() if finding.count}


async def ready_again(app, image):
    async def ready():
        current = await image_of(app, image.id)
        return current.status is Status.READY and current.revision > image.revision and await indexed(app, image)

    await until(ready)


async def test_what_agrees_is_left_alone(app):
    image = await upload(app, title="Harbour")
    trashed = await upload(app, title="Quay")
    assert (await app.client.delete(f"/images/{trashed.id}")).status_code == 204
    await until(lambda: is_marked(app, trashed))
    before = await image_of(app, image.id)

    assert await reconciled(app) == {}
    assert await image_of(app, image.id) == before
    assert app.safelight.instruments.registry.get_sample_value("safelight_reconcile_finished_timestamp_seconds") > 0


async def is_marked(app, image):
    pile = await app.safelight.development.buckets.originals.piles(image.original_key, limit=1)
    return pile[0].layers[-1].is_marker and not await indexed(app, image)


async def test_missing_renditions_and_masters_are_developed_again_and_the_owners_words_stay(app):
    image = await upload(app, title="Harbour")
    buckets = app.safelight.development.buckets
    await buckets.renditions.purge(image.prefix)
    await buckets.originals.purge(image.delivered_master_key)
    await app.client.patch(f"/images/{image.id}", json={"title": "", "tags": []})
    image = await image_of(app, image.id)
    await until(lambda: indexed(app, image))

    found = await reconciled(app)

    assert {kind: found[kind] for kind in (Drift.MASTER, Drift.RENDITION)} == {Drift.MASTER: (1, 1), Drift.RENDITION: (1, 1)}
    await ready_again(app, image)
    again = await image_of(app, image.id)
    assert (again.title, again.tags, again.version) == ("", (), image.version)
    for rendition in again.renditions:
        await buckets.renditions.get(rendition.object_key)
    await buckets.originals.get(again.delivered_master_key)
    assert await reconciled(app) == {}


async def test_an_image_whose_original_is_missing_says_so_keeps_what_there_is_and_is_well_when_it_comes_back(app):
    image = await upload(app, title="Harbour")
    originals = app.safelight.development.buckets.originals
    body = await originals.get(image.original_key)
    await originals.purge(image.original_key)

    assert await reconciled(app, NONE) == {Drift.ORIGINAL: (1, 0)}
    assert (await image_of(app, image.id)).revision == image.revision
    assert await reconciled(app, SAFE) == {Drift.ORIGINAL: (1, 0)}
    assert await reconciled(app) == {Drift.ORIGINAL: (1, 1)}

    record = (await app.client.get(f"/images/{image.id}")).json()
    assert (record["status"], record["problem"]["code"], record["title"]) == ("ready", "original_missing", "Harbour")
    assert (await app.client.get(record["renditions"][0]["url"])).status_code == 200
    revision = (await image_of(app, image.id)).revision
    await until(lambda: indexed(app, image))
    assert await reconciled(app) == {Drift.ORIGINAL: (1, 0)}, "it is told once"
    assert (await image_of(app, image.id)).revision == revision

    await originals.put(image.original_key, body)
    assert Drift.ORIGINAL not in await reconciled(app)
    assert (await app.client.get(f"/images/{image.id}")).json()["problem"] is None


async def test_a_record_that_cannot_be_read_is_told_and_holds_up_nobody_else(app):
    damaged, sound = await upload(app, title="Harbour"), await upload(app, title="Quay")
    other = make_tenant()
    async with app.safelight.catalog.directory(writes=True) as directory:
        await directory.add_tenant(other)
    async with app.safelight.catalog.tenant(other.id, writes=True) as records:
        await records.accounts.add_user(user := make_user(other.id))
        await records.images.add(lost := make_image(other.id, owner=user.id))
    await spoil(app, "images", "metadata", damaged.id)
    buckets = app.safelight.development.buckets
    await buckets.renditions.purge(sound.prefix)

    report = await app.safelight.reconciler.run(mends=ALL, grace=timedelta(0))

    assert {kind: report.findings[kind].first for kind in (Drift.RECORD, Drift.RENDITION, Drift.ORIGINAL)} == {
        Drift.RECORD: [damaged.id],
        Drift.RENDITION: [sound.id],
        Drift.ORIGINAL: [lost.id],
    }
    assert (report.images, report.findings[Drift.ORPHAN].count, report.findings[Drift.STRAY].count) == (3, 0, 0)
    assert len(await buckets.originals.get(damaged.original_key)) == damaged.size_bytes
    assert await indexed(app, damaged)
    gauge = app.safelight.instruments.registry.get_sample_value
    assert gauge("safelight_reconcile_found", {"kind": "record_damaged"}) == 1


async def test_work_that_nobody_does_is_begun_again_and_work_that_somebody_does_is_not(app):
    image = await upload(app, title="Harbour")
    stuck = image.developed_again(at=app.safelight.development.clock())
    async with app.safelight.catalog.tenant(image.tenant, writes=True) as records:
        await records.images.save(stuck)  # and no event: what a workflow engine that lost its rows looks like
    await app.safelight.development.search.remove(image.tenant, [image.id])

    assert await reconciled(app, NONE, GRACE) == {}, "younger than the grace"
    assert await reconciled(app) == {Drift.STUCK: (1, 1)}
    await ready_again(app, stuck)


async def test_a_run_that_waits_is_no_stuck_image(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        image = await upload(app, title="Harbour")
        async with app.safelight.development.fetching.admit(1_000_000):  # all of it: the run waits in its step
            again = image.developed_again(at=app.safelight.development.clock())
            async with app.safelight.catalog.tenant(image.tenant, writes=True) as records:
                await records.images.save(again)
                await records.emit(ImageAccepted.of(again))
            app.safelight.relay.nudge()

            async def begun():
                async with app.safelight.catalog.journal(image.tenant) as journal:
                    entries = [one.entry for one in await journal.after(0, image=image.id)]
                return [one for one in entries if one.name == "step.started" and one.revision == again.revision]

            await until(begun)
            found = await reconciled(app, NONE)
        assert Drift.STUCK not in found
        await ready_again(app, again)


async def test_delete_markers_are_put_right_in_both_directions(app):
    shown, hidden = await upload(app, title="Harbour"), await upload(app, title="Quay")
    await app.client.delete(f"/images/{hidden.id}")
    await until(lambda: is_marked(app, hidden))
    originals = app.safelight.development.buckets.originals
    await originals.restore(hidden.original_key)
    await originals.delete(shown.original_key)

    assert await reconciled(app, SAFE) == {Drift.MARKER: (2, 2)}
    await originals.get(shown.original_key)
    assert await is_marked(app, hidden)
    assert await reconciled(app) == {}


async def test_the_search_is_put_right_in_both_directions(app):
    forgotten, stale, stray = [await upload(app, title=name) for name in ("Harbour", "Quay", "Pier")]
    search = app.safelight.development.search
    await search.remove(forgotten.tenant, [forgotten.id])
    await search.put(stale.tenant, [replace(document(stale), title="Mountain")])
    await app.client.delete(f"/images/{stray.id}")
    await until(lambda: is_marked(app, stray))
    await search.put(stray.tenant, [document(stray), replace(document(stray), image="7" * 26)])

    assert await reconciled(app, NONE) == {Drift.UNINDEXED: (2, 0), Drift.STRAY: (2, 0)}
    assert await reconciled(app, SAFE) == {Drift.UNINDEXED: (2, 2), Drift.STRAY: (2, 2)}
    assert await reconciled(app) == {}
    held = await search.digests(stale.tenant)
    assert held == {image.id: document(image).digest for image in sorted((forgotten, stale), key=lambda image: image.id)}


async def test_objects_that_no_record_knows_are_removed_on_request_only(app):
    image = await upload(app, title="Harbour")
    buckets = app.safelight.development.buckets
    await buckets.originals.put(f"{image.tenant}/{'0' * 26}/1/original", b"left by a crash")
    await buckets.originals.put(f"{image.prefix}7/original", b"a replacement that never came to be")
    await buckets.renditions.put(f"{image.prefix}7/thumb_300.webp", b"its rendition")

    assert await reconciled(app, ALL, GRACE) == {}, "a replacement that is just coming in looks like that, too"
    expected = {Drift.ORPHAN: 1, Drift.LEFTOVER: 2}
    assert await reconciled(app, SAFE) == {kind: (count, 0) for kind, count in expected.items()}
    assert await reconciled(app) == {kind: (count, count) for kind, count in expected.items()}
    assert await reconciled(app) == {}
    async with app.safelight.catalog.tenant(image.tenant) as records:
        assert len((await records.images.page(ImageQuery())).images) == 1


async def test_no_more_than_so_many_images_are_developed_again_in_one_pass(app):
    images = [await upload(app, title=name) for name in ("Harbour", "Quay", "Pier")]
    for image in images:
        await app.safelight.development.buckets.renditions.purge(image.prefix)

    report = await replace(app.safelight.reconciler, most_anew=2, at_once=1).run(mends=SAFE, grace=timedelta(0))

    assert (report.findings[Drift.RENDITION].count, report.findings[Drift.RENDITION].mended) == (3, 2)


async def test_bytes_that_are_refused_when_they_are_developed_again_stay_and_are_not_tried_for_ever(app):
    image = await upload(app, title="Harbour")
    buckets = app.safelight.development.buckets
    await buckets.renditions.purge(image.prefix)
    stored = await buckets.originals.put(image.original_key, b"no picture at all")
    async with app.safelight.catalog.tenant(image.tenant, writes=True) as records:
        image = replace(image, revision=image.revision + 1, sha256=stored.etag)
        await records.images.save(image)

    assert await reconciled(app) == {Drift.RENDITION: (1, 1)}
    await ready_again(app, image)

    again = await image_of(app, image.id)
    assert (again.status, again.problem.code) == (Status.READY, "unsupported_format")
    assert await buckets.originals.get(image.original_key) == b"no picture at all"
    assert await reconciled(app) == {Drift.RENDITION: (1, 0)}
