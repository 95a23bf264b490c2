"""Watermarks over HTTP: whose picture may be one, what a change of it changes, names, and the other servers' URLs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from libthumbor import CryptoURL
from PIL import Image
from tests.golden.samples import encoded

from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.ids import TenantId, new_id
from safelight.errors import BadOption
from safelight.imaging.transform import Watermark

KEY, SALT, THUMBOR = "11" * 32, "22" * 32, "a key that thumbor's clients hold"
GREEN, RED, BLUE = (20, 160, 60), (220, 20, 30), (20, 30, 220)


def ground() -> bytes:
    return encoded(Image.new("RGB", (600, 400), GREEN), "PNG")


def logo(colour=RED) -> bytes:
    """Clear on its left half: our master would have white there."""
    pixels = np.zeros((80, 120, 4), np.uint8)
    pixels[:, 60:] = (*colour, 255)
    return encoded(Image.fromarray(pixels), "PNG")


@asynccontextmanager
async def gallery(run, settings=None):
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        for body in ({"grammar": "imgproxy", "secret": KEY, "salt": SALT}, {"grammar": "thumbor", "secret": THUMBOR}):
            assert (await app.client.post("/admin/signing-keys", json=body)).status_code == 201
        yield app, await uploaded(app, ground()), await uploaded(app, logo())


async def uploaded(app, data: bytes, **headers: str) -> str:
    answer = await app.client.post("/images", files={"file": ("a.png", data)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def asked(app, image_id: str, text: str, grammar: str = "native", **headers: str):
    return await app.client.post(f"/images/{image_id}/urls", json={"transforms": [text], "grammar": grammar}, headers=headers)


async def url_of(app, image_id: str, text: str, grammar: str = "native") -> str:
    answer = await asked(app, image_id, text, grammar)
    assert answer.status_code == 200, answer.text
    return answer.json()["urls"][0]


async def shown(app, url: str) -> Image.Image:
    answer = await app.client.get(url)
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def near(picture: Image.Image, point: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    """Our master is a JPEG, so a level or two are lost."""
    return max(abs(a - b) for a, b in zip(picture.getpixel(point), colour, strict=True)) <= 3


def imgproxy(path: str) -> str:
    digest = hmac.new(bytes.fromhex(KEY), bytes.fromhex(SALT) + path.encode(), hashlib.sha256).digest()
    return "/imgproxy/" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode() + path


CORNER = "w=600,wm={},wms=1x,wmo=100,wmm=0,wmp=north-west.png"


async def test_a_picture_is_laid_over_another_with_its_clear_parts(run):
    async with gallery(run) as (app, id, mark):
        picture = await shown(app, await url_of(app, id, CORNER.format(mark)))

        assert picture.size == (600, 400)
        assert near(picture, (30, 40), GREEN), "clear in the mark"
        assert near(picture, (90, 40), RED)
        assert near(picture, (300, 300), GREEN)
        original = await app.client.get(f"/images/{id}/original")
        assert original.content == ground()


async def test_words_are_laid_over_a_picture_and_travel_in_its_url(run):
    async with gallery(run) as (app, id, _):
        url = await url_of(app, id, "w=600,wmt=© 50%25%2C a%2Fb ?#&=,wms=90,wmo=100.png")
        picture = await shown(app, url)

        assert np.asarray(picture).std() > np.asarray(Image.new("RGB", (9, 9), GREEN)).std() + 1
        assert (await app.client.get(url.replace("50%2525", "60%2525"))).json()["code"] == "bad_signature"


async def test_the_mark_s_new_bytes_make_another_url_and_another_picture(run):
    async with gallery(run) as (app, id, mark):
        before = await url_of(app, id, CORNER.format(mark))
        assert near(await shown(app, before), (90, 40), RED)
        assert "immutable" in (await app.client.get(before)).headers["cache-control"]

        replaced = await app.client.put(f"/images/{mark}/original", files={"file": ("b.png", logo(BLUE))})
        assert replaced.status_code == 200
        after = await url_of(app, id, CORNER.format(mark))
        versions = [parse_qs(urlsplit(url).query)["v"] for url in (before, after)]
        assert versions[0] != versions[1]
        assert near(await shown(app, after), (90, 40), BLUE)
        old = await app.client.get(before)
        assert near(Image.open(io.BytesIO(old.content)).convert("RGB"), (90, 40), BLUE)
        assert "immutable" not in old.headers["cache-control"], "nobody may keep it for the old address"


async def test_the_same_wish_is_one_file(run):
    async with gallery(run) as (app, id, mark):
        one = await app.client.get(await url_of(app, id, f"w=300,dpr=2,wm={mark},wmm=5,wms=0.5x.webp"))
        same = await app.client.get(
            await url_of(
                app, id, f"watermark={mark},wms=1x,wmm=10,wmp=bottom-right,w=600.webp".replace("bottom-right", "south-east")
            )
        )

        assert same.headers["server-timing"].startswith("memory;")
        assert one.headers["etag"] == same.headers["etag"]


async def test_what_is_too_small_for_a_mark_is_the_plain_file(run):
    async with gallery(run) as (app, id, mark):
        plain = await app.client.get(await url_of(app, id, "h=99.webp"))
        carried = await app.client.get(await url_of(app, id, f"h=99,wm={mark}.webp"))

        assert (carried.headers["etag"], carried.headers["server-timing"][:7]) == (plain.headers["etag"], "memory;")


async def test_nobody_sees_another_s_picture_by_laying_it_over_an_own_one(run):
    async with gallery(run) as (app, _id, mark):
        user = (await app.client.post("/admin/users", json={"name": "ann", "role": "user"})).json()
        body = {"user": user["id"], "name": "k", "scopes": ["read", "write"]}
        key = (await app.client.post("/admin/api-keys", json=body)).json()
        as_ann = {"authorization": f"Bearer {key['token']}"}
        own = await uploaded(app, encoded(Image.new("RGB", (300, 300), GREEN), "JPEG"), **as_ann)

        for text, grammar in (
            (f"w=300,wm={mark},wms=100,wmo=100.png", "native"),
            (f"filters:watermark({mark},0,0,0)", "thumbor"),
        ):
            refused, none = [await asked(app, own, each, grammar, **as_ann) for each in (text, text.replace(mark, new_id()))]
            assert (refused.status_code, refused.json()["code"], refused.json()["option"]) == (400, "bad_option", "watermark")
            assert (none.status_code, none.json()["option"]) == (400, "watermark"), (
                "a picture that is hidden and none at all are one answer"
            )
        assert (await asked(app, own, f"w=300,wm={mark}.png")).status_code == 200, "an admin may"
        await app.client.patch(f"/images/{mark}", json={"visibility": "public"})
        assert (await asked(app, own, f"w=300,wm={mark}.png", **as_ann)).status_code == 200


async def test_a_picture_of_another_tenant_is_none(run):
    async with gallery(run) as (app, _id, mark):
        with pytest.raises(BadOption, match="no watermark"):
            await app.safelight.delivery.mark(TenantId(new_id()), Watermark(image=mark))


async def test_a_mark_that_is_gone_leaves_no_picture_without_it(run):
    async with gallery(run) as (app, id, mark):
        url = await url_of(app, id, f"w=300,wm={mark}.png")
        await app.client.delete(f"/images/{mark}")
        answer = await app.client.get(url)

        assert (answer.status_code, answer.json()["option"]) == (400, "watermark")
        for text in (f"w=300,wm={mark}.png", "w=300,wm=nobody.png", f"w=300,wm={new_id()}.png"):
            assert (await asked(app, id, text)).json()["option"] == "watermark"
        await app.client.post(f"/images/{mark}/restore")
        assert (await app.client.get(url)).status_code == 200


async def test_letters_that_no_font_has_are_named(run):
    async with gallery(run) as (app, id, _):
        answer = await asked(app, id, "w=300,wmt=東京.png")

        assert (answer.status_code, answer.json()["option"]) == (400, "watermark_text")
        assert "東 (U+6771)" in answer.json()["detail"]


async def test_watermarks_have_names_and_their_redefinition_is_another_address(run):
    async with gallery(run, {"watermark": {"named": json.dumps({"draft": "wmt=Draft,wmp=tile,wmr=-30"})}}) as (app, id, _):
        named = await app.client.get(await url_of(app, id, "w=600,wm=draft,wmo=50.webp"))
        spelled = await app.client.get(await url_of(app, id, "w=600,wmt=Draft,wmp=tile,wmr=-30,wmo=50.webp"))
        assert named.headers["etag"] == spelled.headers["etag"]

        before = await url_of(app, id, "w=600,wm=draft.webp")
        object.__setattr__(app.safelight.delivery, "watermarks", {"draft": {"watermark_text": "Sold"}})
        after = await url_of(app, id, "w=600,wm=draft.webp")
        assert parse_qs(urlsplit(before).query)["v"] != parse_qs(urlsplit(after).query)["v"]
        assert "immutable" not in (await app.client.get(before)).headers["cache-control"]


async def test_a_name_may_be_used_by_who_may_not_see_its_picture(run):
    async with gallery(run) as (app, _id, mark):
        object.__setattr__(app.safelight.delivery, "watermarks", {"logo": {"watermark": mark}})
        user = (await app.client.post("/admin/users", json={"name": "ann", "role": "user"})).json()
        key = (
            await app.client.post("/admin/api-keys", json={"user": user["id"], "name": "k", "scopes": ["read", "write"]})
        ).json()
        as_ann = {"authorization": f"Bearer {key['token']}"}
        own = await uploaded(app, encoded(Image.new("RGB", (300, 300), GREEN), "JPEG"), **as_ann)

        assert (await asked(app, own, "w=300,wm=logo.png", **as_ann)).status_code == 200


async def test_thumbor_s_and_imgproxy_s_watermarks_are_ours(run):
    async with gallery(run) as (app, id, mark):
        object.__setattr__(app.safelight.delivery, "watermarks", {"default": {"watermark": mark, "watermark_opacity": 100.0}})
        native = await app.client.get(await url_of(app, id, f"w=600,wm={mark},wms=1x,wmm=10:20,wmo=50,wmp=north-east.webp"))
        theirs = CryptoURL(key=THUMBOR).generate(
            width=600, fit_in=True, image_url=id, filters=[f"watermark({mark},-10,20,50)", "format(webp)"]
        )
        thumbor = await app.client.get("/thumbor" + theirs)
        proxied = await app.client.get(imgproxy(f"/w:600/wm:0.5:noea:10:20/plain/{id}@webp"))

        assert native.status_code == thumbor.status_code == proxied.status_code == 200, proxied.text
        assert native.headers["etag"] == thumbor.headers["etag"] == proxied.headers["etag"]
        url = await url_of(app, id, "w:600/wm:0.5:noea:10:20@webp", "imgproxy")
        answer = await app.client.get(url)
        assert answer.headers["etag"] == native.headers["etag"]
        assert "immutable" in answer.headers["cache-control"]


async def test_every_place_at_work_may_be_taken_by_pictures_that_wait_for_their_mark(run):
    async with gallery(run, {"delivery": {"max_renders": 1, "max_waiting": 64}}) as (app, id, mark):
        import asyncio

        urls = [await url_of(app, id, f"w={width},wm={mark}.webp") for width in range(300, 308)]
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*map(app.client.get, urls))

        assert [answer.status_code for answer in answers] == [200] * len(urls)
