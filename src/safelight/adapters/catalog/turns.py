"""Turns: so many at a time, first come first served, from whichever event loop. Not a lock on anything by itself.

The API and the workflow engine await in different event loops, so an asyncio lock (bound to one loop) does not do.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import Final

from safelight.errors import BackendUnavailable


class Turns:
    """`count` places. Every `take` that returns is followed by one `give`."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: Final[deque[Future[None]]] = deque()
        self._lock: Final = threading.Lock()

    async def take(self, *, timeout_s: float) -> None:
        """Wait for a place. Raises BackendUnavailable when none comes free in that time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            waiter: Future[None] = Future()
            self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wrap_future(waiter)
        except BaseException as error:
            # A place may have been handed over in the very moment of giving up: pass it on.
            if not waiter.cancel():
                self.give()
            if isinstance(error, TimeoutError):
                raise BackendUnavailable("The catalog is too busy to answer.") from None
            raise

    def give(self) -> None:
        """Hand the place to whoever has waited longest."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                waiter = self._waiting.popleft()
            try:
                waiter.set_result(None)
            except InvalidStateError:  # it gave up waiting
                continue
            return
