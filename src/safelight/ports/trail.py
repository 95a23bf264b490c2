"""TrailRecords: one chain of the audit trail, inside a catalog's transaction. Kept by adapters.catalog; checked by testing.contracts.trail.

`Records.trail` is the tenant's chain, `Directory.trail` the installation's. Entries are appended unsealed, so that writers do not
wait for each other; who seals says which head it has seen, and is refused when that is no longer the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safelight.domain.audit import Entry, Head, Sealed, TrailQuery


class TrailRecords(Protocol):
    """Knows no rule: what is appended is kept, what is sealed was chained by who seals."""

    async def append(self, entry: Entry) -> None:
        """An unsealed entry. Raises AlreadyExists for its id, Forbidden for an entry of another chain."""
        ...

    async def unsealed(self, limit: int) -> list[Entry]:
        """The oldest, by id."""
        ...

    async def head(self) -> Head:
        """Where the chain ends; `audit.new_head` for one that has not begun."""
        ...

    async def seal(self, sealed: Sequence[Sealed], head: Head, *, was: Head) -> None:
        """Put these in their places, unsealed before or not, and set the head; at most SEALED_AT_ONCE. Raises Stale."""
        ...

    async def page(self, query: TrailQuery) -> list[Sealed]:
        """Sealed ones behind the pruned, newest first unless asked otherwise. Raises TooBroad where too many are passed over."""
        ...

    async def forget_origins(self, actors: Sequence[str], limit: int) -> int:
        """Take the origins off entries of these actors, sealed or not; of how many, at most `limit`."""
        ...

    async def drop_pruned(self, limit: int) -> int:
        """Remove entries up to where the head says that the chain was pruned; how many, at most `limit`."""
        ...
