"""The hot door as HTTP sees it: ranges, HEAD, timing, hints, and a client who goes away."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.golden.samples import decoded, encoded, scene

from safelight.imaging.transform.hints import RATIOS, WITHOUT, Hints


async def signed(app, transform: str, data: bytes | None = None) -> str:
    picture = data or encoded(scene(1200, 900), "JPEG")
    made = (await app.client.post("/images", files={"file": ("a.jpg", picture)})).json()
    return (await app.client.post(f"/images/{made['id']}/urls", json={"transforms": [transform]})).json()["urls"][0]


async def test_ranges_of_every_kind(run):
    async with run() as app:
        url = await signed(app, "w=200.jpg")
        whole = await app.client.get(url)
        body, etag = whole.content, whole.headers["etag"]

        async def get(method: str = "GET", **headers: str):
            return await app.client.request(
                method, url, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )

        one = await get(range="bytes=10-19")
        assert (one.status_code, one.content, one.headers["content-range"]) == (206, body[10:20], f"bytes 10-19/{len(body)}")
        several = await get(range="bytes=0-9,20-29,-5")
        kind, _, boundary = several.headers["content-type"].partition("; boundary=")
        parts = several.content.split(b"--" + boundary.encode())
        assert kind == "multipart/byteranges"
        assert [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]] == [
            body[:10],
            body[20:30],
            body[-5:],
        ]
        assert boundary != (await get(range="bytes=0-9,20-29")).headers["content-type"].partition("; boundary=")[2]
        assert (await get(range=f"bytes={','.join(['0-'] * 5)}")).status_code == 200, "overlapping: the whole is less"
        assert (await get(range=f"bytes={','.join(f'{n}-{n}' for n in range(40))}")).status_code == 200, "too many"
        assert (await get(range=f"bytes={len(body)}-")).status_code == 416
        assert (await get(range="bytes=0-9", if_range=etag)).status_code == 206
        assert (await get(range="bytes=0-9", if_range='"another"')).status_code == 200
        assert (await get(range="bytes=0-9", if_none_match=etag)).status_code == 304
        head = await get("HEAD", range="bytes=0-9")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(body)), b"")


async def test_timing_is_told_to_whoever_embeds_the_picture(run):
    async with run() as app:
        url = await signed(app, "w=200.jpg")
        first, second = await app.client.get(url), await app.client.get(url)

        assert first.headers["server-timing"].startswith("rendered;dur=")
        assert second.headers["server-timing"].startswith("memory;dur=")
        assert second.headers["timing-allow-origin"] == "*"


async def test_the_browser_decides_what_the_url_leaves_to_it_and_nothing_else_varies(run):
    async with run() as app:
        url = await signed(app, "h=3000,w=auto.webp")

        async def width(**hints: str) -> int:
            answer = await app.client.get(url, headers={name.replace("_", "-"): value for name, value in hints.items()})
            assert answer.headers["vary"] == "Sec-CH-Width"
            return decoded(answer.content).width

        assert await width(sec_ch_width="301") == 320
        assert await width() == 1200
        assert await width(sec_ch_width="nonsense") == 1200
        ratio = await signed(app, "dpr=auto,w=100.auto", encoded(scene(800, 600), "JPEG"))
        for dpr, save, wide in (("1.9", "off", 200), ("3", "on", 100), ("9", "", 300), ("", "", 100)):
            answer = await app.client.get(ratio, headers={"sec-ch-dpr": dpr, "save-data": save})
            assert decoded(answer.content).width == wide
            assert answer.headers["vary"] == "Sec-CH-DPR, Save-Data, Accept"
        plain = await app.client.get(
            await signed(app, "w=100.webp", encoded(scene(500, 400), "JPEG")), headers={"sec-ch-dpr": "3"}
        )
        assert "vary" not in plain.headers


@pytest.mark.parametrize("text", ("", "nan", "-1", "1e9", "0", "９", "1" * 400, "on", "2;q=1"))
def test_a_hint_that_makes_no_sense_was_not_given(text):
    assert Hints(dpr=text).ratio in RATIOS
    assert Hints(width=text).pixels in {WITHOUT} or text == ""


async def test_a_client_who_goes_away_ends_the_work(run, monkeypatch):
    """The door is asked as a server asks it, since httpx never hangs up."""
    async with run() as app:
        url = urlsplit(await signed(app, "w=220.avif"))
        started, ended, going = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(*_args: object, **_options: object) -> bytes:
            started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.set()
                raise
            return b""

        monkeypatch.setattr(type(app.safelight.delivery.renderer), "transform", slow)
        sent: list[object] = []
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, object]:
            if messages:
                return messages.pop()
            await going.wait()
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": url.path,
            "query_string": url.query.encode(),
            "headers": [],
            "client": None,
        }
        door = asyncio.create_task(app.client._transport.app(scope, receive, send))
        async with asyncio.timeout(60):
            await started.wait()
            going.set()
            await door
            await ended.wait()

        assert not sent
        assert "safelight_deliveries_abandoned_total 1.0" in (await app.client.get("/metrics")).text
        monkeypatch.undo()
        assert (await app.client.get(url.geturl())).status_code == 200


async def test_a_transform_that_takes_too_long_is_refused(run):
    async with run({"delivery": {"render_s": 0.000001}}) as app:
        for transform in ("w=200.webp", "fit=contain,icc=keep,pg=1,w=150.webp"):
            answer = await app.client.get(await signed(app, transform, encoded(scene(900, 700), "PNG")))

            assert (answer.status_code, answer.json()["code"]) == (422, "decode_budget_exceeded")


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


REPEATED = "memory;dur=0.0"


def lasting(answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in ("cache-control", "server-timing")}


async def openly(app, method: str, url: str, **headers: str):
    """As anybody, without a key."""
    request = app.client.build_request(method, url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    del request.headers["authorization"]
    return await app.client.send(request)


@pytest.mark.parametrize("kind", ["signed", "left to the browser", "iiif"])
async def test_an_answer_that_is_repeated_says_what_the_first_one_said(run, kind):
    async with run() as app:
        url = await signed(app, "w=200.auto" if kind == "left to the browser" else "w=200.jpg")
        id = urlsplit(url).path.split("/")[2]
        if kind == "iiif":
            await app.client.patch(f"/images/{id}", json={"visibility": "public"})
            url = f"/iiif/3/{id}/full/200,/0/default.jpg"
        accept = {"accept": "image/webp"}
        decided, repeated = [await openly(app, "GET", url, **accept) for _ in range(2)]

        assert decided.status_code == 200
        assert (repeated.headers["server-timing"], repeated.content) == (REPEATED, decided.content)
        assert lasting(repeated) == lasting(decided)
        if "max-age=60" not in decided.headers["cache-control"]:
            ages = [int(re.search(r"max-age=(\d+)", answer.headers["cache-control"])[1]) for answer in (decided, repeated)]
            assert 0 <= ages[0] - ages[1] <= 60, "nobody may keep it past the end of its signature"
        unchanged = await openly(app, "GET", url, if_none_match=repeated.headers["etag"], **accept)
        assert (unchanged.status_code, unchanged.content, unchanged.headers["server-timing"]) == (304, b"", REPEATED)
        part = await openly(app, "GET", url, range="bytes=5-9", **accept)
        assert (part.status_code, part.content, part.headers["server-timing"]) == (206, decided.content[5:10], REPEATED)
        head = await openly(app, "HEAD", url, range="bytes=5-9", **accept)
        assert (head.status_code, head.content, head.headers["server-timing"]) == (200, b"", REPEATED)
        assert lasting(head) == lasting(decided)


async def test_an_answer_is_repeated_only_to_who_can_show_the_same(run):
    async with run() as app:
        url = await signed(app, "w=auto,dpr=auto.auto")
        clients = [
            {"accept": accept, "sec-ch-dpr": dpr, "sec-ch-width": width}
            for accept in ("image/webp", "*/*")
            for dpr in ("1", "2")
            for width in ("200", "400")
        ]
        told = [await openly(app, "GET", url, **client) for client in clients * 2]
        first, second = told[: len(clients)], told[len(clients) :]

        assert {answer.headers["vary"] for answer in told} == {"Sec-CH-DPR, Save-Data, Sec-CH-Width, Accept"}
        assert {answer.headers["server-timing"] for answer in second} == {REPEATED}
        assert [answer.content for answer in second] == [answer.content for answer in first]
        types = [answer.headers["content-type"] for answer in first]
        assert types == ["image/webp"] * 4 + ["image/jpeg"] * 4
        assert [decoded(answer.content).width for answer in first[:2]] != [decoded(first[0].content).width] * 2
        thrifty = await openly(app, "GET", url, **clients[2], save_data="on")
        assert thrifty.headers["server-timing"] != REPEATED
        long = {"accept": "image/webp," + "x" * 4000}
        assert [(await openly(app, "GET", url, **long)).headers["server-timing"] == REPEATED for _ in range(2)] == [False] * 2


async def test_what_a_reader_sees_is_repeated_to_nobody_else(run):
    async with run() as app:
        id = urlsplit(await signed(app, "w=200.jpg")).path.split("/")[2]
        picture = f"/iiif/3/{id}/full/200,/0/default.jpg"
        assert [(await app.client.get(picture)).status_code for _ in range(3)] == [200] * 3
        assert (await openly(app, "GET", picture)).status_code == 404

        await app.client.patch(f"/images/{id}", json={"visibility": "public"})
        assert [(await openly(app, "GET", picture)).status_code for _ in range(3)] == [200] * 3
        assert (await openly(app, "GET", picture, x_api_key="sl_nobody_knows")).status_code == 401
        await app.client.patch(f"/images/{id}", json={"visibility": "private"})
        assert (await openly(app, "GET", picture)).status_code == 404


async def test_an_answer_is_repeated_no_longer_than_its_signature_holds(run):
    hands = Hands()
    async with run(clock=hands) as app:
        url = await signed(app, "w=200.jpg")
        assert [(await app.client.get(url)).status_code for _ in range(3)] == [200] * 3

        hands.at = datetime.fromtimestamp(int(parse_qs(urlsplit(url).query)["exp"][0]), UTC)
        assert (await app.client.get(url)).json()["code"] == "expired_signature"


async def test_an_answer_is_repeated_to_nobody_with_another_signature_nor_after_the_image_is_gone(run):
    async with run() as app:
        url = await signed(app, "w=200.jpg")
        id = urlsplit(url).path.split("/")[2]
        assert [(await app.client.get(url)).status_code for _ in range(3)] == [200] * 3

        assert (await app.client.get(url[:-2] + ("AA" if url[-2:] != "AA" else "BB"))).status_code == 403
        assert (await app.client.get(url.split("?")[0])).status_code == 404
        assert (await app.client.delete(f"/images/{id}")).status_code in (200, 204)
        assert (await app.client.get(url)).status_code == 404


async def test_answers_that_are_repeated_are_counted_like_all_others(run):
    async with run({"rate": {"delivery_per_s": 0.5}}) as app:
        url = await signed(app, "w=200.jpg")
        codes = [(await app.client.get(url)).status_code for _ in range(40)]
        assert codes[0] == 200
        assert 429 in codes
