"""Upload: a body of any length as one object, hashed before its first byte leaves, so that the object can say what it is.

Up to 8 MiB a body is held in memory and goes in one request. A longer stream is spooled to an unlinked file, then goes as a
multipart upload, four parts at a time; a source that fails has cost the server nothing. Called by bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import structlog

from safelight.adapters.storage.s3.connection import finished, settled
from safelight.errors import AlreadyExists, BackendUnavailable, Missing
from safelight.ports.storage import Body

if TYPE_CHECKING:
    from safelight.adapters.storage.s3.connection import Connection

log = structlog.get_logger(__name__)

PART_BYTES: Final = 8 * 1024 * 1024
"""S3 takes parts from 5 MiB on and at most 10,000 of them: bodies up to 78 GiB."""
PARTS_AT_ONCE: Final = 4
_WRITE_BYTES: Final = 1024 * 1024
_INLINE_HASH_BYTES: Final = 1024 * 1024
"""Hashing this takes less than a millisecond; more is left to a thread."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A body that is here as a whole."""

    size_bytes: int
    sha256: str
    read: Callable[[int, int], Awaitable[bytes]]
    """The bytes [start, end)."""


@contextlib.asynccontextmanager
async def gathered(body: Body, spool_path: Path | None) -> AsyncIterator[Payload]:
    """The body, read to its end. What the body raises passes; a spool that cannot be written raises BackendUnavailable."""
    if isinstance(body, bytes):
        yield await _in_memory(body)
        return
    held = bytearray()
    spool: IO[bytes] | None = None
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in body:
            held += chunk
            if spool is None and len(held) > PART_BYTES:
                with _spooling():
                    spool = await asyncio.to_thread(tempfile.TemporaryFile, dir=spool_path)
            if spool is not None and len(held) >= _WRITE_BYTES:
                piece, held = bytes(held), bytearray()
                size += len(piece)
                with _spooling():
                    await asyncio.to_thread(_append, spool, digest, piece)
        if spool is None:
            yield await _in_memory(bytes(held))
            return
        with _spooling():
            await asyncio.to_thread(_append, spool, digest, bytes(held), is_last=True)
        yield Payload(size + len(held), digest.hexdigest(), _Spool(spool).read)
    finally:
        if spool is not None:
            spool.close()


@dataclass(frozen=True, slots=True)
class _Spool:
    file: IO[bytes]

    async def read(self, start: int, end: int) -> bytes:
        with _spooling():
            return await asyncio.to_thread(os.pread, self.file.fileno(), end - start, start)


async def _in_memory(data: bytes) -> Payload:
    sha256 = await sha256_of(data)

    async def read(start: int, end: int) -> bytes:
        return data[start:end]  # of the whole it is the same object, not a copy

    return Payload(len(data), sha256, read)


async def sha256_of(data: bytes) -> str:
    """In hexadecimal."""
    if len(data) > _INLINE_HASH_BYTES:
        return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    return hashlib.sha256(data).hexdigest()


async def _nothing(_: object) -> None:
    """The abort that follows is what undoes a part."""


def _append(spool: IO[bytes], digest: Any, data: bytes, *, is_last: bool = False) -> None:
    spool.write(data)
    digest.update(data)
    if is_last:
        spool.flush()


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("storage.spool_failed", error=type(error).__name__, reason=str(error))
        raise BackendUnavailable("An upload cannot be spooled.") from error


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart upload to one S3 key. Whatever interrupts it, it is aborted."""

    connection: Connection
    bucket: str
    name: str

    async def send(self, payload: Payload, *, is_new: bool, own: Callable[[], Awaitable[str | None]], **arguments: Any) -> str:
        """The new version. `arguments` are botocore's for the object, `own` tells the version on top when it is this one.

        Raises AlreadyExists when it must be new and is not.
        """
        client = self.connection.client
        address = {"Bucket": self.bucket, "Key": self.name}

        async def create() -> str:
            created = await self.connection.call(
                "create multipart", lambda: client.create_multipart_upload(**address, ChecksumAlgorithm="SHA256", **arguments)
            )
            return str(created["UploadId"])

        upload_id = await settled(create(), self._abort)
        try:
            parts = await self._send_parts(payload, upload_id)
        except BaseException:
            await finished(asyncio.ensure_future(self._abort(upload_id)))
            raise
        condition = {"IfNoneMatch": "*"} if is_new else {}

        async def complete() -> str:
            try:
                completed = await self.connection.call(
                    "complete multipart",
                    lambda: client.complete_multipart_upload(
                        **address, UploadId=upload_id, MultipartUpload={"Parts": parts}, **condition
                    ),
                )
            except (AlreadyExists, Missing):
                # A repeated completion finds its own object in the way, or its upload gone.
                if (version := await own()) is not None:
                    return version
                await self._abort(upload_id)
                raise
            except BaseException:
                await self._abort(upload_id)
                raise
            return str(completed.get("VersionId") or "null")

        async def remove(version: str) -> None:
            await self.connection.call("delete", lambda: client.delete_object(**address, VersionId=version))

        return await settled(complete(), remove)

    async def _send_parts(self, payload: Payload, upload_id: str) -> list[dict[str, Any]]:
        numbers = iter(range(1, -(-payload.size_bytes // PART_BYTES) + 1))
        parts: list[dict[str, Any]] = []

        async def send() -> None:
            for number in numbers:
                data = await payload.read((number - 1) * PART_BYTES, min(number * PART_BYTES, payload.size_bytes))
                # S3 says that a part still on its way when the upload is aborted may stay: so it arrives first, cancelled or not.
                sent = await settled(
                    self.connection.call(
                        "upload part",
                        lambda number=number, data=data: self.connection.client.upload_part(  # type: ignore[misc]
                            Bucket=self.bucket,
                            Key=self.name,
                            UploadId=upload_id,
                            PartNumber=number,
                            Body=data,
                            ChecksumAlgorithm="SHA256",
                        ),
                    ),
                    _nothing,
                )
                part = {"PartNumber": number, "ETag": sent["ETag"]}
                if "ChecksumSHA256" in sent:
                    part["ChecksumSHA256"] = sent["ChecksumSHA256"]
                parts.append(part)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(PARTS_AT_ONCE):
                    tasks.create_task(send())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return sorted(parts, key=lambda part: int(part["PartNumber"]))

    async def _abort(self, upload_id: str) -> None:
        client = self.connection.client
        try:
            await self.connection.call(
                "abort multipart",
                lambda: client.abort_multipart_upload(Bucket=self.bucket, Key=self.name, UploadId=upload_id),
            )
        except Exception as error:  # noqa: BLE001 (the caller is raising what matters; the bucket's lifecycle removes the parts)
            log.warning("storage.abort_failed", error=type(error).__name__)
