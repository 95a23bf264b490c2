"""Recipes over HTTP: written by admins, held by what comes in, and their watermark on whatever goes out."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import httpx
import pytest
from PIL import Image
from tests.api.test_tenants import house
from tests.golden.samples import encoded

from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.ids import TenantId
from safelight.imaging import Format

GREEN, RED = (20, 160, 60), (220, 20, 30)
EVERYWHERE = "wmo=100,wmm=0,wms=100"
"""So large that half of the picture is red."""


def ground(number=0, size=(600, 400)):
    """Green, and every number's bytes different."""
    return encoded(Image.new("RGB", size, (20, 160, 60 + number)), "PNG")


@pytest.fixture
async def app(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        yield app


async def upload(app, data, **fields):
    answer = await app.client.post("/images", files={"file": ("a.png", data)}, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def put(app, name, **document):
    answer = await app.client.put(f"/admin/recipes/{name}", json=document)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def place(app, name, **body):
    answer = await app.client.put(f"/admin/recipes/{name}/places", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def logo(app):
    return (await upload(app, encoded(Image.new("RGBA", (300, 200), (*RED, 255)), "PNG")))["id"]


async def shown(app, url, headers=None):
    answer = await app.client.get(url, headers=headers)
    assert answer.status_code == 200, (url, answer.text)
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def is_red(picture):
    red, green, _ = picture.getpixel((picture.width // 2, picture.height // 2))
    return red > 180 and green < 80


def made(record):
    return {(each["preset"], each["format"]) for each in record["renditions"]}


async def test_a_picture_is_developed_by_the_recipe_of_its_album_then_of_its_tag_then_by_the_default(app):
    for name, renditions in (("plain", ["thumb_150"]), ("sale", ["thumb_300"]), ("press", ["large"])):
        await put(app, name, renditions=renditions, formats=["webp"])
    album = (await app.client.post("/albums", json={"title": "Press"})).json()["id"]
    before = await upload(app, ground(0))
    await place(app, "plain", default=True)
    await place(app, "sale", tags=["Sale "])
    told = await place(app, "press", albums=[album])

    records = [
        await upload(app, ground(1)),
        await upload(app, ground(2), tags="sale"),
        await upload(app, ground(3), tags="sale", album_id=album),
    ]

    assert told["places"] == {"default": False, "albums": [album], "tags": []}
    assert before["recipe"] is None and len(made(before)) == 12
    assert [each["recipe"] for each in records] == ["plain@1", "sale@1", "press@1"]
    assert [made(each) for each in records] == [{("thumb_150", "webp")}, {("thumb_300", "webp")}, {("large", "webp")}]
    # What was not made ahead is made when it is asked for.
    for record in records:
        url = record["renditions"][0]["url"]
        assert (await app.client.get(f"/i/{record['id']}/medium.jpg")).status_code == 404  # private
        signed = await app.client.post(f"/images/{record['id']}/urls", json={"transforms": ["w=200.webp"]})
        assert (await shown(app, signed.json()["urls"][0])).size == (200, 133)
        assert (await app.client.get(url)).status_code == 200


async def test_a_new_version_is_for_what_comes_in_from_then_on_and_the_same_again_is_none(app):
    await put(app, "shop", renditions=["thumb_150"])
    await place(app, "shop", default=True)
    first = await upload(app, ground(1))
    second = await put(app, "shop", renditions=["thumb_300"], formats=["avif"], analysis=["colours"], quality={"avif": 40})
    assert (await put(app, "shop", **second["recipe"]))["version"] == second["version"] == 2

    later = await upload(app, ground(2))

    assert (first["recipe"], later["recipe"]) == ("shop@1", "shop@2")
    assert made(later) == {("thumb_300", "avif")}
    assert (later["thumbhash"], later["phash"], bool(later["dominant_color"])) == ("", "", True)
    assert (await app.client.get("/admin/recipes/shop@1")).json()["recipe"]["renditions"] == ["thumb_150"]
    listed = (await app.client.get("/admin/recipes")).json()
    assert [(each["name"], each["version"], each["versions"]) for each in listed] == [("shop", 2, 2)]
    assert (await app.client.get(f"/images/{first['id']}")).json()["recipe"] == "shop@1"


async def test_sizes_of_its_own_are_made_listed_delivered_and_made_again_when_they_are_lost(app):
    sizes = {
        "card": {"width": 200, "height": 200, "fit": "cover", "formats": ["webp"]},
        "wide-1": {"width": 300, "quality": {"jpeg": 40}},
    }
    told = await put(app, "shop", renditions=["thumb_150"], formats=["webp", "jpeg"], sizes=sizes)
    await place(app, "shop", default=True)
    record = await upload(app, ground(1), visibility="public")
    own = {(each["preset"], each["format"]): each for each in record["renditions"] if each["preset"] != "thumb_150"}

    assert told["recipe"]["sizes"]["card"] == {"width": 200, "height": 200, "fit": "cover", "formats": ["webp"], "quality": {}}
    assert (await put(app, "shop", **told["recipe"]))["version"] == 1
    assert list(own) == [("card", "webp"), ("wide-1", "webp"), ("wide-1", "jpeg")]
    assert {(each["width"], each["height"]) for each in own.values()} == {(200, 200), (300, 200)}
    bodies = {}
    for (name, _), each in own.items():
        answer = await app.client.get(each["url"])
        assert "immutable" in answer.headers["cache-control"], name
        assert len(answer.content) == each["bytes"]
        assert Image.open(io.BytesIO(answer.content)).size == (each["width"], each["height"])
        bodies[each["url"]] = answer.content

    delivery, tenant = app.safelight.delivery, TenantId((await app.safelight.standing.of(await tenant_of(app))).id)
    async with app.safelight.catalog.tenant(tenant) as records:
        image = await records.images.get(record["id"])
    for rendition in image.renditions:
        await delivery.renditions.store.delete(rendition.object_key)
        delivery.renditions.memory.drop(
            image.made_key(rendition.preset, Format(rendition.format).extension, folder=image.developed_folder)
        )
    for url, body in bodies.items():
        assert (await app.client.get(url)).content == body
    # What was not made ahead is made when it is asked for, what is no format of ours is refused, and so is another's name.
    assert (await shown(app, f"/i/{record['id']}/card.avif")).size == (200, 200)
    assert (await app.client.get(f"/i/{record['id']}/card.gif")).json()["code"] == "bad_option"
    assert (await app.client.get(f"/i/{record['id']}/poster.webp")).json()["code"] == "bad_option"


async def test_the_watermark_is_on_sizes_of_its_own_too(app):
    mark = await logo(app)
    sizes = {"card": {"width": 200, "height": 200, "fit": "cover"}}
    await put(app, "shop", renditions=["thumb_300"], formats=["webp"], watermark=f"wm={mark},{EVERYWHERE}", sizes=sizes)
    await place(app, "shop", default=True)
    record = await upload(app, ground(1), visibility="public")

    assert is_red(await shown(app, f"/i/{record['id']}/card.webp"))
    assert is_red(await shown(app, f"/i/{record['id']}/card.jpg"))


async def test_a_size_and_a_preset_of_the_tenants_do_not_have_one_name(app):
    sizes = {"card": {"width": 200}}
    assert (await app.client.put("/admin/presets/card", json={"options": "w=200"})).status_code == 200
    taken = await app.client.put("/admin/recipes/shop", json={"sizes": sizes})
    assert (await app.client.delete("/admin/presets/card")).status_code == 204
    await put(app, "shop", sizes=sizes)
    other = await app.client.put("/admin/presets/card", json={"options": "w=200"})

    assert [(answer.status_code, answer.json()["field"]) for answer in (taken, other)] == [(400, "sizes.card"), (400, "name")]


async def test_other_bytes_are_developed_by_what_holds_when_they_come(app):
    await put(app, "shop", renditions=["thumb_150"], formats=["jpeg"])
    record = await upload(app, ground(1))
    await place(app, "shop", default=True)

    replaced = (await app.client.put(f"/images/{record['id']}/original", files={"file": ("b.png", ground(2))})).json()

    assert (replaced["recipe"], made(replaced)) == ("shop@1", {("thumb_150", "jpeg")})


async def test_a_watermark_is_on_whatever_is_delivered_and_never_on_the_original(app):
    mark = await logo(app)
    await put(app, "shop", renditions=["thumb_300"], formats=["webp"], watermark=f"wm={mark},{EVERYWHERE}")
    await place(app, "shop", default=True)
    assert (await app.client.put("/admin/presets/card", json={"options": "w=200,h=200,fit=cover"})).status_code == 200
    key = {"grammar": "imgproxy", "secret": "11" * 32, "salt": "22" * 32}
    assert (await app.client.post("/admin/signing-keys", json=key)).status_code == 201
    record = await upload(app, ground(1), visibility="public")
    id = record["id"]

    async def signed(text, grammar="native"):
        answer = await app.client.post(f"/images/{id}/urls", json={"transforms": [text], "grammar": grammar})
        assert answer.status_code == 200, answer.text
        return answer.json()["urls"][0]

    urls = [
        record["renditions"][0]["url"],
        f"/i/{id}/thumb_300.jpg",
        f"/i/{id}/large.webp",
        f"/i/{id}/medium.avif",
        f"/i/{id}/card.webp",
        f"/iiif/3/{id}/full/max/0/default.jpg",
        f"/iiif/2/{id}/full/300,/!0/gray.png",
        await signed("w=500.webp"),
        await signed("full.png"),
        await signed("c=100:100:300:200,w=300.webp"),
        await signed("w=400,wmt=Mine,wmo=1.webp"),
        await signed("w=400,pad=200,wmt=Mine,wml=canvas.png"),
        await signed("rs:fill:300:200@webp", "imgproxy"),
    ]
    for url in urls:
        picture = await shown(app, url)
        if "gray" in url:
            assert abs(picture.getpixel((picture.width // 2, picture.height // 2))[0] - 123) > 30  # which the ground has
        else:
            assert is_red(picture), url
    original = Image.open(io.BytesIO((await app.client.get(f"/images/{id}/original")).content))
    assert original.convert("RGB").getpixel((300, 200)) == (20, 160, 61)
    # The logo itself came in before the recipe held, and is nobody's ground.
    assert (await app.client.get(f"/images/{mark}")).json()["recipe"] is None


async def test_parts_of_a_marked_picture_are_for_those_who_may_have_the_original(app):
    await put(app, "shop", watermark="wmt=Shop,wmp=south-east")
    await place(app, "shop", default=True)
    record = await upload(app, ground(1, (1200, 900)), visibility="public")
    plain = f"/iiif/3/{record['id']}"
    user = (await app.client.post("/admin/users", json={"name": "u"})).json()
    token = (await app.client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read"]})).json()["token"]
    stranger = {"authorization": f"Bearer {token}"}
    nobody = httpx.AsyncClient(transport=app.client._transport, base_url="http://test", timeout=60)

    for region in ("0,0,256,256", "square", "pct:10,10,20,20", "0,0,1200,50"):
        refused = await nobody.get(f"{plain}/{region}/max/0/default.jpg")
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_option"), region
    info = (await app.client.get(f"{plain}/info.json")).json()
    second = (await app.client.get(f"/iiif/2/{record['id']}/info.json")).json()
    assert info["profile"] == "level0" and "tiles" not in info and info["sizes"]
    assert second["profile"][0].endswith("level0.json") and not any(
        name.startswith("region") for name in second["profile"][1]["supports"]
    )
    for text in ("c=0:0:200:200.webp", "w=99,h=900,fit=cover.webp", "w=300,trim=5.webp", "w=300,radius=max.png"):
        answer = await app.client.post(f"/images/{record['id']}/urls", json={"transforms": [text]}, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_option"), text
        assert (await app.client.post(f"/images/{record['id']}/urls", json={"transforms": [text]})).status_code == 200
    whole = await app.client.post(f"/images/{record['id']}/urls", json={"transforms": ["w=300.webp"]}, headers=stranger)
    assert whole.status_code == 200


async def test_what_a_recipe_cannot_say_is_refused_by_its_field_and_leaves_nothing(app):
    for document, field in (
        ({"colour": 1}, "colour"),
        ({"renditions": ["card"]}, "renditions"),
        ({"quality": {"webp": 0}}, "quality.webp"),
        ({"watermark": "wm=01j0000000000000000000000a"}, "watermark"),
        ({"watermark": "w=300,wmt=x"}, "watermark"),
        ({"watermark": "wmt=\u4e2d"}, "watermark"),
        ({"tiles": "perhaps"}, "tiles"),
        ({"renditions": {"a": 1}}, "renditions"),
    ):
        answer = await app.client.put("/admin/recipes/shop", json=document)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_field"), (document, answer.text)
        assert answer.json()["field"] == field, (document, answer.text)
    for name in ("Shop", "shop@2", "x" * 33):
        assert (await app.client.put(f"/admin/recipes/{name}", json={})).status_code == 400
    assert (await app.client.get("/admin/recipes")).json() == []
    for path, body in (("nothing/places", {"default": True}),):
        assert (await app.client.put(f"/admin/recipes/{path}", json=body)).status_code == 404
    await put(app, "shop")
    for body, status in (
        ({"albums": ["01j0000000000000000000000a"]}, 404),
        ({"albums": ["x"]}, 404),
        ({"tags": [" "]}, 400),
        ({"all": True}, 400),
    ):
        assert (await app.client.put("/admin/recipes/shop/places", json=body)).status_code == status, body
    assert (await app.client.get("/admin/recipes/shop@2")).status_code == 404


async def test_a_recipe_goes_when_it_is_for_no_pictures_and_its_pictures_stay_marked(app):
    mark = await logo(app)
    await put(app, "shop", renditions=["thumb_150"], watermark=f"wm={mark},{EVERYWHERE}")
    await place(app, "shop", default=True)
    record = await upload(app, ground(1), visibility="public")
    refused = await app.client.delete("/admin/recipes/shop")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")

    await place(app, "shop")
    assert (await app.client.delete("/admin/recipes/shop")).status_code == 204

    assert (await app.client.delete("/admin/recipes/shop")).status_code == 404
    assert (await upload(app, ground(2)))["recipe"] is None
    assert is_red(await shown(app, f"/i/{record['id']}/large.webp"))


async def test_recipes_are_the_tenants_and_its_admins(app):
    shop, rival = await house(app, "shop"), await house(app, "rival")
    await put(shop, "one", renditions=["thumb_150"])
    await place(shop, "one", default=True)
    user = (await app.client.post("/admin/users", json={"name": "u"})).json()
    token = (await app.client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read", "write"]})).json()["token"]
    as_user = {"authorization": f"Bearer {token}"}

    assert (await rival.client.get("/admin/recipes")).json() == []
    assert (await upload(rival, ground(1)))["recipe"] is None
    assert (await upload(shop, ground(1)))["recipe"] == "one@1"
    for method, path in (("GET", ""), ("GET", "/one"), ("PUT", "/one"), ("PUT", "/one/places"), ("DELETE", "/one")):
        answer = await app.client.request(method, f"/admin/recipes{path}", json={}, headers=as_user)
        assert answer.status_code == 403, (method, path)


async def test_what_cannot_be_marked_is_not_published_and_goes_on_when_it_can(app):
    mark = await logo(app)
    await put(app, "shop", renditions=["thumb_300"], watermark=f"wm={mark},{EVERYWHERE}")
    await place(app, "shop", default=True)
    assert (await app.client.delete(f"/images/{mark}")).status_code == 204

    answer = await app.client.post(
        "/images", files={"file": ("a.png", ground(1))}, data={"visibility": "public"}, headers={"prefer": "wait=0"}
    )

    id = answer.json()["id"]
    record = await until(app, id, "failed")
    assert record["renditions"] == [] and record["problem"]["code"] == "bad_option"
    assert (await app.client.get(f"/i/{id}/thumb_300.webp")).status_code == 404
    assert (await app.client.post(f"/images/{mark}/restore")).status_code == 200
    for _ in range(600):  # the image has failed a moment before its run is listed
        mended = (await app.client.post("/admin/failures/retry", params={"all": "true"})).json()
        if mended["count"]:
            break
        await asyncio.sleep(0.1)
    await until(app, id, "ready")
    assert is_red(await shown(app, f"/i/{id}/thumb_300.webp"))


async def until(app, id, status):
    for _ in range(600):
        record = (await app.client.get(f"/images/{id}")).json()
        if record["status"] == status:
            return record
        await asyncio.sleep(0.1)
    raise AssertionError(record)


async def test_webhooks_are_not_told_of_pictures_whose_recipe_says_so(run):
    async with run({"webhooks": {"is_plain_http": True}}, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        endpoint = (await app.client.post("/admin/webhooks", json={"url": "https://hooks.example/x"})).json()["id"]
        await put(app, "quiet", webhooks=False, renditions=["thumb_150"])
        await place(app, "quiet", tags=["quiet"])
        quiet = await upload(app, ground(1), tags="quiet")
        loud = await upload(app, ground(2))

        async def told():
            found = (await app.client.get(f"/admin/webhooks/{endpoint}/deliveries")).json()["deliveries"]
            bodies = [(await app.client.get(f"/admin/webhooks/{endpoint}/deliveries/{each['id']}")).text for each in found]
            return [(each["type"], quiet["id"] in body, loud["id"] in body) for each, body in zip(found, bodies, strict=True)]

        for _ in range(600):
            if ("image.ready", False, True) in await told():
                break
            await asyncio.sleep(0.1)
        # What happened before it has been told by now.
        assert {kind for kind, of_quiet, _ in await told() if of_quiet} <= {"ping"}
        assert {kind for kind, _, of_loud in await told() if of_loud} == {"image.accepted", "image.ready"}


async def test_developing_again_keeps_what_is_delivered_until_it_is_done_and_sweeps_it_afterwards(app):
    await put(app, "shop", renditions=["thumb_150"], formats=["webp"])
    await place(app, "shop", default=True)
    record = await upload(app, ground(1), visibility="public")
    tenant, old = TenantId((await app.safelight.standing.of(await tenant_of(app))).id), record["renditions"][0]["url"]
    async with app.safelight.catalog.tenant(tenant, writes=True) as records:
        image = await records.images.get(record["id"])
        again = image.developed_again(at=app.safelight.development.clock())
        await records.images.save(replace(again, recipe=None))
    assert (await app.client.get(old)).status_code == 200

    await app.safelight.development.develop({"tenant": tenant, "image": image.id, "version": 1})

    after = (await app.client.get(f"/images/{image.id}")).json()
    assert (after["status"], after["recipe"], len(made(after))) == ("ready", None, 12)
    assert all("v=1p1" in each["url"] for each in after["renditions"])
    answer = await app.client.get(old)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=60")  # an address of before
    folders = {pile.key.split("/")[2] for pile in await app.safelight.development.buckets.renditions.piles(image.prefix)}
    assert folders == {"1p1"}
    await app.safelight.development.buckets.renditions.put(
        f"{image.prefix}1/thumb_150.webp", b"left by a crash", media_type="image/webp"
    )
    await app.safelight.development.develop({"tenant": tenant, "image": image.id, "version": 1})
    assert {pile.key.split("/")[2] for pile in await app.safelight.development.buckets.renditions.piles(image.prefix)} == {"1p1"}


async def tenant_of(app):
    return (await app.client.get("/me/usage")).json()["tenant"]
