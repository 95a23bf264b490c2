"""More requests than can be worked on: the rest is refused at once, properly, and nobody is kept out by who only waits or listens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from tests.pictures import jpeg

from safelight.api.admission import Admission
from safelight.api.app import Front

MOST = 8


def scope(path, *, method="GET", headers=()):
    return {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "server": ("test", 80), "client": ("10.0.0.1", 1), "headers": list(headers), "http_version": "1.1"}  # fmt: skip


async def never(*_):
    await asyncio.Event().wait()


@asynccontextmanager
async def full(running, monkeypatch):
    """As many requests as may be worked on, and all of them stuck in the catalog."""
    inside, may_go = asyncio.Semaphore(0), asyncio.Event()
    page = type(running.safelight.library).page

    async def stuck(*args):
        inside.release()
        await may_go.wait()
        return await page(*args)

    monkeypatch.setattr(type(running.safelight.library), "page", stuck)
    asked = [asyncio.ensure_future(running.client.get("/images")) for _ in range(MOST)]
    async with asyncio.timeout(60):
        for _ in asked:
            await inside.acquire()
    yield asked
    may_go.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_more_requests_than_places_are_refused_before_anything_is_done(run, monkeypatch):
    async with run({"server": {"max_requests": MOST}}) as running:
        async with full(running, monkeypatch):
            refused = await running.client.get("/images", headers={"authorization": "Bearer nonsense"})
            upload = await running.client.post("/images", files={"file": jpeg()})

            for answer in (refused, upload):
                assert (answer.status_code, answer.json()["code"]) == (503, "busy")
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.headers["x-content-type-options"] == "nosniff"
            assert (await running.client.get("/health/ready")).status_code == 200
            assert 'safelight_refusals_total{code="busy"} 2.0' in (await running.client.get("/metrics")).text
        found = await running.client.get("/images")

        assert (found.status_code, found.json()["images"]) == (200, [])


async def test_who_waits_for_its_client_takes_no_place(run):
    async with run({"server": {"max_requests": MOST}}) as running:
        front: Front = running.client._transport.app
        headers = [(b"authorization", f"Bearer {running.token}".encode()), (b"content-type", b"multipart/form-data; boundary=x")]
        started = asyncio.Semaphore(0)

        async def slow_body():
            started.release()
            await never()

        slow = []
        async with asyncio.timeout(60):
            for _ in range(2 * MOST):
                slow.append(asyncio.ensure_future(front(scope("/images", method="POST", headers=headers), slow_body, never)))
                await started.acquire()
        assert (await running.client.get("/images")).status_code == 200
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_who_reads_its_answer_slowly_takes_no_place(run):
    async with run({"server": {"max_requests": MOST}}) as running:
        front: Front = running.client._transport.app
        image = (await running.client.post("/images", files={"file": jpeg()})).json()["id"]
        headers = [(b"authorization", f"Bearer {running.token}".encode())]
        started = asyncio.Semaphore(0)

        async def slow_send(message):
            if message["type"] == "http.response.body":
                started.release()
                await never()

        paths = [f"/images/{image}/original", f"/images/{image}/events"] * MOST
        slow = []
        async with asyncio.timeout(60):
            for path in paths:
                slow.append(asyncio.ensure_future(front(scope(path, headers=headers), never, slow_send)))
                await started.acquire()
        assert (await running.client.get("/images")).status_code == 200
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_places_are_free_again_after_refusals_and_hangups(run, monkeypatch):
    async with run({"server": {"max_requests": MOST}}) as running:
        front: Front = running.client._transport.app
        headers = [(b"authorization", f"Bearer {running.token}".encode())]
        refused = {(await running.client.get("/images/none")).status_code for _ in range(2 * MOST)}
        entered, page = asyncio.Semaphore(0), type(running.safelight.library).page

        async def stuck(*_):
            entered.release()
            await never()

        monkeypatch.setattr(type(running.safelight.library), "page", stuck)
        gone = [asyncio.ensure_future(front(scope("/images", headers=headers), never, never)) for _ in range(MOST)]
        async with asyncio.timeout(60):
            for _ in gone:
                await entered.acquire()
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        monkeypatch.setattr(type(running.safelight.library), "page", page)

        assert refused == {404}
        assert (await running.client.get("/images")).status_code == 200


async def test_an_upload_that_could_not_be_developed_while_it_waits_is_answered_at_once(run):
    async with run({"develop": {"waiting": 1, "waiting_per_tenant": 1}, "ingest": {"wait_s": 3600}}) as running:
        with running.safelight.library.waiting.take("another tenant") as has_place:
            assert has_place
            answer = await running.client.post("/images", files={"file": jpeg()})
            assert (answer.status_code, answer.json()["status"]) == (202, "developing")
        assert (await running.client.post("/images", files={"file": jpeg(seed=2)})).status_code == 201


async def test_who_still_sends_is_heard_out_before_the_refusal_but_not_for_ever(run, monkeypatch):
    async with run({"server": {"max_requests": MOST}}) as running:
        guard = Admission(never, running.safelight.instruments, most=0)
        asked = scope("/images", method="POST", headers=((b"content-length", b"9"),))
        for pieces, heard in (([b"abc", b"def", b"ghi"], 3), ([b"abc"] * 2, 3), ([b"x" * 2**20] * 40, 16)):
            monkeypatch.setattr("safelight.api.admission.LINGER_S", 0.2 if len(pieces) == 2 else 60.0)
            messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
            if len(pieces) == 3:
                messages[-1]["more_body"] = False
            came, sent = [], []

            async def receive(messages=messages, came=came):
                came.append(None)
                if not messages:
                    await never()
                return messages.pop(0)

            async def send(message, sent=sent):
                sent.append(message)

            async with asyncio.timeout(60):
                await guard(dict(asked), receive, send)

            assert len(came) == heard
            assert sent[0]["status"] == 503
