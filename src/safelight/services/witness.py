"""Witness: what the request at hand knows of who asks, for the audit trail. The door sets it; who writes the trail reads it.

A context variable, since no service should have to hand it on. Outside of a request (a step of a flow, the clock) there is none.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from safelight.domain.accounts import Actor
from safelight.domain.audit import Origin

AGENT: Final = 200
"""Characters of a user agent that are kept."""


@dataclass(slots=True)
class Witness:
    """One request."""

    address: str = ""
    agent: str = ""
    actor: Actor | None = None
    written: int = 0
    """Entries that its transactions have left."""

    def origin(self) -> Origin:
        """Where it came from."""
        agent = "".join(c for c in self.agent if c.isprintable() and c.isascii())[:AGENT]
        key, session = (self.actor.key, self.actor.session) if self.actor else (None, None)
        return Origin(address=self.address[:64], agent=agent, key=key or "", session=session or "")


AT_HAND: Final[ContextVar[Witness | None]] = ContextVar("witness", default=None)
