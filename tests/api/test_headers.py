"""Every kind of answer, of every door, says what a browser may not do with it."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
from tests.pictures import jpeg

from safelight.api.app import Front
from safelight.console.routes import router

SETTINGS = {
    "server": {"public_url": "https://photos.example", "cors_origins": "https://shop.example"},
    "rate": {"auth_per_minute": 6},
}
PREFLIGHT = {"access-control-request-method": "GET"}


async def test_no_kind_of_answer_goes_out_without_them(run):
    async with run(SETTINGS) as app:
        client = app.client
        image = (await client.post("/images", files={"file": ("a.jpg", jpeg())}, data={"visibility": "public"})).json()
        found = urlsplit(image["renditions"][0]["url"])
        picture = f"{found.path}?{found.query}"
        etag = (await client.get(picture)).headers["etag"]
        iiif = f"/iiif/3/{image['id']}"
        front = Front(app.safelight, works=False, console=router)  # with the pages, over the same services
        paged = httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://test", timeout=60)
        asked = [
            (200, client.get("/images")),
            (201, client.post("/albums", json={"title": "a"})),
            (204, client.delete(f"/albums/{(await client.post('/albums', json={'title': 'b'})).json()['id']}")),
            (400, client.get("/images", params={"sort": "position"})),
            (401, client.get("/images", headers={"authorization": ""})),
            (404, client.get("/nowhere")),
            (405, client.delete("/images")),
            (413, client.post("/albums", content=b"x" * 300_000)),
            (415, client.post("/images", content=b"x")),
            (400, client.post("/albums", json=[])),
            (422, client.post("/images", files={"file": ("a.jpg", jpeg()[:300])})),
            (200, client.get("/health/live")),
            (200, client.get("/metrics")),
            (200, client.get("/openapi.json")),
            (200, client.get("/.well-known/jwks.json")),
            (200, client.get(f"/images/{image['id']}/original")),
            (206, client.get(f"/images/{image['id']}/original", headers={"range": "bytes=0-9"})),
            (416, client.get(f"/images/{image['id']}/original", headers={"range": "bytes=99999999-"})),
            (204, client.options("/tus/")),
            (412, client.post("/tus/")),
            (204, client.options("/images", headers={"origin": "https://shop.example", **PREFLIGHT})),
            (403, client.options("/images", headers={"origin": "https://evil.example", **PREFLIGHT})),
            (200, client.get(picture)),
            (200, client.head(picture)),
            (206, client.get(picture, headers={"range": "bytes=0-9"})),
            (206, client.get(picture, headers={"range": "bytes=0-9,20-29"})),
            (304, client.get(picture, headers={"if-none-match": etag})),
            (412, client.get(picture, headers={"if-match": '"x"'})),
            (416, client.get(picture, headers={"range": "bytes=99999999-"})),
            (405, client.post(picture)),
            (400, client.get(f"/i/{image['id']}/w=x.jpg")),
            (403, client.get(f"/i/{image['id']}/w=9.jpg")),
            (404, client.get("/i/nothing/medium.webp")),
            (404, client.get("/imgproxy/x/plain/y")),
            (404, client.get("/thumbor/x/y")),
            (303, client.get(iiif)),
            (200, client.get(f"{iiif}/info.json")),
            (200, client.get(f"{iiif}/full/40,/0/default.jpg")),
            (204, client.options(f"{iiif}/info.json")),
            (200, paged.get("/")),
            (200, paged.get("/docs")),
            *[(None, client.post("/auth/sign-in", json={})) for _ in range(6)],
            (429, client.post("/auth/sign-in", json={})),
        ]
        wrong = {}
        for index, (status, asking) in enumerate(asked):
            answer = await asking
            headers, is_problem = answer.headers, answer.status_code >= 400 and answer.request.method != "HEAD"
            holds = {
                f"{answer.status_code} for {status}": status in (None, answer.status_code),
                "type": headers.get_list("x-content-type-options") == ["nosniff"],
                "referrer": headers.get_list("referrer-policy") == ["no-referrer"],
                "policy": len(headers.get_list("content-security-policy")) == 1
                and "'none'" in headers["content-security-policy"],
                "transport": headers.get_list("strict-transport-security") == ["max-age=31536000"],
                "tells of us": not {"set-cookie", "server", "x-powered-by"} & headers.keys(),
                "problem": not is_problem or headers["content-type"] == "application/problem+json",
            }
            if not all(holds.values()):
                wrong[f"{index}: {answer.request.method} {answer.request.url}"] = [
                    what for what, does in holds.items() if not does
                ]
        assert wrong == {}

        await app.safelight.catalog.close()
        gone = await client.get("/images")
        assert gone.status_code == 503
        assert gone.headers["x-content-type-options"] == "nosniff"
        await paged.aclose()
