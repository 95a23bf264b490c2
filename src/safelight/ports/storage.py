"""Storage: bytes by key, versioned. Kept by adapters.storage; checked by testing.contracts.storage.

One Storage is one bucket. Keys are '/'-separated text, tenant first; they never become paths of a file system.
Every method may be repeated. A backend that does not answer raises BackendUnavailable, never a driver's exception.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

Body = bytes | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One version of an object. `size_bytes` and `etag` (hex SHA-256, unquoted) describe the plain bytes."""

    key: str
    version: str
    size_bytes: int
    etag: str
    media_type: str
    modified_at: datetime
    metadata: Mapping[str, str]
    is_latest: bool = True
    is_marker: bool = False
    """A delete marker: no bytes, hides the versions below it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object being read: what it is, and its bytes in order. Leaving the iteration early releases everything."""

    stored: Stored
    chunks: AsyncIterator[bytes]


class Storage(Protocol):
    """Every key holds a pile of versions; plain reads see the top one, and nothing when that is a delete marker."""

    async def put(
        self,
        key: str,
        body: Body,
        *,
        media_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        is_durable: bool = True,
    ) -> Stored:
        """A new version on top, visible only when whole and safe on disk. A body that raises leaves nothing behind.

        `if_absent` raises AlreadyExists when the key has a readable version; of many racers one wins.
        `is_durable=False` may skip fsync, for bytes that can be made again.
        Raises BadRequest for a key that is empty, longer than 900 bytes, starts or ends with '/', or has '//', '..' or NUL.
        """
        ...

    async def get(self, key: str, *, version: str | None = None) -> bytes:
        """The whole object. Raises Missing, DamagedObject when it is not what was put."""
        ...

    async def open(self, key: str, *, start: int = 0, end: int | None = None, version: str | None = None) -> Opened:
        """The bytes [start, end) in chunks of at most 256 KiB, clipped to the object.

        Raises Missing; DamagedObject, perhaps on the way, when all are read and are not what was put.
        """
        ...

    async def stat(self, key: str, *, version: str | None = None) -> Stored:
        """What is there, without its bytes. Raises Missing."""
        ...

    async def delete(self, key: str, *, version: str | None = None) -> None:
        """A delete marker on top; with a version, that version is gone for good. Missing keys are fine."""
        ...

    async def restore(self, key: str, *, version: str | None = None) -> Stored:
        """Take the delete marker off the top; with a version, put a copy of it on top. Raises Missing."""
        ...

    async def versions(self, key: str) -> list[Stored]:
        """All versions and markers, newest first; empty when there are none."""
        ...

    async def scan(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """Readable objects whose key starts with the prefix, by key, from behind `after`. Also serves as a ping."""
        ...

    async def purge(self, prefix: str) -> int:
        """Remove every version and marker under the prefix for good; how many there were. 'a/a/' leaves 'a/aaa/a' alone."""
        ...
