"""What every inbox must do, sentence by sentence of ports.inbox.

Inherit and give `inbox`, open, that hides for two seconds and keeps dead letters after three receipts; `send`, which puts a text
into it; and `dead`, which gives what has been put aside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from safelight.errors import BackendUnavailable
from safelight.ports.inbox import Inbox, Message

Send = Callable[[str], Awaitable[None]]
Dead = Callable[[], Awaitable[list[str]]]
PATIENCE_S = 60.0


async def some(inbox: Inbox) -> list[Message]:
    """The next messages, however slow the machine is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if messages := await inbox.receive(wait_s=1):
            return messages
    raise AssertionError("nothing came")


class InboxContract:
    async def test_what_was_sent_comes_and_is_gone_when_it_is_done(self, inbox: Inbox, send: Send) -> None:
        await send("Grüße {}")
        messages = await some(inbox)

        assert [(message.body, message.times) for message in messages] == [("Grüße {}", 1)]
        await inbox.done(messages)
        await inbox.done(messages)
        assert await inbox.receive(wait_s=3) == []

    async def test_what_is_not_done_comes_again_and_is_counted(self, inbox: Inbox, send: Send) -> None:
        await send("a")
        first = await some(inbox)
        again = await some(inbox)

        assert [(message.body, message.times) for message in first + again] == [("a", 1), ("a", 2)]
        await inbox.done(again)

    async def test_what_is_given_back_comes_again_at_once(self, inbox: Inbox, send: Send) -> None:
        await send("a")
        [message] = await some(inbox)
        await inbox.give_back(message, after_s=0)

        [again] = await inbox.receive(wait_s=1)
        assert (again.body, again.times) == ("a", 2)
        await inbox.done([again])

    async def test_what_is_extended_stays_hidden(self, inbox: Inbox, send: Send) -> None:
        await send("a")
        messages = await some(inbox)
        seen: list[Message] = []
        for _ in range(6):
            await inbox.extend(messages)
            seen += await inbox.receive(wait_s=0)
            await asyncio.sleep(0.5)
        # A machine that stood still for two seconds may have let it come again; what counts is that it mostly did not.
        assert len(seen) <= 1
        await inbox.done(messages + seen)

    async def test_no_message_is_given_to_two_at_once(self, inbox: Inbox, send: Send) -> None:
        for n in range(25):
            await send(str(n))
        found: list[str] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(set(found)) < 25 and time.monotonic() < deadline:
            for messages in await asyncio.gather(inbox.receive(wait_s=1), inbox.receive(wait_s=1)):
                assert len(messages) <= 10
                await inbox.done(messages)
                found += [message.body for message in messages]

        assert sorted(set(found), key=int) == [str(n) for n in range(25)]

    async def test_what_comes_too_often_is_put_aside(self, inbox: Inbox, send: Send, dead: Dead) -> None:
        assert inbox.has_dead_letters
        await send("poison")
        for _ in range(3):
            [message] = await some(inbox)
            await inbox.give_back(message, after_s=0)
        assert await inbox.receive(wait_s=1) == []

        assert await dead() == ["poison"]

    async def test_a_closed_inbox_is_unavailable(self, inbox: Inbox) -> None:
        await inbox.ping()
        await inbox.close()
        await inbox.close()

        message = Message("r", "b")
        for call in (inbox.ping(), inbox.receive(wait_s=0), inbox.done([message]), inbox.extend([message])):
            with pytest.raises(BackendUnavailable):
                await call
        await inbox.open()
        await inbox.ping()
