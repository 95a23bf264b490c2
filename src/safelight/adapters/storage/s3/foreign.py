"""S3ForeignBuckets: the ForeignBuckets port on AWS S3 and whatever speaks it. Wiring makes one per process.

By the connection of the storage, with its retries, but another one: other credentials perhaps, and other deadlines. It is made when
the first object is asked for: most installations read no bucket but their own, and what finds credentials may ask the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import botocore.exceptions  # type: ignore[import-untyped]  # botocore ships no types
import structlog

from safelight.adapters.storage.s3 import faults
from safelight.adapters.storage.s3.connection import Connection
from safelight.adapters.storage.s3.options import S3Options
from safelight.domain.sources import BucketObject
from safelight.errors import (
    Missing,
    SafelightError,
    SourceNotAllowed,
    SourceRefused,
    SourceTimedOut,
    SourceUnavailable,
    TooManyBytes,
    WrongState,
)
from safelight.ports.outbound import FetchLimits, Reading

log = structlog.get_logger(__name__)

CHUNK_BYTES: Final = 256 * 1024
_PLAIN: Final = frozenset({"", "identity", "aws-chunked"})
"""Content-Encoding of bytes as they are; the last is about the way in, and some servers keep it with the object."""
_LATE: Final = (TimeoutError, botocore.exceptions.ReadTimeoutError)


class S3ForeignBuckets:
    """Keeps ForeignBuckets.

    Args:
        options: Where and how; its buckets are not looked at.
        own: Names of the installation's buckets, in which the objects of all tenants lie.

    """

    def __init__(self, options: S3Options, *, own: frozenset[str] = frozenset()) -> None:
        self._options: Final = options
        self._own: Final = own
        self._connection: Connection | None = None
        self._connecting: Final = asyncio.Lock()

    async def open(self) -> None:
        """Nothing yet."""

    async def close(self) -> None:
        """Close every connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def get(self, found: BucketObject, conditions: Mapping[str, str], *, limits: FetchLimits) -> AsyncIterator[Reading]:
        """See ForeignBuckets.get."""
        if found.bucket in self._own:
            raise SourceNotAllowed
        deadline = asyncio.get_running_loop().time() + limits.total_s
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._answer(found, conditions)
        except TimeoutError:
            raise SourceTimedOut from None
        headers, body = answer["ResponseMetadata"]["HTTPHeaders"], answer.get("Body")
        if body is None:
            yield Reading(headers=headers, chunks=_nothing(), is_unchanged=True)
            return
        try:
            if headers.get("content-encoding", "").strip().casefold() not in _PLAIN:
                raise SourceRefused("The object is kept compressed.")
            if answer["ContentLength"] > limits.max_bytes:
                raise _too_many(limits)
            async with aclosing(_chunks(body, limits, deadline)) as chunks:
                yield Reading(headers=headers, chunks=chunks)
        finally:
            body.close()  # what has not been read is not waited for

    async def _answer(self, found: BucketObject, conditions: Mapping[str, str]) -> Mapping[str, Any]:
        """What the store answers; without a body where the condition does not hold."""
        connection = await self._connected()
        known = {"IfNoneMatch": conditions["If-None-Match"]} if "If-None-Match" in conditions else {}
        try:
            answer: Mapping[str, Any] = await connection.call(
                "read foreign",
                lambda: connection.client.get_object(Bucket=found.bucket, Key=found.key, **known),
                is_quiet=True,
            )
        except SafelightError as error:
            cause = error.__cause__
            fault = faults.read(cause) if isinstance(cause, Exception) else None
            if fault is None:
                raise
            if fault.status == 304 and known and isinstance(cause, botocore.exceptions.ClientError):
                unchanged: Mapping[str, Any] = cause.response
                return unchanged
            raise _told(fault, found, is_late=isinstance(cause, _LATE)) from error
        return answer

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                try:
                    self._connection = await Connection.make(self._options)
                except WrongState as error:
                    log.error("foreign_bucket.no_credentials", settings="SAFELIGHT_REMOTE__S3_ACCESS_KEY_ID")
                    raise SourceUnavailable from error
            return self._connection


def _told(fault: faults.Fault, found: BucketObject, *, is_late: bool) -> SafelightError:
    if fault.is_absent:
        return Missing()
    if is_late:
        return SourceTimedOut()
    # One answer hides from strangers why; who has listed the bucket has to find out.
    log.warning("foreign_bucket.failed", bucket=found.bucket, status=fault.status, code=fault.code, reason=fault.reason)
    if fault.is_passing:
        return SourceUnavailable()
    return SourceRefused("The store does not give the object.")


async def _chunks(body: Any, limits: FetchLimits, deadline: float) -> AsyncGenerator[bytes]:
    loop, size = asyncio.get_running_loop(), 0
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + limits.idle_s)):
                chunk: bytes = await body.read(CHUNK_BYTES)
        except Exception as error:
            if faults.read(error) is None:
                raise
            raise (SourceTimedOut if isinstance(error, _LATE) else SourceUnavailable) from error
        if not chunk:
            return
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_many(limits)
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in tuple[bytes, ...]():
        yield chunk


def _too_many(limits: FetchLimits) -> TooManyBytes:
    return TooManyBytes(f"The file has more than {limits.max_bytes} bytes.", limit=limits.max_bytes)
