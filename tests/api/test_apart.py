"""What goes from tenant to tenant, or from record to record, does so for all of them: one that nobody can read holds up no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.api.test_failures import eventually
from tests.api.test_privacy import ended
from tests.api.test_redevelopments import ended as redeveloped
from tests.api.test_redevelopments import redevelop
from tests.api.test_tenants import house
from tests.faulty import spoil
from tests.pictures import jpeg

from safelight.adapters.catalog.sql_directory import SqlDirectory
from safelight.adapters.storage.memory import MemoryStorage
from safelight.concurrency import Pace
from safelight.services.reconciler import ALL
from safelight.testing.factories import make_tenant


class Clock:
    ahead = timedelta()

    def __call__(self):
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def app(run, clock):
    settings = {"audit": {"retention_days": 30}}
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage(), clock=clock) as app:
        yield app


async def upload(app, seed):
    """To an installation, or to a house in it."""
    answer = await app.client.post("/images", files={"file": jpeg(seed=seed)})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_a_tenant_that_is_gone_meanwhile_ends_no_chore(app, monkeypatch):
    await upload(app, 1)
    gone, listed = make_tenant(), SqlDirectory.tenants

    async def tenants(directory):
        return [gone, *await listed(directory)]

    monkeypatch.setattr(SqlDirectory, "tenants", tenants)

    for _, _, chore in app.safelight.chores:
        await chore()
    assert await app.safelight.trail.prune() == 0
    assert (await app.safelight.reconciler.run(mends=ALL)).images == 1
    assert (await app.safelight.scrub.run("test", Pace(None))).images == 1
    assert await app.safelight.library.reindex() == 1


async def test_the_trash_of_others_is_emptied_although_one_has_a_record_there_that_cannot_be_read(app, clock):
    others = await house(app, "others")
    damaged, old = await upload(app, 1), await upload(others, 2)
    await app.client.delete(f"/images/{damaged}")
    await others.client.delete(f"/images/{old}")
    await spoil(app, "images", "metadata", damaged)
    clock.ahead = timedelta(days=100)

    assert await app.safelight.library.purge_expired() == 1


async def test_a_picture_whose_record_cannot_be_read_is_skipped_when_the_others_are_developed_again_or_indexed(app):
    damaged, sound = await upload(app, 1), await upload(app, 2)
    await spoil(app, "images", "metadata", damaged)

    done = await redeveloped(app, await redevelop(app, rate=100))

    assert {name: done[name] for name in ("state", "total", "done", "skipped")} == {
        "state": "done",
        "total": 2,
        "done": 1,
        "skipped": 1,
    }
    assert (await app.client.get(f"/images/{sound}")).json()["status"] == "ready"
    assert await app.safelight.library.reindex() == 1


async def test_a_redevelopment_that_cannot_be_read_holds_up_nobody_elses(app):
    others = await house(app, "others")
    await upload(others, 1)
    broken = await redevelop(app, rate=0.01)
    await spoil(app, "redevelopments", "selection", broken["id"])

    begun = await others.client.post("/redevelopments", json={"rate": 100})

    async def now():
        return (await others.client.get(begun.headers["location"])).json()

    assert (await eventually(now, lambda one: one["state"] == "done"))["done"] == 1


async def test_a_tenant_is_erased_with_its_records_that_cannot_be_read(app):
    others = await house(app, "others")
    damaged, _ = await upload(others, 1), await upload(others, 2)
    await spoil(app, "images", "metadata", damaged)

    assert (await app.client.post(f"/admin/tenants/{others.id}/suspend")).status_code == 200
    asked = await app.client.delete(f"/admin/tenants/{others.id}")

    assert (await ended(app, asked.headers["location"]))["removed"]["images"] == 2
