"""Webhooks, from the event to a receiver on a socket of this machine, through the one opening of the guard that the settings make."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from standardwebhooks import Webhook
from tests.faulty import overtaken
from tests.pictures import jpeg

from safelight.adapters.outbound.httpx import HttpxOutbound
from safelight.domain.accounts import Role, Scope
from safelight.domain.events import ImagePurged
from safelight.domain.ids import EndpointId, SessionId
from safelight.domain.people import Credential
from safelight.errors import StepUpRequired
from safelight.ports.catalog import Told
from safelight.testing.contracts.outbound import OK, Names, leading, serving, whole
from safelight.testing.factories import make_delivery, make_image, make_key, make_tenant, make_user

PATIENCE_S = 60.0
THANKS = whole(b"thanks")


class Clock:
    """Real time, and as much more as a test adds."""

    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) + self.ahead


@pytest.fixture
async def receiver():
    async with serving() as source:
        source.says |= {"/": THANKS, "/hook": THANKS}
        yield source


def near(receiver, **webhooks):
    return {
        "outbound": {"networks": "127.0.0.1", "ports": str(receiver.port)},
        "webhooks": {"is_plain_http": True, "timeout_s": 10, **webhooks},
    }


def at(receiver, path="/"):
    return f"http://127.0.0.1:{receiver.port}{path}"


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
        return found


async def add(app, receiver, path="/", **body):
    answer = await app.client.post("/admin/webhooks", json={"url": at(receiver, path), **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def log_of(app, endpoint, **params):
    answer = await app.client.get(f"/admin/webhooks/{endpoint['id']}/deliveries", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["deliveries"]


async def ended(app, endpoint, count=1, **params):
    async def all_ended():
        log = await log_of(app, endpoint, **params)
        return len(log) >= count and all(one["state"] != "waiting" for one in log) and log

    return await until(all_ended)


async def tried(app, endpoint, times=1):
    async def is_tried():
        log = await log_of(app, endpoint)
        return log and len(log[0]["attempts"]) >= times and log[0]

    return await until(is_tried)


def headers_of(head):
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])}


def messages(receiver):
    """(headers, document) of everything that came."""
    return [(headers_of(head), json.loads(body)) for head, body in zip(receiver.heads, receiver.bodies, strict=True)]


def told(receiver):
    return [document["type"] for _, document in messages(receiver)]


@asynccontextmanager
async def other_tenant(app):
    """The key of an administrator of another tenant."""
    tenant = make_tenant(name="other")
    user = make_user(tenant.id, role=Role.ADMIN)
    key = make_key(user, secret_hash=hashlib.sha256(b"secret").digest(), scopes=frozenset(Scope))
    async with app.safelight.catalog.directory(writes=True) as directory:
        await directory.add_tenant(tenant)
    async with app.safelight.catalog.tenant(tenant.id, writes=True) as records:
        await records.accounts.add_user(user)
        await records.accounts.api_keys.add(key)
    yield {"authorization": f"Bearer sl_{key.id}_secret"}


async def test_what_happens_to_an_image_is_told_signed_and_as_it_was(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver, "/hook", events=["image.*"], description="CMS")
        made = await app.client.post(
            "/images", files={"file": jpeg()}, data={"title": "Sea", "tags": "coast", "custom": '{"ref": 7}'}
        )
        image = made.json()
        await app.client.patch(f"/images/{image['id']}", json={"title": "Lake"})
        await app.client.delete(f"/images/{image['id']}")
        await app.client.post(f"/images/{image['id']}/restore")
        await app.client.delete(f"/images/{image['id']}")
        await app.client.delete(f"/images/{image['id']}", params={"purge": True})
        log = await ended(app, endpoint, count=7)

        assert {one["state"] for one in log} == {"delivered"}
        kinds = [
            "image.accepted",
            "image.ready",
            "image.edited",
            "image.deleted",
            "image.restored",
            "image.deleted",
            "image.purged",
        ]
        assert sorted(told(receiver)) == sorted(kinds)
        verifier = Webhook(endpoint["secret"])
        for (headers, document), body in zip(messages(receiver), receiver.bodies, strict=True):
            assert verifier.verify(body, headers) == document
            assert headers["content-type"] == "application/json"
            assert document.keys() == {"type", "timestamp", "data"}
            assert document["data"]["id"] == image["id"]
            assert abs(datetime.fromisoformat(document["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=5)
            assert "sig=" not in body.decode() and "http" not in body.decode()
        assert len({headers["webhook-id"] for headers, _ in messages(receiver)}) == 7
        [ready] = [document["data"] for _, document in messages(receiver) if document["type"] == "image.ready"]
        assert (ready["title"] in ("Sea", "Lake"), ready["custom"], ready["tags"], ready["width"]) == (
            True,
            {"ref": 7},
            ["coast"],
            image["width"],
        )
        [purged] = [document["data"] for _, document in messages(receiver) if document["type"] == "image.purged"]
        assert purged.keys() == {"id", "version", "revision"}
        assert {one["message_id"] for one in log} == {headers["webhook-id"] for headers, _ in messages(receiver)}
        assert log[0]["attempts"][0].items() >= {"status": 200, "error": None, "excerpt": "thanks"}.items()


async def test_albums_and_refused_uploads_are_told_and_filters_heeded(run, receiver):
    async with run(near(receiver)) as app:
        everything = await add(app, receiver, "/")
        albums = await add(app, receiver, "/hook", events=["album.*"])
        album = (await app.client.post("/albums", json={"title": "Summer"})).json()
        image = (await app.client.post("/images", files={"file": jpeg()}, data={"album_id": album["id"]})).json()
        await app.client.patch(f"/albums/{album['id']}", json={"title": "Winter"})
        await app.client.delete(f"/albums/{album['id']}/images/{image['id']}")
        await app.client.delete(f"/albums/{album['id']}")
        offer = (await app.client.post("/uploads", json={"filename": "a.jpg", "content_type": "image/jpeg", "size": 9})).json()
        form = offer["fields"]
        await app.client.post(offer["url"], data=form, files={"file": b"no image!"})
        assert (await app.client.post(f"/uploads/{offer['id']}/complete")).json()["code"] == "unsupported_format"

        assert [one["type"] for one in reversed(await ended(app, albums, count=5))].count("album.edited") == 3
        log = await ended(app, everything, count=8)
        [rejected] = [json.loads(one["body"])["data"] for one in log if one["type"] == "upload.rejected"]
        assert (rejected["id"], rejected["problem"]["code"]) == (offer["id"], "unsupported_format")
        by_id = {one["id"]: one["message_id"] for one in await log_of(app, albums)}
        assert by_id.items() <= {one["id"]: one["message_id"] for one in log}.items()


async def test_an_image_that_cannot_be_developed_is_told_of(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver, events=["image.rejected"])
        answer = await app.client.post("/images", files={"file": jpeg(400, 300)[:3000]}, headers={"prefer": "respond-async"})
        assert answer.status_code == 202, answer.text

        [log] = await ended(app, endpoint)
        data = json.loads(log["body"])["data"]
        assert (log["type"], data["id"]) == ("image.rejected", answer.json()["id"])
        assert data["problem"]["code"] == "corrupt_image"


async def test_a_failed_attempt_is_made_again_with_the_same_id_and_body_and_another_timestamp(run, receiver):
    clock = Clock()
    async with run(near(receiver), clock=clock) as app:
        receiver.says["/"] = b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops"
        endpoint = await add(app, receiver)
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        waiting = await tried(app, endpoint)
        assert (waiting["state"], waiting["tries"]) == ("waiting", 1)
        assert waiting["attempts"][0].items() >= {"status": 500, "excerpt": "oops"}.items()
        assert (await app.client.get(f"/admin/webhooks/{endpoint['id']}")).json()["failing_since"] is not None

        receiver.says["/"] = THANKS
        clock.ahead = timedelta(seconds=30)
        app.safelight.courier.nudge()
        [log] = await ended(app, endpoint)
        (first, one), (second, other) = messages(receiver)
        assert one == other == json.loads(log["body"])
        assert (first["webhook-id"], log["tries"]) == (second["webhook-id"], 2)
        assert int(second["webhook-timestamp"]) >= int(first["webhook-timestamp"]) + 5
        assert (await app.client.get(f"/admin/webhooks/{endpoint['id']}")).json()["failing_since"] is None
        exposed = (await app.client.get("/metrics")).text
        assert 'safelight_webhook_deliveries_total{outcome="delivered"} 1.0' in exposed
        assert 'safelight_webhook_attempt_seconds_count{outcome="failed"} 1.0' in exposed


async def test_retry_after_is_obeyed(run, receiver):
    async with run(near(receiver)) as app:
        receiver.says["/"] = b"HTTP/1.1 503 Later\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n"
        endpoint = await add(app, receiver)
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")

        waiting = await tried(app, endpoint)
        rest = datetime.fromisoformat(waiting["next_attempt_at"]) - datetime.fromisoformat(waiting["attempts"][0]["at"])
        assert rest == timedelta(hours=2)


async def administrator(app):
    """The first user of the installation gets an address, so that there is whom to write to."""
    async with app.safelight.catalog.directory() as directory:
        [tenant] = await directory.tenants()
    async with app.safelight.catalog.tenant(tenant.id, writes=True) as records:
        [user] = await records.accounts.users()
        now = datetime.now(UTC)
        await records.people.add_credential(
            Credential(
                tenant=tenant.id, user=user.id, email="ada@example.org", password_hash="x", verified_at=now, changed_at=now
            )
        )


async def test_an_endpoint_that_is_gone_is_switched_off_and_its_tenant_hears_of_it(run, receiver):
    async with run(near(receiver)) as app:
        await administrator(app)
        receiver.says["/gone"] = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
        endpoint, other = await add(app, receiver, "/gone", description="old CMS"), await add(app, receiver, "/hook")
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")

        [failed] = await ended(app, endpoint)
        assert failed["state"] == "failed"
        off = (await app.client.get(f"/admin/webhooks/{endpoint['id']}")).json()
        assert (off["is_enabled"], off["disabled_for"]) == (False, "gone")
        [heard] = await ended(app, other)
        assert heard["type"] == "endpoint.disabled"
        assert json.loads(heard["body"])["data"].items() >= {"id": endpoint["id"], "disabled_for": "gone"}.items()
        refused = await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")

        async def letter():
            return [path.read_text() for path in app.safelight.settings.mail_path.rglob("*") if path.is_file()]

        [mail] = await until(letter)
        assert "ada@example.org" in mail and "webhook" in mail
        on = await app.client.patch(f"/admin/webhooks/{endpoint['id']}", json={"is_enabled": True})
        assert (on.json()["is_enabled"], on.json()["disabled_for"]) == (True, None)


async def test_days_of_nothing_but_failures_switch_an_endpoint_off(run, receiver):
    clock = Clock()
    async with run(near(receiver, failing_days=1), clock=clock) as app:
        receiver.says["/"] = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
        endpoint = await add(app, receiver)
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        for times in range(1, 11):
            await tried(app, endpoint, times)
            assert (await app.client.get(f"/admin/webhooks/{endpoint['id']}")).json()["is_enabled"]
            clock.ahead += timedelta(hours=13)
            app.safelight.courier.nudge()

        [given_up] = await ended(app, endpoint)
        assert (given_up["state"], given_up["tries"]) == ("failed", 11)
        off = (await app.client.get(f"/admin/webhooks/{endpoint['id']}")).json()
        assert (off["is_enabled"], off["disabled_for"]) == (False, "failing")
        await app.client.post("/albums", json={"title": "Unheard"})
        assert len(await log_of(app, endpoint)) == 1


async def told_of_three(app, receiver):
    """An endpoint that has heard of three albums, what it was sent, and its address."""
    endpoint = await add(app, receiver)
    for title in ("a", "b", "c"):
        await app.client.post("/albums", json={"title": title})
    return endpoint, await ended(app, endpoint, count=3), f"/admin/webhooks/{endpoint['id']}"


async def test_one_delivery_or_everything_since_a_time_is_sent_again_under_its_id(run, receiver):
    async with run(near(receiver)) as app:
        endpoint, log, base = await told_of_three(app, receiver)

        again = await app.client.post(f"{base}/deliveries/{log[1]['id']}/replay")
        assert (again.status_code, again.json()["state"]) == (202, "waiting")
        await until(lambda: _are(receiver, 4))
        await ended(app, endpoint, count=3)
        since = json.loads(log[1]["body"])["timestamp"]
        assert (await app.client.post(f"{base}/replay", json={"since": since})).json() == {"deliveries": 2}
        await until(lambda: _are(receiver, 6))
        await ended(app, endpoint, count=3)
        ids = [headers["webhook-id"] for headers, _ in messages(receiver)]
        assert [ids.count(one["message_id"]) for one in log] == [2, 3, 1]
        assert (await app.client.post(f"{base}/replay", json={"since": "1970-01-01T00:00:00Z", "state": "failed"})).json() == {
            "deliveries": 0
        }
        assert (await app.client.post(f"{base}/replay", json={"since": "2026-01-01T00:00:00"})).json()["code"] == "bad_field"


async def test_what_others_have_just_changed_is_sent_again_too_and_counted_once(run, receiver):
    async with run(near(receiver)) as app:
        endpoint, log, base = await told_of_three(app, receiver)
        webhooks, catalog = app.safelight.webhooks, app.safelight.webhooks.catalog

        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=3))
        every = await app.client.post(f"{base}/replay", json={"since": "1970-01-01T00:00:00Z"})
        assert (every.status_code, every.json()) == (202, {"deliveries": 3})
        await until(lambda: _are(receiver, 6))
        await ended(app, endpoint, count=3)
        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=1))
        assert (await app.client.post(f"{base}/deliveries/{log[0]['id']}/replay")).status_code == 202
        await until(lambda: _are(receiver, 7))
        await ended(app, endpoint, count=3)

        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=1000))
        refused = await app.client.post(f"{base}/replay", json={"since": "1970-01-01T00:00:00Z"})
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")


async def test_an_endpoint_is_changed_on_its_newer_row_unless_a_revision_was_named(run, receiver):
    async with run(near(receiver)) as app:
        made = await add(app, receiver)
        base, webhooks = f"/admin/webhooks/{made['id']}", app.safelight.webhooks
        catalog = webhooks.catalog
        known = (await app.client.get(base)).headers["etag"]

        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=3))
        edited = await app.client.patch(base, json={"description": "new", "is_enabled": False})
        assert (edited.status_code, edited.json()["description"], edited.json()["is_enabled"]) == (200, "new", False)
        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=3))
        assert (await app.client.post(f"{base}/rotate")).status_code == 200

        refused = await app.client.patch(base, json={"description": "newer"}, headers={"if-match": known})
        assert (refused.status_code, refused.json()["code"]) == (412, "stale")
        object.__setattr__(webhooks, "catalog", overtaken(catalog, times=1000))
        crowded = await app.client.patch(base, json={"description": "newest"})
        assert (crowded.status_code, crowded.json()["code"]) == (503, "busy")
        object.__setattr__(webhooks, "catalog", catalog)
        assert (await app.client.get(base)).json()["description"] == "new"


async def _are(receiver, count):
    return len(receiver.bodies) >= count


async def test_a_rotated_secret_signs_beside_the_one_before(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver)
        rotated = (await app.client.post(f"/admin/webhooks/{endpoint['id']}/rotate", json={"grace_s": 3600})).json()
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        await ended(app, endpoint)
        final = (await app.client.post(f"/admin/webhooks/{endpoint['id']}/rotate", json={"grace_s": 0})).json()
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        await ended(app, endpoint, count=2)

        (both, _), (one, _) = messages(receiver)
        for secret in (endpoint["secret"], rotated["secret"]):
            assert Webhook(secret).verify(receiver.bodies[0], both)
        assert Webhook(final["secret"]).verify(receiver.bodies[1], one)
        assert len(one["webhook-signature"].split()) == 1
        assert len({endpoint["secret"], rotated["secret"], final["secret"]}) == 3
        listed = (await app.client.get("/admin/webhooks")).json()
        assert [each["secret"] for each in listed] == [None]


async def test_an_endpoint_that_does_not_answer_holds_up_no_other(run, receiver):
    async with run(near(receiver, per_endpoint=2)) as app:
        done = asyncio.Event()
        at_once = most = 0

        async def silent(writer):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await done.wait()
            at_once -= 1

        receiver.says["/slow"] = silent
        slow, quick = await add(app, receiver, "/slow"), await add(app, receiver, "/hook")
        for number in range(10):
            await app.client.post("/albums", json={"title": f"{number}"})

        assert {one["state"] for one in await ended(app, quick, count=10)} == {"delivered"}
        assert most == 2
        assert {one["state"] for one in await log_of(app, slow)} == {"waiting"}
        done.set()


async def test_an_endpoint_that_cannot_be_read_holds_up_nobody_elses_messages_nor_work(run, receiver, monkeypatch):
    clock = Clock()
    async with run(near(receiver, keep_days=2), clock=clock) as app, other_tenant(app) as others:
        broken = await add(app, receiver)
        sound = (await app.client.post("/admin/webhooks", json={"url": at(receiver, "/hook")}, headers=others)).json()
        async with app.safelight.catalog.directory() as directory:
            [tenant] = [one.id for one in await directory.tenants() if one.name != "other"]
        async with app.safelight.catalog.tenant(tenant) as records:
            endpoint = await records.webhooks.get(EndpointId(broken["id"]))
        with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db", timeout=PATIENCE_S)) as rows, rows:
            rows.execute("update webhooks set secret = substr(secret, 1, 40) where id = ?", [endpoint.id])
        async with app.safelight.catalog.tenant(tenant, writes=True) as records:
            await records.webhooks.deliveries.add(make_delivery(endpoint))
        first = SimpleNamespace(shuffle=lambda due: due.sort(key=lambda one: one[0] != tenant), random=lambda: 0.5)
        monkeypatch.setattr("safelight.services.courier.random", first)

        await app.client.post("/albums", json={"title": "Mine"})
        assert (await app.client.post("/images", files={"file": jpeg(64, 48)})).status_code == 201, "its flow was begun"
        await app.client.post("/albums", json={"title": "Theirs"}, headers=others)

        async def heard():
            log = (await app.client.get(f"/admin/webhooks/{sound['id']}/deliveries", headers=others)).json()["deliveries"]
            return [one["type"] for one in log if one["state"] == "delivered"]

        assert await until(heard) == ["album.created"]
        clock.ahead = timedelta(days=3)
        assert await app.safelight.webhooks.sweep() == 1


async def test_attempts_that_a_dead_process_began_are_made_again(run, receiver):
    """A claim that nobody follows up is what `kill -9` leaves."""
    clock = Clock()
    async with run(near(receiver), clock=clock) as app:
        endpoint = await add(app, receiver)
        await app.client.patch(f"/admin/webhooks/{endpoint['id']}", json={"events": ["image.purged"]})
        actor = await app.safelight.accounts.authenticate(app.token)
        async with app.safelight.catalog.tenant(actor.tenant, writes=True) as records:
            kept = await records.webhooks.get(endpoint["id"])
            lost = make_delivery(kept, created_at=clock(), due_at=clock() + timedelta(hours=1))
            await records.webhooks.deliveries.add(lost)
        app.safelight.courier.nudge()
        assert (await log_of(app, endpoint))[0]["attempts"] == []

        clock.ahead = timedelta(hours=2)
        app.safelight.courier.nudge()
        [log] = await ended(app, endpoint)
        assert (log["state"], log["message_id"]) == ("delivered", f"msg_{lost.id}")


async def test_an_event_that_is_relayed_twice_is_told_once(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver)
        actor = await app.safelight.accounts.authenticate(app.token)
        event = Told(1, ImagePurged(*_image_event(ImagePurged, actor.tenant)), datetime.now(UTC))
        for _ in range(3):
            await app.safelight.relay.announce([event, event])

        assert len(await ended(app, endpoint)) == 1


def _image_event(cls, tenant):
    """Values for the event's fields, whichever it has."""
    image = make_image(tenant)
    known = {"tenant": tenant, "image": image.id, "version": 1, "revision": 2, "owner": image.owner}
    return [known[field.name] for field in fields(cls)]


