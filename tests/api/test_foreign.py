"""imgproxy's and thumbor's URLs, signed as their own clients sign them, are served like ours: one check, one rendition."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from libthumbor import CryptoURL
from PIL import Image
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage

KEY = "943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881"
SALT = "520f986b998545b4785e0defbc4f3c1203f22de2374a3d53cb7a7fe9fea309c5"
THUMBOR = "a key that thumbor's clients hold"


def signed(path: str, key: str = KEY, salt: str = SALT, size: int = 32) -> str:
    """As imgproxy's documentation tells its clients to: written here on its own, shared with nobody."""
    digest = hmac.new(bytes.fromhex(key), bytes.fromhex(salt) + path.encode(), hashlib.sha256).digest()[:size]
    return "/imgproxy/" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode() + path


@asynccontextmanager
async def gallery(run, settings=None):
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        for body in (
            {"grammar": "imgproxy", "secret": KEY, "salt": SALT},
            {"grammar": "thumbor", "secret": THUMBOR},
        ):
            assert (await app.client.post("/admin/signing-keys", json=body)).status_code == 201
        record = (await app.client.post("/images", files={"file": jpeg(600, 400)})).json()
        yield app, record["id"]


async def native(app, image_id: str, text: str):
    answer = await app.client.post(f"/images/{image_id}/urls", json={"transforms": [text]})
    return await app.client.get(answer.json()["urls"][0])


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


async def test_an_answer_that_is_repeated_is_the_one_for_this_browser(run):
    async with gallery(run) as (app, id):
        url = signed(f"/w:50/plain/{id}")
        told = [await app.client.get(url, headers={"accept": accept}) for accept in ("image/webp", "*/*") * 2]

        assert [answer.headers["content-type"] for answer in told] == ["image/webp", "image/jpeg"] * 2
        assert [answer.headers["server-timing"] == "memory;dur=0.0" for answer in told] == [False, False, True, True]


async def test_every_way_to_name_an_image_gives_the_native_rendition(run):
    async with gallery(run) as (app, id):
        expected = await native(app, id, "w=300,h=100,fit=cover.webp")
        encoded = base64url(f"safelight://{id}")
        sources = (
            f"plain/{id}@webp",
            f"plain/safelight://{id}@webp",
            f"plain/safelight:/{id}@webp",
            f"plain/safelight%3A%2F%2F{id}@webp",
            f"f:webp/plain/{id}",
            f"{base64url(id)}.webp",
            f"{encoded[:7]}/{encoded[7:20]}/{encoded[20:]}.webp",
            f"{base64url(id)}==.webp",
        )
        for source in sources:
            answer = await app.client.get(signed(f"/rs:fill:300:100:1/{source}"))
            assert (answer.status_code, answer.headers.get("etag")) == (200, expected.headers["etag"]), source

        merged = signed(f"/rs:fill:300:100:1/plain/safelight://{id}@webp").replace("://", ":/")
        assert (await app.client.get(merged)).status_code == 200


async def test_what_libthumbor_signs_is_served(run):
    async with gallery(run) as (app, id):
        client = CryptoURL(key=THUMBOR)
        options = (
            ({"width": 300, "height": 200, "smart": True}, "w=300,h=200,fit=cover,g=auto"),
            ({"width": 120, "height": 200, "fit_in": True}, "w=120,h=200"),
            ({"width": 300, "height": 200, "flip": True}, "w=300,h=200,fit=cover,fl=h"),
            ({"width": 100, "height": 100, "halign": "left", "valign": "top"}, "w=100,h=100,fit=cover,g=north-west"),
            ({"width": 100, "crop": ((100, 50), (300, 250))}, "c=100:50:200:200,w=100,fit=contain"),
            ({"width": 90, "height": 60, "trim": True}, "t=1,w=90,h=60,fit=cover"),
            ({"width": 90, "height": 90, "filters": ["grayscale()", "quality(50)"]}, "w=90,h=90,fit=cover,gr=true,q=50"),
            ({"width": 90, "height": 90, "fit_in": True, "filters": ["fill(ff0000)"]}, "w=90,h=60,p=15:0,bg=f00"),
        )
        for said, text in options:
            said = said | {"filters": [*said.get("filters", []), "format(webp)"]}
            for source in (id, f"safelight://{id}"):
                answer = await app.client.get("/thumbor" + client.generate(image_url=source, **said))
                assert answer.status_code == 200, (said, answer.text)
                assert answer.headers["etag"] == (await native(app, id, f"{text}.webp")).headers["etag"], said

        escaped = quote("/thumbor" + client.generate(width=50, filters=["fill(red)", "format(webp)"], image_url=id), safe="/")
        assert "%28" in escaped
        assert (await app.client.get(escaped)).status_code == 200


