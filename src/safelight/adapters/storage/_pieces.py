"""Uploads that come in pieces, over any bucket: each piece is an object beside the upload's key, and the row says which count.

A piece is written whole or not at all and never changes, so that what a crash or a slower sender leaves behind is only garbage:
below the upload's key, where discarding the upload finds it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence

from safelight.domain.uploads import Piece, Upload
from safelight.errors import Missing
from safelight.ports.storage import Body, Opened, Storage, Stored


async def appended(bucket: Storage, upload: Upload, body: Body) -> Piece:
    """See Incoming.append."""
    name = f"{upload.key}.{secrets.token_hex(8)}"
    stored = await bucket.put(name, body, media_type="application/octet-stream")
    return Piece(name, stored.size_bytes)


async def dropped(bucket: Storage, pieces: Sequence[Piece]) -> None:
    """See Incoming.drop."""
    for piece in pieces:
        await bucket.purge(piece.name)


async def opened(bucket: Storage, upload: Upload) -> Opened:
    """The pieces that the row names, one behind the other. Raises Missing without any."""
    if not upload.pieces:
        raise Missing
    first = await bucket.open(upload.pieces[0].name)
    stored = Stored(
        key=upload.key,
        version=upload.pieces[-1].name,
        size_bytes=sum(piece.size_bytes for piece in upload.pieces),
        etag="",
        media_type=upload.media_type,
        modified_at=upload.updated_at,
        metadata={},
    )
    return Opened(stored, _joined(bucket, first, upload.pieces[1:]))


async def _joined(bucket: Storage, first: Opened, rest: Sequence[Piece]) -> AsyncIterator[bytes]:
    async for chunk in first.chunks:
        yield chunk
    for piece in rest:
        async for chunk in (await bucket.open(piece.name)).chunks:
            yield chunk
