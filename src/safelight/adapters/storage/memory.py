"""Memory storage: objects in a dictionary, gone with the process. For tests and experiments; one event loop, no limit on size.

What it promises is in ports.storage; it keeps the same contract as the durable adapters, so that a test on it says something.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from safelight.adapters.storage._names import check_key
from safelight.errors import AlreadyExists, Missing
from safelight.ports.archive import Layer, Pile
from safelight.ports.storage import Body, Opened, Stored

CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Version:
    stored: Stored
    data: bytes


class MemoryStorage:
    """One bucket; keeps the promises of Storage and Archive. Nothing is awaited between a check and its change."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._piles: dict[str, list[_Version]] = {}
        self._numbers = itertools.count(1)

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
        """See Storage.put."""
        check_key(key)
        data = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        if if_absent and self._readable_top(key) is not None:
            raise AlreadyExists("An object with this key already exists.")
        stored = Stored(
            key=key,
            version=self._new_version(),
            size_bytes=len(data),
            etag=hashlib.sha256(data).hexdigest(),
            media_type=media_type,
            modified_at=self._clock(),
            metadata=dict(metadata or {}),
        )
        self._piles.setdefault(key, []).append(_Version(stored, data))
        return stored

    async def get(self, key: str, *, version: str | None = None) -> bytes:
        """See Storage.get."""
        return self._find(key, version).data

    async def open(self, key: str, *, start: int = 0, end: int | None = None, version: str | None = None) -> Opened:
        """See Storage.open."""
        found = self._find(key, version)
        size = found.stored.size_bytes
        data = found.data[min(max(start, 0), size) : size if end is None else min(max(end, 0), size)]
        return Opened(self._seen(found), _chunks(data))

    async def stat(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.stat."""
        return self._seen(self._find(key, version))

    async def delete(self, key: str, *, version: str | None = None) -> None:
        """See Storage.delete. Repeated deletes are one delete, and a key that never was gets no marker."""
        if version is not None:
            self._keep(key, [each for each in self._piles.get(key, []) if each.stored.version != version])
        elif self._readable_top(key) is not None:
            marker = Stored(
                key=key,
                version=self._new_version(),
                size_bytes=0,
                etag="",
                media_type="",
                modified_at=self._clock(),
                metadata={},
                is_marker=True,
            )
            self._piles[key].append(_Version(marker, b""))

    async def restore(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.restore."""
        if version is not None:
            found = self._find(key, version)
            stored = replace(found.stored, version=self._new_version(), modified_at=self._clock())
            self._piles[key].append(_Version(stored, found.data))
            return stored
        pile = self._piles.get(key, [])
        readable = [number for number, each in enumerate(pile) if not each.stored.is_marker]
        if not readable:
            raise Missing
        self._keep(key, pile[: readable[-1] + 1])
        return await self.stat(key)

    async def versions(self, key: str) -> list[Stored]:
        """See Storage.versions."""
        return [self._seen(each) for each in reversed(self._piles.get(key, []))]

    async def scan(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """See Storage.scan."""
        keys = sorted(key for key in self._piles if key.startswith(prefix) and key > after)
        tops = (self._readable_top(key) for key in keys)
        return [self._seen(top) for top in itertools.islice((top for top in tops if top is not None), max(0, limit))]

    async def purge(self, prefix: str) -> int:
        """See Storage.purge."""
        return sum(len(self._piles.pop(key)) for key in [key for key in self._piles if key.startswith(prefix)])

    async def piles(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Pile]:
        """See Archive.piles."""
        keys = sorted(key for key in self._piles if key.startswith(prefix) and key > after)[: max(0, limit)]
        return [Pile(key, tuple(_layer(each.stored) for each in self._piles[key])) for key in keys]

    async def lay(self, stored: Stored, body: Body) -> Stored:
        """See Archive.lay."""
        check_key(stored.key)
        data = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        etag = "" if stored.is_marker else hashlib.sha256(data).hexdigest()
        laid = replace(stored, version=self._new_version(), size_bytes=len(data), etag=etag, is_latest=True)
        self._piles.setdefault(stored.key, []).append(_Version(laid, data))
        return laid

    def _new_version(self) -> str:
        return f"{next(self._numbers):032x}"

    def _keep(self, key: str, pile: list[_Version]) -> None:
        self._piles.pop(key, None)
        if pile:
            self._piles[key] = pile

    def _readable_top(self, key: str) -> _Version | None:
        pile = self._piles.get(key)
        return None if not pile or pile[-1].stored.is_marker else pile[-1]

    def _find(self, key: str, version: str | None) -> _Version:
        if version is None:
            found = self._readable_top(key)
        else:
            pile = self._piles.get(key, [])
            found = next((each for each in pile if each.stored.version == version and not each.stored.is_marker), None)
        if found is None:
            raise Missing
        return found

    def _seen(self, version: _Version) -> Stored:
        return replace(version.stored, is_latest=version is self._piles[version.stored.key][-1])


def _layer(stored: Stored) -> Layer:
    return Layer(version=stored.version, size_bytes=stored.size_bytes, modified_at=stored.modified_at, is_marker=stored.is_marker)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
