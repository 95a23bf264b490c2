"""What a tenant names itself: presets that delivery takes like the built-in ones, and origins of its own pages."""

from __future__ import annotations

import io

import pytest
from PIL import Image as Pillow
from tests.api.test_tenants import house
from tests.pictures import jpeg

PICTURE = jpeg(seed=9500)
ASKED = {"access-control-request-method": "PATCH"}
SHOP, RIVAL = "https://shop.example", "https://rival.example"


def size(answer):
    assert answer.status_code == 200, answer.text
    return Pillow.open(io.BytesIO(answer.content)).size


async def test_a_preset_is_delivered_by_its_name_plain_where_the_image_is_public(run):
    async with run() as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        public = (await shop.client.post("/images", files={"file": PICTURE}, data={"visibility": "public"})).json()
        private = (await shop.client.post("/images", files={"file": jpeg(seed=9501)})).json()
        theirs = (await rival.client.post("/images", files={"file": PICTURE}, data={"visibility": "public"})).json()
        first = await shop.client.put("/admin/presets/card", json={"options": "w=60,h=40,fit=cover"})
        assert (first.status_code, first.json()["version"]) == (200, 1)
        again = await shop.client.put("/admin/presets/card", json={"options": "w=60,h=40,fit=cover"})
        assert again.json() == first.json()

        plain = f"/i/{public['id']}/card"
        v = public["renditions"][0]["url"].partition("?")[2]
        assert size(await app.client.get(f"{plain}.webp")) == (60, 40)
        pinned = await app.client.get(f"{plain}@1.jpg?{v}")
        assert (size(pinned), "immutable" in pinned.headers["cache-control"]) == ((60, 40), True)
        assert (await app.client.get(f"{plain}.webp?{v}")).headers["cache-control"] == "public, max-age=60"

        second = await shop.client.put("/admin/presets/card", json={"options": "w=30"})
        assert second.json()["versions"] == ["w=60,h=40,fit=cover", "w=30"]
        assert size(await app.client.get(f"{plain}.webp"))[0] == 30
        assert size(await app.client.get(f"{plain}@1.webp")) == (60, 40)
        assert size(await app.client.get(f"{plain}@2.webp"))[0] == 30

        # Private pictures by signed URL only, and nobody else has the name.
        assert (await app.client.get(f"/i/{private['id']}/card.webp")).status_code == 404
        urls = (
            await shop.client.post(f"/images/{private['id']}/urls", json={"transforms": ["card.webp", "card@1.webp"]})
        ).json()["urls"]
        assert [size(await app.client.get(url))[0] for url in urls] == [30, 60]
        assert (await app.client.get(urls[0].replace("card", "other"))).status_code == 403
        for path in (
            f"/i/{theirs['id']}/card.webp",
            f"{plain}@3.webp",
            f"{plain}@0.webp",
            f"{plain}@01.webp",
            f"{plain}@x.webp",
            f"{plain}.exe",
            f"/i/{public['id']}/Card.webp",
        ):
            answer = await app.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_option"), path

        assert (await shop.client.delete("/admin/presets/card")).status_code == 204
        assert (await app.client.get(f"{plain}@1.webp")).status_code == 400
        assert (await shop.client.delete("/admin/presets/card")).status_code == 404
        assert (await rival.client.get("/admin/presets")).json() == []


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("card", "w=0", "bad_option"),
        ("card", "nonsense=1", "bad_option"),
        ("card", "w=30.webp", "bad_option"),
        ("card", "", "bad_field"),
        ("medium", "w=30", "bad_field"),
        ("Card", "w=30", "bad_field"),
        ("w=30", "w=30", "bad_field"),
        ("card@1", "w=30", "bad_field"),
        ("x" * 33, "w=30", "bad_field"),
    ],
)
async def test_what_cannot_be_a_preset_is_refused(run, name, options, code):
    async with run() as app:
        answer = await app.client.put(f"/admin/presets/{name}", json={"options": options})

        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert (await app.client.get("/admin/presets")).json() == []


