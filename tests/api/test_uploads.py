"""Direct uploads where Safelight is the store: announced, sent to a signed URL without a key, taken in once."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import httpx
import pytest
from tests.faulty import spoil
from tests.pictures import jpeg

from safelight.domain.ids import UploadId, new_id
from safelight.domain.uploads import KEPT, LATE, TAKING
from safelight.errors import BackendUnavailable
from safelight.wiring import utc_now

PICTURE = jpeg(seed=4711)


async def announce(app, **said):
    answer = await app.client.post("/uploads", json={"content_type": "image/jpeg", "size": len(PICTURE), **said})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def send(offer, app, data=PICTURE, *, media_type=None, **fields):
    """What a browser does, without any credentials."""
    stranger = httpx.AsyncClient(transport=app.client._transport, base_url="http://test", timeout=60)
    if offer["method"] == "POST":
        form = {**offer["fields"], **fields} | ({"Content-Type": media_type} if media_type else {})
        return await stranger.post(offer["url"], data=form, files={"file": ("x", data)})
    return await stranger.put(
        offer["url"], content=data, headers=offer["headers"] | ({"Content-Type": media_type} if media_type else {})
    )


async def objects(app):
    """Everything that is stored, by bucket: where upload and image are."""
    uploads = app.safelight.uploads
    return [one.key for one in await uploads.incoming.scan()] + [one.key for one in await uploads.ingest.originals.scan("")]


@pytest.mark.parametrize("method", ["post", "put"])
async def test_a_file_sent_to_the_offered_url_becomes_an_image_with_what_was_said_of_it(run, method):
    async with run() as app:
        words = {
            "filename": "C:\\fakepath\\../../Sea.jpg",
            "title": "Sea",
            "tags": ["Blue", "blue"],
            "custom": {"n": 1},
            "visibility": "public",
        }
        offer = await announce(app, method=method, **words, sha256=hashlib.sha256(PICTURE).hexdigest())
        assert (offer["state"], offer["filename"], offer["image_id"]) == ("pending", "Sea.jpg", None)
        # Clients take an offer with fields for a form, be they none: the other one's words are not there.
        assert (offer["fields"] is None, offer["headers"] is None) == (method == "put", method == "post")

        answer = await send(offer, app)
        assert answer.status_code == (204 if method == "post" else 200)
        completed = await app.client.post(f"/uploads/{offer['id']}/complete")

        assert completed.status_code == 201, completed.text
        record = completed.json()
        assert completed.headers["location"] == f"/images/{record['id']}"
        assert (record["title"], record["tags"], record["custom"], record["visibility"]) == ("Sea", ["blue"], {"n": 1}, "public")
        assert (record["file_name"], record["status"], len(record["renditions"])) == ("Sea.jpg", "ready", 12)
        assert (await app.client.get(record["original_url"])).content == PICTURE
        told = (await app.client.get(f"/uploads/{offer['id']}")).json()
        assert (told["state"], told["image_id"], told["problem"]) == ("accepted", record["id"], None)
        assert all(key.startswith(record["id"], 27) for key in await objects(app))
        assert (await app.client.post(f"/uploads/{offer['id']}/complete")).json()["id"] == record["id"]


async def test_the_stores_event_is_enough_and_completing_is_not_needed(run):
    async with run() as app:
        offer = await announce(app)
        await send(offer, app)

        told = (await app.client.get(f"/uploads/{offer['id']}")).json()
        assert told["state"] == "accepted"
        assert (await app.client.get(f"/images/{told['image_id']}")).status_code == 200


async def test_completing_before_anything_was_sent_says_so(run):
    async with run() as app:
        offer = await announce(app)
        answer = await app.client.post(f"/uploads/{offer['id']}/complete")

        assert (answer.status_code, answer.json()["code"]) == (409, "not_arrived")
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "pending"


REFUSED_AT_THE_URL = {
    "one byte more": ({"data": PICTURE + b"x"}, 413, "too_many_bytes"),
    "one byte less": ({"data": PICTURE[:-1]}, 400, "bad_request"),
    "much more": ({"data": PICTURE * 50}, 413, "too_many_bytes"),
    "another type": ({"media_type": "text/html"}, 403, "bad_signature"),
}


@pytest.mark.parametrize("method", ["post", "put"])
@pytest.mark.parametrize(("sent", "status", "code"), REFUSED_AT_THE_URL.values(), ids=REFUSED_AT_THE_URL)
async def test_the_url_takes_nothing_but_what_was_announced(run, method, sent, status, code):
    async with run() as app:
        offer = await announce(app, method=method)
        answer = await send(offer, app, **sent)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert await objects(app) == []
        assert (await send(offer, app)).is_success  # and the right one afterwards


async def test_a_form_with_other_fields_is_refused(run):
    async with run() as app:
        offer = await announce(app)
        other = await announce(app)
        for fields, code in (
            ({"key": other["fields"]["key"]}, "bad_signature"),
            ({"x-amz-meta-a": "b"}, "bad_field"),
            ({"Content-Type": ""}, "bad_signature"),
        ):
            assert (await send(offer, app, **fields)).json()["code"] == code
        del offer["fields"]["key"]
        assert (await send(offer, app)).json()["code"] == "bad_signature"
        assert await objects(app) == []


async def test_a_changed_url_is_refused_before_its_body_is_read(run):
    async with run() as app:
        offer = await announce(app, method="put")
        other = await announce(app, method="put")
        form = await announce(app)

        async def endless():
            while True:
                yield b"x" * 100_000

        changed = [
            offer["url"].replace("policy=", "policy=A"),
            offer["url"].replace("signature=", "signature=A"),
            offer["url"].partition("&signature")[0],
            offer["url"].partition("?")[0],
            offer["url"].replace(offer["id"], other["id"]),
            offer["url"].replace(offer["id"], "nobody"),
            form["url"],
            offer["url"] + "0" * 5000,
            offer["url"].replace("signature=", "signature=%F0%9F%98%80"),
        ]
        for url in changed:
            answer = await app.client.put(url, content=endless(), headers=offer["headers"])
            assert answer.status_code in (403, 404), url
            assert answer.json()["code"] in ("bad_signature", "not_found")
        assert await objects(app) == []


async def test_an_offer_expires(run):
    now = utc_now()
    clock = {"now": now}
    async with run({"uploads": {"ttl_s": 60}}, clock=lambda: clock["now"]) as app:
        offer = await announce(app)
        clock["now"] = now + timedelta(seconds=61)
        answer = await send(offer, app)

        assert (answer.status_code, answer.json()["code"]) == (403, "expired_signature")
        await app.safelight.uploads.sweep()
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()[
            "state"
        ] == "pending"  # one that began in time may be under way
        clock["now"] = now + timedelta(seconds=61) + LATE
        await app.safelight.uploads.sweep()
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "expired"
        assert (await app.client.post(f"/uploads/{offer['id']}/complete")).json()["code"] == "wrong_state"
        clock["now"] += KEPT
        await app.safelight.uploads.sweep()
        assert (await app.client.get(f"/uploads/{offer['id']}")).status_code == 404


async def test_an_abandoned_upload_leaves_nothing_and_takes_nothing(run):
    async with run() as app:
        offer = await announce(app)
        for _ in range(2):
            assert (await app.client.delete(f"/uploads/{offer['id']}")).status_code == 204
        answer = await send(offer, app)

        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "abandoned"
        assert await objects(app) == []


async def test_an_upload_that_became_an_image_cannot_be_abandoned(run):
    async with run() as app:
        offer = await announce(app)
        await send(offer, app)

        assert (await app.client.delete(f"/uploads/{offer['id']}")).json()["code"] == "wrong_state"


NO_IMAGES = {
    "text": (b"hello", 415, "unsupported_format"),
    "half a picture": (PICTURE[: len(PICTURE) // 2], 422, "corrupt_image"),
    "a page": (b"<html><script>alert(1)</script>", 415, "unsupported_format"),
}


@pytest.mark.parametrize(("data", "status", "code"), NO_IMAGES.values(), ids=NO_IMAGES)
async def test_a_file_that_is_no_image_leaves_nothing_but_the_reason(run, data, status, code):
    async with run() as app:
        offer = await announce(app, size=len(data))
        assert (await send(offer, app, data)).status_code == 204  # as a store would; who asks is told
        for _ in range(2):
            answer = await app.client.post(f"/uploads/{offer['id']}/complete")
            assert (answer.status_code, answer.json()["code"]) == (status, code)

        told = (await app.client.get(f"/uploads/{offer['id']}")).json()
        assert (told["state"], told["problem"]["code"], told["image_id"]) == ("rejected", code, None)
        assert (await app.client.get("/images")).json()["images"] == []
        assert await objects(app) == []


async def test_other_bytes_than_the_announced_checksum_are_rejected(run):
    async with run() as app:
        offer = await announce(app, sha256="5a" * 32)
        await send(offer, app)

        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["problem"]["code"] == "checksum_mismatch"
        assert await objects(app) == []


REFUSED_AT_ONCE = {
    "no image": ({"content_type": "text/html"}, 415, "unsupported_media_type"),
    "an odd type": ({"content_type": "image/" + "x" * 80}, 415, "unsupported_media_type"),
    "too large": ({"size": 50_000_001}, 413, "too_many_bytes"),
    "empty": ({"size": 0}, 400, "bad_field"),
    "a PUT of unknown size": ({"method": "put", "size": None}, 400, "bad_field"),
    "no checksum": ({"sha256": "abc"}, 400, "bad_field"),
    "another method": ({"method": "tus"}, 400, "bad_field"),
    "an unknown field": ({"bytes": 1}, 400, "bad_field"),
    "an unknown album": ({"album_id": new_id()}, 404, "not_found"),
    "no album": ({"album_id": "../x"}, 404, "not_found"),
    "a large custom": ({"custom": {"a": "x" * 20_000}}, 400, "bad_field"),
    "a title with NUL": ({"title": "a\x00b"}, 400, "bad_field"),
}


@pytest.mark.parametrize(("said", "status", "code"), REFUSED_AT_ONCE.values(), ids=REFUSED_AT_ONCE)
async def test_what_cannot_be_taken_is_refused_before_it_is_sent(run, said, status, code):
    async with run() as app:
        answer = await app.client.post("/uploads", json={"content_type": "image/jpeg", "size": 1000, **said})

        assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_upload_of_another_user_is_not_there(run):
    async with run() as app:
        offer = await announce(app)
        user = (await app.client.post("/admin/users", json={"name": "eve", "role": "user"})).json()
        key = (await app.client.post("/admin/api-keys", json={"user": user["id"], "name": "k"})).json()
        eve = {"authorization": f"Bearer {key['token']}"}

        for ask in (
            app.client.get(f"/uploads/{offer['id']}", headers=eve),
            app.client.delete(f"/uploads/{offer['id']}", headers=eve),
            app.client.post(f"/uploads/{offer['id']}/complete", headers=eve),
            app.client.get(f"/uploads/{new_id()}"),
            app.client.get("/uploads/..%2Fx"),
        ):
            assert (await ask).status_code == 404
        assert (await send(offer, app)).is_success


async def test_uploads_ask_for_a_key(run):
    async with run() as app:
        offer = await announce(app)
        nobody = {"authorization": ""}
        for ask in (
            app.client.post("/uploads", json={}, headers=nobody),
            app.client.get(f"/uploads/{offer['id']}", headers=nobody),
            app.client.delete(f"/uploads/{offer['id']}", headers=nobody),
            app.client.post(f"/uploads/{offer['id']}/complete", headers=nobody),
        ):
            assert (await ask).status_code == 401


async def test_the_album_is_filled_and_one_that_is_gone_costs_nothing(run):
    async with run() as app:
        album, gone = [(await app.client.post("/albums", json={"title": "A"})).json()["id"] for _ in range(2)]
        offers = [await announce(app, album_id=album), await announce(app, album_id=gone)]
        await app.client.delete(f"/albums/{gone}")
        for offer in offers:
            await send(offer, app)
        states = [(await app.client.get(f"/uploads/{offer['id']}")).json() for offer in offers]

        assert [state["state"] for state in states] == ["accepted", "accepted"]
        filled = (await app.client.get("/images", params={"album": album})).json()["images"]
        assert [image["id"] for image in filled] == [states[0]["image_id"]]


@pytest.mark.parametrize("policy", ["tell", "refuse", "reuse"])
async def test_the_same_bytes_again_are_as_the_tenant_wants_them(run, policy):
    from dataclasses import replace

    from safelight.domain.accounts import DuplicatePolicy

    async with run() as app:
        async with app.safelight.catalog.directory(writes=True) as directory:
            tenant = (await directory.tenants())[0]
            await directory.save_tenant(replace(tenant, duplicates=DuplicatePolicy(policy), revision=tenant.revision + 1))
        offers = [await announce(app) for _ in range(2)]
        answers = []
        for offer in offers:
            await send(offer, app)
            answers.append(await app.client.post(f"/uploads/{offer['id']}/complete"))
        first, second = (answer.json() for answer in answers)

        assert [answer.status_code for answer in answers] == [201, {"tell": 201, "refuse": 409, "reuse": 200}[policy]]
        if policy == "refuse":
            assert second["code"] == "duplicate"
        else:
            assert second["duplicate_of"] == first["id"]
            assert (second["id"] == first["id"]) is (policy == "reuse")
        assert len((await app.client.get("/images")).json()["images"]) == (2 if policy == "tell" else 1)


@pytest.mark.parametrize("policy", ["tell", "refuse", "reuse"])
async def test_the_same_bytes_at_the_same_time_are_as_the_tenant_wants_them_too(run, policy):
    async with run() as app:
        tenant = (await app.client.get("/admin/tenants")).json()[0]["id"]
        assert (await app.client.patch(f"/admin/tenants/{tenant}", json={"duplicates": policy})).status_code == 200
        sent = [app.client.post("/images", files={"file": PICTURE}, headers={"prefer": "respond-async"}) for _ in range(6)]
        answers = await asyncio.gather(*sent)
        kept = {image["id"] for image in (await app.client.get("/images")).json()["images"]}

        told = sorted(answer.status_code for answer in answers)
        assert told == {"tell": [202] * 6, "refuse": [202, *[409] * 5], "reuse": [*[200] * 5, 202]}[policy], told
        assert len(kept) == (6 if policy == "tell" else 1)
        if policy == "refuse":
            assert {answer.json()["duplicate_of"] for answer in answers if answer.status_code == 409} == kept
        else:
            assert {answer.json()["id"] for answer in answers} == kept
        stored = {one.key.split("/")[1] for one in await app.safelight.uploads.ingest.originals.scan("")}
        assert stored == kept, "what was told to be here already left nothing behind"


async def test_of_many_who_hear_of_it_at_once_one_makes_the_image(run):
    """Two more services stand for two more processes: they share nothing with the first but catalog and storage."""
    from dataclasses import replace

    from safelight.concurrency import SingleFlight

    async with run() as app:
        mine = app.safelight.uploads
        others = [replace(mine, _flights=SingleFlight(), _places=asyncio.Semaphore(8)) for _ in range(4)]
        for _ in range(5):
            offer = await announce(app)
            ticket_holder = app.safelight.reception
            upload = await mine.row(await tenant_of(app), UploadId(offer["id"]))
            await keep(ticket_holder, offer)
            heard = await asyncio.gather(*(one.arrived(upload.tenant, upload.id) for one in [mine, *others] * 3))

            assert {one.image for one in heard} == {heard[0].image}
        images = (await app.client.get("/images")).json()["images"]
        assert len(images) == 5
        assert {key.split("/")[1] for key in await objects(app)} == {image["id"] for image in images}


async def tenant_of(app):
    async with app.safelight.catalog.directory() as directory:
        return (await directory.tenants())[0].id


async def keep(reception, offer, data=PICTURE):
    """Into the store, without anybody being told."""
    query = httpx.URL(offer["url"]).params
    ticket = reception.admit(query["policy"], query["signature"], now=utc_now())

    async def body():
        yield data

    await reception.keep(ticket, body(), media_type=ticket.media_type)
    return ticket


async def test_what_nobody_has_told_of_is_found_by_the_clock(run):
    clock = {"now": utc_now()}
    async with run(clock=lambda: clock["now"]) as app:
        offer = await announce(app)
        await keep(app.safelight.reception, offer)
        clock["now"] += timedelta(hours=1) + LATE
        await app.safelight.uploads.sweep()

        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "accepted"


async def interrupted(uploads, ticket, monkeypatch):
    """Taking it in ends where it has been noted as arrived, and is not yet an image."""

    async def power_cut(*_, **__):
        raise BackendUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(uploads.incoming), "promote", power_cut)
        with pytest.raises(BackendUnavailable):
            await uploads.arrived(ticket.tenant, ticket.upload)


async def test_what_a_crash_has_interrupted_is_taken_up_by_the_clock(run, monkeypatch):
    clock = {"now": utc_now()}
    async with run(clock=lambda: clock["now"]) as app:
        offer = await announce(app)
        ticket = await keep(app.safelight.reception, offer)
        uploads = app.safelight.uploads
        await interrupted(uploads, ticket, monkeypatch)
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "arrived"
        clock["now"] += TAKING
        await uploads.sweep()

        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "accepted"
        assert len((await app.client.get("/images")).json()["images"]) == 1


async def test_an_upload_whose_bytes_vanish_before_they_are_taken_in_ends(run, monkeypatch):
    clock = {"now": utc_now()}
    async with run(clock=lambda: clock["now"]) as app:
        offer = await announce(app)
        ticket = await keep(app.safelight.reception, offer)
        uploads = app.safelight.uploads
        await interrupted(uploads, ticket, monkeypatch)
        await uploads.incoming.discard(await uploads.row(ticket.tenant, ticket.upload))
        clock["now"] += TAKING
        await uploads.sweep()

        ended = (await app.client.get(f"/uploads/{offer['id']}")).json()
        assert (ended["state"], ended["problem"]["code"]) == ("rejected", "not_arrived")


async def test_what_was_sent_again_after_the_end_is_swept(run):
    async with run() as app:
        offer = await announce(app)
        await send(offer, app)
        await keep(app.safelight.reception, offer)
        open_one = await announce(app)
        await keep(app.safelight.reception, open_one)
        from dataclasses import replace

        later = replace(app.safelight.uploads, clock=lambda: utc_now() + timedelta(hours=25))

        unreadable = await announce(app)
        await keep(app.safelight.reception, unreadable)
        await spoil(app, "uploads", "custom", unreadable["id"])

        assert await app.safelight.uploads.sweep_objects() == 0
        assert await later.sweep_objects() == 1
        assert [one.key.split("/")[2] for one in await later.incoming.scan()] == [open_one["id"], unreadable["id"]]
