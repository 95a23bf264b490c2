"""Whether the client is still there. Called by the hot door: a hit is answered long before anybody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

LOOK_AFTER_S: Final = 0.02
"""Whoever is answered sooner costs no more than a timer that never rings."""


class ClientGone(Exception):
    """Nobody is left to answer."""


@asynccontextmanager
async def while_there(receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """The block, cancelled when the client of this ASGI request disconnects. Raises ClientGone."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watching: asyncio.Task[None] | None = None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    def look() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    timer = loop.call_later(LOOK_AFTER_S, look)
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone or task.uncancel():
            raise
        raise ClientGone from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()