async def test_only_an_admin_names_presets(run):
    async with run() as app:
        user = (await app.client.post("/admin/users", json={"name": "u"})).json()
        token = (await app.client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read", "write"]})).json()["token"]
        as_user = {"authorization": f"Bearer {token}"}

        assert (await app.client.put("/admin/presets/card", json={"options": "w=30"}, headers=as_user)).status_code == 403
        assert (await app.client.get("/admin/presets", headers=as_user)).status_code == 403


async def test_a_tenants_pages_read_answers_to_its_own_users_and_no_others(run):
    async with run() as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        for one, origin in ((shop, SHOP), (rival, RIVAL)):
            assert (await one.client.patch(f"/admin/tenants/{one.id}", json={"origins": [origin]})).json()["origins"] == [origin]

        for origin, expected in ((SHOP, SHOP), (RIVAL, RIVAL), ("https://evil.example", None), ("null", None)):
            preflight = await app.client.options("/images", headers={"origin": origin, "authorization": "", **ASKED})
            assert preflight.headers.get("access-control-allow-origin") == expected
            assert preflight.status_code == (204 if expected else 403)
        mine = await shop.client.get("/images", headers={"origin": SHOP})
        crossed = await shop.client.get("/images", headers={"origin": RIVAL})
        refused = await shop.client.get("/images", headers={"origin": SHOP, "authorization": ""})
        assert mine.headers["access-control-allow-origin"] == SHOP
        assert "access-control-allow-origin" not in crossed.headers  # a page of another tenant, though that one may come
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SHOP)
        assert mine.headers["vary"] == crossed.headers["vary"] == "Origin"

        await shop.client.patch(f"/admin/tenants/{shop.id}", json={"origins": []})
        assert "access-control-allow-origin" not in (await shop.client.get("/images", headers={"origin": SHOP})).headers
        for bad in (
            "*",
            "null",
            "https://*.shop.example",
            "https://shop.example/",
            "HTTPS://SHOP.EXAMPLE",
            "https://a b",
            "javascript:1",
        ):
            assert (await shop.client.patch(f"/admin/tenants/{shop.id}", json={"origins": [bad]})).json()[
                "code"
            ] == "bad_field", bad


async def test_a_tenants_host_name_is_in_its_urls_and_opens_nothing_of_another(run):
    async with run({"server": {"public_url": "https://photos.example"}}) as app:
        shop, rival = await house(app, "shop"), await house(app, "rival")
        own = f"/admin/tenants/{shop.id}"
        for one, domain in ((shop, "img.shop.example"), (rival, "img.rival.example")):
            assert (await app.client.patch(f"/admin/tenants/{one.id}", json={"domains": [domain]})).json()["domains"] == [domain]
        record = (await shop.client.post("/images", files={"file": PICTURE}, data={"visibility": "public"})).json()
        secret = (await shop.client.post("/images", files={"file": jpeg(seed=9502)})).json()
        urls = [each["renditions"][0]["url"] for each in (record, secret)]
        assert all(url.startswith("https://img.shop.example/i/") for url in urls)
        for url in urls:
            path = url.removeprefix("https://img.shop.example")
            for host, status in (("img.shop.example", 200), ("photos.example", 200), ("10.0.0.7:8000", 200)):
                assert (await app.client.get(path, headers={"host": host})).status_code == status, host
            there = await app.client.get(path, headers={"host": "IMG.rival.example:443"})
            assert there.status_code == (403 if "sig=" in path else 404)
            assert there.json()["code"] == ("bad_signature" if "sig=" in path else "not_found")

        wrong = await shop.client.get("/images", headers={"host": "img.rival.example"})
        assert (wrong.status_code, wrong.json()["code"]) == (421, "misdirected")
        assert (await shop.client.get("/images", headers={"host": "img.shop.example"})).status_code == 200
        evil = await shop.client.get("/images", headers={"host": "evil.example"})
        assert "evil.example" not in evil.text

        taken = await app.client.patch(own, json={"domains": ["img.rival.example"]})
        assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
        everybodys = await app.client.patch(own, json={"domains": ["photos.example"]})
        assert (everybodys.status_code, everybodys.json()["code"]) == (409, "wrong_state")
        assert (await shop.client.patch(own, json={"domains": []})).status_code == 403
        for bad in ("shop", "https://shop.example", "Shop.example", "shop.example:80", "-a.example", "10.0.0.1", "a b.example"):
            assert (await app.client.patch(own, json={"domains": [bad]})).json()["code"] == "bad_field", bad
