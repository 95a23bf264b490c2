"""Pictures of buckets that an operator has listed, on a real S3 server: delivered as those of https places are, and no others."""

from __future__ import annotations

import base64
import io
import uuid
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote

import pytest
from libthumbor import CryptoURL
from PIL import Image
from tests.api.test_foreign import KEY, SALT, THUMBOR, signed
from tests.api.test_remote import Clock, by_imgproxy, forgotten, listed, made, native
from tests.pictures import jpeg
from tests.servers.faulty import Answer, CutAnswer, Faulty, Hang
from tests.servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from safelight.adapters.storage.memory import MemoryStorage

pytestmark = pytest.mark.xdist_group("remote-buckets")

PICTURE = jpeg(600, 400)
OTHER = jpeg(600, 400, seed=2)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


class Bucket:
    """One of the test's own, behind a line that may be spoilt; beside it there is one whose name begins as its own does."""

    def __init__(self, s3: SeaweedFS, line: Faulty) -> None:
        self.line = line
        self.name = s3.make_bucket(f"pictures-{uuid.uuid4().hex[:12]}")
        self._client = s3.client()
        s3.make_bucket(f"{self.name}-private")
        self.put("photos/sea.jpg", PICTURE)
        self.put("private/sea.jpg", PICTURE)
        self._client.put_object(Bucket=f"{self.name}-private", Key="photos/sea.jpg", Body=PICTURE)

    def put(self, key: str, data: bytes, **said: str) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=data, **said)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)

    def at(self, key: str = "photos/sea.jpg") -> str:
        return f"s3://{self.name}/{key}"


@pytest.fixture
async def bucket(s3):
    async with Faulty(s3.port) as line:
        yield Bucket(s3, line)


@asynccontextmanager
async def gallery(run, bucket, *, places=("photos",), **settings):
    clock = Clock()
    reached = {"s3_endpoint_url": bucket.line.url, "s3_access_key_id": ACCESS_KEY, "s3_secret_access_key": SECRET_KEY}
    remote = reached | {"fetch_s": 60} | settings.pop("remote", {})
    outside = {"connect_s": 30, "idle_s": 30} | settings.pop("outbound", {})
    parts = {"originals": MemoryStorage(clock=clock), "renditions": MemoryStorage(clock=clock), "clock": clock}
    async with run({"remote": remote, "outbound": outside, **settings}, **parts) as app:
        for body in ({"grammar": "imgproxy", "secret": KEY, "salt": SALT}, {"grammar": "thumbor", "secret": THUMBOR}):
            assert (await app.client.post("/admin/signing-keys", json=body)).status_code == 201
        if places:
            await listed(app, *map(bucket.at, places))
        yield app, clock


def by_thumbor(url):
    return "/thumbor" + CryptoURL(key=THUMBOR).generate(
        width=300, height=300, fit_in=True, filters=["format(webp)"], image_url=url
    )


def in_base64(url):
    return signed(f"/rs:fit:300:300/{base64.urlsafe_b64encode(url.encode()).decode().rstrip('=')}.webp")


async def test_every_grammar_gives_one_rendition_of_one_copy(run, bucket):
    async with gallery(run, bucket) as (app, _):
        urls = [
            await native(app, bucket.at()),
            by_imgproxy(bucket.at()),
            in_base64(bucket.at()),
            by_imgproxy(bucket.at()).replace("s3://", "s3:/"),
            by_thumbor(bucket.at()),
        ]
        answers = [await app.client.get(url) for url in urls]

        assert [answer.status_code for answer in answers] == [200] * 5, [answer.text[:200] for answer in answers]
        assert len({answer.headers["etag"] for answer in answers}) == 1
        picture = Image.open(io.BytesIO(answers[0].content))
        assert (picture.format, picture.size) == ("WEBP", (300, 200))
        assert (len(bucket.line.requests), made(app)) == (1, 1)
        assert answers[0].headers["cache-control"].startswith("public, max-age=3")


@pytest.mark.parametrize(
    "name", ["a b.jpg", "100%.jpg", "what?w=1&h=2.jpg", "#1.jpg", "a+b.jpg", "Küste.jpg", "a%20b.jpg", "x@y"]
)
async def test_a_key_is_what_the_bucket_has_in_every_grammar(run, bucket, name):
    bucket.put(f"photos/{name}", PICTURE)
    async with gallery(run, bucket) as (app, _):
        url = bucket.at(f"photos/{name}")
        plain = signed(f"/rs:fit:300:300/plain/{quote(url, safe='')}@webp")
        for asked in (await native(app, url), plain, in_base64(url), by_thumbor(quote(url, safe=":/"))):
            answer = await app.client.get(asked)
            assert answer.status_code == 200, (asked, answer.text)
        assert len(bucket.line.requests) == 1