INSIDE = [
    ("http://10.0.0.1/", 422, "source_unreachable"),
    ("http://169.254.169.254/latest/meta-data/", 422, "source_unreachable"),
    ("http://[::ffff:127.0.0.1]:22/", 403, "source_not_allowed"),
    ("http://127.0.0.2/", 422, "source_unreachable"),
    ("http://127.0.0.1:22/", 403, "source_not_allowed"),
    ("http://0x7f.1/", 400, "bad_field"),
    ("file:///etc/passwd", 400, "bad_field"),
    ("http://user:secret@example.com/", 400, "bad_field"),
    ("http://example.com/\r\nX-Injected: 1", 400, "bad_field"),
    ("http://example.com/a b", 400, "bad_field"),
    ("http://exa\x00mple.com/", 400, "bad_field"),
    ("", 400, "bad_field"),
    ("http://example.com/" + "x" * 4000, 400, "bad_field"),
]


async def test_an_endpoint_that_leads_inside_or_says_more_than_a_url_is_refused(run):
    async with run({"webhooks": {"is_plain_http": True}, "outbound": {"networks": "127.0.0.1"}}) as app:
        for url, status, code in INSIDE:
            answer = await app.client.post("/admin/webhooks", json={"url": url})
            assert (answer.status_code, answer.json()["code"]) == (status, code), (url, answer.text)

        assert (await app.client.get("/admin/webhooks")).json() == []


