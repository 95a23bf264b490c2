"""One chain of the audit trail in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from safelight.adapters.catalog.rows import entry_columns, entry_of, sealed_of
from safelight.adapters.catalog.tables import trail, trail_heads
from safelight.adapters.catalog.transactions import Transaction, reading, writing
from safelight.domain.audit import Checkpoint, Entry, Head, Sealed, TrailQuery, new_head
from safelight.domain.queries import micros
from safelight.errors import Forbidden, Stale

_mine: Final = trail.c.chain == bindparam("old_chain")
_APPEND: Final = insert(trail)
_UNSEALED: Final = select(trail).where(_mine, trail.c.number.is_(None)).order_by(trail.c.id).limit(bindparam("limit"))
_HEAD: Final = select(trail_heads).where(trail_heads.c.chain == bindparam("old_chain"))
_BEGIN: Final = insert(trail_heads)
_MOVE: Final = update(trail_heads).where(
    trail_heads.c.chain == bindparam("old_chain"),
    trail_heads.c.number == bindparam("old_number"),
    trail_heads.c.pruned_number == bindparam("old_pruned_number"),
)
_PLACE: Final = (
    update(trail)
    .where(_mine, trail.c.id == bindparam("old_id"), trail.c.number.is_(None))
    .values(number=bindparam("new_number"), hash=bindparam("new_hash"))
)


@dataclass(frozen=True, slots=True)
class SqlTrail:
    """Keeps TrailRecords."""

    transaction: Transaction
    chain: str

    @writing
    def append(self, entry: Entry) -> None:
        """A row without a number. No savepoint: ids are new, and every writer passes here."""
        self._insert(entry)

    @reading
    def unsealed(self, limit: int) -> list[Entry]:
        """Along ix_trail_number: unsealed rows lie together there."""
        rows: Any = self.transaction.connection.execute(_UNSEALED, {"old_chain": self.chain, "limit": limit}).mappings()
        return [entry_of(row) for row in rows]

    @reading
    def head(self) -> Head:
        """The chain's row."""
        return self._head()

    @writing
    def seal(self, sealed: Sequence[Sealed], head: Head, *, was: Head) -> None:
        """The head first: of two who seal at once, the other one waits for its row and then finds it moved."""
        columns = {
            "number": head.last.number,
            "hash": head.last.hash,
            "pruned_number": head.pruned.number,
            "pruned_hash": head.pruned.hash,
        }
        old = {"old_chain": self.chain, "old_number": was.last.number, "old_pruned_number": was.pruned.number}
        connection = self.transaction.connection
        if connection.execute(_MOVE, columns | old).rowcount != 1:
            if was != new_head(self.chain) or self._head() != was:
                raise Stale
            try:
                with self.transaction.attempt():
                    connection.execute(_BEGIN, columns | {"chain": self.chain})
            except IntegrityError:
                raise Stale from None
        for one in sealed:
            place = {"old_chain": self.chain, "old_id": one.entry.id, "new_number": one.number, "new_hash": one.hash}
            if connection.execute(_PLACE, place).rowcount != 1:
                self._insert(one.entry, number=one.number, hash=one.hash)

    @reading
    def page(self, query: TrailQuery) -> list[Sealed]:
        """Along ix_trail_actor, ix_trail_object or ix_trail_number."""
        number = trail.c.number
        wanted = select(trail).where(trail.c.chain == self.chain, number > self._head().pruned.number)
        if query.after is not None:
            wanted = wanted.where(number > query.after if query.is_oldest_first else number < query.after)
        if query.actors is not None:
            wanted = wanted.where(trail.c.actor.in_(sorted(query.actors)))
        if query.action is not None and query.action.endswith(".*"):
            wanted = wanted.where(trail.c.action >= query.action[:-1], trail.c.action < query.action[:-2] + "/")
        elif query.action is not None:
            wanted = wanted.where(trail.c.action == query.action)
        if query.objects is not None:
            wanted = wanted.where(trail.c.object.in_(query.objects))
        if query.result is not None:
            wanted = wanted.where(trail.c.result == query.result)
        if query.since is not None:
            wanted = wanted.where(trail.c.at >= micros(query.since))
        if query.until is not None:
            wanted = wanted.where(trail.c.at < micros(query.until))
        wanted = wanted.order_by(number if query.is_oldest_first else number.desc()).limit(query.limit)
        rows: Any = self.transaction.connection.execute(wanted).mappings()
        return [sealed_of(row) for row in rows]

    @writing
    def forget_origins(self, actors: Sequence[str], limit: int) -> int:
        """Along ix_trail_actor."""
        some = (
            select(trail.c.id)
            .where(trail.c.chain == self.chain, trail.c.actor.in_(list(actors)), trail.c.origin.is_not(null()))
            .limit(limit)
        )
        ids = [row.id for row in self.transaction.connection.execute(some)]
        if ids:
            forget = update(trail).where(trail.c.chain == self.chain, trail.c.id.in_(ids)).values(origin=null())
            self.transaction.connection.execute(forget)
        return len(ids)

    @writing
    def drop_pruned(self, limit: int) -> int:
        """Along ix_trail_number."""
        mine = trail.c.chain == self.chain
        some = select(trail.c.id).where(mine, trail.c.number <= self._head().pruned.number).order_by(trail.c.number).limit(limit)
        ids = [row.id for row in self.transaction.connection.execute(some)]
        if ids:
            self.transaction.connection.execute(delete(trail).where(mine, trail.c.id.in_(ids)))
        return len(ids)

    def _head(self) -> Head:
        row: Mapping[str, Any] | None
        row = self.transaction.connection.execute(_HEAD, {"old_chain": self.chain}).mappings().first()  # type: ignore[assignment]  # of a row by names
        if row is None:
            return new_head(self.chain)
        return Head(Checkpoint(row["number"], row["hash"]), Checkpoint(row["pruned_number"], row["pruned_hash"]))

    def _insert(self, entry: Entry, **place: Any) -> None:
        if entry.chain != self.chain:
            raise Forbidden("The entry belongs to another chain.")
        self.transaction.connection.execute(_APPEND, {"number": None, "hash": None, **entry_columns(entry), **place})
