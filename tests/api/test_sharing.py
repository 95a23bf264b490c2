"""Albums that are lent to users: what they see, what they may put in, and every way in which they might get more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.api.test_auth import refusal
from tests.api.test_uploads import PICTURE, announce, send
from tests.pictures import jpeg

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.api.app import Front

HOUR = timedelta(hours=1)


@dataclass
class Person:
    """A user of the tenant with a client of their own."""

    id: str
    client: httpx.AsyncClient

    def __getattr__(self, name):
        return getattr(self.client, name)

    async def image(self, *, width=60, visibility="private", **fields):
        made = await self.client.post("/images", files={"file": jpeg(width, 40)}, data={"visibility": visibility, **fields})
        assert made.status_code == 201, made.text
        return made.json()["id"]

    async def album(self, *images):
        id = (await self.client.post("/albums", json={"title": "Journey"})).json()["id"]
        if images:
            assert (await self.add(id, *images)).status_code == 200
        return id

    async def add(self, album, *images):
        return await self.client.post(f"/albums/{album}/images", json={"images": list(images)})

    async def share(self, album, person, **terms):
        return await self.client.put(f"/albums/{album}/grants/{person.id}", json=terms)

    async def sees(self, album, **query):
        """The ids of the album's images, all pages of it; None when it is not there."""
        answer = await self.client.get("/images", params={"album": album, "sort": "position", **query})
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return [image["id"] for image in answer.json()["images"]]


class Clock:
    def __init__(self):
        self.now = datetime.now(UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(run, clock):
    def start(settings=None, **overrides):
        """With everything in memory, for the sake of a quick start."""
        parts = overrides if overrides else {"catalog": MemoryCatalog(), "search": MemorySearch(), "workflows": MemoryWorkflows}
        return run(settings, originals=MemoryStorage(), renditions=MemoryStorage(), **{"clock": clock} | parts)

    return start


async def person(app, name, *, client=None, scopes=("read", "write"), role="user"):
    """A new user of the tenant of that client, the operator's by default."""
    client = client or app.client
    user = (await client.post("/admin/users", json={"name": name, "role": role})).json()
    key = (await client.post("/admin/api-keys", json={"user": user["id"], "scopes": list(scopes)})).json()
    transport = httpx.ASGITransport(Front(app.safelight), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key['token']}"}
    return Person(user["id"], httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60))


