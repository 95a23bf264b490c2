"""Pictures that lie elsewhere: fetched from where an operator said, delivered by signed URL of every grammar, and from nowhere else."""

from __future__ import annotations

import asyncio
import base64
import io
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote

import pytest
from libthumbor import CryptoURL
from PIL import Image
from tests.api.test_foreign import KEY, SALT, THUMBOR, signed
from tests.pictures import jpeg

from safelight.adapters.outbound.httpx import HttpxOutbound
from safelight.adapters.storage.memory import MemoryStorage
from safelight.testing.contracts.outbound import Names, leading, serving, whole
from safelight.wiring import utc_now

PICTURE = jpeg(600, 400)
OTHER = jpeg(600, 400, seed=2)
UNLISTED = "Nothing is delivered from there, or the signature does not match."


@pytest.fixture
async def source():
    async with serving() as source:
        source.says["/photos/sea.jpg"] = whole(PICTURE, 'ETag: "one"', "Cache-Control: max-age=600", "Content-Type: text/html")
        yield source


class Clock:
    """The time, which a test may move on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self):
        return utc_now() + self.ahead


@asynccontextmanager
async def gallery(run, source, *, places=("/photos",), names=None, **settings):
    clock = Clock()
    outside = {"networks": "127.0.0.1", "connect_s": 30, "idle_s": 30}
    names = names or Names({"pictures.example": [["127.0.0.1"]]})
    parts = {
        "originals": MemoryStorage(clock=clock),
        "renditions": MemoryStorage(clock=clock),
        "clock": clock,
        "outbound": HttpxOutbound(resolve=names),
    }
    async with run({"outbound": outside | settings.pop("outbound", {}), **settings}, **parts) as app:
        for body in ({"grammar": "imgproxy", "secret": KEY, "salt": SALT}, {"grammar": "thumbor", "secret": THUMBOR}):
            assert (await app.client.post("/admin/signing-keys", json=body)).status_code == 201
        if places:
            await listed(app, *(f"http://pictures.example:{source.port}{place}" for place in places))
        yield app, clock


async def listed(app, *places):
    [tenant] = (await app.client.get("/admin/tenants")).json()
    answer = await app.client.patch(f"/admin/tenants/{tenant['id']}", json={"sources": list(places)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def at(source, path="/photos/sea.jpg"):
    return f"http://pictures.example:{source.port}{path}"


def by_imgproxy(url, options="rs:fit:300:300", extension="webp"):
    return signed(f"/{options}/plain/{quote(url, safe=':/')}@{extension}")


async def native(app, url, text="w=300,h=300.webp"):
    answer = await app.client.post("/sources/urls", json={"source": url, "transforms": [text]})
    assert answer.status_code == 200, answer.text
    return answer.json()["urls"][0]


def made(app):
    return app.safelight.instruments.registry.get_sample_value("safelight_renders_total", {"source": "remote"}) or 0


def clear_png() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (80, 60), (200, 30, 30, 90)).save(file, "PNG")
    return file.getvalue()


async def forgotten(app):
    """As if two seconds had gone by."""
    sources = app.safelight.remote_delivery.sources
    sources._known.clear()
    sources._failed.clear()


async def test_nothing_is_delivered_from_elsewhere_until_an_operator_lists_it(run, source):
    async with gallery(run, source, places=()) as (app, _):
        url = by_imgproxy(at(source))
        answer = await app.client.get(url)
        assert (answer.status_code, answer.json()["code"], source.heads) == (403, "source_not_allowed", [])

        tenant = await listed(app, at(source, "/photos"))
        assert tenant["sources"] == [at(source, "/photos")]
        assert (await app.client.get(url)).status_code == 200

        await listed(app)
        assert (await app.client.get(url)).json()["code"] == "source_not_allowed"


async def test_every_grammar_gives_one_rendition_of_one_copy(run, source):
    async with gallery(run, source) as (app, _):
        encoded = base64.urlsafe_b64encode(at(source).encode()).decode().rstrip("=")
        urls = [
            await native(app, at(source)),
            by_imgproxy(at(source)),
            signed(f"/rs:fit:300:300/{encoded}.webp"),
            by_imgproxy(at(source)).replace("http://", "http:/"),
            "/thumbor"
            + CryptoURL(key=THUMBOR).generate(width=300, height=300, fit_in=True, filters=["format(webp)"], image_url=at(source)),
        ]
        answers = [await app.client.get(url) for url in urls]

        assert [answer.status_code for answer in answers] == [200] * 5, [answer.text[:200] for answer in answers]
        assert len({answer.headers["etag"] for answer in answers}) == 1
        picture = Image.open(io.BytesIO(answers[0].content))
        assert (picture.format, picture.size) == ("WEBP", (300, 200))
        assert (len(source.heads), made(app)) == (1, 1)
        control = answers[0].headers["cache-control"]
        assert control.startswith("public, max-age=")
        assert 500 < int(control.rpartition("=")[2]) <= 600
        assert "vary" not in answers[0].headers


async def test_presets_formats_and_conditions_work_as_with_our_own(run, source):
    async with gallery(run, source) as (app, _):
        assert (await app.client.put("/admin/presets/card", json={"options": "w=40,h=40,fit=cover"})).status_code == 200
        card = await app.client.get(await native(app, at(source), "card.png"))
        thumb = await app.client.get(await native(app, at(source), "thumb_150.jpg"))
        assert [Image.open(io.BytesIO(answer.content)).size for answer in (card, thumb)] == [(40, 40), (150, 100)]

        auto = await native(app, at(source), "w=50.auto")
        answers = [await app.client.get(auto, headers={"accept": accept}) for accept in ("image/avif", "image/webp", "image/*")]
        assert [answer.headers["content-type"] for answer in answers] == ["image/avif", "image/webp", "image/jpeg"]
        assert {answer.headers["vary"] for answer in answers} == {"Accept"}
        same = await app.client.get(auto, headers={"accept": "image/webp", "if-none-match": answers[1].headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        part = await app.client.get(auto, headers={"accept": "image/webp", "range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, answers[1].content[:10])

        source.says["/photos/clear.png"] = whole(clear_png())
        clear = await app.client.get(await native(app, at(source, "/photos/clear.png"), "w=40.png"))
        assert Image.open(io.BytesIO(clear.content)).mode == "RGBA"


async def test_only_what_is_signed_and_listed_is_asked_for_and_one_answer_hides_which_it_was(run, source):
    async with gallery(run, source) as (app, _):
        good, beside = await native(app, at(source)), at(source, "/private/sea.jpg")
        forged = good.replace(
            base64.urlsafe_b64encode(at(source).encode()).decode().rstrip("="),
            base64.urlsafe_b64encode(beside.encode()).decode().rstrip("="),
        )
        wrong = [
            forged,
            good.replace("w=300", "w=301"),
            by_imgproxy(beside),
            by_imgproxy(at(source)).replace("300:300", "301:300"),
            by_imgproxy(at(source, "/photos/../private/sea.jpg")),
            by_imgproxy(at(source, "/photos/%2e%2e/private/sea.jpg")),
            by_imgproxy(at(source).replace("http:", "https:")),
            by_imgproxy(at(source).replace("pictures", "other")),
            by_imgproxy("http://user:word@pictures.example/photos/sea.jpg"),
            by_imgproxy("local://etc/passwd"),
            "/imgproxy/unsafe/rs:fit:9:9/plain/" + at(source),
            "/thumbor/unsafe/9x9/" + at(source),
            "/thumbor" + CryptoURL(key="another key").generate(width=50, image_url=at(source)),
        ]
        for url in wrong:
            answer = await app.client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (403, "source_not_allowed"), url
            assert answer.json()["detail"] in (UNLISTED, "This installation takes nothing from that address."), url
        assert source.heads == []
        answer = await app.client.post("/sources/urls", json={"source": beside, "transforms": ["w=9.webp"]})
        assert answer.json()["code"] == "source_not_allowed"
        unsigned = await app.client.get(good.partition("?")[0])
        assert (unsigned.status_code, unsigned.json()["code"]) == (403, "bad_signature")


@pytest.mark.parametrize(
    ("location", "code", "status"),
    [
        ("http://127.0.0.1:22/photos/sea.jpg", "source_not_allowed", 403),
        ("/private/sea.jpg", "source_not_allowed", 403),
        ("/photos/..%2fprivate/sea.jpg", "source_not_allowed", 403),
        ("http://169.254.169.254/latest/meta-data/", "source_not_allowed", 403),
        ("http://other.example/photos/sea.jpg", "source_not_allowed", 403),
        ("http://user@pictures.example/photos/sea.jpg", "source_failed", 502),
        ("file:///etc/passwd", "source_failed", 502),
    ],
)
async def test_a_redirect_leads_to_what_is_listed_or_nowhere(run, source, location, code, status):
    async with gallery(run, source) as (app, _):
        source.says["/photos/from"] = leading(location)
        answer = await app.client.get(by_imgproxy(at(source, "/photos/from")))
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert len(source.heads) == 1

        source.says["/photos/around"] = leading("sea.jpg", 307)
        assert (await app.client.get(by_imgproxy(at(source, "/photos/around")))).status_code == 200


@pytest.mark.parametrize(
    "addresses", [["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:169.254.169.254"], ["64:ff9b::a00:1"], []]
)
async def test_a_listed_name_that_leads_inside_is_like_one_that_fails(run, source, addresses):
    async with gallery(run, source, names=Names({"pictures.example": [addresses]})) as (app, _):
        answer = await app.client.get(by_imgproxy(at(source)))
        assert (answer.status_code, answer.json()["code"], source.heads) == (502, "source_failed", [])
        assert answer.headers["retry-after"] == "5"


async def test_a_name_that_means_something_else_a_moment_later_changes_nothing(run, source):
    names = Names({"pictures.example": [["127.0.0.1"], ["169.254.169.254"]]})
    async with gallery(run, source, names=names) as (app, _):
        assert (await app.client.get(by_imgproxy(at(source)))).status_code == 200
        assert names.asked == ["pictures.example"]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "not_found"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 404, "not_found"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 502, "source_failed"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 502, "source_failed"),
        (b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n", 502, "source_failed"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 502, "source_failed"),
        (b"", 502, "source_failed"),
        (whole(PICTURE, "Content-Encoding: gzip"), 502, "source_failed"),
        (whole(b"<html>"), 415, "unsupported_format"),
        (whole(b""), 422, "empty_file"),
        (whole(bytes(300_000)), 413, "too_many_bytes"),
        (whole(jpeg(300, 301)), 413, "too_many_pixels"),
    ],
)
async def test_what_the_source_answers_is_told_and_remembered_for_a_while(run, source, said, status, code):
    async with gallery(run, source, limits={"max_bytes": 200_000, "max_pixels": 90_000}) as (app, _):
        source.says["/photos/bad"] = said
        urls = [by_imgproxy(at(source, "/photos/bad")), await native(app, at(source, "/photos/bad"), "w=9.webp")]
        for url in urls * 3:
            answer = await app.client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert ("retry-after" in answer.headers) == (status == 502)
        assert len(source.heads) == 1
        assert await app.safelight.upkeep.buckets.renditions.scan("") == []


async def test_a_source_that_does_not_answer_in_time_is_a_gateway_timeout(run, source):
    done = asyncio.Event()

    async def silent(writer):
        await done.wait()

    async with gallery(run, source, outbound={"idle_s": 0.2}) as (app, _):
        source.says["/photos/slow"] = silent
        answer = await app.client.get(by_imgproxy(at(source, "/photos/slow")))
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (504, "source_timed_out", "5")
        done.set()


async def test_many_who_ask_at_once_make_one_request(run, source):
    async with gallery(run, source) as (app, _):
        urls = [by_imgproxy(at(source), f"rs:fit:{side}:{side}") for side in (30, 40, 50) for _ in range(4)]
        answers = await asyncio.gather(*map(app.client.get, urls))
        assert {answer.status_code for answer in answers} == {200}
        assert (len(source.heads), made(app)) == (1, 3)


async def test_a_copy_that_has_aged_is_asked_about_and_stays_when_nothing_has_changed(run, source):
    async with gallery(run, source) as (app, clock):
        before = await app.client.get(by_imgproxy(at(source)))
        clock.ahead += timedelta(seconds=601)
        source.says["/photos/sea.jpg"] = b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\nCache-Control: max-age=900\r\n\r\n'
        after = await app.client.get(by_imgproxy(at(source)))

        assert (after.headers["etag"], after.headers["last-modified"]) == (
            before.headers["etag"],
            before.headers["last-modified"],
        )
        assert 800 < int(after.headers["cache-control"].rpartition("=")[2]) <= 900
        assert 'if-none-match: "one"' in source.heads[1].lower()
        assert made(app) == 1
        await forgotten(app)  # another process reads the same from the store
        assert (await app.client.get(by_imgproxy(at(source), "w:20"))).status_code == 200
        assert len(source.heads) == 2
        stored = app.safelight.upkeep.buckets.renditions
        [copy] = [one.key for one in await stored.scan("") if one.key.endswith("/source")]
        assert len(await stored.versions(copy)) == 1


async def test_other_bytes_are_another_picture(run, source):
    async with gallery(run, source) as (app, clock):
        before = await app.client.get(by_imgproxy(at(source)))
        clock.ahead += timedelta(seconds=601)
        source.says["/photos/sea.jpg"] = whole(OTHER, 'ETag: "two"')
        after = await app.client.get(by_imgproxy(at(source)))
        assert (after.status_code, made(app)) == (200, 2)
        assert after.headers["etag"] != before.headers["etag"]


async def test_a_copy_goes_on_while_its_source_fails_but_not_for_ever_and_not_when_it_is_gone(run, source):
    async with gallery(run, source) as (app, clock):
        url = by_imgproxy(at(source))
        await app.client.get(url)
        clock.ahead += timedelta(seconds=601)
        source.says["/photos/sea.jpg"] = b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n"
        answer = await app.client.get(url)
        assert (answer.status_code, len(source.heads)) == (200, 2)
        assert int(answer.headers["cache-control"].rpartition("=")[2]) <= 5
        app.safelight.remote_delivery.sources._known.clear()  # two seconds later it is still left alone
        assert (await app.client.get(url)).status_code == 200
        assert len(source.heads) == 2

        await forgotten(app)
        clock.ahead += timedelta(days=2)
        url = signed(f"/rs:fit:300:300/plain/{at(source)}@webp")
        assert (await app.client.get(url)).status_code == 502

        await forgotten(app)
        source.says["/photos/sea.jpg"] = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
        assert (await app.client.get(url)).status_code == 404
        assert await app.safelight.upkeep.buckets.renditions.scan("") == []


async def test_what_a_source_keeps_from_shared_caches_stays_private(run, source):
    async with gallery(run, source) as (app, clock):
        source.says["/photos/own"] = whole(
            PICTURE, "Cache-Control: private, max-age=100", "Last-Modified: Mon, 01 Jun 2026 00:00:00 GMT"
        )
        answer = await app.client.get(by_imgproxy(at(source, "/photos/own")))
        assert answer.headers["cache-control"].startswith("private, max-age=")

        clock.ahead += timedelta(seconds=101)
        source.says["/photos/own"] = b"HTTP/1.1 304 Not Modified\r\n\r\n"  # which says nothing of it, and so nothing else
        source.says["/photos/long"] = whole(PICTURE, f"Cache-Control: private, x={'y' * 400}")
        for path in ("own", "long"):
            answer = await app.client.get(by_imgproxy(at(source, f"/photos/{path}")))
            reach, _, age = answer.headers["cache-control"].partition(", max-age=")
            assert reach == "private"
            assert int(age) <= (100 if path == "own" else 3600)
        assert "if-modified-since" in source.heads[1].lower()


async def test_a_purge_by_address_lets_go_of_all_that_is_kept_of_it(run, source):
    async with gallery(run, source) as (app, _):
        await app.client.get(by_imgproxy(at(source)))
        source.says["/photos/sea.jpg"] = whole(OTHER)
        asked = await app.client.post("/admin/purges", json={"source": at(source)})
        assert (asked.status_code, asked.json()["what"], asked.json()["value"]) == (202, "source", at(source))

        assert await app.safelight.upkeep.buckets.renditions.scan("") == []
        assert (await app.client.get(by_imgproxy(at(source)))).status_code == 200
        assert (len(source.heads), made(app)) == (2, 2)
        assert (await app.client.post("/admin/purges", json={"source": "no address"})).json()["code"] == "bad_field"


async def test_copies_outlive_the_tidying_up_of_images_and_go_when_nobody_asks(run, source):
    async with gallery(run, source) as (app, clock):
        await app.client.get(by_imgproxy(at(source)))
        stored = app.safelight.upkeep.buckets.renditions
        assert await app.safelight.upkeep.sweep_orphans(before=clock() + timedelta(days=1)) == 0
        sources = app.safelight.remote_delivery.sources
        assert (await sources.sweep(), len(await stored.scan(""))) == (0, 2)
        clock.ahead += timedelta(days=31)
        assert (await sources.sweep(), await stored.scan("")) == (2, [])


async def test_it_counts_as_deliveries_and_transformations_within_the_quota(run, source):
    async with gallery(run, source, quotas={"transformations": 1}) as (app, _):
        first = await app.client.get(by_imgproxy(at(source)))
        second = await app.client.get(by_imgproxy(at(source), "w:20"))
        assert (second.status_code, second.json()["code"]) == (403, "quota_exceeded")
        usage = (await app.client.get("/me/usage")).json()
        assert (usage["transformations"], usage["deliveries"], usage["delivered_bytes"]) == (1, 1, len(first.content))


async def test_a_suspended_tenant_delivers_nothing_of_it_and_another_tenants_key_opens_nothing(run, source):
    async with gallery(run, source, places=()) as (app, _):
        made = (await app.client.post("/admin/tenants", json={"name": "other"})).json()
        other = {"authorization": f"Bearer {made['token']}"}
        assert (await app.client.patch(f"/admin/tenants/{made['id']}", json={"sources": [at(source, "/")]})).status_code == 200
        refused = await app.client.patch(f"/admin/tenants/{made['id']}", json={"sources": [at(source, "/x")]}, headers=other)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await app.client.get(by_imgproxy(at(source)))).json()["code"] == "source_not_allowed"

        body = {"source": at(source), "transforms": ["w=20.webp"]}
        [url] = (await app.client.post("/sources/urls", json=body, headers=other)).json()["urls"]
        assert (await app.client.get(url)).status_code == 200
        assert (await app.client.post(f"/admin/tenants/{made['id']}/suspend")).status_code == 200
        assert (await app.client.get(url)).json()["code"] == "tenant_suspended"


async def test_odd_paths_and_options_are_refused_by_name(run, source):
    async with gallery(run, source) as (app, _):
        good = await native(app, at(source))
        _, _, path = good.partition("/i/remote/")
        encoded, _, rest = path.partition("/")
        for url, option in (
            (f"/i/remote/%40%40/{rest}", "source"),
            (f"/i/remote/{encoded}é/{rest}", "source"),
            (f"{good}&v=1", "v"),
            (by_imgproxy(at(source), "sm:0"), "metadata"),
            (by_imgproxy(at(source), "c:10:10:nowe/g:sm/t:9"), None),
        ):
            answer = await app.client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_option"), (url, answer.text)
            assert option is None or answer.json()["option"] == option
        assert (await app.client.get(f"/i/remote/{encoded}")).status_code == 404
        assert (await app.client.get("/i/remote/")).status_code == 404
