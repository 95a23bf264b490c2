"""Rounds: long chores that are due once in days, by whichever process comes first. What they note of themselves is in the store.

A note is a small object beside the renditions, so that every process of the installation, and the next after a restart, goes on
where the last one was. Losing one costs a round that is made too early, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from safelight.errors import DamagedObject, Missing
from safelight.ports.storage import Storage

SETTLED: Final = timedelta(minutes=30)
"""How long a process has been up before it makes a round: one that is started again and again makes none."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is noted, and what is due."""

    store: Storage
    clock: Callable[[], datetime]
    started_at: datetime

    async def is_due(self, name: str, every: timedelta) -> bool:
        """Whether the round should be begun now; who is told so has it noted as begun."""
        now = self.clock()
        if now - self.started_at < SETTLED:
            return False
        note = await self.read(name)
        if "began_at" in note and now - datetime.fromisoformat(note["began_at"]) < every:
            return False
        await self.write(name, {"began_at": now.isoformat()})
        return True

    async def read(self, name: str) -> dict[str, Any]:
        """The note of this name; empty without one."""
        try:
            note = orjson.loads(await self.store.get(_key(name)))
        except (Missing, DamagedObject, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    async def write(self, name: str, note: Mapping[str, Any]) -> None:
        """It, in the place of the one before."""
        stored = await self.store.put(_key(name), orjson.dumps(dict(note)), media_type="application/json")
        for old in await self.store.versions(_key(name)):
            if old.version != stored.version:
                await self.store.delete(_key(name), version=old.version)


def _key(name: str) -> str:
    return f"care/{name}.json"
