"""What is kept elsewhere: every backend that the settings name, asked as the start would reach it, but told nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from safelight.cli.doctor.check import Check, Checks, State
from safelight.errors import SafelightError, Unavailable
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.wiring import Backend, Look

DEADLINE_S: Final = 5.0
"""Of one backend; all are asked at the same time."""


def backends(chosen: Settings) -> Checks:
    """One finding each. Of an error that is not ours only the name is told: its words may repeat an address with its password."""
    yield from asyncio.run(_asked(chosen))


async def _asked(chosen: Settings) -> list[Check]:
    from safelight import wiring

    # All before any is asked: importing a driver takes a moment, in which no answer could be heard.
    prepared = [(each, _prepared(each)) for each in wiring.backends(chosen)]
    return await asyncio.gather(*(_seen(each, look) for each, look in prepared if look is not None))


def _prepared(backend: Backend) -> Look | Check | None:
    if backend.look is None:
        return None
    try:
        return backend.look()
    except Exception as error:  # noqa: BLE001 (one that cannot be asked does not keep the others from it)
        return _refused(backend, error)


async def _seen(backend: Backend, look: Look | Check) -> Check:
    if isinstance(look, Check):
        return look
    try:
        async with asyncio.timeout(DEADLINE_S):
            seen = await look()
    except Exception as error:  # noqa: BLE001 (as above)
        return _refused(backend, error)
    return Check(backend.name, "warning" if seen.mend else "ok", seen.found, seen.mend)


def _refused(backend: Backend, error: Exception) -> Check:
    mend = f"Start it, or correct {backend.setting}."
    state: State = "failed"
    match error:
        case TimeoutError():
            found = f"no answer within {DEADLINE_S:g} seconds"
        case SafelightError(detail=detail):
            found, _, told = detail.partition(". ")
            mend = told or mend
        case _:
            found = f"could not be asked: {type(error).__name__}"
    if backend.can_wait and isinstance(error, TimeoutError | Unavailable):
        state = "warning"
    return Check(backend.name, state, found.rstrip("."), mend)
