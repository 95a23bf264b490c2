"""Links to albums: what whoever has one sees, for how long, and that nothing but the whole token opens it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import httpx
import pytest
from structlog.testing import capture_logs
from tests.api.test_audit import entries, told
from tests.api.test_auth import CHEAP, refusal
from tests.api.test_sharing import HOUR, Clock, person

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.storage.memory import MemoryStorage
from safelight.adapters.workflows.memory import MemoryWorkflows
from safelight.api.app import Front
from safelight.console.routes import router as console
from safelight.domain.ids import new_id

HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SAME = {"sec-fetch-site": "same-origin"}
PASSWORD = "open sesame"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(run, clock):
    def start(settings=None, **overrides):
        parts = {
            "originals": MemoryStorage(),
            "renditions": MemoryStorage(),
            "catalog": MemoryCatalog(),
            "search": MemorySearch(),
            "workflows": MemoryWorkflows,
            "clock": clock,
        }
        return run({"auth": CHEAP} | (settings or {}), **parts | overrides)

    return start


def visitor(app):
    """Somebody without any key, as with a browser of their own."""
    transport = httpx.ASGITransport(Front(app.safelight, works=False, console=console), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60)


async def linked(ada, album, clock, **terms):
    """The link as it is answered, with its path."""
    body = {"expires_at": (clock.now + 10 * HOUR).isoformat()} | terms
    made = await ada.client.post(f"/albums/{album}/links", json=body)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    return made.json() | {"path": made.json()["url"].removeprefix("http://test")}


class Page(HTMLParser):
    """What a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.tags.append(tag)
        if tag == "img":
            self.images.append(said["src"])
        if tag == "a":
            self.links.append(said["href"])


async def test_whoever_has_a_link_sees_the_albums_images_and_nothing_else(start, clock):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        inside, outside = await ada.image(title="Sea <b>"), await ada.image(width=61)
        theirs = await bert.image(width=62, visibility="unlisted")
        album = await ada.album(inside, theirs)
        link, guest = await linked(ada, album, clock, note="for Oma"), visitor(app)
        answer = await guest.get(link["path"])

        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["title"], shown["next"], [image["id"] for image in shown["images"]]) == ("Journey", None, [inside])
        (image,) = shown["images"]
        assert image["original_url"] is None
        assert set(image) == {
            "id",
            "title",
            "description",
            "width",
            "height",
            "thumbhash",
            "dominant_color",
            "renditions",
            "original_url",
        }
        assert (await guest.get(image["renditions"][0]["url"])).status_code == 200
        assert "Oma" not in answer.text
        assert ada.id not in answer.text
        for id in (inside, outside, theirs, "0" * 26, "x"):
            assert (await guest.get(f"{link['path']}/originals/{id}")).status_code in (403, 404), id
        assert refusal(await guest.get(f"/images/{inside}")) == (401, "unauthenticated")