async def test_who_is_lent_an_album_sees_it_and_its_images_and_nothing_else_of_its_owner(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        inside, outside = await ada.image(width=60), await ada.image(width=61)
        album, other = await ada.album(inside), await ada.album(outside)
        assert (await bert.get(f"/albums/{album}")).status_code == 404
        assert await bert.sees(album) is None

        granted = await ada.share(album, bert)
        assert (granted.status_code, granted.json()["level"], granted.json()["originals"]) == (200, "view", False)
        (listed,) = (await bert.get("/albums", params={"shared": True})).json()["albums"]
        assert (listed["id"], listed["owner"], listed["image_count"]) == (album, ada.id, 1)
        assert listed["lent"] == {"level": "view", "originals": False, "expires_at": None}
        assert (await bert.get("/albums")).json()["albums"] == []
        assert (await bert.get(f"/albums/{album}")).json()["title"] == "Journey"
        assert await bert.sees(album) == [inside]
        image = (await bert.get(f"/images/{inside}")).json()
        delivered = await bert.get(image["renditions"][0]["url"], headers={"authorization": ""})
        assert delivered.status_code == 200
        assert (await bert.post(f"/images/{inside}/urls", json={"transforms": ["w=20.webp"]})).status_code == 200

        for path in (f"/albums/{other}", f"/images/{outside}", f"/images?album={other}"):
            assert refusal(await bert.get(path)) == (404, "not_found"), path
        assert [each["id"] for each in (await bert.get("/images")).json()["images"]] == []


async def test_a_grant_lets_nobody_change_anything_or_have_what_came_in(start):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        image = await ada.image()
        album, own = await ada.album(image), await bert.image(width=61)
        await ada.share(album, bert)
        for method, path, body in (
            ("PATCH", f"/images/{image}", {"title": "Mine"}),
            ("DELETE", f"/images/{image}", None),
            ("POST", f"/images/{image}/restore", None),
            ("GET", f"/images/{image}/original", None),
            ("GET", f"/images/{image}/versions", None),
            ("GET", f"/images/{image}/history", None),
            ("GET", f"/images/{image}/events", None),
            ("POST", f"/images/{image}/versions/1/restore", None),
            ("PATCH", f"/albums/{album}", {"title": "Mine"}),
            ("DELETE", f"/albums/{album}", None),
            ("POST", f"/albums/{album}/images", {"images": [own]}),
            ("POST", f"/albums/{album}/images", {"images": [image]}),
            ("DELETE", f"/albums/{album}/images/{image}", None),
            ("GET", f"/albums/{album}/grants", None),
            ("PUT", f"/albums/{album}/grants/{bert.id}", {"level": "contribute", "originals": True}),
            ("PUT", f"/albums/{album}/grants/{carl.id}", {}),
            ("DELETE", f"/albums/{album}/grants/{carl.id}", None),
        ):
            refused = await bert.request(method, path, json=body)
            assert refused.status_code in (403, 404), (method, path, refused.text)
        uploaded = await bert.post("/images", files={"file": jpeg(62, 40)}, data={"album_id": album})
        assert refusal(uploaded) == (403, "forbidden")
        announced = await bert.post("/uploads", json={"content_type": "image/jpeg", "size": 100, "album_id": album})
        assert refusal(announced) == (403, "forbidden")
        assert await ada.sees(album) == [image]
        (grant,) = (await ada.get(f"/albums/{album}/grants")).json()
        assert (grant["user"], grant["level"], grant["originals"]) == (bert.id, "view", False)


async def test_what_is_lent_is_not_the_borrowers_to_hand_on(start):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        image = await ada.image()
        await ada.share(await ada.album(image), bert, level="contribute", originals=True)
        trap = await bert.album()
        await bert.share(trap, carl)

        assert refusal(await bert.add(trap, image)) == (404, "not_found")
        assert await carl.sees(trap) == []


async def test_what_somebody_else_has_put_in_is_not_lent_when_its_owner_narrows_it(start):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        image = await bert.image(visibility="public")
        album = await ada.album(image)
        await ada.share(album, carl)
        await ada.share(album, bert, level="contribute")  # which Bert never asked for
        assert await carl.sees(album) == [image]

        await bert.patch(f"/images/{image}", json={"visibility": "private"})
        for other in (ada, carl):
            assert await other.sees(album) == []
            assert (await other.get(f"/images/{image}")).status_code == 404
        await ada.add(album, image)
        assert await carl.sees(album) == []


async def test_who_may_contribute_puts_in_and_takes_out_their_own_as_long_as_they_may(start, clock):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        adas, berts = await ada.image(), await bert.image(width=61)
        album = await ada.album(adas)
        await ada.share(album, bert, level="contribute", expires_at=(clock.now + HOUR).isoformat())
        await ada.share(album, carl, originals=True)

        assert (await bert.add(album, berts)).status_code == 200
        uploaded = await bert.image(width=62, album_id=album)
        for viewer in (ada, bert, carl):
            assert await viewer.sees(album) == [adas, berts, uploaded]
            assert (await viewer.get(f"/images/{berts}")).status_code == 200
        assert (await carl.get(f"/images/{adas}/original")).status_code == 200
        for viewer in (ada, carl):  # Ada's grant speaks for Ada's images
            assert (await viewer.get(f"/images/{berts}/original")).status_code in (403, 404)
        assert refusal(await bert.delete(f"/albums/{album}/images/{adas}")) == (403, "forbidden")
        assert (await bert.delete(f"/albums/{album}/images/{uploaded}")).status_code == 200
        assert await carl.sees(album) == [adas, berts]

        clock.now += HOUR
        assert await bert.sees(album) is None
        for viewer in (ada, carl):
            assert await viewer.sees(album) == [adas]
            assert (await viewer.get(f"/images/{berts}")).status_code == 404
        assert (await bert.add(album, uploaded)).status_code == 404


async def test_an_upload_that_arrives_after_its_grant_was_taken_back_goes_into_no_album(run):
    async with run() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        album = await ada.album()
        await ada.share(album, bert, level="contribute")
        offers = [await announce(bert, album_id=album, sha256=hashlib.sha256(PICTURE).hexdigest()) for _ in range(2)]
        assert (await send(offers[0], bert)).is_success
        assert len(await ada.sees(album)) == 1
        await ada.delete(f"/albums/{album}/grants/{bert.id}")

        assert (await send(offers[1], bert)).is_success
        assert (await bert.post(f"/uploads/{offers[1]['id']}/complete")).is_success
        await ada.share(album, bert, level="contribute")
        assert len(await bert.sees(album)) == 1
        assert len((await bert.get("/images")).json()["images"]) == 2


async def test_a_grant_ends_when_it_says_and_when_it_is_taken_back(start, clock):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        image = await ada.image()
        album = await ada.album(image)
        await ada.share(album, bert, expires_at=(clock.now + HOUR).isoformat(), originals=True)
        await ada.share(album, carl, originals=True)
        for viewer in (bert, carl):
            assert await viewer.sees(album) == [image]
            assert (await viewer.get(f"/images/{image}/original")).status_code == 200

        clock.now += HOUR
        assert (await ada.delete(f"/albums/{album}/grants/{carl.id}")).status_code == 204
        for viewer in (bert, carl):
            assert await viewer.sees(album) is None
            assert (await viewer.get("/albums", params={"shared": True})).json()["albums"] == []
            for path in (f"/albums/{album}", f"/images/{image}", f"/images/{image}/original", f"/images?album={album}&limit=1"):
                assert refusal(await viewer.get(path)) == (404, "not_found"), path
        assert refusal(await ada.delete(f"/albums/{album}/grants/{carl.id}")) == (404, "not_found")


async def test_who_is_lent_an_album_may_give_it_up_and_only_their_own(start):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        album = await ada.album()
        await ada.share(album, bert)
        await ada.share(album, carl)

        assert refusal(await bert.delete(f"/albums/{album}/grants/{carl.id}")) == (403, "forbidden")
        assert (await bert.delete(f"/albums/{album}/grants/{bert.id}")).status_code == 204
        assert [grant["user"] for grant in (await ada.get(f"/albums/{album}/grants")).json()] == [carl.id]


async def test_the_trash_is_lent_to_nobody(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        image = await ada.image()
        album = await ada.album(image)
        await ada.share(album, bert, originals=True)
        await ada.delete(f"/images/{image}")

        assert await bert.sees(album) == await bert.sees(album, trashed=True) == []
        for path in (f"/images/{image}", f"/images/{image}/original"):
            assert refusal(await bert.get(path)) == (404, "not_found")


async def test_whom_originals_are_lent_to_gets_no_earlier_ones(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        image = await ada.image()
        await ada.share(await ada.album(image), bert, originals=True)
        assert (await ada.put(f"/images/{image}/original", files={"file": jpeg(63, 40)})).status_code == 200

        assert (await bert.get(f"/images/{image}/original", params={"version": 2})).status_code == 200
        assert (await bert.get(f"/images/{image}/original", params={"version": 1})).status_code == 404
        assert (await bert.get(f"/images/{image}/versions")).status_code == 404


async def test_an_admin_shares_anybodys_album_and_what_they_add_of_its_owner_is_lent(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        image, album = await ada.image(), await ada.album()
        boss = await person(app, "Boss", role="admin", scopes=("read", "write", "admin"))
        assert (await boss.share(album, bert)).status_code == 200
        assert (await boss.add(album, image)).status_code == 200

        assert await bert.sees(album) == [image]


async def test_what_makes_no_grant_is_refused(start, clock):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        album = await ada.album()
        for terms in (
            {"level": "own"},
            {"expires_at": "tomorrow"},
            {"expires_at": "2030-01-01T00:00:00"},
            {"more": 1},
            {"expires_at": clock.now.isoformat()},
        ):
            assert (await ada.share(album, bert, **terms)).status_code == 400, terms
        assert refusal(await ada.share(album, ada)) == (400, "bad_field")
        for user in ("x", "0" * 26, f"{bert.id}%00"):
            assert (await ada.put(f"/albums/{album}/grants/{user}", json={})).status_code == 404, user
        assert (await ada.get(f"/albums/{album}/grants")).json() == []


async def test_a_key_that_only_reads_shares_nothing(start):
    async with start() as app:
        bert, reader = await person(app, "Bert"), await person(app, "Ada", scopes=("read",))
        writer = (await app.client.post("/admin/api-keys", json={"user": reader.id, "scopes": ["write"]})).json()["token"]
        album = (await app.client.post("/albums", json={"title": "x"}, headers={"authorization": f"Bearer {writer}"})).json()[
            "id"
        ]

        assert refusal(await reader.share(album, bert)) == (403, "forbidden")


async def test_users_and_admins_of_another_tenant_reach_no_grant(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        album = await ada.album()
        await ada.share(album, bert)
        made = (await app.client.post("/admin/tenants", json={"name": "other"})).json()
        transport = httpx.ASGITransport(Front(app.safelight), raise_app_exceptions=False)
        admin = httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"authorization": f"Bearer {made['token']}"}
        )
        eve = await person(app, "Eve", client=admin)
        theirs = await eve.album()
        for stranger in (admin, eve.client):
            assert refusal(await stranger.get(f"/albums/{album}/grants")) == (404, "not_found")
            assert refusal(await stranger.put(f"/albums/{album}/grants/{eve.id}", json={})) == (404, "not_found")
            assert refusal(await stranger.delete(f"/albums/{album}/grants/{bert.id}")) == (404, "not_found")
        assert refusal(await eve.put(f"/albums/{theirs}/grants/{bert.id}", json={})) == (404, "not_found")


async def test_a_page_of_a_lent_album_takes_as_many_statements_however_many_images_it_has(start):
    from sqlalchemy import Engine, event

    async with start(search=MemorySearch(), workflows=MemoryWorkflows) as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        small, large = await ada.album(await ada.image()), await ada.album(*[await ada.image(width=60 + n) for n in range(1, 6)])
        for album in (small, large):
            await ada.share(album, bert)
            await bert.sees(album)
        sent: list[str] = []

        def note(connection, cursor, statement, parameters, context, executemany):
            sent.append(statement)

        counts = []
        event.listen(Engine, "before_cursor_execute", note)
        try:
            for album, images in ((small, 1), (large, 5)):
                sent.clear()
                assert len(await bert.sees(album)) == images
                counts.append(len([each for each in sent if "album" in each]))
            sent.clear()
            assert len((await bert.get("/albums", params={"shared": True})).json()["albums"]) == 2
            counts.append(len([each for each in sent if "album" in each]))
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        assert counts == [3, 3, 1]  # album, grants, images; and one for a page of albums


async def test_sharing_is_in_the_audit_trail(start):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        album = await ada.album()
        await ada.share(album, bert)
        await ada.delete(f"/albums/{album}/grants/{bert.id}")
        await app.safelight.trail.seal()
        for action in ("album.shared", "album.unshared"):
            (entry,) = (await app.client.get("/admin/audit", params={"action": action})).json()["entries"]
            assert entry["object"] == f"album/{album}"
