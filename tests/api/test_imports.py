"""Imports by URL: fetched by the flow, taken in once, refused with a reason and nothing left behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.pictures import jpeg

from safelight.domain.ids import UploadId, new_id
from safelight.domain.uploads import LATE
from safelight.errors import SourceUnavailable
from safelight.ports.workflows import RunState
from safelight.services.imports import LASTS, PATIENCE
from safelight.testing.contracts.outbound import leading, serving, whole
from safelight.wiring import utc_now

PICTURE = jpeg(seed=8800)
WORDS = {"title": "Sea", "tags": ["Blue", "blue"], "custom": {"n": 1}, "visibility": "public"}


@pytest.fixture
async def source():
    async with serving() as source:
        source.says["/sea.jpg"] = whole(PICTURE, "Content-Type: text/plain")
        yield source


def near(source, **imports):
    return {"outbound": {"networks": "127.0.0.1", "ports": f"80, {source.port}"}, "imports": imports}


async def ask(app, source, path="/sea.jpg", *, later=False, **fields):
    body = {"url": f"http://127.0.0.1:{source.port}{path}", **fields}
    return await app.client.post("/imports", json=body, headers={"prefer": "respond-async"} if later else {})


async def left(app):
    """What is stored, and what is listed."""
    objects = [one.key for one in await app.safelight.uploads.ingest.originals.scan("")]
    return objects, (await app.client.get("/images")).json()["images"]


async def test_a_url_becomes_an_image_with_what_was_said_of_it(run, source):
    async with run(near(source)) as app:
        album = (await app.client.post("/albums", json={"title": "Coast"})).json()["id"]
        source.says["/from"] = leading("/sea.jpg")
        answer = await ask(app, source, "/from", **WORDS, album_id=album, filename="C:\\x\\Küste.jpg")

        assert answer.status_code == 201, answer.text
        record = answer.json()
        assert answer.headers["location"] == f"/images/{record['id']}"
        assert (record["title"], record["tags"], record["custom"], record["visibility"]) == ("Sea", ["blue"], {"n": 1}, "public")
        assert (record["file_name"], record["type"], record["status"], len(record["renditions"])) == (
            "Küste.jpg",
            "image/jpeg",
            "ready",
            12,
        )
        assert (await app.client.get(record["original_url"])).content == PICTURE
        listed = (await app.client.get("/images", params={"album": album})).json()["images"]
        assert [image["id"] for image in listed] == [record["id"]]


async def test_who_does_not_wait_finds_it_under_its_location(run, source):
    async with run(near(source)) as app:
        asked = await ask(app, source, "/sea.jpg?token=secret", later=True)
        source.says["/sea.jpg?token=secret"] = whole(PICTURE)

        assert (asked.status_code, asked.json()["state"]) == (202, "pending")
        assert asked.json()["url"].endswith("/sea.jpg?token=secret")
        assert asked.json()["filename"] == "sea.jpg"
        actor = await app.safelight.accounts.authenticate(app.token)
        await app.safelight.imports.settled(actor, UploadId(asked.json()["id"]), 60)
        told = (await app.client.get(asked.headers["location"])).json()
        assert (told["state"], told["problem"]) == ("accepted", None)
        assert (await app.client.get(f"/images/{told['image_id']}")).status_code == 200
        assert (await app.client.delete(asked.headers["location"])).json()["code"] == "wrong_state"


async def test_the_same_url_under_the_same_key_is_one_import_however_often_it_is_asked_for(run, source):
    async with run(near(source)) as app:
        url = f"http://127.0.0.1:{source.port}/sea.jpg"

        async def under(key, **headers):
            return await app.client.post(
                "/imports", json={"url": url, "title": "Sea"}, headers={"idempotency-key": key, **headers}
            )

        first = await under("a", prefer="respond-async")
        again = await asyncio.gather(*(under("a") for _ in range(4)))
        other = await under("b")

        assert first.status_code == 202
        assert [answer.status_code for answer in again] == [201] * 4, [answer.text for answer in again]
        image = again[0].json()["id"]
        assert {answer.json()["id"] for answer in again} == {image}
        assert other.json()["duplicate_of"] == image
        assert len((await left(app))[1]) == 2


async def test_what_was_refused_under_a_key_stays_refused_and_another_key_is_another_try(run, source):
    async with run(near(source)) as app:
        source.says["/sea.jpg"] = whole(b"not a picture")
        url = f"http://127.0.0.1:{source.port}/sea.jpg"
        refused = [await app.client.post("/imports", json={"url": url}, headers={"idempotency-key": "a"}) for _ in range(2)]
        source.says["/sea.jpg"] = whole(PICTURE)
        still = await app.client.post("/imports", json={"url": url}, headers={"idempotency-key": "a"})
        anew = await app.client.post("/imports", json={"url": url}, headers={"idempotency-key": "b"})

        assert {answer.json()["code"] for answer in (*refused, still)} == {"unsupported_format"}
        assert anew.status_code == 201
        too_long = await app.client.post("/imports", json={"url": url}, headers={"idempotency-key": "x" * 256})
        assert too_long.json()["code"] == "bad_field"


async def test_the_same_bytes_again_are_told(run, source):
    async with run(near(source)) as app:
        first = (await ask(app, source)).json()
        second = (await ask(app, source)).json()

        assert second["duplicate_of"] == first["id"] != second["id"]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (whole(b"<html>not a picture</html>", "Content-Type: image/jpeg"), 415, "unsupported_format"),
        (whole(b""), 422, "empty_file"),
        (whole(PICTURE[:600]), 422, "corrupt_image"),
        (whole(PICTURE, "Content-Encoding: gzip"), 422, "source_refused"),
        (whole(bytes(300_000)), 413, "too_many_bytes"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 422, "source_refused"),
        (leading("http://169.254.169.254/latest/meta-data/"), 422, "source_unreachable"),
        (leading("http://127.0.0.1:22/"), 403, "source_not_allowed"),
    ],
    ids=["no picture", "empty", "damaged", "compressed", "too large", "forbidden there", "to metadata", "to another port"],
)
async def test_what_cannot_be_taken_is_refused_with_its_reason_and_leaves_nothing(run, source, said, status, code):
    async with run(near(source) | {"limits": {"max_bytes": 200_000}}) as app:
        source.says["/bad"] = said
        answer = await ask(app, source, "/bad")

        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert await left(app) == ([], [])


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("http://10.0.0.1/", 422, "source_unreachable"),
        ("http://[::ffff:169.254.169.254]/", 422, "source_unreachable"),
        ("http://127.0.0.2/", 422, "source_unreachable"),
        ("http://localhost/", 422, "source_unreachable"),
        ("http://127.0.0.1:22/", 403, "source_not_allowed"),
        ("http://0x7f.1/", 400, "bad_field"),
        ("file:///etc/passwd", 400, "bad_field"),
        ("http://u:p@example.com/", 400, "bad_field"),
        ("", 400, "bad_field"),
        ("http://example.com/" + "x" * 4000, 400, "bad_field"),
    ],
)
async def test_a_url_that_leads_inside_is_refused(run, source, url, status, code):
    async with run({"outbound": {"networks": "127.0.0.9"}}) as app:
        answer = await app.client.post("/imports", json={"url": url})

        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_only_named_hosts_are_asked_where_hosts_are_named(run, source):
    async with run(near(source, hosts="cdn.example.com")) as app:
        assert (await ask(app, source)).json()["code"] == "source_not_allowed"
        assert source.heads == []


async def test_importing_can_be_switched_off(run, source):
    async with run(near(source, is_enabled=False)) as app:
        assert ((await ask(app, source)).status_code, source.heads) == (403, [])


async def test_a_source_that_is_down_is_tried_again_and_then_said_to_be_unreachable(run):
    async with serving() as gone:
        pass
    now = [utc_now()]
    async with run(near(gone), clock=lambda: now[0]) as app:
        asked = (await ask(app, gone, later=True)).json()
        payload = {"tenant": (await tenant_of(app)), "upload": asked["id"]}
        with pytest.raises(SourceUnavailable):
            await app.safelight.imports.fetch(payload)
        now[0] += PATIENCE
        await app.safelight.imports.fetch(payload)

        told = (await app.client.get(f"/imports/{asked['id']}")).json()
        assert (told["state"], told["problem"]["code"]) == ("rejected", "source_unreachable")
        assert await left(app) == ([], [])


async def test_the_flow_tries_longer_than_the_source_is_given():
    from safelight.flows import IMPORT

    retry = IMPORT.steps[0].retry
    rests = sum(retry.first_wait_s * retry.backoff**n for n in range(retry.attempts - 1))
    assert rests > PATIENCE.total_seconds()


async def test_the_step_may_run_again_and_at_once_and_one_image_comes_of_it(run, source):
    async with run(near(source)) as app:
        asked = (await ask(app, source, later=True)).json()
        payload = {"tenant": await tenant_of(app), "upload": asked["id"]}
        await asyncio.gather(*(app.safelight.imports.fetch(payload) for _ in range(5)))
        await app.safelight.imports.fetch(payload)
        async with asyncio.timeout(60):  # the run that the request has started takes part, and takes back what it did
            while (await app.safelight.workflows.get(f"import:{asked['id']}")).state is not RunState.DONE:
                await asyncio.sleep(0.05)

        objects, images = await left(app)
        told = (await app.client.get(f"/imports/{asked['id']}")).json()
        assert [image["id"] for image in images] == [told["image_id"]]
        assert {key.split("/")[1] for key in objects} == {told["image_id"]}
        await app.safelight.imports.fetch({**payload, "upload": new_id()})


async def test_an_import_that_was_given_up_while_it_came_leaves_nothing(run, source):
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def held(writer):
        arrived.set()
        await go_on.wait()
        writer.write(whole(PICTURE))

    source.says["/held"] = held
    async with run(near(source)) as app:
        asked = (await ask(app, source, "/held", later=True)).json()
        await asyncio.wait_for(arrived.wait(), 60)
        assert (await app.client.delete(f"/imports/{asked['id']}")).status_code == 204
        go_on.set()
        async with asyncio.timeout(60):
            while (await app.safelight.workflows.get(f"import:{asked['id']}")).state is not RunState.DONE:
                await asyncio.sleep(0.05)

        assert (await app.client.get(f"/imports/{asked['id']}")).json()["state"] == "abandoned"
        assert await left(app) == ([], [])


async def test_an_import_that_nobody_could_work_on_ends_by_itself(run, source):
    now = [utc_now()]
    async with serving() as gone:
        pass
    async with run(near(gone), clock=lambda: now[0]) as app:
        asked = (await ask(app, gone, later=True)).json()
        await app.safelight.uploads.sweep()
        assert (await app.client.get(f"/imports/{asked['id']}")).json()["state"] == "pending"
        now[0] += LASTS + LATE + timedelta(seconds=1)
        await app.safelight.uploads.sweep()

        assert (await app.client.get(f"/imports/{asked['id']}")).json()["state"] in ("expired", "rejected")


async def test_an_import_is_no_upload_that_can_be_completed_and_an_upload_is_no_import(run, source):
    async with serving() as gone:
        pass
    async with run(near(gone)) as app:
        asked = (await ask(app, gone, later=True)).json()
        offer = (await app.client.post("/uploads", json={})).json()

        assert (await app.client.post(f"/uploads/{asked['id']}/complete")).json()["code"] == "not_arrived"
        for address in (offer["id"], new_id(), "x"):
            assert (await app.client.get(f"/imports/{address}")).status_code == 404


async def tenant_of(app):
    async with app.safelight.catalog.directory() as directory:
        return (await directory.tenants())[0].id