async def test_nobody_keeps_what_a_link_shows_and_no_search_engine_finds_it(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album(image := await ada.image())
        link, guest = await linked(ada, album, clock, originals=True), visitor(app)
        for path in (link["path"], f"{link['path']}/originals/{image}"):
            for headers in ({}, HTML):
                answer = await guest.get(path, headers=headers)
                assert answer.status_code == 200
                assert answer.headers["cache-control"] == "private, no-store"
                assert answer.headers["x-robots-tag"] == "noindex, nofollow"
                assert answer.headers["referrer-policy"] == "no-referrer"
        (grown,) = list((await ada.get(f"/albums/{album}/links")).json())
        assert (grown["token"], grown["url"]) == (None, None)


async def test_delivery_urls_end_no_later_than_their_link(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album(await ada.image())
        ends = {}
        for minutes in (5, 600):
            end = clock.now + timedelta(minutes=minutes)
            link = await linked(ada, album, clock, expires_at=end.isoformat())
            url = (await visitor(app).get(link["path"])).json()["images"][0]["renditions"][0]["url"]
            ends[minutes] = int(re.search(r"exp=(\d+)", url)[1])
            assert ends[minutes] <= end.timestamp()
        assert ends[5] < ends[600] <= clock.now.timestamp() + 2 * 3600


async def test_a_link_that_has_ended_or_was_taken_back_is_as_one_that_never_was(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album, other = await ada.album(await ada.image()), await ada.album()
        guest = visitor(app)
        links = {name: await linked(ada, album, clock) for name in ("removed", "ended", "wrong", "disabled")}
        links["deleted album"] = await linked(ada, other, clock)
        links["ended"] = await linked(ada, album, clock, expires_at=(clock.now + HOUR).isoformat())
        never = [
            f"/shared/{new_id()}-{'x' * 43}",
            "/shared/x",
            f"/shared/{'x' * 5000}",
            "/shared/%00",
            f"/shared/{links['wrong']['path'][8:34]}",
        ]
        assert (await ada.delete(f"/albums/{album}/links/{links['removed']['id']}")).status_code == 204
        await ada.delete(f"/albums/{other}")
        clock.now += HOUR
        paths = [link["path"] for name, link in links.items() if name not in ("wrong", "disabled")] + [
            links["wrong"]["path"][:-1] + "_"
        ]
        assert (await guest.get(links["disabled"]["path"])).status_code == 200
        await app.client.post(f"/admin/users/{ada.id}/disable")
        paths += [links["disabled"]["path"]]

        for headers in ({}, HTML):
            answers = [await guest.get(path, headers=headers) for path in [*never, *paths]]
            assert {answer.status_code for answer in answers} == {404}
            assert len({answer.content for answer in answers}) == 1
        answers = [await guest.post(f"{path}/open", json={"password": "x"}) for path in [*never, *paths]]
        assert {refusal(answer) for answer in answers} == {(404, "not_found")}


async def test_what_leaves_the_album_or_goes_to_the_trash_is_not_shown_any_more(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        kept, dropped, trashed = [await ada.image(width=60 + n) for n in range(3)]
        album = await ada.album(kept, dropped, trashed)
        link, guest = await linked(ada, album, clock, originals=True), visitor(app)
        assert len((await guest.get(link["path"])).json()["images"]) == 3
        await ada.delete(f"/albums/{album}/images/{dropped}")
        await ada.delete(f"/images/{trashed}")

        assert [image["id"] for image in (await guest.get(link["path"])).json()["images"]] == [kept]
        for id in (dropped, trashed):
            assert refusal(await guest.get(f"{link['path']}/originals/{id}")) == (404, "not_found")


async def test_originals_come_by_a_link_that_says_so_and_only_those_of_the_albums_owner(start, clock):
    async with start() as app:
        ada, bert = await person(app, "Ada"), await person(app, "Bert")
        album = await ada.album(own := await ada.image())
        await ada.share(album, bert, level="contribute")
        await bert.add(album, theirs := await bert.image(width=61))
        guest = visitor(app)
        without, given = await linked(ada, album, clock), await linked(ada, album, clock, originals=True)
        shown = (await guest.get(given["path"])).json()["images"]
        assert [(image["id"], image["original_url"] is not None) for image in shown] == [(own, True), (theirs, False)]

        original = await guest.get(shown[0]["original_url"])
        assert (original.status_code, original.headers["content-disposition"].partition(";")[0]) == (200, "attachment")
        part = await guest.get(shown[0]["original_url"], headers={"range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, original.content[:10])
        assert refusal(await guest.get(f"{given['path']}/originals/{theirs}")) == (403, "forbidden")
        assert refusal(await guest.get(f"{without['path']}/originals/{own}")) == (403, "forbidden")


async def test_a_password_opens_for_an_hour_by_bearer_or_cookie_and_nothing_else_does(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album(image := await ada.image())
        link = await linked(ada, album, clock, password=PASSWORD, originals=True)
        other = await linked(ada, album, clock, password=PASSWORD)
        guest, original = visitor(app), f"{link['path']}/originals/{image}"
        assert (link["has_password"], PASSWORD in str(link)) == (True, False)
        for path in (link["path"], original):
            for headers in (
                {},
                {"authorization": f"Bearer {app.token}"},
                {"cookie": "safelight_pass=x"},
                {"authorization": "Bearer link.x.9.y"},
            ):
                assert refusal(await guest.get(path, headers=headers)) == (401, "password_required")
        assert refusal(await guest.post(f"{link['path']}/open", json={"password": "open sesam"})) == (401, "unauthenticated")

        opened = await guest.post(f"{link['path']}/open", json={"password": PASSWORD})
        assert opened.status_code == 200
        given = {"authorization": f"Bearer {opened.json()['pass']}"}
        cookie = opened.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", f"Path={link['path']}", "SameSite=lax", "Max-Age=3600"))
        fresh = visitor(app)
        for path in (link["path"], original):
            assert (await guest.get(path)).status_code == 200, "by the cookie"
            assert (await fresh.get(path, headers=given)).status_code == 200
        assert refusal(await fresh.get(other["path"], headers=given)) == (401, "password_required")
        forged = {"authorization": f"Bearer {opened.json()['pass'].replace(link['id'], other['id'])}"}
        assert refusal(await fresh.get(other["path"], headers=forged)) == (401, "password_required")

        clock.now += HOUR
        assert refusal(await fresh.get(link["path"], headers=given)) == (401, "password_required")
        again = (await fresh.post(f"{link['path']}/open", json={"password": PASSWORD})).json()["pass"]
        await ada.delete(f"/albums/{album}/links/{link['id']}")
        assert refusal(await visitor(app).get(link["path"], headers={"authorization": f"Bearer {again}"})) == (404, "not_found")


async def test_guessing_a_password_is_met_by_rests_whoever_guesses_and_however_many_at_once(start, clock):
    async with start({"auth": CHEAP | {"account_failures": 5, "hashes_at_once": 1, "hashes_waiting": 60}}) as app:
        ada = await person(app, "Ada")
        link = await linked(ada, await ada.album(), clock, password=PASSWORD)
        guest = visitor(app)
        answers = await asyncio.gather(*(guest.post(f"{link['path']}/open", json={"password": f"guess {n}"}) for n in range(20)))
        codes = [answer.json()["code"] for answer in answers]
        assert (codes.count("unauthenticated"), codes.count("locked_out")) == (5, 15)

        right = await guest.post(f"{link['path']}/open", json={"password": PASSWORD})
        assert refusal(right) == (429, "locked_out")
        clock.now += timedelta(seconds=int(right.headers["retry-after"]))
        assert (await guest.post(f"{link['path']}/open", json={"password": PASSWORD})).status_code == 200


async def test_guessing_tokens_is_counted_by_address(start, clock):
    async with start({"rate": {"shared_per_minute": 5}}) as app:
        guest = visitor(app)
        answers = [await guest.get(f"/shared/{new_id()}-{'x' * 43}") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [404] * 5 + [429] * 2
        assert (await guest.get("/health/live")).status_code == 200


async def test_a_browser_gets_a_page_without_scripts_that_holds_nothing_of_anybody_else(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        images = [await ada.image(width=60 + n, title="<script>alert(1)</script>" if n == 0 else "") for n in range(3)]
        album = await ada.album(*images)
        await ada.patch(f"/albums/{album}", json={"title": "Journey <i>", "description": "to & fro"})
        link, guest = await linked(ada, album, clock, originals=True), visitor(app)
        answer = await guest.get(link["path"], headers=HTML)
        page, policy = Page(answer.text), answer.headers["content-security-policy"]

        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "script" not in page.tags
        assert "Journey &lt;i&gt;" in answer.text
        assert (len(page.images), len(page.links)) == (3, 6)
        assert "default-src 'none'" in policy
        assert "img-src 'self';" in policy
        for url in [*page.images, *page.links, "/static/shared.css", "/static/gallery.css"]:
            assert url.startswith("/"), url
            assert (await guest.get(url)).status_code == 200, url
        first = Page((await guest.get(link["path"], params={"limit": 2}, headers=HTML)).text)
        rest = Page((await guest.get(first.links[-1], headers=HTML)).text)
        assert (len(first.images), len(rest.images)) == (2, 1)
        assert (await guest.get(link["path"], headers={"accept": "application/json, text/html"})).json()["title"] == "Journey <i>"


async def test_a_browser_gives_the_password_in_a_form(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album(await ada.image())
        link, guest = await linked(ada, album, clock, password=PASSWORD), visitor(app)
        asked = await guest.get(link["path"], headers=HTML)
        assert (asked.status_code, "form" in Page(asked.text).tags, "Journey" in asked.text) == (401, True, False)

        wrong = await guest.post(f"{link['path']}/open", data={"password": "wrong"}, headers=HTML | SAME)
        assert (wrong.status_code, "not right" in wrong.text) == (401, True)
        assert "set-cookie" not in wrong.headers
        right = await guest.post(f"{link['path']}/open", data={"password": PASSWORD}, headers=HTML | SAME)
        assert (right.status_code, right.headers["location"]) == (303, link["path"])
        assert "Journey" in (await guest.get(right.headers["location"], headers=HTML)).text
        assert "Journey" not in (await visitor(app).get(link["path"], headers=HTML)).text


async def test_no_other_site_posts_the_form(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        link, guest = await linked(ada, await ada.album(), clock, password=PASSWORD), visitor(app)
        for site in ("cross-site", "same-site"):
            posted = await guest.post(f"{link['path']}/open", data={"password": PASSWORD}, headers={"sec-fetch-site": site})
            assert refusal(posted) == (403, "forbidden")
            assert "set-cookie" not in posted.headers
        # What a form of another site can send without being asked first, but for the form itself.
        for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
            plain = await guest.post(
                f"{link['path']}/open", content=b'{"password": "open sesame"}', headers={"content-type": kind}
            )
            assert refusal(plain) == (415, "unsupported_media_type"), kind


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", b'{"password": 1}', b'{"password": "x", "more": 1}', b'{"password": "' + b"x" * 300 + b'"}'],
)
async def test_what_is_no_password_is_refused(start, clock, body):
    async with start() as app:
        ada = await person(app, "Ada")
        link = await linked(ada, await ada.album(), clock, password=PASSWORD)
        for kind in ("application/json", "application/x-www-form-urlencoded"):
            answer = await visitor(app).post(f"{link['path']}/open", content=body, headers={"content-type": kind})
            assert refusal(answer) == (400, "bad_field"), kind


async def test_what_makes_no_link_is_refused(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album()
        soon = (clock.now + HOUR).isoformat()
        for terms in (
            {},
            {"expires_at": clock.now.isoformat()},
            {"expires_at": (clock.now + timedelta(days=367)).isoformat()},
            {"expires_at": "2030-01-01T00:00:00"},
            {"expires_at": soon, "password": "abc"},
            {"expires_at": soon, "password": "x" * 257},
            {"expires_at": soon, "note": "x" * 201},
            {"expires_at": soon, "note": "two\nlines"},
            {"expires_at": soon, "made_by": ada.id},
        ):
            assert refusal(await ada.post(f"/albums/{album}/links", json=terms)) == (400, "bad_field"), terms
        assert (await ada.get(f"/albums/{album}/links")).json() == []


async def test_only_who_may_share_an_album_links_it(start, clock):
    async with start() as app:
        ada, bert, carl = [await person(app, name) for name in ("Ada", "Bert", "Carl")]
        album = await ada.album()
        link = await linked(ada, album, clock)
        await ada.share(album, bert, level="contribute", originals=True)
        body = {"expires_at": (clock.now + HOUR).isoformat()}
        for other, refused in ((bert, (403, "forbidden")), (carl, (404, "not_found"))):
            assert refusal(await other.post(f"/albums/{album}/links", json=body)) == refused
            assert refusal(await other.get(f"/albums/{album}/links")) == refused
            assert refusal(await other.delete(f"/albums/{album}/links/{link['id']}")) == refused
        theirs = await bert.album()
        assert refusal(await bert.delete(f"/albums/{theirs}/links/{link['id']}")) == (404, "not_found")
        assert (await visitor(app).get(link["path"])).status_code == 200


async def test_an_album_has_so_many_links_and_ended_ones_make_room(start, clock, monkeypatch):
    monkeypatch.setattr("safelight.services.links.MAX_LINKS", 2)
    async with start() as app:
        ada = await person(app, "Ada")
        album = await ada.album()
        await linked(ada, album, clock, expires_at=(clock.now + HOUR).isoformat())
        kept = await linked(ada, album, clock)
        more = {"expires_at": (clock.now + 10 * HOUR).isoformat()}
        assert refusal(await ada.post(f"/albums/{album}/links", json=more)) == (409, "wrong_state")
        clock.now += HOUR
        assert len((await ada.get(f"/albums/{album}/links")).json()) == 2
        fresh = await linked(ada, album, clock)
        assert [link["id"] for link in (await ada.get(f"/albums/{album}/links")).json()] == [fresh["id"], kept["id"]]


async def test_no_log_metric_or_audit_entry_holds_a_token_or_a_password(start, clock, monkeypatch):
    async with start() as app:
        ada, guest = await person(app, "Ada"), visitor(app)
        album = await ada.album(image := await ada.image())
        with capture_logs() as logs:
            link = await linked(ada, album, clock, password=PASSWORD, originals=True)
            await guest.post(f"{link['path']}/open", json={"password": "wrong"})
            given = (await guest.post(f"{link['path']}/open", json={"password": PASSWORD})).json()["pass"]
            for path in ("", f"/originals/{image}", "/originals/x", "/nowhere", "/open/more"):
                await guest.get(f"{link['path']}{path}")

            async def crash(*_, **__):
                raise RuntimeError("on purpose")

            monkeypatch.setattr(type(app.safelight.delivery), "signer", crash)
            assert (await guest.get(link["path"])).status_code == 500
            monkeypatch.undo()
        await told(app)
        trail = (await app.client.get("/admin/audit", params={"limit": 1000})).text
        trail += (await app.client.get("/admin/audit", params={"limit": 1000, "chain": "installation"})).text
        noted = " ".join(
            [
                repr([{name: value for name, value in each.items() if name != "exc_info"} for each in logs]),
                trail,
                (await app.client.get("/metrics")).text,
            ]
        )
        secret = link["token"].partition("-")[2]
        for hidden in (secret, PASSWORD, given):
            assert hidden not in noted
        assert "request.crashed" in noted
        (made,) = await entries(app, action="album.link_added")
        assert made["object"] == f"album/{album}"
        refused = await entries(app, chain="installation", result="unauthenticated")
        assert "shared.open_shared" in {entry["action"] for entry in refused}


async def test_a_suspended_tenants_links_show_nothing(start, clock):
    async with start() as app:
        ada = await person(app, "Ada")
        link = await linked(ada, await ada.album(await ada.image()), clock)
        async with app.safelight.catalog.directory(writes=True) as directory:
            (tenant,) = await directory.tenants()
            await directory.save_tenant(replace(tenant, suspended_at=tenant.created_at, revision=tenant.revision + 1))
        app.safelight.standing.forget(tenant.id)

        assert refusal(await visitor(app).get(link["path"])) == (403, "tenant_suspended")
