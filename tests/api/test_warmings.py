"""Renditions that are made before somebody asks for them: by a durable run, behind everybody, and counted."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.api.test_failures import eventually
from tests.faulty import Altered
from tests.golden.samples import encoded, scene

from safelight.concurrency import Gate
from safelight.errors import BackendUnavailable, DamagedRecord

SHADES = itertools.count()


async def upload(app, **fields: str) -> str:
    picture = encoded(scene(400 + next(SHADES), 300), "JPEG")
    return (await app.client.post("/images", files={"file": ("a.jpg", picture)}, data=fields)).json()["id"]


async def ended(app, answer) -> dict:
    assert answer.status_code == 202, answer.text
    for _ in range(1200):
        found = (await app.client.get(answer.headers["location"])).json()
        if found["state"] in ("done", "failed"):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(found)


async def sources(app, image: str, *transforms: str) -> list[str]:
    urls = (await app.client.post(f"/images/{image}/urls", json={"transforms": list(transforms)})).json()["urls"]
    answers = [await app.client.get(url) for url in urls]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.headers["server-timing"].partition(";")[0] for answer in answers]


async def test_what_was_warmed_is_there_for_the_first_who_asks(run):
    async with run() as app:
        image = await upload(app)
        wanted = ["w=60.webp", "w=70,h=70,fit=cover.jpg", "thumb_300.webp", "w=50.auto", "w=60.webp"]
        warming = await ended(app, await app.client.post(f"/images/{image}/warm", json={"transforms": wanted}))

        assert (warming["state"], warming["images_done"], warming["failed"], warming["cause"]) == ("done", 1, 0, "")
        assert (warming["made"], warming["present"]) == (5, 1)  # three of .auto; developing had made the preset
        assert await sources(app, image, *wanted[:2]) == ["store", "store"]
        again = await ended(app, await app.client.post(f"/images/{image}/warm", json={"transforms": wanted}))
        assert (again["made"], again["present"]) == (0, 6)


async def test_the_images_of_a_tag_or_an_album_are_warmed_page_by_page(run):
    async with run() as app:
        images = [await upload(app, tags="sea") for _ in range(12)]
        other = await upload(app)
        album = (await app.client.post("/albums", json={"title": "Sea"})).json()["id"]
        await app.client.post(f"/albums/{album}/images", json={"images": images[:2]})

        body = {"filter": {"tag": "Sea"}, "transforms": ["w=40.webp"]}
        warming = await ended(app, await app.client.post("/warm", json=body))
        assert (warming["images"], warming["images_done"], warming["made"]) == (12, 12, 12)
        assert await sources(app, images[11], "w=40.webp") == ["store"]
        assert await sources(app, other, "w=40.webp") == ["rendered"]

        both = {"filter": {"tag": "sea", "album": album}, "transforms": ["w=40.webp", "w=41.webp"]}
        warming = await ended(app, await app.client.post("/warm", json=both))
        assert (warming["images_done"], warming["made"], warming["present"]) == (2, 2, 2)


@pytest.mark.parametrize(
    ("transforms", "option"),
    (
        (["w=60.webp", "w=0.webp"], "width"),
        (["w=60.webp", "sparkle=1.webp"], "sparkle"),
        (["w=60.exe"], "extension"),
        (["nobodys_preset.webp"], "preset"),
        (["w=60,wm=01jabcdefghjkmnpqrstvwxyz0.webp"], "watermark"),
    ),
)
async def test_what_cannot_be_asked_for_is_refused_by_its_option_before_anything_begins(run, transforms, option):
    async with run() as app:
        image = await upload(app)
        answer = await app.client.post(f"/images/{image}/warm", json={"transforms": transforms})

        assert (answer.status_code, answer.json()["code"], answer.json()["option"]) == (400, "bad_option", option)
        assert transforms[-1] in answer.json()["detail"]
        assert await app.safelight.delivery.renditions.store.scan("warmings/") == []


async def test_strange_wishes_are_refused(run):
    async with run() as app:
        image = await upload(app)
        for path, body in (
            (f"/images/{image}/warm", {"transforms": []}),
            (f"/images/{image}/warm", {"transforms": ["w=1.webp"] * 21}),
            (f"/images/{image}/warm", {"transforms": ["w=" + "1" * 600 + ".webp"]}),
            ("/warm", {"filter": {}, "transforms": ["w=10.webp"]}),
            ("/warm", {"transforms": ["w=10.webp"]}),
            ("/warm", {"filter": {"owner": "x"}, "transforms": ["w=10.webp"]}),
            ("/warm", {"filter": {"tag": "\x00"}, "transforms": ["w=10.webp"]}),
        ):
            assert (await app.client.post(path, json=body)).status_code in (400, 422), body
        unknown = await app.client.post("/images/01jabcdefghjkmnpqrstvwxyz0/warm", json={"transforms": ["w=10.webp"]})
        assert unknown.status_code == 404
        elsewhere = {"filter": {"album": "01jabcdefghjkmnpqrstvwxyz0"}, "transforms": ["w=10.webp"]}
        assert (await app.client.post("/warm", json=elsewhere)).status_code == 404
        for strange in ("01jabcdefghjkmnpqrstvwxyz0", "x", "..%2f..%2fa"):
            assert (await app.client.get(f"/warm/{strange}")).status_code == 404


async def test_a_user_warms_their_own_images_and_sees_their_own_warmings(run):
    async with run() as app:
        users = {}
        for name in ("ada", "grace"):
            made = (await app.client.post("/admin/users", json={"name": name, "role": "user"})).json()
            wish = {"user": made["id"], "scopes": ["read", "write"]}
            key = (await app.client.post("/admin/api-keys", json=wish)).json()["token"]
            users[name] = {"authorization": f"Bearer {key}"}
        picture = {"file": ("a.jpg", encoded(scene(), "JPEG"))}
        image = (await app.client.post("/images", files=picture, headers=users["ada"])).json()["id"]
        wish = {"transforms": ["w=30.webp"]}

        begun = await app.client.post(f"/images/{image}/warm", json=wish, headers=users["ada"])
        assert begun.status_code == 202
        assert (await app.client.post(f"/images/{image}/warm", json=wish, headers=users["grace"])).status_code == 404
        assert (await app.client.get(begun.headers["location"], headers=users["ada"])).status_code == 200
        assert (await app.client.get(begun.headers["location"], headers=users["grace"])).status_code == 404
        of_many = await app.client.post("/warm", json={"filter": {"tag": "x"}, **wish}, headers=users["ada"])
        assert of_many.status_code == 403
        await ended(app, begun)

        logo = (await app.client.post("/images", files=picture)).json()["id"]
        laid = await app.client.post(f"/images/{image}/warm", json={"transforms": [f"wm={logo}.webp"]}, headers=users["ada"])
        assert (laid.status_code, laid.json()["option"]) == (400, "watermark"), "one that she does not see is none"


async def test_it_counts_as_the_tenant_s_transformations_and_ends_where_these_do(run):
    async with run() as app:
        for _ in range(3):
            await upload(app, tags="sea")
        tenant = (await app.safelight.accounts.authenticate(app.token)).tenant
        quota = await app.client.patch(f"/admin/tenants/{tenant}", json={"quotas": {"transformations": 2}})
        assert quota.status_code == 200, quota.text

        warming = await ended(app, await app.client.post("/warm", json={"filter": {"tag": "sea"}, "transforms": ["w=20.webp"]}))
        assert (warming["state"], warming["made"]) == ("failed", 2)
        assert warming["cause"].startswith("quota_exceeded: ")
        assert (await app.client.get("/me/usage")).json()["transformations"] == 2


async def test_one_that_cannot_be_made_is_counted_and_the_others_are_made(run):
    async with run() as app:
        image = await upload(app)
        wish = {"transforms": ["w=30,page=7.webp", "w=31.webp"]}
        warming = await ended(app, await app.client.post(f"/images/{image}/warm", json=wish))

        assert (warming["state"], warming["made"], warming["failed"]) == ("done", 1, 1)
        assert f"{image}/w=30,page=7.webp" in warming["cause"]


async def test_visitors_go_first_and_a_full_house_is_waited_out(run):
    async with run({"delivery": {"max_renders": 1, "max_waiting": 1}}) as app:
        image, slow = await upload(app), asyncio.Event()
        gate: Gate = app.safelight.delivery.renditions.gate
        order: list[str] = []

        async def visitor(name: str) -> None:
            async with gate.admit(1, party="visitors"):
                order.append(name)
                if name == "first":
                    await slow.wait()

        first = asyncio.create_task(visitor("first"))
        await asyncio.sleep(0)
        second = asyncio.create_task(visitor("second"))
        await asyncio.sleep(0)
        begun = await app.client.post(f"/images/{image}/warm", json={"transforms": ["w=33.webp"]})
        await asyncio.sleep(0.5)  # there is no room even for waiting
        assert (await app.client.get(begun.headers["location"])).json()["state"] == "waiting"
        slow.set()
        await asyncio.gather(first, second)

        assert order == ["first", "second"]
        assert (await ended(app, begun))["made"] == 1


async def test_a_page_that_was_broken_off_is_done_again_and_finds_what_was_made(run):
    async with run() as app:
        images = [await upload(app, tags="sea") for _ in range(3)]
        warmings = app.safelight.warmings
        renditions = warmings.delivery.renditions
        tries = itertools.count()
        stat = renditions.store.stat

        async def failing(key, **options):
            if "/g" in key and next(tries) == 2:
                raise BackendUnavailable("away")
            return await stat(key, **options)

        object.__setattr__(renditions, "store", Altered(renditions.store, stat=failing))
        warming = await ended(app, await app.client.post("/warm", json={"filter": {"tag": "sea"}, "transforms": ["w=22.webp"]}))

        assert (warming["state"], warming["images_done"]) == ("done", 3)
        assert (warming["made"], warming["present"]) == (1, 2)
        assert await sources(app, images[0], "w=22.webp") == ["store"]


async def test_a_page_that_was_given_up_is_made_when_its_dead_letter_is_retried(run, monkeypatch):
    async def unreadable(self, warming):
        raise DamagedRecord

    async with run() as app:
        image = await upload(app)
        with monkeypatch.context() as broken:
            broken.setattr("safelight.services.warmings.Warmings._images", unreadable)
            begun = await app.client.post(f"/images/{image}/warm", json={"transforms": ["w=23.webp"]})
            assert (await ended(app, begun))["state"] == "failed"
            [letter] = await eventually(lambda: app.safelight.workflows.dead(), bool)

        await app.safelight.workflows.retry(letter.id)

        async def found():
            return (await app.client.get(begun.headers["location"])).json()

        warming = await eventually(found, lambda warming: warming["state"] == "done")
        assert (warming["made"], warming["images_done"], warming["cause"]) == (1, 1, "")
