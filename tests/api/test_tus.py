"""tus 1.0.0, sentence by sentence of the protocol, and what happens to the file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest
from tests.faulty import silent
from tests.pictures import jpeg

from safelight.adapters.storage.incoming import EmbeddedIncoming
from safelight.domain.ids import UploadId, new_id
from safelight.domain.tus import read_checksum
from safelight.domain.uploads import LATE, PIECE_BYTES, UploadState
from safelight.errors import BackendUnavailable, BadRequest, TakenOver, Unavailable
from safelight.services.copies import Copies, Copy
from safelight.services.resumable import Resumable
from safelight.services.standing import Standing
from safelight.wiring import utc_now

PICTURE = jpeg(seed=1815)
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


def metadata(**words):
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in words.items())


def checksum(data, algorithm="sha1"):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


async def create(app, size=len(PICTURE), **headers):
    said = {} if size is None else {"Upload-Length": str(size)}
    answer = await app.client.post("/tus/", headers=TUS | said | {k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def patch(app, url, data, offset=0, **headers):
    said = {"Upload-Offset": str(offset)} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await app.client.patch(url, content=data, headers=BYTES | said)


async def offset_of(app, url):
    answer = await app.client.head(url, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def id_of(url):
    return UploadId(url.rpartition("/")[2])


async def ended(app, url):
    """What became of it, once it is known."""
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        told = (await app.client.get(f"/uploads/{id_of(url)}")).json()
        if told["state"] not in ("pending", "arrived"):
            return told
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def objects(app):
    return [one.key for one in await app.safelight.uploads.incoming.scan()]


async def test_a_file_that_comes_in_pieces_becomes_an_image_with_what_was_said_of_it(run):
    async with run() as app:
        words = metadata(
            filename="C:\\fakepath\\Sea.jpg",
            filetype="image/jpeg",
            title="Sea",
            tags="Blue,blue",
            visibility="public",
            custom='{"n":1}',
            relativePath="null",
        )
        url = await create(app, Upload_Metadata=words)
        third = len(PICTURE) // 3
        for start, end in ((0, third), (third, 2 * third), (2 * third, len(PICTURE))):
            answer = await patch(app, url, PICTURE[start:end], start)
            assert (answer.status_code, answer.headers["upload-offset"], answer.content) == (204, str(end), b"")
            assert answer.headers["tus-resumable"] == "1.0.0"
        head = await app.client.head(url, headers=TUS)
        assert (head.status_code, head.headers["upload-offset"], head.headers["upload-length"]) == (200, *[str(len(PICTURE))] * 2)
        assert (head.headers["upload-metadata"], head.headers["cache-control"]) == (words, "no-store")
        told = await ended(app, url)

        assert (told["state"], told["filename"]) == ("accepted", "Sea.jpg")
        record = (await app.client.get(f"/images/{told['image_id']}")).json()
        assert (record["title"], record["tags"], record["custom"], record["visibility"]) == ("Sea", ["blue"], {"n": 1}, "public")
        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE
        async with asyncio.timeout(60):
            while await objects(app):  # the pieces go when the image is told of, a moment later
                await asyncio.sleep(0.05)
        assert await offset_of(app, url) == len(PICTURE)  # who has missed the last answer learns it now
        assert (await patch(app, url, b"", len(PICTURE))).status_code == 204
        assert (await patch(app, url, b"x", len(PICTURE))).status_code == 413


async def test_options_tell_what_is_spoken_and_ask_for_nothing(run):
    async with run() as app:
        for path in ("/tus", "/tus/", f"/tus/{new_id()}"):
            answer = await app.client.options(path, headers={"authorization": ""})

            assert answer.status_code == 204
            assert (answer.headers["tus-version"], answer.headers["tus-max-size"]) == ("1.0.0", "50000000")
            assert set(answer.headers["tus-extension"].split(",")) == {
                "creation", "creation-with-upload", "creation-defer-length", "termination", "expiration", "checksum", "concatenation",
            }  # fmt: skip
            assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"


REFUSED_CREATIONS = {
    "no version": ({"Tus-Resumable": ""}, 412, "other_protocol"),
    "another version": ({"Tus-Resumable": "0.2.2"}, 412, "other_protocol"),
    "no key": ({"authorization": ""}, 401, "unauthenticated"),
    "no length": ({"Upload-Length": None}, 400, "bad_field"),
    "a negative length": ({"Upload-Length": "-1"}, 400, "bad_field"),
    "no number": ({"Upload-Length": "many"}, 400, "bad_field"),
    "empty": ({"Upload-Length": "0"}, 422, "empty_file"),
    "too large": ({"Upload-Length": "50000001"}, 413, "too_many_bytes"),
    "much too large": ({"Upload-Length": "9" * 15}, 413, "too_many_bytes"),
    "deferred wrongly": ({"Upload-Length": None, "Upload-Defer-Length": "2"}, 400, "bad_field"),
    "no base64": ({"Upload-Metadata": "filename ???"}, 400, "bad_field"),
    "a key twice": ({"Upload-Metadata": "a YQ==,a YQ=="}, 400, "bad_field"),
    "no image": ({"Upload-Metadata": metadata(filetype="text/html")}, 415, "unsupported_media_type"),
    "no album": ({"Upload-Metadata": metadata(album_id="x")}, 404, "not_found"),
    "an unknown album": ({"Upload-Metadata": metadata(album_id=new_id())}, 404, "not_found"),
    "no checksum of the file": ({"Upload-Metadata": metadata(sha256="abc")}, 400, "bad_field"),
    "no JSON": ({"Upload-Metadata": metadata(custom="[")}, 400, "bad_field"),
    "a title with NUL": ({"Upload-Metadata": metadata(title="a\x00")}, 400, "bad_field"),
    "neither partial nor final": ({"Upload-Concat": "half"}, 400, "bad_field"),
    "final of nothing": ({"Upload-Concat": "final;"}, 400, "bad_field"),
    "final of unknown ones": ({"Upload-Concat": f"final;/tus/{new_id()}"}, 404, "not_found"),
}


async def test_what_cannot_be_taken_is_refused_before_it_is_sent(run):
    async with run() as app:
        for name, (changed, status, code) in REFUSED_CREATIONS.items():
            headers = {k: v for k, v in (TUS | {"Upload-Length": "1000"} | changed).items() if v is not None}
            answer = await app.client.post("/tus/", headers=headers)

            assert (answer.status_code, answer.json()["code"]) == (status, code), name
            assert answer.headers["tus-resumable"] == "1.0.0"
            assert (answer.headers.get("tus-version") == "1.0.0") is (status == 412)


async def test_empty_metadata_are_fine(run):
    async with run() as app:
        for said in ("", ",", "filename ", None):
            url = await create(app, **({} if said is None else {"Upload_Metadata": said}))

            assert await offset_of(app, url) == 0


REFUSED_PATCHES = {
    "no version": ({"Tus-Resumable": "2.0.0"}, b"x", 412, "other_protocol"),
    "another type": ({"Content-Type": "image/jpeg"}, b"x", 415, "unsupported_media_type"),
    "no offset": ({"Upload-Offset": ""}, b"x", 400, "bad_field"),
    "a negative offset": ({"Upload-Offset": "-1"}, b"x", 400, "bad_field"),
    "another offset": ({"Upload-Offset": "7"}, b"x", 409, "wrong_offset"),
    "more than it has": ({}, PICTURE + b"x", 413, "too_many_bytes"),
    "much more": ({}, b"x" * 50_000_001, 413, "too_many_bytes"),
    "another length": ({"Upload-Length": "5"}, b"x", 400, "bad_field"),
    "an unknown checksum": ({"Upload-Checksum": "crc32 AAAAAA=="}, b"x", 400, "bad_field"),
    "no checksum": ({"Upload-Checksum": ""}, b"x", 400, "bad_field"),
    "a wrong checksum": ({"Upload-Checksum": checksum(b"y")}, b"x", 460, "chunk_mismatch"),
    "no key": ({"authorization": ""}, b"x", 401, "unauthenticated"),
}


async def test_bytes_that_cannot_be_taken_leave_nothing_behind(run):
    async def stream(data):
        for at in range(0, len(data), 100_000):
            yield data[at : at + 100_000]

    async with run() as app:
        url = await create(app)
        for name, (changed, data, status, code) in REFUSED_PATCHES.items():
            for content in (data, stream(data)):
                answer = await app.client.patch(url, content=content, headers=BYTES | {"Upload-Offset": "0"} | changed)

                assert (answer.status_code, answer.json()["code"]) == (status, code), name
                assert answer.json()["title"]
                assert await offset_of(app, url) == 0
                assert await objects(app) == []
        assert (await patch(app, url, PICTURE)).status_code == 204  # and the right ones afterwards
        assert (await ended(app, url))["state"] == "accepted"


async def test_bytes_with_their_checksum_are_taken(run):
    async with run() as app:
        url = await create(app)
        half = len(PICTURE) // 2
        assert (await patch(app, url, PICTURE[:half], Upload_Checksum=checksum(PICTURE[:half], "sha1"))).status_code == 204
        assert (await patch(app, url, PICTURE[half:], half, Upload_Checksum=checksum(b"", "sha256"))).status_code == 460
        assert await offset_of(app, url) == half
        assert (
            await patch(app, url, PICTURE[half:], half, Upload_Checksum=checksum(PICTURE[half:], "sha256"))
        ).status_code == 204

        assert (await ended(app, url))["state"] == "accepted"


async def test_a_file_is_created_with_its_first_bytes(run):
    async with run() as app:
        answer = await app.client.post("/tus", content=PICTURE[:100], headers=BYTES | {"Upload-Length": str(len(PICTURE))})
        assert (answer.status_code, answer.headers["upload-offset"]) == (201, "100")
        url = answer.headers["location"]
        assert (await patch(app, url, PICTURE[100:], 100)).status_code == 204
        whole = await app.client.post("/tus", content=PICTURE[::-1], headers=BYTES | {"Upload-Length": str(len(PICTURE))})

        assert whole.headers["upload-offset"] == str(len(PICTURE))
        assert (await ended(app, url))["state"] == "accepted"
        assert (await ended(app, whole.headers["location"]))["problem"]["code"] == "unsupported_format"


async def test_a_creation_with_wrong_bytes_creates_nothing(run):
    async with run() as app:
        headers = BYTES | {"Upload-Length": "1000", "Upload-Checksum": checksum(b"y")}
        answer = await app.client.post("/tus/", content=b"x", headers=headers)

        assert (answer.status_code, "location" in answer.headers) == (460, False)
        assert await objects(app) == []


async def test_the_length_may_be_said_later_and_only_once(run):
    async with run() as app:
        url = await create(app, None, Upload_Defer_Length="1")
        head = await app.client.head(url, headers=TUS)
        assert (head.headers["upload-defer-length"], "upload-length" in head.headers) == ("1", False)
        assert (await patch(app, url, PICTURE[:100])).status_code == 204
        for length, status in (("50", 400), ("0", 400), ("50000001", 413)):
            assert (await patch(app, url, b"", 100, Upload_Length=length)).status_code == status
        size = str(len(PICTURE))
        assert (await patch(app, url, PICTURE[100:200], 100, Upload_Length=size)).status_code == 204
        assert (await patch(app, url, b"", 200, Upload_Length="1000000")).status_code == 400
        assert (await app.client.head(url, headers=TUS)).headers["upload-length"] == size
        assert (await patch(app, url, PICTURE[200:], 200, Upload_Length=size)).status_code == 204

        assert (await ended(app, url))["state"] == "accepted"


async def test_a_length_that_is_said_when_everything_has_come_ends_it(run):
    async with run() as app:
        url = await create(app, None, Upload_Defer_Length="1")
        await patch(app, url, PICTURE)
        assert (await app.client.post(f"/uploads/{id_of(url)}/complete")).json()["code"] == "not_arrived"
        assert (await patch(app, url, b"", len(PICTURE), Upload_Length=str(len(PICTURE)))).status_code == 204

        assert (await ended(app, url))["state"] == "accepted"


async def test_an_upload_of_unknown_length_is_bounded(run):
    async with run({"limits": {"max_bytes": 5000}}) as app:
        url = await create(app, None, Upload_Defer_Length="1")
        assert (await patch(app, url, b"x" * 5001)).status_code == 413
        assert (await patch(app, url, b"x" * 5000)).status_code == 204
        assert (await patch(app, url, b"x", 5000)).status_code == 413


async def test_half_an_upload_is_no_image_whatever_its_client_says(run):
    async with run() as app:
        url = await create(app)
        await patch(app, url, PICTURE[:-1])

        assert (await app.client.post(f"/uploads/{id_of(url)}/complete")).json()["code"] == "not_arrived"
        assert (await app.client.get("/images")).json()["images"] == []


async def test_a_client_that_can_only_post_says_the_method_in_a_header(run):
    async with run() as app:
        url = await create(app)
        said = {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
        assert (await app.client.post(url, content=PICTURE[:5], headers=BYTES | said)).status_code == 204
        assert (await app.client.post(url, headers=TUS | {"X-HTTP-Method-Override": "HEAD"})).headers["upload-offset"] == "5"
        assert (await app.client.post(url, headers=TUS)).status_code == 400
        assert (await app.client.post(url, headers=TUS | {"X-HTTP-Method-Override": "DELETE"})).status_code == 204
        assert (await app.client.head(url, headers=TUS)).status_code == 410


async def test_a_terminated_upload_is_gone_with_its_bytes(run):
    async with run() as app:
        url = await create(app)
        await patch(app, url, PICTURE[:1000])
        assert len(await objects(app)) == 1
        answer = await app.client.delete(url, headers=TUS)
        assert (answer.status_code, answer.content) == (204, b"")

        assert await objects(app) == []
        assert (await app.client.head(url, headers=TUS)).status_code == 410
        assert (await app.client.delete(url, headers=TUS)).status_code == 410
        assert (await patch(app, url, PICTURE[1000:], 1000)).json()["code"] == "gone"


async def test_an_upload_that_became_an_image_cannot_be_terminated(run):
    async with run() as app:
        url = await create(app)
        await patch(app, url, PICTURE)
        await ended(app, url)

        assert (await app.client.delete(url, headers=TUS)).status_code == 409


async def test_an_upload_expires_when_nothing_has_come_for_long(run):
    clock = {"now": utc_now()}
    async with run({"uploads": {"ttl_s": 60}}, clock=lambda: clock["now"]) as app:
        url = await create(app)
        clock["now"] += timedelta(seconds=50)
        answer = await patch(app, url, PICTURE[:10])
        assert parsedate_to_datetime(answer.headers["upload-expires"]) == (clock["now"] + timedelta(seconds=60)).replace(
            microsecond=0
        )
        clock["now"] += timedelta(seconds=50)
        await app.safelight.uploads.sweep()
        assert await offset_of(app, url) == 10  # it would have ended by now
        clock["now"] += timedelta(seconds=11)
        assert (await app.client.head(url, headers=TUS)).status_code == 410
        assert (await patch(app, url, PICTURE[10:], 10)).status_code == 410
        clock["now"] += LATE
        await app.safelight.uploads.sweep()

        assert (await app.client.get(f"/uploads/{id_of(url)}")).json()["state"] == "expired"
        assert await objects(app) == []


async def test_the_upload_of_another_user_is_not_there(run):
    async with run() as app:
        url = await create(app)
        user = (await app.client.post("/admin/users", json={"name": "eve", "role": "user"})).json()
        key = (await app.client.post("/admin/api-keys", json={"user": user["id"], "name": "k"})).json()
        eve = {"authorization": f"Bearer {key['token']}"}
        presigned = (await app.client.post("/uploads", json={"size": 1000})).json()
        part = await create(app, 3, Upload_Concat="partial")
        await patch(app, part, b"abc")

        for answer in (
            await app.client.head(url, headers=TUS | eve),
            await patch(app, url, b"x", **eve),
            await app.client.delete(url, headers=TUS | eve),
            await app.client.post("/tus/", headers=TUS | eve | {"Upload-Concat": f"final;{part}"}),
            await app.client.head(f"/tus/{new_id()}", headers=TUS),
            await app.client.head("/tus/nobody", headers=TUS),
            await app.client.head(f"/tus/{presigned['id']}", headers=TUS),  # that one comes another way
        ):
            assert answer.status_code == 404
        assert await offset_of(app, url) == 0


async def test_parts_that_came_side_by_side_are_joined(run):
    async with run() as app:
        cuts = [0, 1000, len(PICTURE) // 2, len(PICTURE)]
        parts = [await create(app, end - start, Upload_Concat="partial") for start, end in itertools.pairwise(cuts)]

        async def fill(part, start, end):
            return (await patch(app, part, PICTURE[start:end])).status_code

        assert await asyncio.gather(*map(fill, parts, cuts, cuts[1:])) == [204] * 3
        assert (await app.client.head(parts[0], headers=TUS)).headers["upload-concat"] == "partial"
        answer = await app.client.post(
            "/tus/", headers=TUS | {"Upload-Concat": f"final;{' '.join(parts)}", "Upload-Metadata": metadata(filename="a.jpg")}
        )
        assert answer.status_code == 201, answer.text
        url = answer.headers["location"]
        head = await app.client.head(url, headers=TUS)
        assert (head.headers["upload-concat"], head.headers["upload-length"]) == (f"final;{' '.join(parts)}", str(len(PICTURE)))
        assert (await patch(app, url, b"x", len(PICTURE))).status_code == 403
        told = await ended(app, url)

        assert (told["state"], told["filename"]) == ("accepted", "a.jpg")
        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE
        assert len((await app.client.get("/images")).json()["images"]) == 1
        assert await objects(app) == []


async def test_joining_whose_commit_nobody_has_heard_of_keeps_its_bytes(run):
    async with run() as app:
        part = await create(app, len(PICTURE), Upload_Concat="partial")
        await patch(app, part, PICTURE)
        uploads = app.safelight.uploads
        catalog = uploads.catalog
        object.__setattr__(uploads, "catalog", silent(catalog))
        answer = await app.client.post("/tus/", headers=TUS | {"Upload-Concat": f"final;{part}"})
        object.__setattr__(uploads, "catalog", catalog)
        assert answer.status_code == 503

        async with catalog.directory() as directory:
            (house,) = await directory.tenants()
        async with catalog.tenant(house.id) as records:
            rows = await records.uploads.due(utc_now() + timedelta(days=30), limit=10)
        (joined,) = [row for row in rows if row.state is UploadState.ARRIVED]
        image = (await uploads.arrived(joined.tenant, joined.id)).image

        assert image is not None
        assert (await app.client.get(f"/images/{image}/original")).content == PICTURE


async def test_only_whole_parts_are_joined_and_not_more_than_fit(run):
    async with run({"limits": {"max_bytes": 5000}}) as app:
        half, plain = await create(app, 10, Upload_Concat="partial"), await create(app, 10)
        large = [await create(app, 3000, Upload_Concat="partial") for _ in range(2)]
        await patch(app, half, b"12345")
        for part in large:
            await patch(app, part, b"x" * 3000)
        before = await objects(app)

        for parts, status in (([half], 409), ([plain], 409), (large, 413)):
            answer = await app.client.post("/tus/", headers=TUS | {"Upload-Concat": f"final;{' '.join(parts)}"})
            assert answer.status_code == status
        assert await objects(app) == before
        assert (await app.client.get(f"/uploads/{id_of(large[0])}")).json()["state"] == "pending"


async def test_a_byte_at_a_time_makes_few_objects(run):
    async with run() as app:
        url = await create(app, 300)
        for at in range(150):
            assert (await patch(app, url, bytes([at]), at)).status_code == 204
        async with app.safelight.catalog.directory() as directory:
            tenant = (await directory.tenants())[0].id
        async with app.safelight.catalog.tenant(tenant) as records:
            upload = await records.uploads.get(id_of(url))

        assert len(upload.pieces) <= 8
        assert sorted(await objects(app)) == sorted(piece.name for piece in upload.pieces)
        opened = await app.safelight.uploads.incoming.open(upload)
        assert b"".join([chunk async for chunk in opened.chunks]) == bytes(range(150))


# Requests that do not end as they should. `body` is what the door makes of a connection.


async def actor_of(app):
    return await app.safelight.accounts.authenticate(app.token)


async def body(*chunks):
    for chunk in chunks:
        yield chunk


async def broken_off(*chunks):
    async for chunk in body(*chunks):
        yield chunk
    raise BadRequest("The upload was broken off.")


async def test_what_has_come_before_a_client_vanished_is_kept(run):
    async with run() as app:
        url = await create(app)
        with pytest.raises(BadRequest):
            await app.safelight.resumable.append(
                await actor_of(app), id_of(url), broken_off(PICTURE[:300], PICTURE[300:1000]), offset_bytes=0
            )
        assert await offset_of(app, url) == 1000
        assert (await patch(app, url, PICTURE[1000:], 1000)).status_code == 204

        assert (await ended(app, url))["state"] == "accepted"


async def test_a_connection_that_breaks_behind_the_last_byte_costs_nothing(run):
    async with run() as app:
        url = await create(app)
        with pytest.raises(BadRequest):
            await app.safelight.resumable.append(await actor_of(app), id_of(url), broken_off(PICTURE), offset_bytes=0)

        assert (await ended(app, url))["state"] == "accepted"


async def test_of_bytes_with_a_checksum_that_were_broken_off_nothing_is_kept(run):
    async with run() as app:
        url = await create(app)
        with pytest.raises(BadRequest):
            await app.safelight.resumable.append(
                await actor_of(app),
                id_of(url),
                broken_off(PICTURE[:300]),
                offset_bytes=0,
                checksum=read_checksum(checksum(PICTURE)),
            )

        assert await offset_of(app, url) == 0
        assert await objects(app) == []


async def test_who_comes_later_goes_on_at_once_and_the_bytes_of_the_one_before_do_not_count(run):
    async with run() as app:
        url = await create(app)
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def dawdling():
            yield b"!" * 500
            has_begun.set()
            await may_end.wait()

        first = asyncio.create_task(app.safelight.resumable.append(await actor_of(app), id_of(url), dawdling(), offset_bytes=0))
        await has_begun.wait()
        answer = await patch(app, url, PICTURE[:700])
        assert answer.status_code == 204
        may_end.set()
        with pytest.raises(TakenOver):
            await first
        assert await offset_of(app, url) == 700
        assert len(await objects(app)) == 1
        assert (await patch(app, url, PICTURE[700:], 700)).status_code == 204

        told = await ended(app, url)
        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE


async def test_who_resumes_while_the_last_bytes_of_the_one_before_arrive_is_told_to_ask_again(run, monkeypatch):
    """A client has died, what it had sent has not. `gone` would have the next one begin anew with a file that is here."""
    async with run() as app:
        url = await create(app)
        has_looked, may_go_on = asyncio.Event(), asyncio.Event()
        room = Standing.room

        async def late(*words, **more):
            found = await room(*words, **more)
            if not has_looked.is_set():
                has_looked.set()
                await may_go_on.wait()
            return found

        monkeypatch.setattr(Standing, "room", late)
        resuming = asyncio.create_task(patch(app, url, PICTURE))
        await has_looked.wait()
        assert (await patch(app, url, PICTURE)).status_code == 204
        may_go_on.set()

        answer = await resuming
        assert (answer.status_code, answer.json()["code"]) == (423, "taken_over")
        assert await offset_of(app, url) == len(PICTURE)
        told = await ended(app, url)
        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE


async def test_bytes_under_way_when_their_upload_is_terminated_are_removed(run):
    async with run() as app:
        url = await create(app)
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def dawdling():
            yield b"!" * 500
            has_begun.set()
            await may_end.wait()

        sending = asyncio.create_task(patch(app, url, dawdling()))
        await has_begun.wait()
        assert (await app.client.delete(url, headers=TUS)).status_code == 204
        may_end.set()

        assert (await sending).status_code == 410
        assert await objects(app) == []


async def test_what_has_come_through_one_process_is_not_fetched_back_from_the_store(run, monkeypatch):
    async def away(*_):
        raise BackendUnavailable

    async with run() as app:
        monkeypatch.setattr(type(app.safelight.uploads.incoming), "open", away)
        url = await create(app)
        for start, end in ((0, 700), (700, 701), (701, len(PICTURE))):
            assert (await patch(app, url, PICTURE[start:end], start)).status_code == 204
        told = await ended(app, url)

        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE


async def test_a_file_that_comes_through_two_processes_by_turns_is_read_from_the_store(run):
    async with run() as app:
        here = app.safelight.resumable
        there = Resumable(here.uploads, Copies(here.uploads.limits.spool_path))
        actor, url = await actor_of(app), await create(app)
        for number, start in enumerate(range(0, len(PICTURE), 500)):
            through = (here, there)[number % 3 == 1]
            await through.append(actor, id_of(url), body(PICTURE[start : start + 500]), offset_bytes=start)
        told = await ended(app, url)

        assert told["state"] == "accepted"
        assert (await app.client.get(f"/images/{told['image_id']}/original")).content == PICTURE


async def test_a_long_body_counts_while_it_is_still_coming(run):
    async with run() as app:
        size = 2 * PIECE_BYTES + 1000
        url = await create(app, size)
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def long():
            yield b"x" * PIECE_BYTES
            yield b"y" * 10
            has_begun.set()
            await may_end.wait()
            yield b"y" * (size - PIECE_BYTES - 10)

        sending = asyncio.create_task(patch(app, url, long()))
        await has_begun.wait()
        async with asyncio.timeout(60):
            while await offset_of(app, url) < PIECE_BYTES:
                await asyncio.sleep(0.02)
        assert await offset_of(app, url) == PIECE_BYTES
        may_end.set()

        assert (await sending).status_code == 204
        assert (await ended(app, url))["problem"]["code"] == "unsupported_format"
        assert await objects(app) == []


async def test_pieces_are_as_large_as_a_store_takes_at_once_however_a_body_is_cut(run):
    mebi = 2**20
    async with run() as app:
        actor, url = await actor_of(app), await create(app, 21 * mebi)
        chunks = [b"a" * (5 * mebi), b"", b"b" * (11 * mebi), b"c" * (4 * mebi)]
        upload = await app.safelight.resumable.append(actor, id_of(url), body(*chunks), offset_bytes=0)

        assert [piece.size_bytes for piece in upload.pieces] == [PIECE_BYTES, PIECE_BYTES, 4 * mebi]
        opened = await app.safelight.uploads.incoming.open(upload)
        assert b"".join([chunk async for chunk in opened.chunks]) == b"".join(chunks)


async def test_what_comes_slowly_waits_on_the_disk_and_not_in_memory(run, monkeypatch):
    copies, appended, may_end = [], [], asyncio.Event()
    begin, append = Copies.begin, EmbeddedIncoming.append

    def noted(self, upload):
        copies.append(begin(self, upload))
        return copies[-1]

    async def counted(self, upload, data):
        appended.append(len(data))
        return await append(self, upload, data)

    async def slow():
        yield b"x" * 3_000_000
        yield b"x" * 2_000_000
        await may_end.wait()

    monkeypatch.setattr(Copies, "begin", noted)
    monkeypatch.setattr(EmbeddedIncoming, "append", counted)
    async with run() as app:
        url = await create(app, 5_000_000)
        sending = asyncio.create_task(patch(app, url, slow()))
        async with asyncio.timeout(60):
            while not copies or copies[0].spool.size_bytes < 5_000_000:
                await asyncio.sleep(0.02)
        assert appended == []
        may_end.set()

        assert (await sending).status_code == 204
        assert appended == [5_000_000]


async def test_a_full_disk_refuses_more_and_keeps_what_has_come(run, monkeypatch):
    async with run() as app:
        url = await create(app)
        assert (await patch(app, url, PICTURE[:700])).status_code == 204

        async def no_room(self, chunk):
            raise Unavailable("There is no room for the upload at the moment.")

        with monkeypatch.context() as full:
            full.setattr(Copy, "add", no_room)
            answer = await patch(app, url, PICTURE[700:], 700)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert await offset_of(app, url) == 700
        assert (await patch(app, url, PICTURE[700:], 700)).status_code == 204
        assert (await ended(app, url))["state"] == "accepted"


async def test_a_server_that_dies_behind_the_last_answer_has_the_clock_take_it_in(run, monkeypatch):
    clock = {"now": utc_now()}
    async with run(clock=lambda: clock["now"]) as app:
        monkeypatch.setattr(type(app.safelight.resumable), "_take_in", lambda *_: None)  # dead
        url = await create(app)
        assert (await patch(app, url, PICTURE)).status_code == 204
        assert (await app.client.get(f"/uploads/{id_of(url)}")).json()["state"] == UploadState.ARRIVED
        clock["now"] += timedelta(minutes=6)
        await app.safelight.uploads.sweep()

        assert (await app.client.get(f"/uploads/{id_of(url)}")).json()["state"] == "accepted"


async def test_pieces_that_nobody_remembers_are_swept(run):
    clock = {"now": utc_now()}
    async with run(clock=lambda: clock["now"]) as app:
        url = await create(app)
        await patch(app, url, PICTURE[:1000])
        async with app.safelight.catalog.directory() as directory:
            tenant = (await directory.tenants())[0].id
        async with app.safelight.catalog.tenant(tenant, writes=True) as records:
            upload = await records.uploads.get(id_of(url))
            await records.uploads.remove(upload.id)
        clock["now"] += timedelta(hours=25)
        assert await app.safelight.uploads.sweep_objects() == 1

        assert await objects(app) == []
