"""Tenants side by side: nobody reaches into another, quotas hold however bytes come, and a suspended one stands still."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.pictures import jpeg

from safelight.api.app import Front, create_api
from safelight.domain.ids import UploadId, new_id
from safelight.settings import Settings
from safelight.testing.contracts.outbound import serving, whole
from safelight.wiring import build

PICTURE = jpeg(seed=9100)
OTHER = jpeg(seed=9101)
TUS = {"tus-resumable": "1.0.0"}
BYTES = {"content-type": "application/offset+octet-stream"}


@dataclass
class House:
    record: dict
    client: httpx.AsyncClient

    @property
    def id(self):
        return self.record["id"]


async def house(app, name, **quotas) -> House:
    """A tenant, and a client with the key of its admin."""
    made = await app.client.post("/admin/tenants", json={"name": name, "quotas": quotas})
    assert made.status_code == 201, made.text
    transport = httpx.ASGITransport(Front(app.safelight), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    return House(made.json(), httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60))


async def stored(app, one):
    return (await app.client.get(f"/admin/tenants/{one.id}")).json()["stored"]


async def limit(app, one, **quotas):
    assert (await app.client.patch(f"/admin/tenants/{one.id}", json={"quotas": quotas})).status_code == 200


async def objects(app):
    uploads = app.safelight.uploads
    return [
        each.key
        for store in (uploads.incoming, uploads.ingest.originals)
        for each in await (store.scan() if store is uploads.incoming else store.scan(""))
    ]


def refused(answer, which):
    assert (answer.status_code, answer.json()["code"], answer.json()["which"]) == (403, "quota_exceeded", which), answer.text
    assert answer.json()["used"] <= answer.json()["limit"]


async def test_an_operator_makes_a_tenant_whose_admin_is_at_home_there_and_nowhere_else(run):
    async with run() as app:
        shop = await house(app, "shop", images=5)
        image = (await shop.client.post("/images", files={"file": PICTURE})).json()
        seen = (await shop.client.get(f"/admin/tenants/{shop.id}")).json()

        assert seen["stored"] == {"bytes": len(PICTURE), "images": 1}
        assert seen["quotas"] == {"bytes": None, "images": 5, "transformations": None, "requests_per_s": None}
        assert seen["limits"] == {"bytes": 0, "images": 5, "transformations": 0, "requests_per_s": 0}
        assert (await shop.client.get("/admin/users")).json()[0]["name"] == "admin"
        assert len((await shop.client.get("/admin/signing-keys")).json()) == 1
        assert (await shop.client.get(image["renditions"][0]["url"])).status_code == 200  # signed by its own ring

        names = [each["name"] for each in (await app.client.get("/admin/tenants")).json()]
        assert names == ["default", "shop"]
        again = await app.client.post("/admin/tenants", json={"name": "shop"})
        assert (again.status_code, again.json()["code"]) == (409, "already_exists")
        for name in ("", "../x", "a b", "x" * 65, ".hidden"):
            assert (await app.client.post("/admin/tenants", json={"name": name})).status_code == 400, name


async def test_a_tenant_that_a_crash_left_empty_is_finished_when_it_is_asked_for_again(run, monkeypatch):
    async with run() as app:

        def crash(*_, **__):
            raise OSError

        with monkeypatch.context() as patched:
            patched.setattr("safelight.services.tenants.new_key", crash)
            assert (await app.client.post("/admin/tenants", json={"name": "shop"})).status_code == 500
        shop = await house(app, "shop")
        assert (await shop.client.get("/admin/users")).status_code == 200


@pytest.mark.parametrize("who", ["an admin of another tenant", "another user of the tenant"])
async def test_no_id_of_somebody_opens_anything_to(run, tmp_path, who):
    """Every route of the OpenAPI document that names a thing, so that a new one is tried too."""
    document = create_api(build(Settings(data_dir=tmp_path / "document"))).openapi()
    async with run() as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        ours, theirs = shop.client, rival.client
        if who == "another user of the tenant":
            neighbour = (await ours.post("/admin/users", json={"name": "neighbour"})).json()["id"]
            key = (await ours.post("/admin/api-keys", json={"user": neighbour})).json()["token"]
            theirs = httpx.AsyncClient(
                transport=rival.client._transport,
                base_url="http://test",
                headers={"authorization": f"Bearer {key}"},
                timeout=60,
            )
        image = (await ours.post("/images", files={"file": PICTURE})).json()["id"]
        album = (await ours.post("/albums", json={"title": "A"})).json()["id"]
        await ours.post(f"/albums/{album}/images", json={"images": [image]})
        upload = (await ours.post("/uploads", json={"filename": "a.jpg"})).json()["id"]
        user = (await ours.get("/admin/users")).json()[0]["id"]
        key = (await ours.get("/admin/api-keys")).json()[0]["id"]
        kid = (await ours.get("/admin/signing-keys")).json()[0]["kid"]
        things = {
            "images": image,
            "albums": album,
            "uploads": upload,
            "imports": upload,
            "users": user,
            "api-keys": key,
            "tenants": shop.id,
        }
        friend = (await ours.post("/admin/users", json={"name": "friend"})).json()["id"]
        assert (await ours.put(f"/albums/{album}/grants/{friend}", json={})).status_code == 200
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        link = (await ours.post(f"/albums/{album}/links", json={"expires_at": until})).json()["id"]
        bodies = {
            "/albums/{id}/images": {"images": [image]},
            "/albums/{id}/links": {"expires_at": until},
            "/admin/users/{id}/invite": {"email": "a@b.example"},
        }
        tried = 0
        for path, operations in document["paths"].items():
            place = next((name for name in things if re.search(rf"/{name}/\{{id\}}", path)), None)
            if place is None and "/signing-keys/{kid}" not in path:
                continue
            address = (
                path.replace("{id}", things.get(place, ""))
                .replace("{kid}", kid)
                .replace("{n}", "1")
                .replace("{image}", image)
                .replace("{user}", friend)
                .replace("{link}", link)
            )
            address = re.sub(r"\{\w+\}", "0" * 26, address)
            for method in operations:
                sent = (
                    {"files": {"file": OTHER}}
                    if path == "/images/{id}/original" and method == "put"
                    else {"json": bodies.get(path, {})}
                )
                answer = await theirs.request(method, address, **({} if method in ("get", "delete") else sent))
                assert answer.status_code in (400, 403, 404), (method, path, answer.text)
                if answer.status_code == 400:  # of the body, before anything is looked for
                    assert answer.json()["code"] == "bad_field", (method, path, answer.text)
                assert image not in answer.text
                tried += 1

        assert tried > 15
        assert (await ours.get(f"/images/{image}")).json()["status"] == "ready"
        assert (await ours.get(f"/albums/{album}")).json()["image_count"] == 1
        assert [each["user"] for each in (await ours.get(f"/albums/{album}/grants")).json()] == [friend]
        assert [each["id"] for each in (await ours.get(f"/albums/{album}/links")).json()] == [link]
        assert (await theirs.get("/images")).json()["images"] == []
        assert (await theirs.get("/images", params={"album": album})).json().get("images", []) == []


async def test_an_admin_sets_what_is_theirs_and_nothing_that_is_the_operators(run):
    async with run() as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        own = f"/admin/tenants/{shop.id}"
        changed = await shop.client.patch(own, json={"trash_days": 7, "duplicates": "reuse"}, headers={"if-match": '"1"'})
        assert (changed.status_code, changed.json()["trash_days"], changed.headers["etag"]) == (200, 7, '"2"')
        assert (await shop.client.patch(own, json={"trash_days": 8}, headers={"if-match": '"1"'})).status_code == 412

        for body in ({"quotas": {"bytes": 0}}, {"name": "default2"}, {"trash_days": 1, "quotas": {}}):
            assert (await shop.client.patch(own, json=body)).json()["code"] == "forbidden", body
        for body in (
            {"id": rival.id}, {"revision": 9}, {"suspended_at": None}, {"stored": {"bytes": 0}}, {"tenant": rival.id}, {"role": "operator"},
            {"quotas": {"stored": 1}}, {"created_at": "2020-01-01T00:00:00Z"},
        ):  # fmt: skip
            for client in (shop.client, app.client):
                assert (await client.patch(own, json=body)).json()["code"] == "bad_field", body
        for method, path in (
            ("GET", ""),
            ("POST", ""),
            ("POST", f"/{shop.id}/suspend"),
            ("POST", f"/{rival.id}/suspend"),
            ("POST", f"/{shop.id}/resume"),
        ):
            answer = await shop.client.request(
                method, f"/admin/tenants{path}", **({"json": {"name": "mine"}} if method == "POST" else {})
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        for method in ("GET", "PATCH"):
            answer = await shop.client.request(
                method, f"/admin/tenants/{rival.id}", **({"json": {"trash_days": 1}} if method == "PATCH" else {})
            )
            unknown = await shop.client.request(
                method, f"/admin/tenants/{new_id()}", **({"json": {"trash_days": 1}} if method == "PATCH" else {})
            )
            assert (answer.status_code, answer.json()) == (404, unknown.json())
        assert (await shop.client.post("/admin/users", json={"name": "x", "role": "operator"})).status_code == 403


async def test_a_body_that_cannot_fit_is_refused_before_it_is_read_and_one_that_grows_too_large_on_its_way(run):
    async with run() as app:
        shop = await house(app, "shop", bytes=3_000_000)
        begun = []

        async def never():
            begun.append(1)
            yield b""

        form = {"content-type": "multipart/form-data; boundary=b"}
        refused(await shop.client.post("/images", content=never(), headers=form | {"content-length": "9000000"}), "bytes")
        assert begun == []

        async def endless():
            yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PICTURE
            for _ in range(100):
                yield bytes(100_000)

        refused(await shop.client.post("/images", content=endless(), headers=form), "bytes")
        assert (await objects(app), await stored(app, shop)) == ([], {"bytes": 0, "images": 0})
        assert (await shop.client.post("/images", files={"file": PICTURE})).status_code == 201


async def test_no_way_in_leads_past_the_quota(run):
    async with serving() as source:
        source.says["/sea.jpg"] = whole(OTHER)
        settings = {"outbound": {"networks": "127.0.0.1", "ports": str(source.port)}}
        async with run(settings) as app:
            shop = await house(app, "shop", images=1)
            client = shop.client
            record = (await client.post("/images", files={"file": PICTURE})).json()
            held = await objects(app)
            url = f"http://127.0.0.1:{source.port}/sea.jpg"

            refused(await client.post("/images", files={"file": OTHER}), "images")
            refused(await client.post("/uploads", json={"filename": "a.jpg"}), "images")
            refused(await client.post("/tus/", headers=TUS | {"upload-length": "100"}), "images")
            refused(await client.post("/imports", json={"url": url}), "images")
            assert await objects(app) == held

            # Announced while there was room, sent when there is none.
            await limit(app, shop, images=0)
            direct = (
                await client.post(
                    "/uploads", json={"filename": "a.jpg", "method": "put", "size": len(OTHER), "content_type": "image/jpeg"}
                )
            ).json()
            resumable = (await client.post("/tus/", headers=TUS | {"upload-length": str(len(OTHER))})).headers["location"]
            await limit(app, shop, images=1)
            sent = await client.put(direct["url"], content=OTHER, headers=direct["headers"] | {"authorization": ""})
            assert sent.status_code == 200, sent.text
            refused(await client.patch(resumable, headers=TUS | BYTES | {"upload-offset": "0"}, content=OTHER), "images")
            ended = await client.post(f"/uploads/{direct['id']}/complete")
            assert (ended.status_code, ended.json()["code"]) == (403, "quota_exceeded")
            assert (await client.get(f"/uploads/{direct['id']}")).json()["state"] == "rejected"
            assert await objects(app) == held

            # Bytes likewise, of replacements and of uploads whose size nobody has said.
            await limit(app, shop, images=0, bytes=len(PICTURE) + 1000)
            replaced = await client.put(f"/images/{record['id']}/original", files={"file": OTHER})
            refused(replaced, "bytes")
            deferred = (await client.post("/tus/", headers=TUS | {"upload-defer-length": "1"})).headers["location"]
            refused(await client.patch(deferred, headers=TUS | BYTES | {"upload-offset": "0"}, content=OTHER), "bytes")
            refused(await client.post("/uploads", json={"filename": "a.jpg", "size": 2000}), "bytes")
            imported = await client.post("/imports", json={"url": url})
            assert (imported.status_code, imported.json()["code"]) == (403, "quota_exceeded")
            assert await objects(app) == held
            assert await stored(app, shop) == {"bytes": len(PICTURE), "images": 1}


async def test_of_many_who_upload_at_once_no_more_get_in_than_there_are_places(run):
    async with run() as app:
        shop = await house(app, "shop", images=2)
        answers = await asyncio.gather(*(shop.client.post("/images", files={"file": jpeg(seed=9200 + n)}) for n in range(6)))

        assert sorted(answer.status_code for answer in answers) == [201, 201, 403, 403, 403, 403]
        assert (await stored(app, shop))["images"] == 2 == len((await shop.client.get("/images")).json()["images"])


async def test_a_purge_makes_room_and_the_trash_does_not(run):
    async with run({"quotas": {"images": 1}}) as app:
        shop = await house(app, "shop")
        record = (await shop.client.post("/images", files={"file": PICTURE})).json()
        await shop.client.delete(f"/images/{record['id']}")
        refused(await shop.client.post("/images", files={"file": OTHER}), "images")
        assert (await shop.client.delete(f"/images/{record['id']}?purge=true")).status_code == 204

        assert (await shop.client.post("/images", files={"file": OTHER})).status_code == 201
        bad = await shop.client.post("/images", files={"file": b"no picture"})
        assert bad.status_code in (403, 415)
        assert (await stored(app, shop))["images"] == 1


async def test_requests_of_a_tenant_are_counted_together(run):
    async with run({"rate": {"user_per_s": 0}}) as app:
        shop, rival = await house(app, "shop", requests_per_s=3), await house(app, "rival")
        answers = await asyncio.gather(*(shop.client.get("/images") for _ in range(12)))

        late = next(answer for answer in answers if answer.status_code == 429)
        assert (late.json()["code"], late.headers["ratelimit-policy"]) == ("too_many_requests", '"tenant";q=3;w=1')
        assert int(late.headers["retry-after"]) >= 1
        assert (await rival.client.get("/images")).status_code == 200


async def test_a_suspended_tenant_stands_still_and_loses_nothing(run):
    async with run() as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        record = (await shop.client.post("/images", files={"file": PICTURE}, data={"visibility": "public"})).json()
        secret = (await shop.client.post("/images", files={"file": OTHER})).json()
        public, signed = record["renditions"][0]["url"], secret["renditions"][0]["url"]
        theirs = (await rival.client.post("/images", files={"file": PICTURE}, data={"visibility": "public"})).json()[
            "renditions"
        ][0]["url"]
        for url in (public, signed, theirs):
            assert (await app.client.get(url)).status_code == 200  # in memory from now on
        offer = (
            await shop.client.post(
                "/uploads", json={"filename": "a.jpg", "method": "put", "size": len(OTHER), "content_type": "image/jpeg"}
            )
        ).json()

        suspended = await app.client.post(f"/admin/tenants/{shop.id}/suspend")
        assert (await app.client.post(f"/admin/tenants/{shop.id}/suspend")).json() == suspended.json()
        for answer in (
            await shop.client.get("/images"),
            await shop.client.post("/images", files={"file": jpeg(seed=9300)}),
            await shop.client.post("/tus/", headers=TUS | {"upload-length": "5"}),
            await app.client.get(public),
            await app.client.get(signed),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended"), answer.text
        bare = signed.partition("?")[0]
        assert (await app.client.get(bare)).status_code == 404  # what is private is not there, as ever
        assert (await app.client.get(theirs)).status_code == 200

        # Its running work: what was sent by a signed URL is kept until it can be taken in.
        await shop.client.put(offer["url"], content=OTHER, headers=offer["headers"] | {"authorization": ""})
        assert (await app.safelight.uploads.row(shop.id, UploadId(offer["id"]))).is_open

        assert (await app.client.post(f"/admin/tenants/{shop.id}/resume")).json()["suspended_at"] is None
        assert (await app.client.get(public)).status_code == 200
        taken = await shop.client.post(f"/uploads/{offer['id']}/complete")
        assert taken.status_code in (200, 201, 202), taken.text
        assert len((await shop.client.get("/images")).json()["images"]) == 3


async def test_another_process_notices_a_suspension_within_seconds(run):
    async with run() as app:
        shop = await house(app, "shop")
        assert (await shop.client.get("/images")).status_code == 200
        async with app.safelight.catalog.directory(writes=True) as directory:  # as another process would
            (tenant,) = [one for one in await directory.tenants() if one.id == shop.id]
            await directory.save_tenant(replace(tenant, suspended_at=tenant.created_at, revision=tenant.revision + 1))
        async with asyncio.timeout(30):
            while (await shop.client.get("/images")).status_code != 403:
                await asyncio.sleep(0.1)


async def test_nobody_suspends_the_tenant_that_they_would_have_to_resume_it_from(run):
    async with run() as app:
        (own,) = (await app.client.get("/admin/tenants")).json()
        answer = await app.client.post(f"/admin/tenants/{own['id']}/suspend")

        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert (await app.client.get("/images")).status_code == 200


@pytest.mark.parametrize("quota", [{"bytes": -1}, {"images": 2**53}, {"bytes": "many"}, {"bytes": 1.5}, {"unknown": 1}])
async def test_what_is_no_amount_is_refused(run, quota):
    async with run() as app:
        answer = await app.client.post("/admin/tenants", json={"name": "shop", "quotas": quota})

        assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")