async def test_only_objects_of_the_listed_place_are_asked_for_and_one_answer_hides_which_it_was(run, bucket):
    async with gallery(run, bucket) as (app, _):
        good = await native(app, bucket.at())
        tricks = [
            bucket.at("private/sea.jpg"),
            bucket.at("photos-of-others/sea.jpg"),
            bucket.at("photos/../private/sea.jpg"),
            bucket.at("photos/%2e%2e/private/sea.jpg"),
            bucket.at("photos/..%2fprivate/sea.jpg"),
            bucket.at("photos/%252e%252e/private/sea.jpg"),
            bucket.at("photos/./sea.jpg"),
            bucket.at("photos//sea.jpg"),
            bucket.at("/photos/sea.jpg"),
            bucket.at("photos/..\\private/sea.jpg"),
            bucket.at("photos/"),
            bucket.at("?prefix=photos/sea.jpg"),
            bucket.at(""),
            f"s3://{bucket.name}-private/photos/sea.jpg",
            f"s3://{bucket.name}.evil.example/photos/sea.jpg",
            f"s3://{bucket.name}@evil.example/photos/sea.jpg",
            f"s3://{bucket.name.upper()}/photos/sea.jpg",
            f"{bucket.line.url}/{bucket.name}/photos/sea.jpg",
        ]
        for trick in tricks:
            for url in (
                signed(f"/w:9/plain/{quote(trick, safe='')}@webp"),
                in_base64(trick),
                by_thumbor(quote(trick, safe=":/")),
            ):
                answer = await app.client.get(url)
                assert (answer.status_code, answer.json()["code"]) == (403, "source_not_allowed"), (trick, url, answer.text)
            asked = await app.client.post("/sources/urls", json={"source": trick, "transforms": ["w=9.webp"]})
            assert (asked.status_code, asked.json()["code"]) == (403, "source_not_allowed"), trick
        forged = good.replace(_in_path(bucket.at()), _in_path(bucket.at("photos/other.jpg")))
        for url in (forged, by_imgproxy(bucket.at()).replace("300:300", "301:300"), "/thumbor/unsafe/9x9/" + bucket.at()):
            answer = await app.client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (403, "source_not_allowed"), url
        unsigned = await app.client.get(good.partition("?")[0])
        assert (unsigned.status_code, unsigned.json()["code"]) == (403, "bad_signature")
        assert bucket.line.requests == []


def _in_path(url):
    return base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


async def test_places_in_buckets_are_the_operators_to_list_and_have_one_spelling(run, bucket):
    async with gallery(run, bucket, places=()) as (app, _):
        assert (await app.client.get(by_imgproxy(bucket.at()))).json()["code"] == "source_not_allowed"
        tenant = await listed(app, bucket.at("photos/"), bucket.at("summer 2026"), "https://cdn.example.com/photos")
        assert tenant["sources"] == [bucket.at("photos"), bucket.at("summer 2026"), "https://cdn.example.com/photos"]
        bucket.put("summer 2026/sea.jpg", PICTURE)
        for key in ("photos/sea.jpg", "summer 2026/sea.jpg"):
            assert (await app.client.get(in_base64(bucket.at(key)))).status_code == 200
        for wrong in (
            "s3://",
            "s3://UPPER/x",
            "s3://user:key@bucket/x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/%2e%2e",
        ):
            refused = await app.client.patch(f"/admin/tenants/{tenant['id']}", json={"sources": [wrong]})
            assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (400, "bad_field", "sources"), wrong

        await listed(app, f"s3://{bucket.name}")
        assert (await app.client.get(by_imgproxy(bucket.at("private/sea.jpg")))).status_code == 200


async def test_an_object_that_has_changed_is_noticed_when_its_copy_has_aged(run, bucket):
    bucket.put("photos/sea.jpg", PICTURE, CacheControl="max-age=600")
    async with gallery(run, bucket) as (app, clock):
        url = by_imgproxy(bucket.at())
        before = await app.client.get(url)
        clock.ahead += timedelta(seconds=601)
        same = await app.client.get(url)
        assert (same.headers["etag"], same.headers["last-modified"]) == (before.headers["etag"], before.headers["last-modified"])
        assert 500 < int(same.headers["cache-control"].rpartition("=")[2]) <= 600
        assert (len(bucket.line.requests), made(app)) == (2, 1)

        bucket.put("photos/sea.jpg", OTHER)
        clock.ahead += timedelta(seconds=601)
        changed = await app.client.get(url)
        assert (changed.status_code, made(app)) == (200, 2)
        assert changed.headers["etag"] != before.headers["etag"]

        bucket.remove("photos/sea.jpg")
        clock.ahead += timedelta(days=1)
        assert (await app.client.get(url)).status_code == 404
        assert await app.safelight.upkeep.buckets.renditions.scan("") == []


