"""A door without a handle: relays events, runs flows (through the engine), keeps the clock. In `serve`, and alone as `worker`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from safelight.wiring import Safelight

log = structlog.get_logger()


async def _keep_time(name: str, every_s: float, chore: Callable[[], Awaitable[object]]) -> None:
    await asyncio.sleep(min(every_s, 60.0) * random.random())  # noqa: S311 (spreads replicas, guards nothing)
    while True:
        try:
            await chore()
        except Exception:
            log.exception("chore.failed", chore=name)
        await asyncio.sleep(every_s)


async def _listen(name: str, listen: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await listen()
        except Exception:
            log.exception("listener.failed", listener=name)
        await asyncio.sleep(1.0)


async def _tidy(safelight: Safelight, before: datetime) -> None:
    try:
        await safelight.upkeep.sweep_orphans(before=before)
    except Exception:
        log.exception("chore.failed", chore="sweep_orphans")


@asynccontextmanager
async def working(safelight: Safelight, *, is_alone: bool = False) -> AsyncIterator[None]:
    """Relay and keep the clock for as long as the block lasts.

    `is_alone`: no other process takes pictures in, so that whatever has no row by now is a crash's and can go at once.
    """
    tasks = [asyncio.create_task(safelight.relay.run(), name="relay")]
    if is_alone:
        tasks.append(asyncio.create_task(_tidy(safelight, datetime.now(UTC)), name="tidy"))
    tasks += [asyncio.create_task(_keep_time(name, every_s, chore), name=name) for name, every_s, chore in safelight.chores]
    tasks += [asyncio.create_task(_listen(name, listen), name=name) for name, listen in safelight.listening]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def work(safelight: Safelight, tell: Callable[[str], None]) -> None:
    """Take part in the work until SIGINT or SIGTERM, then finish what is in flight; `tell` hears `started` and `stopped`."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await safelight.open()
    try:
        async with working(safelight):
            log.info("worker.started")
            tell("started")
            await stopped.wait()
    finally:
        await safelight.close()
        log.info("worker.stopped")
        tell("stopped")
