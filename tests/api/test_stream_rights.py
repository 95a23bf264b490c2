"""A stream of events ends soon after whoever listens may listen no more, whatever took the right away."""

from __future__ import annotations

import asyncio

import pytest
from tests.people import moved_in

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.storage.memory import MemoryStorage
from safelight.api import streams
from safelight.api.app import Front
from safelight.domain.accounts import Role
from safelight.errors import BackendUnavailable
from safelight.services.accounts import Accounts


async def listening(app, count):
    """Until so many streams are open."""
    async with asyncio.timeout(60):
        while app.safelight.progress._users.total() != count:
            await asyncio.sleep(0.02)


async def disabled(app, one):
    assert (await app.client.post(f"/admin/users/{one.user}/disable", headers=one.admin)).status_code == 200


async def signed_out(app, one):
    assert (await app.client.delete("/auth/sessions", headers=one.person.headers)).status_code == 204


async def suspended(app, one):
    assert (await app.client.post(f"/admin/tenants/{one.person.tenant}/suspend")).status_code == 200


async def revoked(app, one):
    assert (await app.client.delete(f"/admin/api-keys/{one.key}", headers=one.admin)).status_code == 204


async def erased(app, one):
    assert (await app.client.delete(f"/admin/users/{one.user}", headers=one.admin)).status_code == 202


class Listener:
    """A user of somebody's tenant, with a session and an API key."""

    def __init__(self, person, admin, key):
        self.person, self.user, self.admin, self.key = person, person.user, admin, key["id"]
        self.by_key = {"authorization": f"Bearer {key['token']}"}


async def moved(app):
    front = Front(app.safelight)
    admin = await moved_in(front, app.safelight, "mallards-nest-ada", role=Role.ADMIN, seed=1)
    person = await moved_in(front, app.safelight, "crows-nest-bob", role=Role.USER, tenant=admin.tenant, seed=2)
    made = await app.client.post("/admin/api-keys", json={"user": person.user}, headers=admin.headers)
    assert made.status_code == 201, made.text
    return Listener(person, admin.headers, made.json())


@pytest.mark.parametrize("how", [disabled, signed_out, suspended, revoked, erased], ids=lambda how: how.__name__)
async def test_a_stream_ends_when_its_listener_may_listen_no_more(run, monkeypatch, how):
    monkeypatch.setattr(streams, "ASKED_EVERY_S", 0.2)
    async with run(
        {"rate": {"user_per_s": 0}}, catalog=MemoryCatalog(), originals=MemoryStorage(), renditions=MemoryStorage()
    ) as app:
        one = await moved(app)
        headers = one.by_key if how is revoked else one.person.headers
        other = asyncio.create_task(app.client.get("/events"))  # the operator's goes on
        theirs = [
            asyncio.create_task(app.client.get(path, headers=headers))
            for path in ("/events", f"/images/{one.person.things['images']}/events")
        ]
        await listening(app, 3)

        await how(app, one)
        for stream in theirs:
            assert (await asyncio.wait_for(stream, 60)).status_code == 200
        assert not other.done()
        again = await app.client.get("/events", headers=headers)
        assert again.status_code in (401, 403), again.text
        app.safelight.progress.drain()
        await other


async def test_a_catalog_that_does_not_answer_ends_no_stream(run, monkeypatch):
    monkeypatch.setattr(streams, "ASKED_EVERY_S", 0.05)
    asked = asyncio.Event()
    async with run(catalog=MemoryCatalog()) as app:
        stream = asyncio.create_task(app.client.get("/events"))
        await listening(app, 1)

        async def gone(*_):
            asked.set()
            raise BackendUnavailable

        with monkeypatch.context() as patched:
            patched.setattr(Accounts, "authenticate", gone)
            await asyncio.wait_for(asked.wait(), 60)
        assert not stream.done()
        app.safelight.progress.drain()
        await stream
