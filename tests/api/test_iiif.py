"""IIIF over HTTP: who sees what, what `info.json` says and keeps, headers, and what is stored of it."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage


async def uploaded(app, *, visibility="public", size=(900, 600), **fields) -> str:
    answer = await app.client.post("/images", files={"file": jpeg(*size)}, data={"visibility": visibility})
    assert answer.status_code == 201, answer.text
    id = answer.json()["id"]
    if fields:
        assert (await app.client.patch(f"/images/{id}", json=fields)).status_code == 200
    return id


def kinds():
    return {"originals": MemoryStorage(), "renditions": MemoryStorage()}


class Stranger:
    """The same client without its key."""

    def __init__(self, app) -> None:
        self._client = app.client

    async def get(self, url: str, **headers: str):
        request = self._client.build_request("GET", url, headers=headers)
        if "authorization" not in headers:
            del request.headers["authorization"]
        return await self._client.send(request)


async def test_who_may_see_a_picture_may_see_all_of_it(run):
    async with run(**kinds()) as app:
        stranger = Stranger(app)
        for visibility in ("public", "unlisted", "private"):
            id = await uploaded(app, visibility=visibility)
            for path in ("info.json", "full/300,/0/default.jpg", "0,0,512,512/512,512/0/default.jpg"):
                for version in ("2", "3"):
                    theirs = await stranger.get(f"/iiif/{version}/{id}/{path}")
                    mine = await app.client.get(f"/iiif/{version}/{id}/{path}")
                    assert theirs.status_code == (404 if visibility == "private" else 200), (visibility, path)
                    assert mine.status_code == 200
                    assert mine.headers["access-control-allow-origin"] == theirs.headers["access-control-allow-origin"] == "*"
                    reach = "public" if visibility == "public" else "private"
                    assert mine.headers["cache-control"] == f"{reach}, max-age=60"


async def test_a_wrong_key_is_refused_and_another_users_is_a_strangers(run):
    async with run(**kinds()) as app:
        id = await uploaded(app, visibility="private")
        stranger = Stranger(app)
        wrong = await stranger.get(f"/iiif/3/{id}/info.json", authorization="Bearer sl_nobody_knows")
        assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")
        basic = await stranger.get(f"/iiif/3/{id}/info.json", authorization="Basic eDp5")
        assert basic.status_code == 401
        made = await app.client.post("/admin/users", json={"name": "other", "role": "user"})
        assert made.status_code == 201, made.text
        other = (
            await app.client.post("/admin/api-keys", json={"user": made.json()["id"], "name": "k", "scopes": ["read"]})
        ).json()["token"]
        theirs = await stranger.get(f"/iiif/3/{id}/info.json", authorization=f"Bearer {other}")
        assert theirs.status_code == 404


async def test_what_is_trashed_or_unknown_is_not_there(run):
    async with run(**kinds()) as app:
        id = await uploaded(app)
        assert (await app.client.get(f"/iiif/3/{id}/info.json")).status_code == 200
        assert (await app.client.delete(f"/images/{id}")).status_code in {200, 204}
        for path in (f"/iiif/3/{id}/info.json", f"/iiif/3/{id}/full/max/0/default.jpg", f"/iiif/3/{'0' * 26}/info.json"):
            answer = await app.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_info_json_3_says_what_is_true(run):
    async with run(**kinds()) as app:
        rights = "https://creativecommons.org/licenses/by/4.0/"
        id = await uploaded(app, custom={"rights": rights})
        answer = await app.client.get(f"/iiif/3/{id}/info.json")
        said = answer.json()

        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept"
        assert said == {
            "@context": "http://iiif.io/api/image/3/context.json",
            "id": f"http://test/iiif/3/{id}",
            "type": "ImageService3",
            "protocol": "http://iiif.io/api/image",
            "profile": "level2",
            "width": 900,
            "height": 600,
            "maxWidth": 4096,
            "maxHeight": 4096,
            "maxArea": 4096 * 4096,
            "sizes": [{"width": w, "height": h} for w, h in ((450, 300), (900, 600))],
            "tiles": [{"width": 512, "height": 512, "scaleFactors": [1, 2]}],
            "extraFormats": ["webp"],
            "extraQualities": ["color", "gray", "bitonal"],
            "extraFeatures": ["canonicalLinkHeader", "mirroring", "profileLinkHeader", "sizeUpscaling"],
            "rights": rights,
        }
        again = await app.client.get(f"/iiif/3/{id}/info.json", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304


async def test_info_json_2_says_the_same_in_its_words(run):
    async with run(**kinds()) as app:
        id = await uploaded(app, custom={"rights": "all mine"})
        said = (await app.client.get(f"/iiif/2/{id}/info.json")).json()

        assert (said["@id"], said["width"], said["height"]) == (f"http://test/iiif/2/{id}", 900, 600)
        assert said["profile"][0] == "http://iiif.io/api/image/2/level2.json"
        assert {"regionSquare", "sizeAboveFull", "mirroring"} <= set(said["profile"][1]["supports"])
        assert "license" not in said, "no address of a licence"


async def test_json_ld_is_for_who_asks_for_it(run):
    async with run(**kinds()) as app:
        id = await uploaded(app)
        for accept, expected in (
            ("application/ld+json", 'application/ld+json;profile="http://iiif.io/api/image/3/context.json"'),
            (
                'application/ld+json;profile="http://iiif.io/api/image/3/context.json"',
                'application/ld+json;profile="http://iiif.io/api/image/3/context.json"',
            ),
            ("text/html, application/ld+json;q=0.5", 'application/ld+json;profile="http://iiif.io/api/image/3/context.json"'),
            ("application/json", "application/json"),
            ("*/*", "application/json"),
        ):
            answer = await app.client.get(f"/iiif/3/{id}/info.json", headers={"accept": accept})
            assert answer.headers["content-type"] == expected


async def test_the_base_address_leads_to_info_json_and_escapes_are_read(run):
    async with run({"server": {"public_url": "https://images.example"}}, **kinds()) as app:
        id = await uploaded(app)
        escaped = f"%{ord(id[0]):02X}{id[1:]}"
        for base in (f"/iiif/3/{id}", f"/iiif/3/{id}/", f"/iiif/3/{escaped}"):
            answer = await app.client.get(base)
            assert (answer.status_code, answer.headers["location"]) == (303, f"https://images.example/iiif/3/{id}/info.json")
        assert (await app.client.get(f"/iiif/3/{escaped}/info.json")).json()["id"] == f"https://images.example/iiif/3/{id}"
        picture = await app.client.get(f"/iiif/3/{escaped}/pct:0,0,100,100/450,/0/d%65fault.jpg")
        canonical = f"https://images.example/iiif/3/{id}/full/450,300/0/default.jpg"
        assert picture.headers["link"] == f'<{canonical}>;rel="canonical", <http://iiif.io/api/image/3/level2.json>;rel="profile"'
        for path in (
            "/iiif/",
            "/iiif/3",
            "/iiif/3/",
            "/iiif/4/x/info.json",
            f"/iiif/3/{id}/info.xml",
            f"/iiif/3/a%2Fb/{id}/full/max/0/default.jpg",
            "/iiif/3/a%2Fb/full/max/0/default.jpg",
            "/iiif/albums",
            "/iiif/3/é/info.json",
        ):
            assert (await app.client.get(path)).status_code == 404, path


async def test_pixels_lie_where_they_were_asked(run):
    async with run(**kinds()) as app:
        id = await uploaded(app)
        whole = Image.open(io.BytesIO((await app.client.get(f"/iiif/3/{id}/full/max/0/default.png")).content))
        for text, expected in {
            "100,50,300,200/max/0": whole.crop((100, 50, 400, 250)),
            "100,50,300,200/max/90": whole.crop((100, 50, 400, 250)).transpose(Image.Transpose.ROTATE_270),
            "100,50,300,200/max/!90": whole.crop((100, 50, 400, 250))
            .transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            .transpose(Image.Transpose.ROTATE_270),
            "square/max/!270": whole.crop((150, 0, 750, 600))
            .transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            .transpose(Image.Transpose.ROTATE_90),
        }.items():
            answer = await app.client.get(f"/iiif/3/{id}/{text}/default.png")
            made = Image.open(io.BytesIO(answer.content))
            assert (made.size, made.tobytes()) == (expected.size, expected.convert(made.mode).tobytes()), text
        bitonal = Image.open(io.BytesIO((await app.client.get(f"/iiif/3/{id}/full/max/0/bitonal.png")).content))
        assert {value for _, value in bitonal.convert("L").getcolors()} == {0, 255}
        assert Image.open(io.BytesIO((await app.client.get(f"/iiif/3/{id}/full/max/0/gray.jpg")).content)).mode == "L"


async def test_only_what_info_json_names_is_stored(run):
    renditions = MemoryStorage()
    async with run(originals=MemoryStorage(), renditions=renditions) as app:
        id = await uploaded(app)
        before = len(await renditions.scan(""))
        for n in range(8):
            assert (await app.client.get(f"/iiif/3/{id}/{n},0,100,100/max/0/default.jpg")).status_code == 200
            assert (await app.client.get(f"/iiif/3/{id}/full/{20 + n},/0/default.png")).status_code == 200
        assert len(await renditions.scan("")) == before

        for path in ("full/450,300/0/default.jpg", "0,0,512,512/512,512/0/default.jpg", "512,512,388,88/388,88/0/default.webp"):
            assert (await app.client.get(f"/iiif/3/{id}/{path}")).status_code == 200
        assert len(await renditions.scan("")) == before + 3


@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("0,0,0,0/max/0/default.jpg", "region"),
        ("900,0,1,1/max/0/default.jpg", "region"),
        ("full/full/0/default.jpg", "size"),
        ("full/901,/0/default.jpg", "size"),
        ("full/max/45/default.jpg", "rotation"),
        ("full/max/0/grey.jpg", "quality"),
        ("full/max/0/default.tif", "format"),
        ("full/max/0/%FF.jpg", "quality"),
        ("full/max/0/default.jpg?x=1", "query"),
    ],
)
async def test_what_is_wrong_is_a_problem_that_names_the_part(run, path, option):
    async with run(**kinds()) as app:
        id = await uploaded(app)
        answer = await app.client.get(f"/iiif/3/{id}/{path}")

        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert (answer.json()["code"], answer.json()["option"]) == ("bad_option", option)
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_page_may_ask_with_a_key(run):
    async with run(**kinds()) as app:
        answer = await app.client.options("/iiif/3/x/info.json", headers={"access-control-request-headers": "authorization"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        assert (await app.client.post("/iiif/3/x/info.json")).status_code == 405


async def test_it_can_be_switched_off(run):
    async with run({"iiif": {"enabled": False}}, **kinds()) as app:
        id = await uploaded(app)
        for path in (f"/iiif/3/{id}", f"/iiif/3/{id}/info.json", f"/iiif/3/{id}/full/max/0/default.jpg"):
            assert (await app.client.get(path)).status_code == 404