async def test_without_tls_nothing_is_told_unless_the_settings_say_so(run):
    async with run() as app:
        refused = await app.client.post("/admin/webhooks", json={"url": "http://example.com/"})
        taken = await app.client.post("/admin/webhooks", json={"url": "https://example.com/", "events": ["image.purged"]})

        assert (refused.json()["code"], taken.status_code) == ("bad_field", 201)


@pytest.mark.parametrize(
    ("addresses", "error"), [([["127.0.0.1"], ["169.254.169.254"]], "source_unreachable"), ([["10.0.0.1"]], "source_unreachable")]
)
async def test_a_name_that_means_something_else_by_then_is_not_followed(run, receiver, addresses, error):
    names = Names({"rebinding.example": addresses})
    clock = Clock()
    async with run(near(receiver), outbound=HttpxOutbound(resolve=names), clock=clock) as app:
        url = f"http://rebinding.example:{receiver.port}/"
        endpoint = (await app.client.post("/admin/webhooks", json={"url": url})).json()
        reached = len(addresses) - 1
        for _ in range(reached + 1):
            await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
            log = await tried(app, endpoint)

        assert (log["attempts"][0]["status"], log["attempts"][0]["error"]) == (None, error)
        assert len(receiver.heads) == reached


async def test_what_is_no_plain_yes_is_a_failed_attempt_and_nothing_is_followed(run, receiver):
    said = {
        "/metadata": leading("http://169.254.169.254/latest/meta-data/"),
        "/redirect": leading("/hook", 307),
        "/huge": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        "/ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
        "/nothing": b"",
    }
    async with run(near(receiver)) as app:
        receiver.says |= said
        for path in said:
            endpoint = await add(app, receiver, path)
            await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
            log = await tried(app, endpoint)
            assert log["state"] == "waiting"
            await app.client.delete(f"/admin/webhooks/{endpoint['id']}")

        assert {head.split(" ")[1] for head in receiver.heads} == said.keys()


