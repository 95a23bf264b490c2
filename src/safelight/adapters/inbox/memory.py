"""MemoryInbox: a queue in this process, for tests of whoever listens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from safelight.errors import BackendUnavailable
from safelight.ports.inbox import Message


@dataclass(slots=True)
class _Letter:
    body: str
    visible_at: float
    times: int = 0
    receipt: str = ""


class MemoryInbox:
    """Keeps Inbox. After `most` receipts a message is put into `dead`."""

    def __init__(self, *, hidden_s: float = 30.0, most: int | None = None, now: Callable[[], float] | None = None) -> None:
        self.hidden_s: Final = hidden_s
        self.dead: list[str] = []
        self._most = most
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._letters: list[_Letter] = []
        self._receipts = itertools.count()
        self._is_open = False

    @property
    def has_dead_letters(self) -> bool:
        """See Inbox.has_dead_letters."""
        return self._most is not None

    async def open(self) -> None:
        """There is nothing to connect to."""
        self._is_open = True

    async def close(self) -> None:
        """Messages stay."""
        self._is_open = False

    async def ping(self) -> None:
        """Whether it is open."""
        if not self._is_open:
            raise BackendUnavailable("The queue is closed.")

    async def send(self, body: str) -> None:
        """What another system does."""
        self._letters.append(_Letter(body, self._now()))

    async def receive(self, *, wait_s: float = 20.0) -> list[Message]:
        """See Inbox.receive."""
        await self.ping()
        ends = self._now() + wait_s
        while True:
            self._bury()
            ready = [letter for letter in self._letters if letter.visible_at <= self._now()][:10]
            if ready or self._now() >= ends or not self._is_open:
                break
            await asyncio.sleep(0.01)
        for letter in ready:
            letter.times += 1
            letter.visible_at = self._now() + self.hidden_s
            letter.receipt = str(next(self._receipts))
        return [Message(letter.receipt, letter.body, letter.times) for letter in ready]

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Inbox.extend."""
        await self.ping()
        for letter in self._of(messages):
            letter.visible_at = self._now() + self.hidden_s

    async def done(self, messages: Sequence[Message]) -> None:
        """See Inbox.done."""
        await self.ping()
        for letter in self._of(messages):
            self._letters.remove(letter)

    async def give_back(self, message: Message, *, after_s: float) -> None:
        """See Inbox.give_back."""
        await self.ping()
        for letter in self._of([message]):
            letter.visible_at = self._now() + after_s

    def _of(self, messages: Sequence[Message]) -> list[_Letter]:
        receipts = {message.receipt for message in messages}
        return [letter for letter in self._letters if letter.receipt in receipts]

    def _bury(self) -> None:
        for letter in [one for one in self._letters if self._most is not None and one.times >= self._most]:
            if letter.visible_at <= self._now():
                self._letters.remove(letter)
                self.dead.append(letter.body)
