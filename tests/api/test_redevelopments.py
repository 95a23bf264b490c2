"""Redevelopments over HTTP: what is asked for is done once, at the rate that is said, and told."""

from __future__ import annotations

import asyncio

import pytest
from tests.api.test_recipes import ground, made, place, put, shown, upload
from tests.api.test_tenants import house
from tests.faulty import refusing_tag

from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.ids import TenantId
from safelight.domain.redevelopments import RedevelopmentState
from safelight.testing.factories import make_redevelopment


@pytest.fixture
async def app(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        yield app


async def redevelop(app, **body):
    answer = await app.client.post("/redevelopments", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/redevelopments/{answer.json()['id']}"
    return answer.json()


async def ended(app, one):
    for _ in range(600):
        one = (await app.client.get(f"/redevelopments/{one['id']}")).json()
        if one["state"] in ("done", "cancelled", "failed") and not one["under_way"]:
            return one
        await asyncio.sleep(0.1)
    raise AssertionError(one)


async def test_one_that_asks_for_too_much_keeps_no_other_one_waiting(app):
    await upload(app, ground(9))
    redevelopments = app.safelight.redevelopments
    object.__setattr__(redevelopments, "catalog", refusing_tag(redevelopments.catalog, "rare"))
    broad = await redevelop(app, filter={"tags": ["rare"]}, rate=100)

    behind = await ended(app, await redevelop(app, rate=100))

    assert (behind["state"], behind["done"]) == ("done", 1)
    failed = await ended(app, broad)
    assert (failed["state"], failed["cause"].partition(":")[0]) == ("failed", "too_broad")
    assert (await app.client.post(f"/redevelopments/{broad['id']}/resume")).json()["code"] == "wrong_state"


async def test_pictures_are_developed_again_by_the_recipe_that_is_for_them_now(app):
    before = [await upload(app, ground(n), visibility="public") for n in range(3)] + [await upload(app, ground(3), tags="sale")]
    await put(app, "all", renditions=["thumb_150"], formats=["webp"])
    await put(app, "sale", renditions=["thumb_300"], formats=["avif"])
    await place(app, "all", default=True)
    await place(app, "sale", tags=["sale"])
    assert (await ended(app, await redevelop(app, dry_run=True)))["total"] == 4

    done = await ended(app, await redevelop(app, rate=100))

    assert {key: done[key] for key in ("state", "total", "done", "failed", "skipped", "under_way")} == {
        "state": "done", "total": 4, "done": 4, "failed": 0, "skipped": 0, "under_way": 0,
    }  # fmt: skip
    after = [(await app.client.get(f"/images/{each['id']}")).json() for each in before]
    assert [each["recipe"] for each in after] == ["all@1"] * 3 + ["sale@1"]
    assert [made(each) for each in after] == [{("thumb_150", "webp")}] * 3 + [{("thumb_300", "avif")}]
    for old, new in zip(before[:3], after[:3], strict=True):
        assert "v=1p1" in new["renditions"][0]["url"]
        # The address of before still shows the picture, but nobody may keep it as that.
        assert (await app.client.get(old["renditions"][0]["url"])).headers["cache-control"] == "public, max-age=60"
        assert "immutable" in (await app.client.get(new["renditions"][0]["url"])).headers["cache-control"]
        assert (old["title"], old["thumbhash"]) == (new["title"], new["thumbhash"])
    tenant = TenantId((await app.client.get("/me/usage")).json()["tenant"])
    for image in after:
        for _ in range(300):  # what was before is swept a moment after the new is published
            piles = await app.safelight.development.buckets.renditions.piles(f"{tenant}/{image['id']}/")
            folders = {pile.key.split("/")[2] for pile in piles}
            if folders == {"1p1"}:
                break
            await asyncio.sleep(0.1)
        assert folders == {"1p1"}


async def test_a_size_of_another_version_is_what_it_was_until_the_picture_is_developed_again(app):
    await put(app, "shop", renditions=["thumb_150"], sizes={"card": {"width": 100, "height": 100, "fit": "cover"}})
    await place(app, "shop", default=True)
    record = await upload(app, ground(1), visibility="public")
    await put(app, "shop", renditions=["thumb_150"], sizes={"card": {"width": 60, "height": 60, "fit": "cover"}})

    assert (await shown(app, f"/i/{record['id']}/card.webp")).size == (100, 100)
    await ended(app, await redevelop(app, rate=100))
    again = (await app.client.get(f"/images/{record['id']}")).json()
    (card,) = [each for each in again["renditions"] if (each["preset"], each["format"]) == ("card", "webp")]
    assert (again["recipe"], card["width"]) == ("shop@2", 60)
    assert (await shown(app, card["url"])).size == (60, 60)


async def test_only_what_fits_the_filter_is_developed_again_by_the_version_that_is_named(app):
    tagged, other = await upload(app, ground(1), tags="sale,press"), await upload(app, ground(2), tags="sale")
    album = (await app.client.post("/albums", json={"title": "A"})).json()["id"]
    inside = await upload(app, ground(3), album_id=album)
    await put(app, "shop", renditions=["thumb_150"])
    await put(app, "shop", renditions=["thumb_300"])

    for filter, reference, which in (
        ({"tags": ["Sale", "press"], "status": "ready"}, "shop@1", tagged),
        ({"album": album}, "shop", inside),
        ({"after": other["created_at"], "before": inside["created_at"]}, "shop@2", other),
    ):
        done = await ended(app, await redevelop(app, filter=filter, recipe=reference, rate=100))
        assert (done["total"], done["done"]) == (1, 1), filter
        assert (await app.client.get(f"/images/{which['id']}")).json()["recipe"] == done["recipe"]

    records = [(await app.client.get(f"/images/{each['id']}")).json()["recipe"] for each in (tagged, other, inside)]
    assert records == ["shop@1", "shop@2", "shop@2"]
    assert (await ended(app, await redevelop(app, filter={"tags": ["nothing"]})))["total"] == 0


async def test_one_that_is_paused_begins_nothing_and_goes_on_when_it_is_resumed(app):
    for n in range(4):
        await upload(app, ground(n))
    one = await redevelop(app, rate=0.01)
    paused = await app.client.post(f"/redevelopments/{one['id']}/pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert (await app.client.post(f"/redevelopments/{one['id']}/pause")).json()["code"] == "wrong_state"
    assert (await app.client.post(f"/redevelopments/{one['id']}/resume")).json()["state"] == "running"

    cancelled = await app.client.post(f"/redevelopments/{one['id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    last = await ended(app, one)
    assert last["done"] <= 1  # so slow that a second one is not begun within this test
    for move in ("pause", "resume", "cancel"):
        assert (await app.client.post(f"/redevelopments/{one['id']}/{move}")).status_code == 409
    assert [each["id"] for each in (await app.client.get("/redevelopments")).json()["redevelopments"]] == [one["id"]]


async def test_what_fails_is_counted_and_what_is_delivered_stays(app):
    mark = (await upload(app, ground(0), tags="logo"))["id"]
    record = await upload(app, ground(1), tags="sale", visibility="public")
    await put(app, "shop", watermark=f"wm={mark}")
    assert (await app.client.delete(f"/images/{mark}")).status_code == 204

    done = await ended(app, await redevelop(app, filter={"tags": ["sale"]}, recipe="shop", rate=100))

    assert (done["state"], done["done"], done["failed"]) == ("done", 0, 1)
    after = (await app.client.get(f"/images/{record['id']}")).json()
    assert (after["status"], after["recipe"], len(after["renditions"])) == ("failed", None, 12)
    assert (await app.client.get(record["renditions"][0]["url"])).status_code == 200


async def test_a_picture_that_gets_a_mark_is_told_to_cdns(run):
    from safelight.adapters.cdn.memory import MemoryCdn

    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), fronts=[MemoryCdn("front")]) as app:
        record = await upload(app, ground(1), visibility="public")
        await put(app, "plain", renditions=["thumb_150"])
        await put(app, "shop", watermark="wmt=Shop")
        await ended(app, await redevelop(app, recipe="plain", rate=100))
        assert (await app.client.get("/admin/purges")).json()["purges"] == []

        await ended(app, await redevelop(app, recipe="shop", rate=100))

        for _ in range(600):
            purges = (await app.client.get("/admin/purges")).json()["purges"]
            if purges:
                break
            await asyncio.sleep(0.1)
        assert [(each["what"], each["value"]) for each in purges] == [("image", record["id"])]


async def test_what_cannot_be_asked_for_is_refused(app):
    for body, status, code in (
        ({"rate": 0}, 400, "bad_field"),
        ({"rate": 1000}, 400, "bad_field"),
        ({"rate": "fast"}, 400, "bad_field"),
        ({"recipe": "nothing"}, 404, "not_found"),
        ({"filter": {"colour": "red"}}, 400, "bad_field"),
        ({"filter": {"tags": [""]}}, 400, "bad_field"),
        ({"filter": {"album": "01j0000000000000000000000a"}}, 404, "not_found"),
        ({"filter": {"status": "new"}}, 400, "bad_field"),
        ({"filter": {"after": "2026-01-01"}}, 400, "bad_field"),
    ):
        answer = await app.client.post("/redevelopments", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (body, answer.text)
    for id in ("x", "01j0000000000000000000000a"):
        assert (await app.client.get(f"/redevelopments/{id}")).status_code == 404
        assert (await app.client.post(f"/redevelopments/{id}/cancel")).status_code == 404
    assert (await app.client.get("/redevelopments", params={"cursor": "x"})).json()["code"] == "bad_cursor"
    assert (await app.client.get("/redevelopments")).json() == {"redevelopments": [], "next": None}


async def test_no_more_than_five_are_open_at_once(app):
    tenant = TenantId((await app.client.get("/me/usage")).json()["tenant"])
    paused = [make_redevelopment(tenant, state=RedevelopmentState.PAUSED) for _ in range(5)]
    async with app.safelight.catalog.tenant(tenant, writes=True) as records:
        for one in paused:
            await records.redevelopments.add(one)

    refused = await app.client.post("/redevelopments", json={})

    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert (await app.client.post(f"/redevelopments/{paused[0].id}/cancel")).status_code == 200
    await redevelop(app)


async def test_redevelopments_are_the_tenants_and_its_admins(app):
    shop, rival = await house(app, "shop"), await house(app, "rival")
    theirs = await upload(rival, ground(1))
    await upload(shop, ground(1))
    done = await ended(shop, await redevelop(shop, rate=100))
    user = (await app.client.post("/admin/users", json={"name": "u"})).json()
    token = (await app.client.post("/admin/api-keys", json={"user": user["id"], "scopes": ["read", "write"]})).json()["token"]
    as_user = {"authorization": f"Bearer {token}"}

    assert done["total"] == 1
    assert "v=1p1" not in (await rival.client.get(f"/images/{theirs['id']}")).json()["renditions"][0]["url"]
    assert (await rival.client.get(f"/redevelopments/{done['id']}")).status_code == 404
    for method, path in (("POST", ""), ("GET", ""), ("GET", f"/{done['id']}"), ("POST", f"/{done['id']}/cancel")):
        assert (await app.client.request(method, f"/redevelopments{path}", json={}, headers=as_user)).status_code == 403