async def test_of_an_endless_answer_an_excerpt_is_kept(run, receiver):
    async with run(near(receiver)) as app:
        sent = 0

        async def endless(writer):
            nonlocal sent
            writer.write(OK + b"\r\n")
            while sent < 200_000_000:
                writer.write(b"\x1b[31m" + b"y" * 65536)
                sent += 65536
                await writer.drain()

        receiver.says["/endless"] = endless
        endpoint = await add(app, receiver, "/endless")
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")

        [log] = await ended(app, endpoint)
        excerpt = log["attempts"][0]["excerpt"]
        assert log["state"] == "delivered"
        assert 400 < len(excerpt) <= 500 and excerpt.isprintable()
        assert sent < 200_000_000


async def test_another_tenant_and_a_mere_user_see_and_change_nothing(run, receiver):
    async with run(near(receiver)) as app, other_tenant(app) as others:
        endpoint = await add(app, receiver)
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        [log] = await ended(app, endpoint)
        users = (await app.client.get("/admin/users")).json()
        made = await app.client.post("/admin/users", json={"name": "mere", "role": "user"})
        key = await app.client.post("/admin/api-keys", json={"user": made.json()["id"], "scopes": ["read", "write", "admin"]})
        mere = {"authorization": f"Bearer {key.json()['token']}"}
        base = f"/admin/webhooks/{endpoint['id']}"
        asked = [
            ("GET", base, None),
            ("PATCH", base, {"is_enabled": False}),
            ("DELETE", base, None),
            ("POST", f"{base}/rotate", {}),
            ("POST", f"{base}/test", None),
            ("POST", f"{base}/replay", {"since": "1970-01-01T00:00:00Z"}),
            ("GET", f"{base}/deliveries", None),
            ("GET", f"{base}/deliveries/{log['id']}", None),
            ("POST", f"{base}/deliveries/{log['id']}/replay", None),
        ]
        for method, path, body in asked:
            assert (await app.client.request(method, path, json=body, headers=others)).status_code == 404, path
            assert (await app.client.request(method, path, json=body, headers=mere)).status_code == 403, path
        assert (await app.client.get("/admin/webhooks", headers=others)).json() == []
        assert (await app.client.get("/admin/webhooks", headers=mere)).status_code == 403
        await app.client.post("/albums", json={"title": "Theirs"}, headers=others)
        await app.client.post("/albums", json={"title": "Ours"})
        ours = await ended(app, endpoint, count=2)
        assert [json.loads(one["body"])["data"].get("title") for one in ours] == ["Ours", None]
        assert len(users) == 1
        assert (await app.client.get(base)).json()["is_enabled"]


