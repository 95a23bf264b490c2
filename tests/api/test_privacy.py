"""Everything of a user as a ZIP, and its erasure: nothing of theirs stays in tables, store, search, cache or trail."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, datetime, timedelta

import jwt
import orjson
import pytest
from tests.api.test_audit import call, export, told, user
from tests.api.test_auth import CHEAP, GOOD, bearer, signed_in, signed_up
from tests.api.test_failures import eventually
from tests.photographs import photographs
from tests.pictures import jpeg

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.cli.audit import verified
from safelight.domain.audit import INSTALLATION
from safelight.domain.events import ImagePurged
from safelight.domain.ids import new_id
from safelight.domain.queries import SearchQuery
from safelight.errors import Missing


@pytest.fixture
def house(run):
    def running(settings=None, **parts):
        in_memory = {
            "originals": MemoryStorage(),
            "renditions": MemoryStorage(),
            "search": MemorySearch(),
            "workflows": MemoryWorkflows,
        }
        chosen = {"auth": {"signup_tenants": "*", **CHEAP}, "rate": {"auth_per_minute": 0}} | (settings or {})
        return run(chosen, **({**in_memory, "catalog": MemoryCatalog()} | parts))

    return running


async def unzipped(app, path, **request) -> dict[str, bytes]:
    answer = await app.client.post(path, **request)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def ended(app, url) -> dict:
    """The certificate."""

    async def asked():
        answer = await app.client.get(url, headers={"authorization": ""})
        assert answer.status_code == 200, answer.text
        return answer.json()["certificate"]

    return await eventually(asked, bool)


async def furnished(app, reader) -> dict[str, str]:
    """Images in every state, albums, an upload that was never sent."""
    pictures = [path.read_bytes() for path in photographs("small")[:2]]
    kept = (
        await call(
            app, "post", "/images", headers=reader, data={"title": "Zebrafish"}, files={"file": ("secret-name.jpg", pictures[0])}
        )
    )["id"]
    replaced = (await call(app, "post", "/images", headers=reader, files={"file": jpeg(64, 48, seed=3)}))["id"]
    await call(app, "put", f"/images/{replaced}/original", headers=reader, files={"file": pictures[1]})
    trashed = (await call(app, "post", "/images", headers=reader, files={"file": jpeg(64, 48, seed=4)}))["id"]
    await call(app, "delete", f"/images/{trashed}", headers=reader)
    album = (await call(app, "post", "/albums", headers=reader, json={"title": "Zebrafish album"}))["id"]
    await call(app, "post", f"/albums/{album}/images", headers=reader, json={"images": [kept, replaced]})
    await call(app, "post", "/uploads", headers=reader, json={"content_type": "image/jpeg", "size": 100})
    return {"kept": kept, "replaced": replaced, "trashed": trashed, "album": album}


async def test_an_export_holds_the_originals_byte_for_byte_and_all_that_is_known(house):
    async with house() as app:
        id, reader = await user(app)
        ids = await furnished(app, reader)
        await told(app)
        files = await unzipped(app, f"/admin/users/{id}/export")

    manifest = orjson.loads(files.pop("manifest.json"))
    assert manifest["absent"] == []
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == manifest["sha256"]
    originals = {
        hashlib.sha256(data).hexdigest()
        for name, data in files.items()
        if name.startswith("images/") and not name.endswith(".json")
    }
    pictures = [path.read_bytes() for path in photographs("small")[:2]]
    sent = {hashlib.sha256(data).hexdigest() for data in (*pictures, jpeg(64, 48, seed=3), jpeg(64, 48, seed=4))}
    assert originals == sent
    image = orjson.loads(files[f"images/{ids['kept']}/image.json"])
    assert (image["title"], image["file_name"], image["owner"]) == ("Zebrafish", "secret-name.jpg", id)
    (album,) = orjson.loads(files["albums.json"])
    assert (album["title"], album["images"]) == ("Zebrafish album", [ids["kept"], ids["replaced"]])
    account = orjson.loads(files["account.json"])
    assert account["user"]["name"] == "reader"
    assert len(account["api_keys"]) == 1
    actions = [orjson.loads(line)["action"] for line in files["audit.ndjson"].splitlines()]
    assert {"image.accepted", "image.trashed", "album.added"} <= set(actions)
    everything = b"".join(files.values())
    assert reader["authorization"][7:].encode() not in everything
    assert b"_hash" not in files["account.json"]


async def test_an_own_export_holds_what_is_ones_own_and_nobody_elses(house):
    async with house() as app:
        other, _ = await user(app, "other-person")
        await call(app, "post", "/images", data={"title": "Not yours"}, files={"file": jpeg()})
        await signed_up(app)
        grant = bearer(await signed_in(app))
        mine = (await call(app, "post", "/images", headers=grant, files={"file": jpeg(70, 70)}))["id"]
        files = await unzipped(app, "/me/export", headers=grant)

    everything = b"".join(files.values())
    assert {name.split("/")[1] for name in files if name.startswith("images/")} == {mine}
    assert b"Not yours" not in everything
    assert other.encode() not in everything
    assert orjson.loads(files["account.json"])["sign_in"]["email"] == "ada@example.org"
    assert b"argon2" not in everything


async def test_an_export_tells_of_grants_and_links_and_the_erasure_ends_them(house):
    async with house() as app:
        until = (datetime.now(UTC) + timedelta(days=7)).isoformat()
        (ada, adas), (bob, bobs) = await user(app, "ada"), await user(app, "bob")
        lent = (await call(app, "post", "/albums", headers=adas, json={"title": "Lent"}))["id"]
        borrowed = (await call(app, "post", "/albums", headers=bobs, json={"title": "Borrowed"}))["id"]
        await call(app, "put", f"/albums/{lent}/grants/{bob}", headers=adas, json={"level": "contribute"})
        await call(app, "put", f"/albums/{borrowed}/grants/{ada}", headers=bobs, json={})
        link = await call(
            app, "post", f"/albums/{lent}/links", headers=adas, json={"expires_at": until, "password": "tangerine dream"}
        )
        files = await unzipped(app, f"/admin/users/{ada}/export")

        (album,) = orjson.loads(files["albums.json"])
        assert [(grant["user"], grant["level"]) for grant in album["grants"]] == [(bob, "contribute")]
        assert [one["id"] for one in album["links"]] == [link["id"]]
        (taken,) = orjson.loads(files["lent.json"])
        assert (taken["album"], taken["title"], taken["user"]) == (borrowed, "Borrowed", ada)
        everything = b"".join(files.values())
        for secret in (link["url"].rpartition("/")[2], "_hash", "argon2"):
            assert secret.encode() not in everything, secret

        token = link["url"].rpartition("/")[2]
        opening = {"password": "tangerine dream"}
        assert (await app.client.post(f"/shared/{token}/open", json=opening, headers={"authorization": ""})).status_code == 200
        assert (await app.client.get(f"/albums/{lent}", headers=bobs)).status_code == 200
        await ended(app, (await app.client.delete(f"/admin/users/{ada}")).headers["location"])

        assert (await app.client.post(f"/shared/{token}/open", json=opening, headers={"authorization": ""})).status_code == 404
        assert (await app.client.get(f"/albums/{lent}", headers=bobs)).status_code == 404
        assert await call(app, "get", f"/albums/{borrowed}/grants", headers=bobs) == []


async def test_keys_users_and_other_tenants_neither_export_nor_erase(house):
    async with house() as app:
        id, reader = await user(app)
        _, admin = await user(app, "admin", ("read", "write", "admin"), "admin")
        operator = (await call(app, "get", "/admin/users"))[-1]
        operator = next(one for one in await call(app, "get", "/admin/users") if one["role"] == "operator")["id"]
        for method, path in (
            ("POST", "/me/export"),
            ("DELETE", "/me"),
            ("POST", f"/admin/users/{id}/export"),
            ("DELETE", f"/admin/users/{id}"),
        ):
            assert (await app.client.request(method, path, headers=reader)).status_code == 403, path
        assert (await app.client.delete(f"/admin/users/{operator}", headers=admin)).status_code == 403
        assert (await app.client.delete(f"/admin/users/{operator}")).json()["code"] == "wrong_state"
        for unknown in ("0" * 26, "x", "0" * 25 + "1"):
            assert (await app.client.delete(f"/admin/users/{unknown}")).status_code == 404
            assert (await app.client.post(f"/admin/users/{unknown}/export")).status_code == 404
            assert (await app.client.get(f"/erasures/{unknown}/{unknown}")).status_code == 404
        assert (await app.client.get("/images", headers=reader)).status_code == 200


async def test_erasing_leaves_nothing_anywhere_and_a_certificate_that_is_signed(house, tmp_path):
    originals, renditions, search = MemoryStorage(), MemoryStorage(), MemorySearch()
    async with house(catalog=None, originals=originals, renditions=renditions, search=search) as app:
        id, reader = await user(app, "quetzalcoatl")
        ids = await furnished(app, reader)
        others = (await call(app, "post", "/images", data={"title": "Zebrafish too"}, files={"file": jpeg(99, 99)}))["id"]
        await told(app)
        asked = await app.client.delete(f"/admin/users/{id}")
        assert asked.status_code == 202
        assert (await app.client.get("/images", headers=reader)).status_code == 401  # from this moment on
        certificate = await ended(app, asked.headers["location"])

        assert certificate["removed"] == {
            "images": 3, "versions": 4, "bytes": certificate["removed"]["bytes"], "albums": 1, "uploads": 1, "api_keys": 1, "passkeys": 0, "accounts": 1,
        }  # fmt: skip
        ring = (await app.client.get("/.well-known/jwks.json")).json()["keys"]
        key = jwt.PyJWK(next(one for one in ring if one["kid"] == jwt.get_unverified_header(certificate["signature"])["kid"]))
        claims = jwt.decode(certificate["signature"], key.key, algorithms=[key.algorithm_name])
        assert {name: claims[name] for name in ("erasure", "removed", "list_sha256")} == {
            name: certificate[name] for name in ("erasure", "removed", "list_sha256")
        }
        assert jwt.get_unverified_header(certificate["signature"])["typ"] == "erasure+jwt"
        token = {"authorization": f"Bearer {certificate['signature']}"}
        assert (await app.client.get("/images", headers=token)).status_code == 401

        tenant = (await app.safelight.trail._tenants())[0]
        gone = {name: ids[name] for name in ("kept", "replaced", "trashed")}
        for bucket in (originals, renditions):
            keys = [pile.key for pile in await bucket.piles("", limit=10_000)]
            assert not [key for key in keys if any(image in key for image in gone.values())]
        assert [pile.key for pile in await originals.piles("erasures/")] == [
            f"erasures/{tenant}/{certificate['erasure']}/{what}" for what in ("certificate", "requested")
        ]
        found = await search.search(tenant, SearchQuery(text="zebrafish"))
        assert [hit.image for hit in found.hits] == [others]
        await eventually(lambda: untold(app), lambda left: not left)

        # Every row of every table, as it lies there.
        with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db")) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"').fetchall():
                    text = repr(row)
                    assert id not in text, (table, row)
                    assert "quetzalcoatl" not in text, (table, row)
                    assert "secret-name" not in text, (table, row)
                    if table != "trail":
                        assert not [image for image in gone.values() if image in text], (table, row)
                    if table == "trail" and app.safelight.trail.pseudonym(tenant, id) in row:
                        assert "address" not in text, row
        whose, _ = verified(await export(app), {})
        verified(await export(app, chain=INSTALLATION), {})
        assert whose == tenant


async def untold(app):
    async with app.safelight.catalog.directory() as directory:
        return await directory.outbox.untold()


async def test_who_erases_themselves_proves_who_they_are_and_can_read_the_certificate_afterwards(house):
    async with house() as app:
        await signed_up(app)
        grant = bearer(await signed_in(app))
        assert (await app.client.delete("/me")).status_code == 403  # a key is not a person
        asked = await app.client.delete("/me", headers=grant)
        assert asked.status_code == 202, asked.text

        certificate = await ended(app, asked.json()["certificate_url"])
        assert certificate["removed"]["accounts"] == 1
        assert (await app.client.get("/images", headers=grant)).status_code == 401
        again = await app.client.post("/auth/signin", json={"email": "ada@example.org", "password": GOOD})
        assert again.status_code == 401
        await signed_up(app)  # the address is free


async def test_steps_that_run_twice_or_after_a_crash_end_in_one_certificate(house):
    async with house(workflows=lambda bound: MemoryWorkflows(bound)) as app:
        id, reader = await user(app)
        await furnished(app, reader)
        tenant = (await app.safelight.trail._tenants())[0]
        erasure = app.safelight.erasure
        asked = await app.client.delete(f"/admin/users/{id}")
        payload = {"tenant": tenant, "user": id, "erasure": asked.json()["id"]}
        certificate = await ended(app, asked.headers["location"])
        for step in (erasure.account, erasure.belongings, erasure.certify):
            await step(payload)

        assert await ended(app, asked.headers["location"]) == certificate


async def test_the_certificate_waits_for_what_is_still_told_of_the_user(house, monkeypatch):
    async with house() as app:
        id, _ = await user(app)
        tenant = (await app.safelight.trail._tenants())[0]
        erasure, relay = app.safelight.erasure, type(app.safelight.relay)
        payload = {"tenant": tenant, "user": id, "erasure": new_id()}
        for step in (erasure.note, erasure.images, erasure.belongings, erasure.account):
            await step(payload)

        async def held(_self: object) -> int:
            return 0

        monkeypatch.setattr(relay, "relay", held)
        async with app.safelight.catalog.tenant(tenant, writes=True) as records:
            await records.emit(ImagePurged(tenant, new_id(), 1, 2, id))
        certifying = asyncio.create_task(erasure.certify(payload))
        await asyncio.sleep(0.5)
        with pytest.raises(Missing):
            await app.safelight.delivery.renderer.originals.get(f"erasures/{tenant}/{payload['erasure']}/certificate")
        monkeypatch.undo()

        async with asyncio.timeout(60):
            await certifying
        async with app.safelight.catalog.directory() as directory:
            assert not [one for one in await directory.outbox.untold(limit=100) if id in one.event.to_json().values()]
