"""The audit trail over HTTP: every change leaves an entry, refusals are told, and nothing can be altered unseen."""

from __future__ import annotations

import asyncio
import csv
import io
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from fastapi.routing import APIRoute
from structlog.testing import capture_logs
from tests.api.test_auth import ADA, BETTER, CHEAP, GOOD, bearer, letter, letters, signed_in, signed_up, text_of, token_of
from tests.api.test_cloudfront import CLOUDFRONT
from tests.api.test_failures import MoodyStorage, dead_letters, eventually
from tests.api.test_uploads import announce, send
from tests.pictures import jpeg

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.api.auth import actor
from safelight.api.witness import _result, action_of
from safelight.cli.audit import verified
from safelight.domain.audit import INSTALLATION, Broken, TrailQuery
from safelight.flows import Retry
from safelight.services.witness import Witness


def open_house(**more) -> dict:
    return {"auth": {"signup_tenants": "*", **CHEAP}, "rate": {"auth_per_minute": 0}, **more}


@pytest.fixture
def house(run):
    def running(settings=None, **parts):
        in_memory = {
            "originals": MemoryStorage(),
            "renditions": MemoryStorage(),
            "catalog": MemoryCatalog(),
            "search": MemorySearch(),
            "workflows": MemoryWorkflows,
        }
        return run(settings or open_house(), **(in_memory | parts))

    return running


async def told(app) -> None:
    """Whatever waits is written and sealed."""
    await app.safelight.trail.flush()
    for chain in (INSTALLATION, *await app.safelight.trail._tenants()):
        await app.safelight.trail.seal_chain(chain)