async def test_from_a_session_an_endpoint_is_added_moved_and_rotated_only_after_a_recent_proof(run):
    async with run() as app:
        key = await app.safelight.accounts.authenticate(app.token)
        old = replace(key, key=None, session=SessionId("0" * 26), proven_at=datetime.now(UTC) - timedelta(days=1))
        fresh = replace(old, proven_at=datetime.now(UTC))
        webhooks = app.safelight.webhooks
        endpoint = await webhooks.add(fresh, url="https://example.com/")
        for asked in (
            webhooks.add(old, url="https://example.com/"),
            webhooks.edit(old, endpoint.id, {"url": "https://example.org/"}),
            webhooks.rotate(old, endpoint.id, grace=timedelta(0)),
        ):
            with pytest.raises(StepUpRequired):
                await asked

        await webhooks.edit(old, EndpointId(endpoint.id), {}, is_enabled=False)
        assert [one.url for one in await webhooks.list(old)] == ["https://example.com/"]


async def test_ids_that_are_none_are_missing(run):
    async with run() as app:
        for path in ("x", "0" * 26, "%00", "..", "a" * 5000):
            for method, url in (("GET", f"/admin/webhooks/{path}"), ("POST", f"/admin/webhooks/{path}/test")):
                assert (await app.client.request(method, url)).status_code in (400, 404, 405), path


