"""Scrubbing: a byte that a disk has changed is found, what can be made again is, and what cannot is never given out as if it were sound."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sqlite3
import zipfile
from datetime import timedelta

import orjson
import pytest
from tests.faulty import spoil
from tests.pictures import jpeg, png

from safelight.concurrency import Pace
from safelight.domain.images import Status
from safelight.errors import BackendUnavailable, DamagedObject
from safelight.services.rounds import SETTLED
from safelight.services.scrub import Flaw, Scrub

WAIT_S = 60.0
FAST = Pace(None)


@pytest.fixture(params=["sealed", "plain"])
async def app(request, run):
    async with run({"storage": {"is_encrypted": request.param == "sealed"}}) as app:
        yield app


async def until(ask):
    async with asyncio.timeout(WAIT_S):
        while not (found := await ask()):
            await asyncio.sleep(0.05)
    return found


async def image_of(app, id):
    async with app.safelight.catalog.directory() as directory:
        (tenant,) = await directory.tenants()
    async with app.safelight.catalog.tenant(tenant.id) as records:
        return await records.images.get(id)


async def upload(app, seed=1):
    answer = await app.client.post("/images", files={"file": jpeg(seed=seed)})
    assert answer.status_code == 201, answer.text
    return await image_of(app, answer.json()["id"])


def flip(app, key, *, at=-1):
    """One bit of a blob, as a disk would; of the newest version of the key unless another is named."""
    objects = app.safelight.settings.objects_path
    with sqlite3.connect(objects / "objects.db") as rows:
        blobs = [
            blob for (blob,) in rows.execute("select blob from versions where key = ? and blob is not null order by seq", [key])
        ]
    path = objects / "blobs" / blobs[at][:2] / blobs[at]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def scrubbed(app, *, mends=True, name="test"):
    """Of each kind that was found, how many were found and mended."""
    report = await app.safelight.scrub.run(name, FAST, mends=mends)
    app.safelight.relay.nudge()
    assert report.is_whole
    return {kind: (one.count, one.mended) for kind, one in report.findings.items() if one.count}


async def ready_again(app, image):
    async def ready():
        now = await image_of(app, image.id)
        return now if now.status is Status.READY and now.revision > image.revision else None

    return await until(ready)


async def test_what_is_sound_is_left_alone_and_all_of_it_is_read(app):
    image = await upload(app)
    trashed = await upload(app, seed=2)
    await app.client.delete(f"/images/{trashed.id}")
    before = await image_of(app, image.id)

    report = await app.safelight.scrub.run("test", FAST)

    assert report.is_clean
    assert report.images == 2
    assert report.objects == 2 * (2 + len(image.renditions))
    assert report.bytes > image.size_bytes + trashed.size_bytes + sum(one.size_bytes for one in image.renditions)
    assert await image_of(app, image.id) == before


async def test_a_damaged_rendition_and_master_are_made_again(app):
    image = await upload(app)
    flip(app, image.renditions[0].object_key)
    flip(app, image.delivered_master_key)

    assert await scrubbed(app, mends=False) == {Flaw.RENDITION: (1, 0), Flaw.MASTER: (1, 0)}
    assert (await image_of(app, image.id)).revision == image.revision
    assert await scrubbed(app) == {Flaw.RENDITION: (1, 1), Flaw.MASTER: (1, 1)}
    again = await ready_again(app, image)

    assert again.problem is None
    assert await scrubbed(app) == {}


async def test_a_record_that_cannot_be_read_is_told_and_holds_up_nobody_else(app):
    damaged, sound = await upload(app), await upload(app, seed=2)
    await spoil(app, "images", "metadata", damaged.id)
    flip(app, sound.renditions[0].object_key)

    report = await app.safelight.scrub.run("test", FAST)

    assert report.is_whole
    assert (report.images, report.findings[Flaw.RECORD].first) == (2, [damaged.id])
    assert report.findings[Flaw.RENDITION].count == 1
    value = app.safelight.instruments.registry.get_sample_value
    assert value("safelight_scrub_found_total", {"kind": "record_damaged"}) == 1


async def test_a_damaged_transform_and_damaged_tiles_are_made_again_when_somebody_asks(app):
    image = await upload(app)
    url = (await app.client.post(f"/images/{image.id}/urls", json={"transforms": ["w=64.webp"]})).json()["urls"][0]
    sound = (await app.client.get(url)).content
    buckets = app.safelight.development.buckets
    (key,) = [pile.key for pile in await buckets.renditions.piles(image.prefix) if "/t-" in pile.key]
    tiles = image.made_key("pyramid", "tiles", folder=image.developed_folder)
    await buckets.renditions.put(tiles, b"tiles" * 100)
    for damaged in (key, tiles):
        flip(app, damaged)

    assert await scrubbed(app) == {Flaw.RENDITION: (1, 1), Flaw.TILES: (1, 1)}
    assert await buckets.renditions.versions(key) == await buckets.renditions.versions(tiles) == []
    app.safelight.delivery.renditions.memory.drop(key)
    assert (await app.client.get(url)).content == sound
    assert (await image_of(app, image.id)).revision == image.revision


async def test_a_damaged_original_is_told_marked_and_not_given_out_and_its_renditions_are(app):
    image = await upload(app)
    flip(app, image.original_key)

    assert await scrubbed(app) == {Flaw.ORIGINAL: (1, 0)}
    record = (await app.client.get(f"/images/{image.id}")).json()
    refused = await app.client.get(f"/images/{image.id}/original")
    part = await app.client.get(f"/images/{image.id}/original", headers={"range": "bytes=0-9"})

    async def audited():  # sealed a moment later
        entries = (await app.client.get("/admin/audit")).json()["entries"]
        return [one for one in entries if (one["action"], one["object"]) == ("image.damaged", f"image/{image.id}")]

    assert record["problem"]["code"] == "original_damaged"
    assert "version 1" in record["problem"]["detail"]
    assert (refused.status_code, refused.json()["code"]) == (part.status_code, part.json()["code"]) == (503, "damaged_object")
    assert (await app.client.get(record["renditions"][0]["url"])).status_code == 200
    assert await until(audited)
    value = app.safelight.instruments.registry.get_sample_value
    assert value("safelight_scrub_found_total", {"kind": "original_damaged"}) == 1
    revision = (await image_of(app, image.id)).revision
    assert await scrubbed(app) == {Flaw.ORIGINAL: (1, 0)}
    assert (await image_of(app, image.id)).revision == revision, "it is told once"

    flip(app, image.original_key)  # the disk was mended from its mirror
    assert await scrubbed(app) == {}
    assert (await app.client.get(f"/images/{image.id}")).json()["problem"] is None
    assert (await app.client.get(f"/images/{image.id}/original")).status_code == 200


async def test_a_damaged_original_that_cannot_be_read_this_time_stays_marked(app, monkeypatch):
    image = await upload(app)
    flip(app, image.original_key)
    assert await scrubbed(app) == {Flaw.ORIGINAL: (1, 0)}
    marked = await image_of(app, image.id)
    opens = type(app.safelight.development.buckets.originals).open

    async def open_(self, key, **kwargs):
        if key == image.original_key:
            raise BackendUnavailable
        return await opens(self, key, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(type(app.safelight.development.buckets.originals), "open", open_)
        assert await scrubbed(app) == {Flaw.UNREAD: (1, 0)}

    assert await image_of(app, image.id) == marked, "nobody has seen that it is sound"
    await app.safelight.development.buckets.originals.purge(image.original_key)
    assert await scrubbed(app) == {Flaw.ORIGINAL_MISSING: (1, 0)}
    assert await image_of(app, image.id) == marked


async def test_an_export_names_what_is_damaged_and_holds_everything_else(app):
    marked, unseen, sound = [await upload(app, seed) for seed in range(3)]
    flip(app, marked.original_key)
    await scrubbed(app)
    flip(app, unseen.original_key)

    answer = await app.client.post(f"/admin/users/{sound.owner}/export")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        manifest = orjson.loads(archive.read("manifest.json"))
        original = archive.read(f"images/{sound.id}/1.jpg")

    assert hashlib.sha256(original).hexdigest() == manifest["sha256"][f"images/{sound.id}/1.jpg"] == sound.sha256
    assert sorted(manifest["damaged"]) == sorted(f"images/{image.id}/1.jpg" for image in (marked, unseen))
    assert not set(manifest["damaged"]) & set(manifest["sha256"])
    assert f"images/{marked.id}/1.jpg" not in names, "what is known to be damaged is not given out"
    assert manifest["absent"] == []


async def test_other_versions_of_an_image_with_a_damaged_original_are_given_out(app):
    image = await upload(app)
    assert (await app.client.put(f"/images/{image.id}/original", files={"file": png(300, 200, seed=3)})).status_code == 200
    flip(app, image.key_of_version(1))

    assert await scrubbed(app) == {Flaw.ORIGINAL: (1, 0)}
    marked = await image_of(app, image.id)

    assert (marked.problem.versions, marked.status) == ((1,), Status.READY)
    assert (await app.client.get(f"/images/{image.id}/original")).status_code == 200
    assert (await app.client.get(f"/images/{image.id}/original", params={"version": 1})).json()["code"] == "damaged_object"
    restored = await app.client.post(f"/images/{image.id}/versions/1/restore")
    assert (restored.status_code, restored.json()["code"]) == (503, "damaged_object")
    assert (await image_of(app, image.id)).version == 2
    flip(app, marked.delivered_master_key)
    assert (await scrubbed(app))[Flaw.MASTER] == (1, 1)
    assert (await ready_again(app, marked)).problem.versions == (1,), "developing again does not forget it"


async def test_a_damaged_version_beside_a_sound_one_is_removed(app):
    image = await upload(app)
    originals = app.safelight.development.buckets.originals
    body = await originals.get(image.original_key)
    await originals.put(image.original_key, body)
    flip(app, image.original_key)

    assert await scrubbed(app) == {Flaw.LAYER: (1, 1)}
    assert await originals.get(image.original_key) == body
    assert len(await originals.versions(image.original_key)) == 1
    assert (await image_of(app, image.id)).problem is None


async def test_nothing_is_removed_that_could_not_be_made_again(app):
    image = await upload(app)
    for key in (image.original_key, image.delivered_master_key, image.renditions[0].object_key):
        flip(app, key)

    assert await scrubbed(app) == {Flaw.ORIGINAL: (1, 0), Flaw.MASTER: (1, 0), Flaw.RENDITION: (1, 0)}
    buckets = app.safelight.development.buckets
    for bucket, key in ((buckets.originals, image.delivered_master_key), (buckets.renditions, image.renditions[0].object_key)):
        assert len(await bucket.versions(key)) == 1


async def test_missing_objects_are_told_and_what_can_be_is_made_again(app):
    image = await upload(app)
    other = await upload(app, seed=2)
    await app.safelight.development.buckets.renditions.purge(image.prefix)
    await app.safelight.development.buckets.originals.purge(other.original_key)

    assert await scrubbed(app) == {Flaw.RENDITION_MISSING: (1, 1), Flaw.ORIGINAL_MISSING: (1, 0)}
    await ready_again(app, image)
    assert (await image_of(app, other.id)).problem is None, "what is missing is for reconcile to mark"


async def test_an_original_that_is_damaged_and_not_found_yet_is_never_developed(app):
    image = await upload(app)
    await app.safelight.development.buckets.renditions.purge(image.prefix)
    flip(app, image.original_key)
    payload = {"tenant": image.tenant, "image": image.id, "version": 1}
    async with app.safelight.catalog.tenant(image.tenant, writes=True) as records:
        await records.images.save(image.developed_again(at=app.safelight.development.clock()))

    with pytest.raises(DamagedObject):
        await app.safelight.development.develop(payload)
    assert (await image_of(app, image.id)).status is Status.DEVELOPING, "not rejected for what is our fault"


async def test_a_round_goes_on_where_it_was_left(app, monkeypatch):
    monkeypatch.setattr("safelight.services.scrub._PAGE", 2)
    images = [await upload(app, seed=seed) for seed in range(5)]
    await app.client.delete(f"/images/{images[0].id}")
    flip(app, images[1].original_key)
    scrub = app.safelight.scrub

    first = await scrub.run("test", FAST, is_enough=lambda report: report.images >= 2)
    assert (first.images, first.is_whole) == (2, False)
    seen: list[int] = []
    whole = await scrub.run("test", FAST, told=lambda report: seen.append(report.images))

    assert (whole.images, whole.is_whole, seen[0]) == (5, True, 3)
    assert whole.findings[Flaw.ORIGINAL].count == 1, "what was found before is in the report"
    assert (await scrub.run("test", FAST)).images == 5, "the next one begins anew"


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


async def test_the_clock_reads_everything_once_in_so_many_days_a_share_an_hour(run, monkeypatch):
    monkeypatch.setattr("safelight.services.scrub._PAGE", 1)
    async with run() as app:
        for seed in range(4):
            await upload(app, seed=seed)
        development = app.safelight.development
        clock = Clock(development.clock())
        rounds = type(app.safelight.scrub.rounds)(development.buckets.renditions, clock, clock())
        scrub = Scrub(
            type(development)(**{f: getattr(development, f) for f in development.__slots__} | {"clock": clock}),
            rounds,
            app.safelight.instruments,
        )
        looked_at = []

        async def tick(hours):
            clock.now += timedelta(hours=hours)
            await scrub.share(timedelta(days=4), FAST)
            note = await rounds.read("scrub")
            looked_at.append(note.get("images"))
            return "ended_at" in note and "place" not in note

        assert not await tick(0), "a process that has just begun makes no round"
        assert looked_at == [None]
        clock.now += SETTLED
        assert not await tick(0)
        assert not await tick(1)
        assert not await tick(30)
        assert not await tick(20)
        assert not await tick(40)
        assert looked_at[1:] == [1, 1, 2, 3, 4]
        assert await tick(6)
        assert app.safelight.instruments.registry.get_sample_value("safelight_scrub_finished_timestamp_seconds") > 0
        assert not await tick(1), "the next round has begun"
        assert looked_at[-1] == 1


async def test_an_object_that_the_store_does_not_give_out_is_told_and_a_store_that_does_not_answer_ends_the_call(
    app, monkeypatch
):
    images = [await upload(app, seed=seed) for seed in range(2)]
    originals = app.safelight.development.buckets.originals
    is_down = False
    opens = type(originals).open

    async def open_(self, key, **kwargs):
        if is_down or key == images[0].original_key:
            raise BackendUnavailable
        return await opens(self, key, **kwargs)

    monkeypatch.setattr(type(originals), "open", open_)

    assert await scrubbed(app) == {Flaw.UNREAD: (1, 0)}
    is_down = True
    with pytest.raises(BackendUnavailable):
        await app.safelight.scrub.run("another", FAST)