async def test_nobody_else_s_signature_is_believed(run):
    async with gallery(run) as (app, id):
        good = signed(f"/w:50/plain/{id}@webp")
        other = signed(f"/w:50/plain/{id}@webp", key="00" * 32)
        cases = (
            good.replace("/w:50/", "/w:51/"),
            good.replace("@webp", "@png"),
            other,
            signed(f"/w:50/plain/{id}@webp", size=16),
            f"/imgproxy/unsafe/w:50/plain/{id}@webp",
            f"/imgproxy/_/w:50/plain/{id}@webp",
            "/imgproxy/%FF/w:50/plain/" + id,
            f"/thumbor/unsafe/50x50/{id}",
            "/thumbor" + CryptoURL(key="another key").generate(width=50, image_url=id),
            "/thumbor" + CryptoURL(key=THUMBOR).generate(width=50, image_url=id).replace("50x0", "51x0"),
            # A key of one grammar signs nothing in another.
            "/thumbor" + CryptoURL(key=bytes.fromhex(KEY).decode("latin-1")).generate(width=50, image_url=id),
        )
        assert (await app.client.get(good)).status_code == 200
        for url in cases:
            answer = await app.client.get(url)
            assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature"), url

        stranger = "0" + id[1:-1] + ("0" if id[-1] != "0" else "1")
        assert (await app.client.get(good.replace(id, stranger))).json()["code"] == "bad_signature"
        assert (await app.client.get(signed(f"/w:50/plain/{stranger}@webp"))).json()["code"] == "bad_signature"


async def test_a_tenant_that_keeps_no_key_takes_no_such_url(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        id = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]

        assert (await app.client.get(signed(f"/w:50/plain/{id}@webp"))).json()["code"] == "bad_signature"
        assert (await app.client.get("/thumbor" + CryptoURL(key="").generate(width=50, image_url=id))).status_code == 403


async def test_keys_rotate_and_signatures_may_be_short(run):
    async with gallery(run) as (app, id):
        more = {"grammar": "imgproxy", "secret": "ab" * 32, "salt": "cd" * 32, "size_bytes": 12}
        second = (await app.client.post("/admin/signing-keys", json=more)).json()
        old, new = signed(f"/w:40/plain/{id}"), signed(f"/w:40/plain/{id}", "ab" * 32, "cd" * 32, 12)
        assert (second["grammar"], second["secret"], second["salt"]) == ("imgproxy", "ab" * 32, "cd" * 32)
        assert [(await app.client.get(url)).status_code for url in (old, new)] == [200, 200]

        await app.client.post(f"/admin/signing-keys/{second['kid']}/retire")

        assert [(await app.client.get(url)).status_code for url in (old, new)] == [200, 403]
        listed = (await app.client.get("/admin/signing-keys")).json()
        assert {key["grammar"] for key in listed} == {"native", "imgproxy", "thumbor"}
        assert not any(key["secret"] or key["salt"] for key in listed)