async def test_a_bad_wish_is_refused_and_leaves_nothing(run):
    wishes = [
        {"events": ["image.everything"]},
        {"events": "image.ready"},
        {"events": ["image.ready"] * 101},
        {"description": "a\r\nb"},
        {"description": "x" * 501},
        {"secret": "whsec_mine"},
    ]
    async with run() as app:
        for wish in wishes:
            answer = await app.client.post("/admin/webhooks", json={"url": "https://example.com/", **wish})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_field"), (wish, answer.text)

        assert (await app.client.get("/admin/webhooks")).json() == []


async def test_a_tenant_has_twenty_endpoints_at_most(run):
    async with run() as app:
        for _ in range(20):
            assert (await app.client.post("/admin/webhooks", json={"url": "https://example.com/"})).status_code == 201
        assert (await app.client.post("/admin/webhooks", json={"url": "https://example.com/"})).json()["code"] == "wrong_state"


async def test_an_endpoint_is_edited_under_its_etag_and_removed_with_its_log(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver)
        base = f"/admin/webhooks/{endpoint['id']}"
        changed = await app.client.patch(base, json={"events": ["album.*"]}, headers={"if-match": endpoint["etag"]})
        assert changed.json()["events"] == ["album.*"]
        stale = await app.client.patch(base, json={"events": []}, headers={"if-match": endpoint["etag"]})
        assert (stale.status_code, stale.json()["code"]) == (412, "stale")
        await app.client.post("/albums", json={"title": "a"})
        await ended(app, endpoint)

        assert (await app.client.delete(base)).status_code == 204
        assert (await app.client.get(f"{base}/deliveries")).status_code == 404
        assert (await app.client.delete(base)).status_code == 404


