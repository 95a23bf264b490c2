"""Incoming: bytes on their way in, which are no image yet. Kept by adapters.storage; checked by testing.contracts.incoming.

An offer is a URL that takes one file under the conditions of its upload, and nothing else. What was sent is an object below
`incoming/` of the originals bucket, or of a bucket of its own in the embedded store, until it is promoted or discarded.
Whoever has the URL may send again until it expires: what was opened is therefore one version, and only that one is promoted.
An upload of Method.TUS has no offer: its bytes are appended, and its record names the pieces that count.
A store that does not answer raises BackendUnavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from safelight.domain.tickets import Ticket
from safelight.domain.uploads import Piece, Upload
from safelight.ports.storage import Body, Opened, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How to send the file: POST a form of these fields with the file as the last one, `file`, or PUT it with these headers.

    `url` is a path when Safelight answers it itself. It is a secret until it expires.
    """

    method: Literal["POST", "PUT"]
    url: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    expires_at: datetime


class Incoming(Protocol):
    """The store's side of an upload."""

    async def offer(self, upload: Upload, *, max_bytes: int) -> Offer:
        """The right to send this upload's file: of its size when that is known, else of 1 to `max_bytes` bytes, of its type.

        The store itself refuses another size, another type, another key, a changed policy and whoever comes too late.
        """
        ...

    async def append(self, upload: Upload, body: Body) -> Piece:
        """Store the body beside what has come; it is safe on disk when this returns, and counts once the record names it.

        A body that raises leaves nothing behind.
        """
        ...

    async def drop(self, pieces: Sequence[Piece]) -> None:
        """Pieces that do not count are gone for good; fine when they are."""
        ...

    async def open(self, upload: Upload) -> Opened:
        """The newest version of what was sent, its pieces in order, or the one that was found. Raises Missing.

        What is sent meanwhile changes nothing of it.
        """
        ...

    async def promote(self, upload: Upload, stored: Stored, key: str, *, media_type: str, sha256: str) -> bool:
        """Whether the store has copied that version to a key of the originals by itself, as Storage.put would have written it.

        False where it cannot, and nothing is done: who asks has the bytes in hand. Raises Missing when the version is gone.
        """
        ...

    async def discard(self, upload: Upload) -> None:
        """Every version of what was sent, or the one that was found, is gone for good; fine when there is nothing."""
        ...

    async def scan(self, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """What lies below `incoming/`, by key, from behind `after`."""
        ...

    def key_of(self, bucket: str, name: str) -> str | None:
        """Our key of an object that the store speaks of; None when it is not in our bucket, or cannot be ours."""
        ...


class Reception(Protocol):
    """What an Incoming can do whose URLs are answered by Safelight itself."""

    def admit(self, policy: str, signature: str, *, now: datetime) -> Ticket:
        """The ticket that a URL carries. Raises BadSignature, ExpiredSignature."""
        ...

    async def keep(self, ticket: Ticket, body: AsyncIterable[bytes], *, media_type: str) -> None:
        """Store what was sent; a body that raises leaves nothing behind.

        Raises BadSignature for another type, TooManyBytes as soon as it is too long, BadRequest when it ends too early.
        """
        ...
