"""Everything of a tenant as a ZIP, and its erasure: nothing of it stays but its audit trail, and the tenant beside it keeps everything."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import jwt
import orjson
import pytest
from tests.api.test_audit import told
from tests.api.test_failures import eventually
from tests.api.test_privacy import ended
from tests.api.test_tenants import house
from tests.people import moved_in
from tests.pictures import jpeg

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.cdn.memory import MemoryCdn
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.api.app import Front
from safelight.domain.accounts import Role
from safelight.domain.usage import Counts, month_of
from safelight.errors import Missing
from safelight.services.erasure import NotGone
from safelight.testing.factories import NOON

NAMES = ("mallards-nest-ada", "crows-nest-bob")


@pytest.fixture
def parts():
    return {"originals": MemoryStorage(), "renditions": MemoryStorage(), "search": MemorySearch(), "workflows": MemoryWorkflows}


async def furnished(app, name, seed):
    """A tenant with an admin and a user, each with one of everything that has an id."""
    front = Front(app.safelight)
    admin = await moved_in(front, app.safelight, name, role=Role.ADMIN, seed=seed)
    user = await moved_in(front, app.safelight, f"{name}s-egg", role=Role.USER, tenant=admin.tenant, seed=seed + 10)
    async with app.safelight.catalog.ledger(writes=True) as ledger:
        await ledger.add(admin.tenant, month_of(NOON), Counts(uploads=2))
    trashed = await app.client.delete(f"/images/{user.things['images']}", headers=user.headers)
    assert trashed.status_code == 204, trashed.text
    grant = await app.client.put(f"/albums/{admin.things['albums']}/grants/{user.user}", json={}, headers=admin.headers)
    assert grant.status_code == 200, grant.text
    return admin, user


def rows(app):
    """Every row of every table, as it lies there."""
    with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, repr(row)) for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]


def of(found, person):
    """How many rows of each table name this tenant, or anything of this person."""
    marks = (person.tenant, person.name)
    return Counter(table for table, row in found if any(mark in row for mark in marks))


async def erased(app, tenant):
    assert (await app.client.post(f"/admin/tenants/{tenant}/suspend")).status_code == 200
    asked = await app.client.delete(f"/admin/tenants/{tenant}")
    assert asked.status_code == 202, asked.text
    return asked


async def objects(bucket, prefix):
    return [pile.key for pile in await bucket.piles(prefix, limit=10_000)]


async def test_erasing_a_tenant_leaves_its_trail_and_nothing_else_and_the_other_one_everything(run, parts):
    async with run(**parts) as app:
        ada, _ = await furnished(app, NAMES[0], 1)
        bob, _ = await furnished(app, NAMES[1], 30)
        await told(app)
        kept = {name: await objects(parts[name], bob.tenant) for name in ("originals", "renditions")}
        before = rows(app)
        assert len(of(before, bob)) >= 15, of(before, bob)

        asked = await erased(app, ada.tenant)
        certificate = await ended(app, asked.headers["location"])

        assert certificate["removed"]["images"] == certificate["removed"]["versions"] == 2
        assert (certificate["removed"]["accounts"], certificate["removed"]["albums"], certificate["removed"]["uploads"]) == (
            2,
            2,
            4,
        )
        ring = (await app.client.get("/.well-known/jwks.json")).json()["keys"]
        kid = jwt.get_unverified_header(certificate["signature"])["kid"]
        key = jwt.PyJWK(next(one for one in ring if one["kid"] == kid))
        claims = jwt.decode(certificate["signature"], key.key, algorithms=[key.algorithm_name])
        assert {name: claims[name] for name in ("tenant", "removed")} == {"tenant": ada.tenant, "removed": certificate["removed"]}

        async def untold():
            async with app.safelight.catalog.directory() as directory:
                return await directory.outbox.untold()

        await eventually(untold, lambda left: not left)
        after = rows(app)
        # The stone and the trail; and that the tenant was erased, in the trail of the installation.
        assert set(of(after, ada)) == {"tenants", "trail", "trail_heads"}
        assert not [row for _, row in after if ada.name in row]
        (stone,) = [row for table, row in after if table == "tenants" and ada.tenant in row]
        assert f"'~{ada.tenant}'" in stone
        for person in (ada.user, *ada.things.values()):
            assert person == ada.tenant or not [row for table, row in after if table != "trail" and person in row], person
        # What is told of things may grow; what they are stays as it was.
        growing = {"journal", "trail", "events"}
        assert {name: n for name, n in of(after, bob).items() if name not in growing} == {
            name: n for name, n in of(before, bob).items() if name not in growing
        }
        assert of(after, bob) >= Counter({name: n for name, n in of(before, bob).items() if name != "events"})
        assert {row for row in after if bob.tenant in row[1]} >= {
            row
            for row in before
            if bob.tenant in row[1] and row[0] in ("images", "users", "api_keys", "albums", "webhooks", "signing_keys")
        }
        for name in ("originals", "renditions"):
            assert await objects(parts[name], bob.tenant) == kept[name]
            assert not await objects(parts[name], ada.tenant)
            assert not await objects(parts[name], f"warmings/{ada.tenant}")
        assert (await app.client.get(f"/albums/{bob.things['albums']}", headers=bob.headers)).status_code == 200
        assert await parts["search"].digests(ada.tenant) == {}


async def test_a_tenant_is_erased_by_an_operator_once_it_is_suspended_and_comes_back_never_after(run, parts):
    async with run(catalog=MemoryCatalog(), **parts) as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        path = f"/admin/tenants/{shop.id}"
        assert (await shop.client.delete(path)).status_code == 403
        assert (await rival.client.delete(path)).status_code == 403
        for unknown in ("0" * 26, "x"):
            assert (await app.client.delete(f"/admin/tenants/{unknown}")).status_code == 404
        early = await app.client.delete(path)
        assert (early.status_code, early.json()["code"]) == (409, "wrong_state")
        own = next(one["id"] for one in (await app.client.get("/admin/tenants")).json() if one["name"] == "default")
        assert (await app.client.delete(f"/admin/tenants/{own}")).status_code == 409  # nobody can suspend it either
        assert not await objects(parts["originals"], "erasures/")

        asked = await erased(app, shop.id)
        for method, address in (("POST", f"{path}/resume"), ("PATCH", path)):
            again = await app.client.request(method, address, json={"trash_days": 1} if method == "PATCH" else None)
            assert again.status_code in (404, 409), again.text
        await ended(app, asked.headers["location"])

        assert (await app.client.delete(path)).json()["id"] == asked.json()["id"]
        for method, address in (("GET", path), ("POST", f"{path}/resume"), ("PATCH", path), ("POST", f"{path}/export")):
            gone = await app.client.request(method, address, json={"trash_days": 1} if method == "PATCH" else None)
            assert gone.status_code == 404, (method, address, gone.text)
        assert [one["name"] for one in (await app.client.get("/admin/tenants")).json()] == ["default", "rival"]
        assert [one["name"] for one in (await app.client.get("/admin/usage")).json()] == ["default", "rival"]
        assert (await app.client.post("/admin/tenants", json={"name": "shop"})).status_code == 201  # the name is free
        assert (await shop.client.get("/images")).status_code == 401


async def test_an_erasure_that_a_crash_kept_from_beginning_is_begun_by_the_clock(run, parts):
    async with run(catalog=MemoryCatalog(), **parts) as app:
        shop = await house(app, "shop")
        assert (await shop.client.post("/images", files={"file": jpeg(40, 40)})).status_code == 201
        await app.client.post(f"/admin/tenants/{shop.id}/suspend")
        await app.safelight.tenants.rewrite(shop.id, lambda tenant: replace(tenant, erasure="0" * 26))

        assert await app.safelight.tenant_erasure.go_on() == 1
        address = f"/erasures/{shop.id}/{'0' * 26}"

        async def is_there():
            return (await app.client.get(address)).status_code

        assert await eventually(is_there, lambda status: status == 200)
        certificate = await ended(app, address)
        assert certificate["removed"]["images"] == 1
        assert await app.safelight.tenant_erasure.go_on() == 0


async def test_every_step_may_run_twice_and_what_comes_late_goes_too(run, parts):
    async with run(**parts) as app:
        ada, _ = await furnished(app, NAMES[0], 1)
        erasure = app.safelight.tenant_erasure
        await app.client.post(f"/admin/tenants/{ada.tenant}/suspend")
        id = "0" * 26
        payload = {"tenant": ada.tenant, "erasure": id}
        for step in (erasure.note, erasure.images, erasure.belongings, erasure.people, erasure.caches, erasure.record):
            await step(payload)
            await step(payload)
        # A process that had believed the tenant for a moment longer.
        await parts["originals"].put(f"{ada.tenant}/{'0' * 26}/1/original", b"late")
        async with app.safelight.catalog.ledger(writes=True) as ledger:
            await ledger.add(ada.tenant, month_of(NOON), Counts(requests=1))
        await erasure.certify(payload)
        first = await parts["originals"].get(f"erasures/{ada.tenant}/{id}/certificate")
        await erasure.certify(payload)

        assert await parts["originals"].get(f"erasures/{ada.tenant}/{id}/certificate") == first
        assert orjson.loads(first)["removed"]["images"] == 2
        assert await objects(parts["originals"], f"erasures/{ada.tenant}/{id}/") == [
            f"erasures/{ada.tenant}/{id}/{what}" for what in ("certificate", "requested")
        ]
        assert not await objects(parts["originals"], f"{ada.tenant}/")
        assert set(of(rows(app), ada)) == {"tenants", "trail", "trail_heads"}
        with pytest.raises(Missing):
            await app.safelight.tenants.get(await app.safelight.accounts.authenticate(app.token), ada.tenant)


async def test_the_certificate_waits_for_every_cdn(run, parts):
    front = MemoryCdn("front", is_quick=False)
    async with run(catalog=MemoryCatalog(), fronts=[front], **parts) as app:
        shop = await house(app, "shop")
        asked = await erased(app, shop.id)
        payload = {"tenant": shop.id, "erasure": asked.json()["id"]}

        async def is_told():
            await app.safelight.purges.go_on()
            return [path for paths in front.told.values() for path in paths]

        assert await eventually(is_told, bool)
        with pytest.raises(NotGone):
            await app.safelight.tenant_erasure.caches(payload)
        assert (await app.client.get(asked.headers["location"])).json()["state"] == "pending"
        front.finish()

        async def is_done():
            await app.safelight.purges.go_on()
            return (await app.client.get(asked.headers["location"])).json()["certificate"]

        assert await eventually(is_done, bool)


async def test_an_image_that_was_purged_without_having_been_in_the_trash_is_told_to_the_cdn(run, parts):
    front = MemoryCdn("front")
    async with run(catalog=MemoryCatalog(), fronts=[front], **parts) as app:
        reader = (await app.client.post("/admin/users", json={"name": "reader"})).json()["id"]
        token = (await app.client.post("/admin/api-keys", json={"user": reader})).json()["token"]
        mine = {"authorization": f"Bearer {token}"}
        image = (await app.client.post("/images", files={"file": jpeg(40, 40)}, headers=mine)).json()["id"]
        await ended(app, (await app.client.delete(f"/admin/users/{reader}")).headers["location"])

        async def is_told():
            await app.safelight.purges.go_on()
            return [path for paths in front.told.values() for path in paths if image in path]

        assert await eventually(is_told, bool)


async def test_an_export_holds_all_of_a_tenant_nothing_of_another_and_no_secret(run, parts):
    async with run(catalog=MemoryCatalog(), **parts) as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        pictures = [jpeg(64, 48, seed=n) for n in range(3)]
        images = [(await shop.client.post("/images", files={"file": data})).json()["id"] for data in pictures]
        await shop.client.put(f"/images/{images[0]}/original", files={"file": jpeg(70, 48, seed=7)})
        await shop.client.delete(f"/images/{images[1]}")
        album = (await shop.client.post("/albums", json={"title": "Zebrafish"})).json()["id"]
        await shop.client.post(f"/albums/{album}/images", json={"images": [images[2]]})
        friend = (await shop.client.post("/admin/users", json={"name": "friend"})).json()["id"]
        assert (await shop.client.put(f"/albums/{album}/grants/{friend}", json={})).status_code == 200
        until = (datetime.now(UTC) + timedelta(days=7)).isoformat()
        link = (
            await shop.client.post(f"/albums/{album}/links", json={"expires_at": until, "password": "tangerine dream"})
        ).json()
        hook = (await shop.client.post("/admin/webhooks", json={"url": "https://hooks.example.org/x"})).json()
        signing = (await shop.client.post("/admin/signing-keys", json={})).json()
        await shop.client.put("/admin/presets/card", json={"options": "w=300"})
        await shop.client.put("/admin/recipes/plain", json={"quality": {"webp": 70}})
        others = (await rival.client.post("/images", files={"file": jpeg(99, 99)}, data={"title": "Not yours"})).json()["id"]
        await told(app)
        await app.safelight.meter.flush()
        for who, status in (
            (rival.client, 404),
            (httpx.AsyncClient(transport=shop.client._transport, base_url="http://test"), 401),
        ):
            assert (await who.post(f"/admin/tenants/{shop.id}/export")).status_code == status
        await app.client.post(f"/admin/tenants/{shop.id}/suspend")  # whoever is to be erased can be exported before
        answer = await app.client.post(f"/admin/tenants/{shop.id}/export")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = orjson.loads(files.pop("manifest.json"))
    assert manifest["absent"] == []
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == manifest["sha256"]
    sent = {hashlib.sha256(data).hexdigest() for data in (*pictures, jpeg(70, 48, seed=7))}
    assert {
        hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if name.startswith("images/") and not name.endswith(".json")
    } == sent
    record = orjson.loads(files["tenant.json"])
    assert (record["name"], record["presets"]["card"]) == ("shop", ["w=300"])
    assert "plain" in orjson.dumps(record["recipes"]).decode()
    assert [one["url"] for one in record["webhooks"]] == ["https://hooks.example.org/x"]
    assert len(record["signing_keys"]) == 2
    users = [orjson.loads(line) for line in files["users.ndjson"].splitlines()]
    assert [one["user"]["name"] for one in users] == ["admin", "friend"]
    (exported,) = [orjson.loads(line) for line in files["albums.ndjson"].splitlines()]
    assert (exported["images"], exported["grants"][0]["user"], exported["links"][0]["id"]) == ([images[2]], friend, link["id"])
    assert sum(month["counts"]["uploads"] for month in orjson.loads(files["usage.json"])) == 4
    actions = {orjson.loads(line)["action"] for line in files["audit.ndjson"].splitlines()}
    assert {"image.accepted", "image.trashed", "album.shared", "webhook.added"} <= actions
    everything = b"".join(files.values())
    for secret in (
        shop.record["token"],
        hook["secret"],
        signing["secret"],
        link["url"].rpartition("/")[2],
        "argon2",
        "_hash",
        "Not yours",
        others,
    ):
        assert secret.encode() not in everything, secret
