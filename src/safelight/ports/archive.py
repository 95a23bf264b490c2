"""Archive: all that a bucket or a catalog holds, as it lies there, for whoever tidies it or carries it elsewhere.

`Archive` is kept by adapters.storage beside Storage, `Tables` by adapters.catalog; checked by testing.contracts.archive. Services
that answer requests know neither: here nothing is hidden and no tenant is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from safelight.ports.storage import Body, Storage, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One version or delete marker of a key, by what a listing tells."""

    version: str
    size_bytes: int
    modified_at: datetime
    """When the store says that it came to lie there; `Stored.modified_at` may be earlier, for one that was carried here."""
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class Pile:
    """A key with everything under it, the oldest first, which is the order in which it can be built again."""

    key: str
    layers: tuple[Layer, ...]


class Archive(Storage, Protocol):
    """A bucket from behind the counter: keys that a delete marker hides are seen, and time stands still."""

    async def piles(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Pile]:
        """Whole piles by key, from behind `after`: at most `limit`, and at least one unless there is none."""
        ...

    async def lay(self, stored: Stored, body: Body) -> Stored:
        """Put this on top as it was: media type, metadata and time, or a marker (whose time is the store's own, where it keeps one).

        Only its version id is new. What it returns holds the SHA-256 of the bytes that came.
        """
        ...


Row = Mapping[str, Any]
"""A row by the names of its columns: text, whole numbers, booleans, bytes, JSON documents. Secrets in it are open."""


class Tables(Protocol):
    """A catalog as rows. Every table has a primary key that sorts by code point, wherever it is kept."""

    @property
    def names(self) -> Sequence[str]:
        """The tables, each behind those that it refers to."""
        ...

    async def open(self) -> None:
        """Connect. Raises BackendUnavailable, WrongState when the schema is not the one this release needs."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def read(self, table: str, *, after: Row | None = None, limit: int = 500) -> list[Row]:
        """Rows by primary key, from behind the one of `after`."""
        ...

    async def last(self, table: str) -> Row | None:
        """The row with the highest primary key; None in an empty table."""
        ...

    async def write(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows, all or none; secrets are sealed with this catalog's own key. Raises AlreadyExists, Missing for a parent."""
        ...

    async def clear(self) -> None:
        """Remove every row of every table."""
        ...

    async def filling(self) -> str | None:
        """Who is filling this catalog and has not finished; None when nobody is."""
        ...

    async def set_filling(self, by: str | None) -> None:
        """Say who, or that it is done. In between, a Catalog does not open on it: half an installation must not serve."""
        ...


class Moments(Tables, Protocol):
    """Tables that can stand still while others go on writing."""

    def moment(self) -> AbstractAsyncContextManager[None]:
        """Whatever is read inside was so at one moment, which is when the block begins."""
        ...