async def entries(app, **query) -> list[dict]:
    await told(app)
    answer = await app.client.get("/admin/audit", params={"limit": 1000, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


async def user(app, name="reader", scopes=("read", "write"), role="user") -> tuple[str, dict[str, str]]:
    made = (await app.client.post("/admin/users", json={"name": name, "role": role})).json()
    key = (await app.client.post("/admin/api-keys", json={"user": made["id"], "scopes": list(scopes)})).json()
    return made["id"], {"authorization": f"Bearer {key['token']}"}


async def export(app, **query) -> list[bytes]:
    await told(app)
    answer = await app.client.get("/admin/audit/export", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content.splitlines()


async def image(app, **headers) -> str:
    answer = await app.client.post("/images", files={"file": jpeg(64, 48)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_an_entry_says_who_did_what_to_which_object_and_from_where(house):
    async with house() as app:
        id = await image(app, **{"user-agent": "an agent"})
        await app.client.patch(f"/images/{id}", json={"title": "Rose"}, headers={"user-agent": "an agent"})
        await app.client.delete(f"/images/{id}", headers={"user-agent": "an agent"})

        found = await entries(app, object=f"image/{id}")
        me = (await app.client.get("/admin/users")).json()[0]["id"]

    assert [entry["action"] for entry in found] == ["image.trashed", "image.edited", "image.accepted"]
    for entry in found:
        assert (entry["user"], entry["result"], entry["origin"]["agent"]) == (me, "done", "an agent")
        assert entry["origin"]["address"] == "127.0.0.1"
        assert entry["origin"]["key"]
        assert entry["actor"] != me


async def test_entries_are_found_by_actor_action_result_and_time_and_paged(house):
    async with house() as app:
        id, reader = await user(app)
        for n in range(5):
            await app.client.post("/albums", json={"title": f"{n}"}, headers=reader)
        began = datetime.now(UTC)
        await app.client.post("/albums", json={"title": "mine"})

        mine = await entries(app, actor=id, action="album.*")
        assert [entry["action"] for entry in mine] == ["album.added"] * 5
        assert len(await entries(app, action="album.added", **{"from": began.isoformat()})) == 1
        assert len(await entries(app, action="album.added", to=began.isoformat())) == 5
        assert await entries(app, result="forbidden", action="album.*") == []
        numbers, cursor = [], None
        while True:
            page = (
                await app.client.get(
                    "/admin/audit", params={"limit": 2, "action": "album.added"} | ({"cursor": cursor} if cursor else {})
                )
            ).json()
            numbers += [entry["number"] for entry in page["entries"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert numbers == sorted(numbers, reverse=True)
        assert len(set(numbers)) == 6


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"cursor": "x"}, "bad_cursor"), ({"cursor": "-1"}, "bad_cursor"), ({"cursor": "99999999999999999999"}, "bad_cursor"), ({"cursor": "²"}, "bad_cursor"),
        ({"limit": 0}, "bad_field"), ({"limit": 10**9}, "bad_field"), ({"from": "yesterday"}, "bad_field"), ({"to": "2026-01-01T00:00:00"}, "bad_field"),
        ({"chain": "01j9z3k4m5n6p7q8r9s0t1v2w3"}, "bad_field"), ({"action": "x" * 1000}, "bad_field"),
    ],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_refused(house, query, code):
    async with house() as app:
        answer = await app.client.get("/admin/audit", params=query)

        assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    "query",
    [{"actor": "\x00"}, {"object": "user/\ud800".encode("utf-8", "surrogatepass")}, {"action": ".*"}, {"actor": "' OR 1=1 --"}],
)
async def test_odd_filters_find_nothing_or_are_refused(house, query):
    async with house() as app:
        answer = await app.client.get("/admin/audit", params=query)

        assert answer.status_code in (200, 400)
        assert answer.status_code == 400 or answer.json()["entries"] == []


async def test_users_read_no_trail_admins_their_tenants_and_operators_the_installations(house):
    async with house() as app:
        _, reader = await user(app)
        _, admin = await user(app, "admin", ("read", "write", "admin"), "admin")
        for path in ("/admin/audit", "/admin/audit/head", "/admin/audit/export"):
            assert (await app.client.get(path, headers=reader)).status_code == 403
            assert (await app.client.get(path, headers=admin)).status_code == 200
            assert (await app.client.get(path, params={"chain": "installation"}, headers=admin)).status_code == 403
            assert (await app.client.get(path, params={"chain": "installation"})).status_code == 200


async def test_another_tenant_sees_nothing_of_it(house):
    from safelight.domain.accounts import Role
    from safelight.domain.ids import TenantId, new_id
    from safelight.services.accounts import EVERY_SCOPE
    from safelight.services.api_keys import new_key
    from safelight.testing.factories import make_tenant, make_user

    async with house() as app:
        id = await image(app)
        other = make_tenant(id=TenantId(new_id()))
        admin = make_user(other.id, role=Role.ADMIN)
        token, key = new_key(admin, "key", EVERY_SCOPE, datetime.now(UTC), expires_at=None)
        async with app.safelight.catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        async with app.safelight.catalog.tenant(other.id, writes=True) as records:
            await records.accounts.add_user(admin)
            await records.accounts.api_keys.add(key)
        assert await entries(app, object=f"image/{id}")

        theirs = {"authorization": f"Bearer {token}"}
        await told(app)
        page = await app.client.get("/admin/audit", headers=theirs)
        assert page.status_code == 200
        assert {entry["action"] for entry in page.json()["entries"]} == {"user.added", "api_key.added"}
        assert id.encode() not in (await app.client.get("/admin/audit/export", headers=theirs)).content


async def test_refusals_are_told_and_what_is_alike_is_counted(house):
    async with house() as app:
        id = await image(app)
        reader_id, reader = await user(app)
        for _ in range(3):
            assert (await app.client.get(f"/images/{id}", headers=reader)).status_code == 404
        assert (await app.client.get("/admin/users", headers=reader)).status_code == 403
        assert (await app.client.get("/images/" + "0" * 26, headers=reader)).status_code == 404
        for _ in range(20):
            assert (await app.client.get("/images", headers={"authorization": "Bearer sl_nobody"})).status_code == 401

        refused = [entry for entry in await entries(app, actor=reader_id) if entry["result"] != "done"]
        strangers = await entries(app, chain="installation", result="unauthenticated")

    assert {(entry["action"], entry["object"], entry["result"]) for entry in refused} == {
        ("images.get", f"image/{id}", "not_found"),
        ("admin.users", "", "forbidden"),
    }
    assert sum(entry["count"] for entry in refused if entry["result"] == "not_found") == 3
    assert sum(entry["count"] for entry in strangers) == 20
    assert len(strangers) < 20
    assert {entry["actor"] for entry in strangers} == {"nobody"}


async def test_a_flood_of_refusals_leaves_no_flood_of_entries(house):
    async with house() as app:
        for n in range(400):
            app.safelight.trail.note(witness_at(f"192.0.2.{n % 250}-{n}"), "images.list", result="unauthenticated")
        found = await entries(app, chain="installation", result="unauthenticated")

    assert sum(entry["count"] for entry in found) == 400
    assert len(found) <= 101
    assert [entry["count"] for entry in found if entry["action"] == "request.many"] == [300]


def witness_at(address):
    from safelight.services.witness import Witness

    return Witness(address=address, agent="x")


async def test_what_administrators_read_is_told(house):
    async with house() as app:
        await app.client.get("/admin/api-keys")

        assert [entry["count"] for entry in await entries(app, action="admin.api_keys")] == [1]


async def test_sign_in_and_its_failure_are_told_and_no_secret_is_in_any_entry(house):
    async with house() as app:
        account = {"tenant": "default", "email": "ada@example.org", "password": "correct horse battery staple"}
        assert (await app.client.post("/auth/signup", json=account)).status_code == 202
        await app.safelight.relay.relay()
        wrong = await app.client.post("/auth/signin", json={**account, "password": "another secret word"})
        assert wrong.status_code == 401
        _id, reader = await user(app)
        path = (await app.client.post(f"/images/{await image(app)}/urls", json={"transforms": ["w=100.webp"]})).json()
        exported = b"\n".join([*await export(app), *await export(app, chain="installation")])

    actions = {orjson.loads(line).get("action") for line in exported.splitlines()}
    assert {"user.added", "credential.added", "code.made", "auth.sign_in", "images.urls"} <= actions
    for secret in (account["password"], "another secret word", account["email"], reader["authorization"][7:], app.token):
        assert secret.encode() not in exported
    for url in re.findall(r"sig=[\w-]+|https?://\S+", orjson.dumps(path).decode()):
        assert url.encode() not in exported


ELSEWHERE = {
    "events_of_the_store": "a store tells what has arrived; the image that comes of it has an entry",
    "auth_passkey_sign_in_options": "a challenge, of which nothing is kept",
    "auth_passkey_sign_in": "begins a session, by the same rows as a sign-in with a password",
    "shared_open_shared": "lets see what the link shows and changes nothing; a wrong password has an entry",
    "auth_verify_second": "begins the session that a sign-in asked a code for, by the same rows",
}


async def call(app, method, path, **request):
    answer = await app.client.request(method, path, **request)
    assert answer.is_success, (method, path, answer.text)
    return answer.json() if answer.content and "json" in answer.headers["content-type"] else None


async def every_change(app, storage) -> dict[str, object]:
    """Every operation that changes something, called so that it does: by operation id a coroutine to await."""
    files = iter(range(100, 200))

    def a_file():
        return {"files": {"file": jpeg(80, 60, seed=next(files))}}

    async def an_image(**state):
        return (await call(app, "post", "/images", **a_file()))["id"]

    async def dead_letter():
        storage.failures = 10_000
        await call(app, "post", "/images", **a_file())
        found = await eventually(dead_letters(app), bool)
        storage.failures = 0
        return found[0]["id"]

    me = (await call(app, "get", "/admin/users"))[0]["id"]
    image, album = await an_image(), (await call(app, "post", "/albums", json={"title": "A"}))["id"]
    trashed, doomed, versioned = await an_image(), await an_image(), await an_image()
    await call(app, "delete", f"/images/{trashed}")
    await call(app, "put", f"/images/{versioned}/original", **a_file())
    offer, taken = await announce(app), await announce(app)
    assert (await send(taken, app)).is_success
    waiting = await call(app, "post", "/imports", json={"url": "http://127.0.0.1:80/x.jpg"}, headers={"prefer": "respond-async"})
    api_key = await call(app, "post", "/admin/api-keys", json={"user": me})
    ring = await call(app, "post", "/admin/signing-keys", json={})
    guest = await call(app, "post", "/admin/users", json={"name": "guest"})
    letter_id = await dead_letter()
    await signed_up(app)
    grants = [await signed_in(app) for _ in range(3)]
    sessions = await call(app, "get", "/auth/sessions", headers=bearer(grants[0]))
    await call(app, "post", "/admin/token-keys", json={})
    token_keys = await call(app, "get", "/admin/token-keys")
    nobody = {"authorization": ""}

    async def verify():
        already = len(letters(app))
        await call(app, "post", "/auth/signup", json={"email": "bob@example.org", "password": GOOD}, headers=nobody)
        await call(app, "post", "/auth/verify", json={"token": token_of(await letter(app, already + 1))}, headers=nobody)

    async def reset():
        already = {message["message-id"] for message in letters(app)}
        await call(app, "post", "/auth/password/forgot", json={"email": ADA}, headers=nobody)

        async def came():
            new = [message for message in letters(app) if message["message-id"] not in already]
            return [message for message in new if "#password=" in text_of(message)]

        token = token_of((await eventually(came, bool))[-1])
        await call(app, "post", "/auth/password/reset", json={"token": token, "password": BETTER}, headers=nobody)

    async def discard():
        await call(app, "delete", f"/admin/failures/{await dead_letter()}")

    def plain(method, path, **request):
        return lambda: call(app, method, path, **request)

    return {
        "images_create": plain("post", "/images", **a_file()),
        "images_patch": plain("patch", f"/images/{image}", json={"title": "T"}),
        "images_trash": plain("delete", f"/images/{doomed}"),
        "images_restore": plain("post", f"/images/{trashed}/restore"),
        "images_urls": plain("post", f"/images/{image}/urls", json={"transforms": ["w=100.webp"]}),
        "images_restore_version": plain("post", f"/images/{versioned}/versions/1/restore"),
        "images_replace": plain("put", f"/images/{image}/original", **a_file()),
        "uploads_create": plain("post", "/uploads", json={"content_type": "image/jpeg", "size": 100}),
        "uploads_abandon": plain("delete", f"/uploads/{offer['id']}"),
        "uploads_complete": plain("post", f"/uploads/{taken['id']}/complete"),
        "imports_create": plain(
            "post", "/imports", json={"url": "http://127.0.0.1:80/y.jpg"}, headers={"prefer": "respond-async"}
        ),
        "imports_abandon": plain("delete", f"/imports/{waiting['id']}"),
        "albums_create": plain("post", "/albums", json={"title": "B"}),
        "albums_patch": plain("patch", f"/albums/{album}", json={"title": "C"}),
        "albums_add": plain("post", f"/albums/{album}/images", json={"images": [image]}),
        "albums_remove": plain("delete", f"/albums/{album}/images/{image}"),
        "albums_delete": plain("delete", f"/albums/{album}"),
        "admin_add_user": plain("post", "/admin/users", json={"name": "new"}),
        "admin_invite_user": plain("post", f"/admin/users/{guest['id']}/invite", json={"email": "guest@example.org"}),
        "admin_add_api_key": plain("post", "/admin/api-keys", json={"user": me}),
        "admin_revoke_api_key": plain("delete", f"/admin/api-keys/{api_key['id']}"),
        "admin_add_signing_key": plain("post", "/admin/signing-keys", json={}),
        "admin_retire_signing_key": plain("post", f"/admin/signing-keys/{ring['kid']}/retire", json={"after_s": 1000}),
        "admin_cloudfront_cookies": plain("post", "/admin/cloudfront-cookies"),
        "admin_add_token_key": plain("post", "/admin/token-keys", json={}),
        "admin_retire_token_key": plain("post", f"/admin/token-keys/{token_keys[-1]['kid']}/retire", json={"after_s": 10000}),
        "admin_retry_failure": plain("post", f"/admin/failures/{letter_id}/retry"),
        "admin_discard_failure": discard,
        "admin_reindex": plain("post", "/admin/reindex"),
        "auth_sign_up": plain("post", "/auth/signup", json={"email": "eve@example.org", "password": GOOD}, headers=nobody),
        "auth_verify": verify,
        "auth_sign_in": plain("post", "/auth/signin", json={"email": ADA, "password": GOOD}, headers=nobody),
        "auth_refresh": plain("post", "/auth/refresh", json={"refresh_token": grants[1]["refresh_token"]}, headers=nobody),
        "auth_sign_out": plain("post", "/auth/signout", json={"refresh_token": grants[2]["refresh_token"]}, headers=nobody),
        "auth_change_password": plain(
            "post", "/auth/password/change", json={"current": GOOD, "password": f"{GOOD}!"}, headers=bearer(grants[0])
        ),
        "auth_forgot_password": plain("post", "/auth/password/forgot", json={"email": ADA}, headers=nobody),
        "auth_end_session": plain("delete", f"/auth/sessions/{sessions[0]['id']}", headers=bearer(grants[0])),
        "auth_end_sessions": plain("delete", "/auth/sessions", headers=bearer(grants[0])),
        "auth_reset_password": reset,
    }


def routes_of(app):
    """Every route of the API."""
    return [route for route in app.client._transport.app.api.routes if isinstance(route, APIRoute)]


def asks_who(dependant):
    """Whether the route knows its actor."""
    return dependant.call is actor or any(map(asks_who, dependant.dependencies))


def at_once(bound):
    """The engine in memory, giving up after one try."""
    flows = {
        name: replace(flow, steps=tuple(replace(step, retry=Retry(attempts=1)) for step in flow.steps))
        for name, flow in bound.flows.items()
        if name == "develop"
    }
    return MemoryWorkflows(replace(bound, flows={**bound.flows, **flows}))


async def test_every_route_that_changes_something_leaves_an_entry(house):
    """A route that is new fails here until it is called, and then if it leaves nothing."""
    storage = MoodyStorage()
    settings = open_house(
        cloudfront=CLOUDFRONT, storage={"url": "s3://bucket/team"}, outbound={"networks": "127.0.0.1", "ports": "80"}
    )
    # Captured, since the default renders every local variable of what was given up.
    with capture_logs():
        await every_route(house, settings, storage)


async def every_route(house, settings, storage):
    async with house(settings, renditions=storage, workflows=at_once) as app:
        document = app.client._transport.app.api.openapi()
        changing = {
            operation["operationId"]
            for operations in document["paths"].values()
            for method, operation in operations.items()
            if method not in ("get", "head")
        }
        calls = await every_change(app, storage)
        known = {f"{route.tags[0]}_{route.name}" for route in routes_of(app) if route.tags and asks_who(route.dependant)}
        # Where somebody is known, the door sees to it that a request leaves an entry; where nobody is, the call has to show it.
        assert changing - known - set(calls) - set(ELSEWHERE) == set()
        assert set(calls) <= changing
        # Those that end a session or change the password come last, in this order.
        for name, change in calls.items():
            await told(app)
            before = await heads(app)
            await change()
            await told(app)
            assert await heads(app) > before, name
        for chain in (None, INSTALLATION):
            verified(await export(app, **({"chain": chain} if chain else {})), {})


async def heads(app) -> int:
    """Entries of both chains that are not of reading."""
    count = 0
    for chain in (INSTALLATION, *await app.safelight.trail._tenants()):
        async with app.safelight.trail._open(chain) as trail:
            found = await trail.page(TrailQuery(limit=10_000))
        reads = ("admin.failures", "admin.users", "audit.export", "admin.token_keys")
        count += sum(one.entry.action not in reads and one.entry.actor != "system" for one in found)
    return count


async def test_what_the_clock_and_the_flows_do_is_the_systems(house):
    async with house({"trash": {"days": 0}}) as app:
        gone = (await call(app, "post", "/images", files={"file": jpeg()}))["id"]
        await call(app, "delete", f"/images/{gone}")
        await app.safelight.library.purge_expired()

        purged = (await entries(app, action="image.purged"))[0]
        assert (purged["actor"], purged["object"], purged["origin"]) == ("system", f"image/{gone}", None)


async def test_an_export_is_verified_anywhere_and_against_a_head_that_was_noted(house):
    async with house() as app:
        for n in range(60):
            await call(app, "post", "/albums", json={"title": f"{n}"})
        await told(app)
        noted = (await call(app, "get", "/admin/audit/head"))["head"]
        for n in range(5):
            await call(app, "post", "/albums", json={"title": f"{n}"})
        lines = await export(app)

    whose, last = verified(lines, dict([parsed(noted)]))
    assert whose
    assert last.number > 60
    with pytest.raises(Broken, match="its hash is not the one that was noted elsewhere"):
        verified(lines, {parsed(noted)[0]: "0" * 64})
    with pytest.raises(Broken, match="longer once"):
        verified(lines, {last.number + 1: "0" * 64})


def parsed(head: str) -> tuple[int, str]:
    number, _, digest = head.partition(":")
    return int(number), digest


TAMPERING = {
    "an altered action": ("UPDATE trail SET action = 'image.read' WHERE number = 7", 7),
    "an altered time": ("UPDATE trail SET at = at + 1 WHERE number = 7", 7),
    "an altered actor": ("UPDATE trail SET actor = 'system' WHERE number = 7", 7),
    "an altered address": ("UPDATE trail SET origin = json_set(origin, '$.address', '203.0.113.9') WHERE number = 7", 7),
    "an address taken off": ("UPDATE trail SET origin = NULL WHERE number = 7", 7),
    "a deleted entry": ("DELETE FROM trail WHERE number = 7", 7),
    "a deleted end": ("DELETE FROM trail WHERE number >= (SELECT max(number) FROM trail)", None),
    "two that changed places": ("UPDATE trail SET number = CASE number WHEN 7 THEN -8 ELSE -7 END WHERE number IN (7, 8);"
                                "UPDATE trail SET number = -number WHERE number < 0", 7),
    "an inserted entry": ("UPDATE trail SET number = -number - 1 WHERE number >= 7; UPDATE trail SET number = -number WHERE number < 0;"
                          "INSERT INTO trail SELECT chain, 'x', 7, hash, at, action, actor, object, result, count, origin, commitment"
                          " FROM trail WHERE number = 8", 7),
    "an entry behind the head": ("INSERT INTO trail SELECT chain, 'x', number + 1, hash, at, action, actor, object, result, count, origin,"
                                 " commitment FROM trail WHERE number = (SELECT max(number) FROM trail)", None),
    "an end cut off with its head": ("DELETE FROM trail WHERE number > 9; UPDATE trail_heads SET number = 9,"
                                     " hash = (SELECT hash FROM trail WHERE number = 9)", 10),
    "a hidden beginning": ("UPDATE trail_heads SET pruned_number = 5, pruned_hash = (SELECT hash FROM trail WHERE number = 5)", 5),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERING)
async def test_whoever_tampers_with_the_database_is_found(house, how):
    statements, number = TAMPERING[how]
    async with house(catalog=None) as app:  # the database itself
        for n in range(12):
            await call(app, "post", "/albums", json={"title": f"{n}"})
        await told(app)
        noted = dict([parsed((await call(app, "get", "/admin/audit/head"))["head"])])
        verified(await export(app), noted)
        tenant = (await app.safelight.trail._tenants())[0]
        with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db")) as database:
            mine = statements.replace("WHERE ", f"WHERE chain = '{tenant}' AND ") if "INSERT" not in how else statements
            database.executescript(
                mine if "SELECT" not in statements else f"DELETE FROM trail WHERE chain = 'installation'; {statements}"
            )

        with pytest.raises(Broken) as found:
            verified(await whole(app), noted)
        if number is not None:
            assert found.value.number == number


async def whole(app) -> list[bytes]:
    """The export as it is, with nothing sealed first."""
    return (await app.client.get("/admin/audit/export")).content.splitlines()


async def test_what_is_old_is_pruned_and_the_rest_still_verifies(house):
    now = [datetime.now(UTC) - timedelta(days=400)]
    async with house(clock=lambda: now[0]) as app:
        for n in range(30):
            await call(app, "post", "/albums", json={"title": f"{n}"})
        await told(app)
        assert await app.safelight.trail.prune() == 0
        now[0] = datetime.now(UTC)
        await call(app, "post", "/albums", json={"title": "new"})
        await told(app)

        assert await app.safelight.trail.prune() >= 30
        assert await app.safelight.trail.prune() == 0
        found = await entries(app)
        assert {entry["action"] for entry in found} >= {"album.added", "audit.pruned"}
        assert len([entry for entry in found if entry["action"] == "album.added"]) == 1
        _, last = verified(await export(app), {})
        assert last.number > 31


async def test_entries_are_appended_by_many_at_once_and_sealed_by_several(house):
    async with house() as app:
        await asyncio.gather(*(call(app, "post", "/albums", json={"title": f"{n}"}) for n in range(40)))
        tenant = (await app.safelight.trail._tenants())[0]
        await asyncio.gather(*(app.safelight.trail.seal_chain(tenant) for _ in range(4)))

        assert len(await entries(app, action="album.added")) == 40
        verified(await export(app), {})


async def test_a_csv_is_for_people_and_no_cell_is_a_formula(house):
    async with house() as app:
        await app.client.post("/albums", json={"title": "A"}, headers={"user-agent": '=HYPERLINK("http://evil")'})
        rows = list(csv.DictReader(io.StringIO("\n".join(line.decode() for line in await export(app, format="csv")))))

    mine = next(row for row in rows if row["action"] == "album.added")
    assert mine["agent"].startswith("'=HYPERLINK")
    assert mine["user"]


async def test_a_change_that_fails_leaves_no_entry(house):
    async with house() as app:
        await call(app, "post", "/admin/users", json={"name": "twice"})
        before = len(await entries(app, action="user.added"))
        assert (await app.client.post("/admin/users", json={"name": "twice"})).status_code == 409

        assert len(await entries(app, action="user.added")) == before


async def test_a_route_that_does_something_without_a_record_leaves_an_entry_all_the_same(house):
    """What a new route gets for nothing."""
    async with house() as app:
        quiet = [route for route in routes_of(app) if route.methods - {"GET", "HEAD"} and asks_who(route.dependant)]
        assert len(quiet) > 20
        for route in quiet:
            witness = Witness(address="192.0.2.1", actor=(await app.safelight.accounts.authenticate(app.token)))
            scope = {
                "route": route,
                "method": min(route.methods - {"GET", "HEAD"}),
                "path": route.path,
                "path_params": {"id": "x"},
            }
            assert _result(scope, {}, 204, witness) == "done", route.path
            assert action_of(scope), route.path
            assert _result(scope, {}, 403, witness) == "refused"
