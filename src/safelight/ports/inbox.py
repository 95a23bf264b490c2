"""Inbox: a queue in which another system leaves messages. Kept by adapters.inbox; checked by testing.contracts.inbox.

A received message is hidden for `hidden_s` seconds and then comes again, unless it is done: at least once, in any order. Whoever
needs longer extends it. A queue that does not answer raises BackendUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One receipt of a message. `times` counts its receipts, this one among them."""

    receipt: str
    body: str
    times: int = 1


class Inbox(Protocol):
    """One queue, read by any number of processes."""

    @property
    def hidden_s(self) -> float:
        """How long a received message stays hidden from everybody else."""
        ...

    @property
    def has_dead_letters(self) -> bool:
        """Whether the queue itself puts aside what has come too often. Known from `open` on."""
        ...

    async def open(self) -> None:
        """Connect. Raises WrongState for a queue that is not there or not for us, BackendUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of it; who is receiving gets nothing any more."""
        ...

    async def ping(self) -> None:
        """Ask it something small. Raises BackendUnavailable."""
        ...

    async def receive(self, *, wait_s: float = 20.0) -> list[Message]:
        """At most ten messages, as soon as there are any; none after that time."""
        ...

    async def extend(self, messages: Sequence[Message]) -> None:
        """Hide them for another `hidden_s` from now. Those that are done, or came again meanwhile, are fine."""
        ...

    async def done(self, messages: Sequence[Message]) -> None:
        """They never come again. Repeating it is fine."""
        ...

    async def give_back(self, message: Message, *, after_s: float) -> None:
        """It comes again after that time."""
        ...