@pytest.mark.parametrize(
    "body",
    (
        {"grammar": "native", "secret": "00" * 32},
        {"grammar": "imgproxy", "secret": "xyz", "salt": "00"},
        {"grammar": "imgproxy", "secret": "00" * 32},
        {"grammar": "imgproxy", "secret": "00" * 4, "salt": "00" * 4},
        {"grammar": "imgproxy", "secret": "00" * 32, "salt": "00" * 32, "size_bytes": 4},
        {"grammar": "thumbor", "secret": "MY_SECURE_KEY"},
        {"grammar": "thumbor", "secret": "a long enough key", "salt": "00"},
        {"grammar": "imgix"},
    ),
)
async def test_a_weak_or_odd_key_is_refused(run, body):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        answer = await app.client.post("/admin/signing-keys", json=body)

        assert (answer.status_code, answer.json()["code"]) == (400, "bad_field")


async def test_the_last_native_key_stays_however_many_others_there_are(run):
    async with gallery(run) as (app, _):
        ours = next(key for key in (await app.client.get("/admin/signing-keys")).json() if key["grammar"] == "native")

        assert (await app.client.post(f"/admin/signing-keys/{ours['kid']}/retire")).json()["code"] == "wrong_state"


async def test_what_lies_elsewhere_is_refused_by_its_own_code(run):
    async with gallery(run) as (app, _id):
        urls = (
            signed("/w:50/plain/https://example.com/cat.jpg@webp"),
            signed("/w:50/" + base64url("s3://bucket/cat.jpg")),
            "/thumbor" + CryptoURL(key=THUMBOR).generate(width=50, image_url="http://example.com/cat.jpg"),
        )
        for url in urls:
            assert (await app.client.get(url)).json()["code"] == "source_not_allowed", url


async def test_headers_follow_the_options(run):
    async with gallery(run) as (app, id):
        plain = await app.client.get(signed(f"/w:50/plain/{id}"), headers={"accept": "image/avif,*/*"})
        assert (plain.headers["content-type"], plain.headers["vary"]) == ("image/avif", "Accept")
        assert plain.headers["cache-control"] == "private, max-age=60"
        assert "content-disposition" not in plain.headers

        exact = await app.client.get(signed(f"/w:50/cb:1/fn:cat/att:1/plain/{id}@png"))
        assert "vary" not in exact.headers
        assert exact.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert 'attachment; filename="cat.png"' in exact.headers["content-disposition"]
        shown = await app.client.get(signed(f"/w:50/fn:{base64url('two cats')}:1/plain/{id}@png"))
        assert shown.headers["content-disposition"].startswith('inline; filename="two cats.png"')

        assert (await app.client.get(signed(f"/w:50/exp:4102444800/plain/{id}@png"))).status_code == 200
        assert (await app.client.get(signed(f"/w:50/exp:1700000000/plain/{id}@png"))).json()["code"] == "expired_signature"


async def test_a_question_mark_is_part_of_a_source_only_when_it_is_escaped(run):
    async with gallery(run) as (app, id):
        assert (await app.client.get(signed(f"/w:50/plain/{id}") + "?v=1")).json()["option"] == "query"
        answer = await app.client.get(signed("/w:50/plain/http://example.com/a%3Fb=1"))
        assert answer.json()["code"] == "source_not_allowed"


async def test_presets_come_from_the_settings(run):
    settings = {"imgproxy": {"presets": "default=q:70, thumb=rs:fill:80:80:1/sh:0.7,grey=pr:thumb/bg:fff"}}
    async with gallery(run, settings) as (app, id):
        answer = await app.client.get(signed(f"/pr:grey/q:60/plain/{id}@webp"))

        assert Image.open(io.BytesIO(answer.content)).size == (80, 80)
        expected = await native(app, id, "w=80,h=80,fit=cover,ed=0.7,q=60.webp")
        assert answer.headers["etag"] == expected.headers["etag"]
        assert (await app.client.get(signed(f"/pr:nobody/plain/{id}"))).json()["option"] == "preset"


async def test_a_hidden_image_is_hidden_from_these_urls_too(run):
    async with gallery(run) as (app, id):
        url = signed(f"/w:50/plain/{id}@webp")
        assert (await app.client.get(url)).status_code == 200
        await app.client.delete(f"/images/{id}")
        app.safelight.delivery.known.clear()

        assert (await app.client.get(url)).status_code == 404
