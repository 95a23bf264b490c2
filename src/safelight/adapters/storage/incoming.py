"""EmbeddedIncoming: the Incoming port where no store takes presigned URLs. Safelight answers them itself, into a bucket of its own.

Over any Storage: the embedded store, or memory in tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from safelight.adapters.storage import _pieces
from safelight.domain.tickets import Ticket, sealed, unsealed
from safelight.domain.uploads import Method, Piece, Upload
from safelight.errors import BadRequest, BadSignature, TooManyBytes
from safelight.ports.incoming import Offer
from safelight.ports.storage import Body, Opened, Storage, Stored

PATH: Final = "/incoming/"


class EmbeddedIncoming:
    """Keeps Incoming and Reception. The first secret seals, all of them are believed."""

    def __init__(self, bucket: Storage, *, secrets: Sequence[bytes]) -> None:
        self._bucket = bucket
        self._secrets = tuple(secrets)

    async def offer(self, upload: Upload, *, max_bytes: int) -> Offer:
        """See Incoming.offer. The conditions are in the URL, so that they are checked before the body is read."""
        size = upload.size_bytes
        ticket = Ticket(
            tenant=upload.tenant,
            upload=upload.id,
            method=upload.method,
            exp=int(upload.expires_at.timestamp()),
            media_type=upload.media_type,
            min_bytes=1 if size is None else size,
            max_bytes=max_bytes if size is None else size,
        )
        policy, signature = sealed(ticket, self._secrets[0])
        is_form = upload.method is Method.POST
        said = {"Content-Type": upload.media_type}
        return Offer(
            method="POST" if is_form else "PUT",
            url=f"{PATH}{upload.id}?{urlencode({'policy': policy, 'signature': signature})}",
            fields={"key": upload.key, **said} if is_form else {},
            headers={} if is_form else said,
            expires_at=upload.expires_at,
        )

    async def append(self, upload: Upload, body: Body) -> Piece:
        """See Incoming.append."""
        return await _pieces.appended(self._bucket, upload, body)

    async def drop(self, pieces: Sequence[Piece]) -> None:
        """See Incoming.drop."""
        await _pieces.dropped(self._bucket, pieces)

    async def open(self, upload: Upload) -> Opened:
        """See Incoming.open. The version that is being read is never changed, only removed."""
        if upload.method is Method.TUS:
            return await _pieces.opened(self._bucket, upload)
        return await self._bucket.open(upload.key, version=upload.source_version or None)

    async def promote(self, upload: Upload, stored: Stored, key: str, *, media_type: str, sha256: str) -> bool:
        """See Incoming.promote. Reading it once more would cost what writing it from the spool does not."""
        return False

    async def discard(self, upload: Upload) -> None:
        """See Incoming.discard."""
        if upload.source:
            await self._bucket.delete(upload.key, version=upload.source_version)
        else:
            await self._bucket.purge(upload.key)

    async def scan(self, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """See Incoming.scan."""
        return await self._bucket.scan("incoming/", after=after, limit=limit)

    def key_of(self, bucket: str, name: str) -> str | None:
        """There is no store that would speak of its objects."""
        return None

    def admit(self, policy: str, signature: str, *, now: datetime) -> Ticket:
        """See Reception.admit."""
        return unsealed(policy, signature, self._secrets, now=now)

    async def keep(self, ticket: Ticket, body: AsyncIterable[bytes], *, media_type: str) -> None:
        """See Reception.keep."""
        if media_type != ticket.media_type:
            raise BadSignature("Content-Type is not the one that was signed.")
        await self._bucket.put(f"incoming/{ticket.tenant}/{ticket.upload}", _measured(body, ticket), media_type=media_type)


async def _measured(body: AsyncIterable[bytes], ticket: Ticket) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > ticket.max_bytes:
            raise TooManyBytes(f"The file has more than {ticket.max_bytes} bytes.", limit=ticket.max_bytes)
        yield chunk
    if size < ticket.min_bytes:
        raise BadRequest(f"The file has less than {ticket.min_bytes} bytes.")
