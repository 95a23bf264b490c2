"""What the listener does with a queue's messages: done, tried again, put aside, kept hidden for as long as they take."""

from __future__ import annotations

import asyncio
import json
import time

from tests.api.test_uploads import PICTURE, announce, keep

from safelight.adapters.inbox.memory import MemoryInbox
from safelight.adapters.storage.incoming import EmbeddedIncoming
from safelight.errors import BackendUnavailable

FOREIGN = json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "x"}}}]})


async def until(is_so):
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_what_means_nothing_here_is_done_and_what_means_nothing_at_all_is_put_aside(run):
    inbox = MemoryInbox(most=3)
    async with run(inbox=inbox):
        for body in (FOREIGN, "no JSON", "[" * 100_000, "{}", '{"Event": "s3:TestEvent"}'):
            await inbox.send(body)
        await until(lambda: len(inbox.dead) == 3)

        assert sorted(inbox.dead, key=len) == ["{}", "no JSON", "[" * 100_000]
        await until(lambda: not inbox._letters)


async def test_without_dead_letters_nonsense_does_not_come_for_ever(run):
    inbox = MemoryInbox()
    async with run(inbox=inbox):
        await inbox.send("no JSON")
        await until(lambda: not inbox._letters)


async def test_what_fails_for_our_reasons_is_tried_again(run, monkeypatch):
    inbox = MemoryInbox()
    tried = []
    opening = EmbeddedIncoming.open

    async def sometimes(self, upload):
        tried.append(upload.id)
        if len(tried) < 3:
            raise BackendUnavailable
        return await opening(self, upload)

    monkeypatch.setattr(EmbeddedIncoming, "open", sometimes)
    monkeypatch.setattr(EmbeddedIncoming, "key_of", lambda self, bucket, name: name)
    async with run(inbox=inbox) as app:
        offer = await announce(app)
        await keep(app.safelight.reception, offer)
        key = offer["fields"]["key"]
        await inbox.send(
            json.dumps(
                {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": key}}}
            )
        )
        await until(lambda: not inbox._letters)

        assert len(tried) == 3
        assert (await app.client.get(f"/uploads/{offer['id']}")).json()["state"] == "accepted"
        assert (await app.client.get("/images")).json()["images"][0]["bytes"] == len(PICTURE)


async def test_a_message_that_takes_long_stays_hidden_until_it_is_done(run, monkeypatch):
    inbox = MemoryInbox(hidden_s=3)
    beats, finish = [], asyncio.Event()
    extending = MemoryInbox.extend

    async def counted(self, messages):
        beats.append(len(messages))
        await extending(self, messages)

    async def slow(document):
        await finish.wait()
        return {}

    monkeypatch.setattr(MemoryInbox, "extend", counted)
    async with run(inbox=inbox) as app:
        monkeypatch.setattr(type(app.safelight.store_events), "hear", lambda self, document: slow(document))
        await inbox.send(FOREIGN)
        await until(lambda: len(beats) >= 2)
        finish.set()
        await until(lambda: not inbox._letters)

        assert set(beats) == {1}
