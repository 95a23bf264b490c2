"""Passwords at work: hashed and checked in threads, a few at a time, and refused when they are easily guessed.

Argon2 takes its memory and a core for as long as it takes; the gate bounds both, and who finds no place to wait is told to come
back. The event loop never waits for a hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from safelight.concurrency import Gate
from safelight.errors import BadField, WeakPassword
from safelight.passwords import LONGEST, SHORTEST, Breached, Hasher, strength

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Passwords:
    """`min_strength`: least score of zxcvbn, 0 to 4. `breached`: a list of leaked passwords, if there is one."""

    hasher: Hasher
    gate: Gate
    min_strength: int
    breached: Breached | None = None

    async def in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do this in one of the places for hashing: what it looks up first is at most a place's time old. Raises Busy."""
        async with self.gate.admit(1):
            return await work()

    async def hash(self, password: str) -> str:
        """What to keep of it. Raises Busy."""
        async with self.gate.admit(1):
            return await asyncio.to_thread(self.hasher.hash, password)

    async def matches(self, kept: str, password: str) -> bool:
        """Whether it is the one; to be called in turn. The same work for an empty `kept`."""
        if len(password) > LONGEST:
            password = ""
        return await asyncio.to_thread(self.hasher.matches, kept, password)

    async def require_good(self, password: str, about: Sequence[str] = ()) -> None:
        """Return, or refuse. Raises BadField for a length out of range, WeakPassword with advice."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise BadField(f"A password has {SHORTEST} to {LONGEST} characters.", field="password")
        async with self.gate.admit(1):
            score, advice = await asyncio.to_thread(strength, password, about)
            if score < self.min_strength:
                raise WeakPassword(f"The password is too easy to guess. {advice}".strip(), score=score)
            if self.breached is not None and await asyncio.to_thread(self._is_breached, password):
                raise WeakPassword("The password is in a list of leaked ones.", score=score)

    def _is_breached(self, password: str) -> bool:
        assert self.breached is not None
        try:
            return self.breached.contains(password)
        except (OSError, ValueError):
            # A list that cannot be read is the operator's trouble: it must not keep people from changing a leaked password.
            log.exception("passwords.breached_list_unreadable")
            return False