async def test_what_an_object_says_to_caches_holds(run, bucket):
    bucket.put("photos/own.jpg", PICTURE, CacheControl="private, max-age=100")
    async with gallery(run, bucket) as (app, _):
        answer = await app.client.get(by_imgproxy(bucket.at("photos/own.jpg")))
        assert answer.headers["cache-control"].startswith("private, max-age=")


async def test_a_purge_by_address_lets_go_of_all_that_is_kept_of_it(run, bucket):
    async with gallery(run, bucket) as (app, _):
        await app.client.get(by_imgproxy(bucket.at()))
        bucket.put("photos/sea.jpg", OTHER)
        asked = await app.client.post("/admin/purges", json={"source": bucket.at()})
        assert (asked.status_code, asked.json()["value"]) == (202, bucket.at())

        assert await app.safelight.upkeep.buckets.renditions.scan("") == []
        assert (await app.client.get(by_imgproxy(bucket.at()))).status_code == 200
        assert made(app) == 2
        assert (await app.client.post("/admin/purges", json={"source": bucket.at("a//b")})).json()["code"] == "bad_field"


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("nothing.jpg", 404, "not_found"),
        ("page.html", 415, "unsupported_format"),
        ("empty", 422, "empty_file"),
        ("large", 413, "too_many_bytes"),
        ("packed.svgz", 502, "source_failed"),
    ],
)
async def test_what_is_found_there_is_told_and_remembered_for_a_while(run, bucket, key, status, code):
    bucket.put("photos/page.html", b"<html>")
    bucket.put("photos/empty", b"")
    bucket.put("photos/large", bytes(300_000))
    bucket.put("photos/packed.svgz", PICTURE, ContentEncoding="gzip")
    async with gallery(run, bucket, limits={"max_bytes": 200_000}) as (app, _):
        for _ in range(3):
            answer = await app.client.get(by_imgproxy(bucket.at(f"photos/{key}")))
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert len(bucket.line.requests) == 1
        assert await app.safelight.upkeep.buckets.renditions.scan("") == []


@pytest.mark.parametrize(
    ("fault", "remote", "told"),
    [
        (Answer(403, code="AccessDenied"), {}, {(502, "source_failed")}),
        (CutAnswer(9_000), {}, {(502, "source_failed")}),
        (Hang(), {"fetch_s": 0.5}, {(504, "source_timed_out")}),
        # Tried again until the time is over, which may be in the midst of an attempt.
        (Answer(503), {"fetch_s": 0.5}, {(502, "source_failed"), (504, "source_timed_out")}),
    ],
    ids=["denied", "cut", "silence", "503"],
)
async def test_a_store_in_trouble_is_told_of_as_a_gateway_does(run, bucket, fault, remote, told):
    async with gallery(run, bucket, remote=remote) as (app, _):
        bucket.line.spoil(fault, times=1000)
        answer = await app.client.get(by_imgproxy(bucket.at()))

        assert (answer.status_code, answer.json()["code"]) in told
        assert answer.headers["retry-after"] == "5"
        assert await app.safelight.upkeep.buckets.renditions.scan("") == []


async def test_a_copy_goes_on_while_its_store_refuses_and_a_bucket_that_is_not_there_is_one_that_fails(run, bucket):
    async with gallery(run, bucket) as (app, clock):
        assert (await app.client.get(by_imgproxy(bucket.at()))).status_code == 200
        clock.ahead += timedelta(hours=2)
        bucket.line.spoil(Answer(403, code="AccessDenied"), times=1000)
        answer = await app.client.get(by_imgproxy(bucket.at()))
        assert (answer.status_code, int(answer.headers["cache-control"].rpartition("=")[2]) <= 5) == (200, True)

        bucket.line.heal()
        await forgotten(app)
        assert (await app.client.get(by_imgproxy(bucket.at()))).status_code == 200
        await listed(app, "s3://a-bucket-that-nobody-has")
        answer = await app.client.get(by_imgproxy("s3://a-bucket-that-nobody-has/sea.jpg"))
        assert (answer.status_code, answer.json()["code"]) == (502, "source_failed")


async def test_an_installation_that_is_told_of_no_store_reads_no_bucket(run, bucket):
    unset = {"s3_endpoint_url": "", "s3_access_key_id": "", "s3_secret_access_key": ""}
    async with gallery(run, bucket, remote=unset) as (app, _):
        answer = await app.client.get(by_imgproxy(bucket.at()))
        assert (answer.status_code, answer.json()["code"]) == (403, "source_not_allowed")