async def test_the_log_is_kept_for_its_days_and_then_swept(run, receiver):
    clock = Clock()
    async with run(near(receiver, keep_days=2), clock=clock) as app:
        endpoint = await add(app, receiver)
        await app.client.post(f"/admin/webhooks/{endpoint['id']}/test")
        await ended(app, endpoint)

        clock.ahead = timedelta(days=1, hours=23)
        assert await app.safelight.webhooks.sweep() == 0
        clock.ahead = timedelta(days=2, hours=1)
        assert await app.safelight.webhooks.sweep() == 1
        assert await log_of(app, endpoint) == []


async def test_the_log_comes_in_pages(run, receiver):
    async with run(near(receiver)) as app:
        endpoint = await add(app, receiver)
        for number in range(5):
            await app.client.post("/albums", json={"title": f"{number}"})
        whole_log = await ended(app, endpoint, count=5)
        base, found, cursor = f"/admin/webhooks/{endpoint['id']}/deliveries", [], ""
        while cursor is not None:
            page = (await app.client.get(base, params={"limit": 2, "cursor": cursor})).json()
            found, cursor = found + page["deliveries"], page["next"]

        assert [one["id"] for one in found] == [one["id"] for one in whole_log]
        assert (await app.client.get(base, params={"cursor": "nonsense"})).json()["code"] == "bad_cursor"
        assert await log_of(app, endpoint, state="failed") == []
