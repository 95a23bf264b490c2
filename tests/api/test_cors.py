"""Which pages may read answers, what every answer forbids a browser to do, and that no cookie is ever a credential."""

from __future__ import annotations

import httpx
import pytest
from tests.pictures import jpeg

from safelight.api.app import Front
from safelight.domain.ids import new_id
from safelight.settings import Settings

SHOP = "https://shop.example"
ALLOWED = {"server": {"cors_origins": f"{SHOP}, http://localhost:5173"}}
ASKED = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization, upload-offset"}


def cors(answer):
    return {name for name in answer.headers if name.startswith("access-control-")}


async def test_a_preflight_is_answered_before_anybody_is_asked_who_they_are(run):
    async with run(ALLOWED) as app:
        for path in ("/images", "/tus/", f"/tus/{new_id()}", "/incoming/anything", "/nowhere"):
            answer = await app.client.options(path, headers={"authorization": "", "origin": SHOP, **ASKED})

            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, SHOP), path
            assert "PATCH" in answer.headers["access-control-allow-methods"].split(", ")
            allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert {"authorization", "x-api-key", "if-match", "tus-resumable", "upload-offset", "upload-metadata"} <= set(allowed)
            assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://shop.example:8443",
        "http://shop.example",
        "https://SHOP.example",
        "https://shop.example/",
        "https://shop.example, https://evil.example",
        "https://a.shop.example",
        "*",
        "file://",
        "",
    ],
)
async def test_an_origin_that_only_looks_like_an_allowed_one_reads_nothing(run, origin):
    async with run(ALLOWED) as app:
        preflight = await app.client.options("/images", headers={"origin": origin, **ASKED})
        answer = await app.client.get("/images", headers={"origin": origin})

        assert cors(preflight) == cors(answer) == set()
        assert preflight.status_code in (403, 405)  # without an origin it is no preflight
        assert answer.headers["vary"] == "Origin"


async def test_two_origins_in_one_request_are_none(run):
    async with run(ALLOWED) as app:
        answer = await app.client.get("/images", headers=[("origin", SHOP), ("origin", "https://evil.example")])

        assert cors(answer) == set()


async def test_refusals_can_be_read_too_whoever_refuses(run):
    async with run(ALLOWED | {"rate": {"address_per_s": 0.01}}) as app:
        transport = httpx.ASGITransport(Front(app.safelight), client=("198.51.100.7", 1), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"origin": SHOP}) as page:
            stranger, hurried = await page.post("/tus/"), await page.post("/tus/")
        large = await app.client.post("/albums", headers={"origin": SHOP}, content=b" " * 300_000)

        assert [stranger.status_code, hurried.status_code, large.status_code] == [412, 429, 413]
        for answer in (stranger, hurried, large):
            assert answer.headers["access-control-allow-origin"] == SHOP
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {"retry-after", "ratelimit", "location", "upload-offset", "tus-resumable", "etag"} <= set(exposed)


async def test_credentials_are_never_allowed_and_any_origin_is_said_as_such(run):
    async with run({"server": {"cors_origins": "*"}}) as app:
        preflight = await app.client.options("/images", headers={"origin": "https://evil.example", **ASKED})
        answer = await app.client.get("/images", headers={"origin": "https://evil.example"})

        for each in (preflight, answer):
            assert each.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in each.headers


async def test_by_default_no_page_of_another_origin_reads_the_api_but_every_page_a_picture(run):
    async with run() as app:
        record = (await app.client.post("/images", files={"file": jpeg()}, data={"visibility": "public"})).json()
        picture = await app.client.get(record["renditions"][0]["url"], headers={"origin": "https://anywhere.example"})
        lost = await app.client.get("/i/nothing/medium.webp", headers={"origin": "https://anywhere.example"})
        answer = await app.client.get("/images", headers={"origin": "https://anywhere.example"})

        assert (picture.headers["access-control-allow-origin"], lost.headers["access-control-allow-origin"]) == ("*", "*")
        assert "vary" not in picture.headers
        assert cors(answer) == set()


@pytest.mark.parametrize("origins", ["shop.example", "https://*.shop.example", "null", "https://shop.example/path", "ftp://a"])
def test_what_is_no_origin_stops_the_start(origins):
    with pytest.raises(ValueError, match="origins such as"):
        Settings(server={"cors_origins": origins})


def test_origins_are_kept_as_browsers_write_them():
    assert Settings(server={"cors_origins": "HTTPS://Shop.example:443,http://a:80 http://a:8080"}).server.cors_origins == (
        "https://shop.example, http://a, http://a:8080"
    )


@pytest.mark.parametrize(
    "path", ["/images", "/nowhere", "/health/live", "/openapi.json", "/i/nothing/medium.webp", "/imgproxy/x", "/auth/signin"]
)
async def test_every_answer_has_the_headers_that_keep_browsers_from_harm(run, path):
    async with run({"server": {"public_url": "https://photos.example"}}) as app:
        answer = await app.client.get(path)

        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_who_is_not_reached_by_https_is_not_told_to_stay_with_it(run):
    async with run() as app:
        for path in ("/images", "/i/nothing/medium.webp"):
            assert "strict-transport-security" not in (await app.client.get(path)).headers


async def test_no_cookie_is_a_credential_so_no_page_can_act_for_its_visitor(run):
    """Without this, unsafe methods would need a check of Origin or Sec-Fetch-Site."""
    async with run() as app:
        names = ("authorization", "token", "access_token", "api_key", "x-api-key", "session", "sid", "safelight", "refresh_token")
        jar = "; ".join(f"{name}={app.token}" for name in names)
        paths = ("/images", "/albums", "/uploads", "/imports", "/admin/users", "/auth/sessions")
        for path in paths:
            for method in ("GET", "POST", "PATCH", "DELETE"):
                answer = await app.client.request(method, path, headers={"authorization": "", "cookie": jar})
                assert answer.status_code in (401, 405), (method, path)
                assert "set-cookie" not in answer.headers


async def test_no_route_of_the_api_sets_a_cookie(run):
    async with run() as app:
        await app.client.post("/auth/signup", json={"email": "a@b.example", "password": "x", "tenant": "default"})
        for path in ("/auth/signin", "/auth/refresh", "/auth/signout"):
            answer = await app.client.post(
                path, json={"tenant": "default", "email": "a@b.example", "password": "x", "refresh_token": "x"}
            )
            assert "set-cookie" not in answer.headers
