"""S3Storage: the Storage port on one bucket of an S3Store. Services see nothing else of S3.

Where S3 says less than the port: `etag`, `modified_at` and the exact metadata travel in the object's user metadata (see
names.Label), so a listing costs one HEAD an object; an object that somebody else put has S3's own ETag and time instead. A delete
looks first, because S3 would mark what was never there, and mark again what is hidden.

What is read from end to end is held against the SHA-256 beside it; a range is only as trustworthy as the server.

A put that fails by BackendUnavailable may have happened; one that is retried knows its own object by the put's random number.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import obstore
import structlog

from safelight.adapters.storage._names import check_key
from safelight.adapters.storage.s3 import faults, listing, names
from safelight.adapters.storage.s3.connection import settled
from safelight.adapters.storage.s3.options import BucketName
from safelight.adapters.storage.s3.upload import PART_BYTES, Multipart, Payload, gathered, sha256_of
from safelight.errors import AlreadyExists, BackendUnavailable, DamagedObject, Missing
from safelight.ports.archive import Layer, Pile
from safelight.ports.storage import Body, Opened, Stored

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store as Bytes

    from safelight.adapters.storage.s3.connection import Connection
    from safelight.adapters.storage.s3.store import S3Store

log = structlog.get_logger(__name__)

CHUNK_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 4 * 1024 * 1024
"""What one request reads. Nearly every rendition is one piece; a reader that dawdles holds a piece, never a connection."""
HEADS_AT_ONCE: Final = 16
PROBE: Final = "safelight-probe"
"""What the keys begin with that an opening store writes and removes: nobody's objects."""
_HEADERS: Final = frozenset(
    {"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Storage-Class"}
)


class S3Storage:
    """One bucket; keeps the promises of Storage and Archive."""

    def __init__(self, store: S3Store, name: BucketName) -> None:
        self._store = store
        self._name: BucketName = name
        self._bucket = store.options.bucket(name)
        self._prefix = store.options.prefix

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
        """See Storage.put. A server has but one durability, so `is_durable` changes nothing."""
        return await self._put(key, body, media_type, metadata or {}, datetime.now(UTC), is_new=if_absent)

    async def _put(
        self, key: str, body: Body, media_type: str, metadata: Mapping[str, str], at: datetime, *, is_new: bool
    ) -> Stored:
        check_key(key)
        connection = self._store.connection
        name = self._name_of(key)
        async with gathered(body, self._store.options.spool_path) as payload:
            label = names.Label(payload.sha256, at, secrets.token_hex(8), dict(metadata))
            headers = label.headers()
            if payload.size_bytes <= PART_BYTES:
                version = await settled(
                    self._put_whole(connection, name, payload, media_type, headers, is_new=is_new),
                    lambda version: self._remove(connection, name, version),
                )
            else:
                version = await self._put_parts(connection, name, payload, media_type, headers, is_new=is_new)
        return Stored(
            key=key,
            version=version,
            size_bytes=payload.size_bytes,
            etag=payload.sha256,
            media_type=media_type,
            modified_at=label.at,
            metadata=label.metadata,
        )

    async def get(self, key: str, *, version: str | None = None) -> bytes:
        """See Storage.get."""
        result, first = await self._piece(key, 0, PIECE_BYTES, version)
        size = result.meta["size"]
        label = names.Label.read(_user_metadata(result))
        if len(first) == size:
            if label is not None and await sha256_of(first) != label.sha256:
                raise self._damaged(key)
            return first
        pinned = result.meta.get("version") or version
        starts = range(len(first), size, PIECE_BYTES)
        whole = first + b"".join([(await self._piece(key, start, start + PIECE_BYTES, pinned))[1] for start in starts])
        if label is not None and await sha256_of(whole) != label.sha256:
            raise self._damaged(key)
        return whole

    async def open(self, key: str, *, start: int = 0, end: int | None = None, version: str | None = None) -> Opened:
        """See Storage.open. What one request reads is held in memory; the rest is read when it is asked for.

        Damage to an object of one piece shows before any byte, so that whoever asked can still be told.
        """
        start = max(start, 0)
        if end is not None and end <= start:
            return Opened(await self.stat(key, version=version), _chunks(b""))
        until = start + PIECE_BYTES if end is None else min(end, start + PIECE_BYTES)
        (result, first), latest = await _both(self._piece(key, start, until, version), self._latest(key, version))
        stored = self._stored(key, result, latest)
        end = stored.size_bytes if end is None else min(end, stored.size_bytes)
        chunks = self._stream(stored, first, start + len(first), end)
        label = names.Label.read(_user_metadata(result))
        if label is not None and len(first) == stored.size_bytes:
            if await sha256_of(first) != label.sha256:
                raise self._damaged(key)
        elif label is not None and start == 0 and end == stored.size_bytes:
            chunks = self._checked(key, chunks, label.sha256)
        return Opened(stored, chunks)

    async def stat(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.stat."""
        result, latest = await _both(self._head(key, version), self._latest(key, version))
        return self._stored(key, result, latest)

    async def delete(self, key: str, *, version: str | None = None) -> None:
        """See Storage.delete."""
        connection = self._store.connection
        if not names.is_key(key):
            return
        name = self._name_of(key)
        if version is not None:
            if names.is_version(version):
                await self._remove(connection, name, version)
            return

        async def hide() -> None:
            try:
                await self._head(key, None)
            except Missing:
                return
            await connection.client.delete_object(Bucket=self._bucket, Key=name)

        await connection.call("delete", hide)

    async def restore(self, key: str, *, version: str | None = None) -> Stored:
        """See Storage.restore. The store itself makes the copy."""
        if version is not None:
            return await self._copy(key, version)
        connection = self._store.connection
        if not names.is_key(key):
            raise Missing
        name = self._name_of(key)
        pile = await listing.pile(connection, self._bucket, name)
        if all(each.is_marker for each in pile):
            raise Missing
        for each in pile:
            if not each.is_marker:
                break
            await self._remove(connection, name, each.version)
        return await self.stat(key)

    async def versions(self, key: str) -> list[Stored]:
        """See Storage.versions."""
        connection = self._store.connection
        if not names.is_key(key):
            return []
        pile = await listing.pile(connection, self._bucket, self._name_of(key))

        async def seen(each: listing.Entry) -> Stored | None:
            if each.is_marker:
                return Stored(
                    key=key,
                    version=each.version,
                    size_bytes=0,
                    etag="",
                    media_type="",
                    modified_at=each.modified_at,
                    metadata={},
                    is_latest=each.is_latest,
                    is_marker=True,
                )
            result = await self._head_or_none(key, each.version)
            return None if result is None else replace(self._stored(key, result, None), is_latest=each.is_latest)

        found = [stored for stored in await _gathered([seen(each) for each in pile]) if stored is not None]
        # The top is where the list begins: a server that says so of no entry, or of two, does not change that.
        return [replace(stored, is_latest=at == 0) for at, stored in enumerate(found)]

    async def scan(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[Stored]:
        """See Storage.scan. Fewer than `limit` only at the end, and at least one unless there is none."""
        connection = self._store.connection
        found: list[Stored] = []
        if limit <= 0 or not names.is_prefix(prefix):
            return found
        behind = self._prefix + names.to_s3(after.encode(errors="replace").decode()) if after else ""
        async for page in listing.names(connection, self._bucket, self._prefix + names.to_s3(prefix), behind):
            keys = [key for name in page if (key := names.from_s3(name.removeprefix(self._prefix))) is not None]
            while keys and len(found) < limit:
                some, keys = keys[: limit - len(found)], keys[limit - len(found) :]
                heads = await _gathered([self._head_or_none(key, None) for key in some])
                found += [self._stored(key, head, None) for key, head in zip(some, heads, strict=True) if head is not None]
            if len(found) >= limit:
                break
        return found

    async def purge(self, prefix: str) -> int:
        """See Storage.purge. Removes the first page of versions until there is none, so that no page is turned meanwhile."""
        connection = self._store.connection
        if not names.is_prefix(prefix):
            return 0
        count = 0
        before: list[listing.Entry] = []
        while entries := await listing.first_entries(connection, self._bucket, self._prefix + names.to_s3(prefix)):
            if entries == before:
                log.error("storage.purge_stuck", bucket=self._bucket, count=len(entries))
                raise BackendUnavailable("The object store does not remove what it was told to.")
            before = entries
            doomed = [{"Key": each.name, "VersionId": each.version} for each in entries]
            answer = await connection.call(
                "purge",
                lambda doomed=doomed: connection.client.delete_objects(  # type: ignore[misc]
                    Bucket=self._bucket, Delete={"Objects": doomed, "Quiet": True}
                ),
            )
            # SeaweedFS removes a segment of more than 255 bytes one by one only; AWS says here what is to be tried again.
            refused = answer.get("Errors", [])
            await _gathered([self._remove(connection, each["Key"], each["VersionId"]) for each in refused])
            count += len(entries)
        return count

    async def piles(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> list[Pile]:
        """See Archive.piles. A request for a thousand versions, none for a single one."""
        connection = self._store.connection
        found: list[Pile] = []
        if limit <= 0 or not names.is_prefix(prefix):
            return found
        behind = self._prefix + names.to_s3(after.encode(errors="replace").decode()) if after else ""
        async for name, entries in listing.piles(connection, self._bucket, self._prefix + names.to_s3(prefix), behind):
            key = names.from_s3(name.removeprefix(self._prefix))
            if key is None or key.startswith(f"{PROBE}/"):
                continue
            found.append(Pile(key, tuple(_layer(each) for each in reversed(entries))))
            if len(found) == limit:
                break
        return found

    async def lay(self, stored: Stored, body: Body) -> Stored:
        """See Archive.lay. The time of a marker is S3's."""
        if not stored.is_marker:
            return await self._put(stored.key, body, stored.media_type, stored.metadata, stored.modified_at, is_new=False)
        check_key(stored.key)
        connection, name = self._store.connection, self._name_of(stored.key)
        answer = await connection.call("mark", lambda: connection.client.delete_object(Bucket=self._bucket, Key=name))
        return replace(stored, version=str(answer.get("VersionId") or "null"), is_latest=True)

    async def abort_uploads(self, *, before: datetime) -> int:
        """Abort multipart uploads that were begun before then; how many. The bucket's lifecycle does it, where there is that rule."""
        connection = self._store.connection
        count = 0
        turning: dict[str, str] = {}
        while True:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix, **turning}
            page = await connection.call(
                "list uploads",
                lambda asked=asked: connection.client.list_multipart_uploads(**asked),  # type: ignore[misc]
            )
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    address = {"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    await connection.call(
                        "abort multipart",
                        lambda address=address: connection.client.abort_multipart_upload(**address),  # type: ignore[misc]
                    )
                    count += 1
            if not page.get("IsTruncated"):
                return count
            turning = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    # One object, one request.

    async def _put_whole(
        self,
        connection: Connection,
        name: str,
        payload: Payload,
        media_type: str,
        headers: Mapping[str, str],
        *,
        is_new: bool,
    ) -> str:
        data = await payload.read(0, payload.size_bytes)
        attributes = {"Content-Type": media_type, "Cache-Control": self._store.options.cache_control(self._name), **headers}
        is_retried = False

        async def attempt() -> str:
            nonlocal is_retried
            if is_retried and (version := await self._own(name, headers)) is not None:
                return version
            is_retried = True
            result = await obstore.put_async(
                connection.bytes(self._name),
                name,
                data,
                attributes=attributes,
                mode="create" if is_new else "overwrite",
                use_multipart=False,
            )
            return result["version"] or "null"

        try:
            return await connection.call("put", attempt)
        except AlreadyExists:
            # Of two attempts the first may have been the one that made it exist, after all.
            if (version := await self._own(name, headers)) is not None:
                return version
            raise

    async def _put_parts(
        self,
        connection: Connection,
        name: str,
        payload: Payload,
        media_type: str,
        headers: Mapping[str, str],
        *,
        is_new: bool,
    ) -> str:
        return await Multipart(connection, self._bucket, name).send(
            payload,
            is_new=is_new,
            own=lambda: self._own(name, headers),
            ContentType=media_type,
            CacheControl=self._store.options.cache_control(self._name),
            Metadata=headers,
            **connection.sealing(self._name),
        )

    async def _own(self, name: str, headers: Mapping[str, str]) -> str | None:
        """The version on top, when it is the one that this put has written."""
        try:
            result = await obstore.get_async(self._store.connection.bytes(self._name), name, options={"head": True})
        except Exception as error:
            fault = faults.read(error)
            if fault is not None and fault.is_absent:
                return None
            raise
        written, wanted = names.Label.read(_user_metadata(result)), headers
        return (result.meta.get("version") or "null") if written and written.headers() == wanted else None

    async def _piece(self, key: str, start: int, end: int, version: str | None) -> tuple[GetResult, bytes]:
        """The bytes [start, end), clipped, with what they are of. Raises Missing."""
        connection, name, options = self._asked(key, version)
        store = connection.bytes(self._name)
        options["range"] = (start, end)

        async def attempt() -> tuple[GetResult, bytes]:
            try:
                result = await obstore.get_async(store, name, options=options)
                return result, (await result.bytes_async()).to_bytes()
            except Exception as error:
                fault = faults.read(error)
                if fault is None or not fault.is_range:
                    raise
            # Behind the last byte, or of an object without bytes, there is nothing to read.
            return await _head(store, name, options), b""

        return await connection.call("get", attempt)

    async def _head(self, key: str, version: str | None) -> GetResult:
        """Raises Missing."""
        connection, name, options = self._asked(key, version)
        return await connection.call("head", lambda: _head(connection.bytes(self._name), name, options))

    async def _head_or_none(self, key: str, version: str | None) -> GetResult | None:
        try:
            return await self._head(key, version)
        except Missing:
            return None

    async def _latest(self, key: str, version: str | None) -> str | None:
        """The version on top, when another one was asked for; None when none is, or nobody has asked."""
        if version is None:
            return None
        result = await self._head_or_none(key, None)
        return "" if result is None else result.meta.get("version") or "null"

    async def _remove(self, connection: Connection, name: str, version: str) -> None:
        try:
            await connection.call(
                "delete version",
                lambda: connection.client.delete_object(Bucket=self._bucket, Key=name, VersionId=version),
            )
        except BackendUnavailable as error:
            fault = faults.read(cast(Exception, error.__cause__))
            if fault is None or fault.code != "InvalidArgument":
                raise
            # To AWS a version id of another shape is no argument; to us it is one that is not there.

    async def _copy(self, key: str, version: str) -> Stored:
        connection, name, _ = self._asked(key, version)
        source = await self.stat(key, version=version)
        label = names.Label(source.etag, datetime.now(UTC), secrets.token_hex(8), source.metadata)
        headers = label.headers()

        async def copy() -> str:
            copied = await connection.call(
                "copy",
                lambda: connection.client.copy_object(
                    Bucket=self._bucket,
                    Key=name,
                    CopySource={"Bucket": self._bucket, "Key": name, "VersionId": version},
                    MetadataDirective="REPLACE",
                    Metadata=headers,
                    ContentType=source.media_type,
                    CacheControl=self._store.options.cache_control(self._name),
                    **connection.sealing(self._name),
                ),
            )
            return str(copied.get("VersionId") or "null")

        copied = await settled(copy(), lambda copied: self._remove(connection, name, copied))
        return replace(source, version=copied, modified_at=label.at, is_latest=True)

    async def _stream(self, stored: Stored, first: bytes, at: int, end: int) -> AsyncIterator[bytes]:
        piece = first
        while True:
            for start in range(0, len(piece), CHUNK_BYTES):
                yield piece[start : start + CHUNK_BYTES]
            if at >= end:
                return
            _, piece = await self._piece(stored.key, at, min(end, at + PIECE_BYTES), stored.version)
            if not piece:
                log.error("storage.object_short", bucket=self._bucket, size_bytes=stored.size_bytes, at=at)
                raise BackendUnavailable("The object store ended an object early.")
            at += len(piece)

    async def _checked(self, key: str, chunks: AsyncIterator[bytes], sha256: str) -> AsyncIterator[bytes]:
        """All of an object: the last chunk only when it is what was put."""
        digest, held = hashlib.sha256(), b""
        async for chunk in chunks:
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        if digest.hexdigest() != sha256:
            raise self._damaged(key)
        if held:
            yield held

    def _damaged(self, key: str) -> DamagedObject:
        log.error("storage.object_damaged", bucket=self._bucket, key=key)
        return DamagedObject()

    def _asked(self, key: str, version: str | None) -> tuple[Connection, str, GetOptions]:
        """What a read needs. Raises Missing at once where nothing can be."""
        connection = self._store.connection
        if not names.is_key(key) or (version is not None and not names.is_version(version)):
            raise Missing
        return connection, self._name_of(key), {} if version is None else {"version": version}

    def _name_of(self, key: str) -> str:
        return self._prefix + names.to_s3(key)

    def _stored(self, key: str, result: GetResult, latest: str | None) -> Stored:
        meta, headers = result.meta, _user_metadata(result)
        label = names.Label.read(headers)
        version = meta.get("version") or "null"
        return Stored(
            key=key,
            version=version,
            size_bytes=meta["size"],
            etag=label.sha256 if label else (meta.get("e_tag") or "").strip('"'),
            media_type=result.attributes.get("Content-Type", "application/octet-stream"),
            modified_at=label.at if label else meta["last_modified"].astimezone(UTC),
            metadata=label.metadata if label else names.metadata(headers),
            is_latest=latest is None or latest == version,
        )


def _layer(entry: listing.Entry) -> Layer:
    return Layer(version=entry.version, size_bytes=entry.size_bytes, modified_at=entry.modified_at, is_marker=entry.is_marker)


async def _head(store: Bytes, name: str, options: GetOptions) -> GetResult:
    """What is there. The answer to a HEAD cannot say which of object and bucket is missing, so a miss is asked again by GET."""
    asked: dict[str, Any] = {"version": options["version"]} if "version" in options else {}
    try:
        return await obstore.get_async(store, name, options=cast("GetOptions", asked | {"head": True}))
    except FileNotFoundError:
        return await obstore.get_async(store, name, options=cast("GetOptions", asked | {"range": (0, 1)}))


def _user_metadata(result: GetResult) -> dict[str, str]:
    return {str(name): value for name, value in result.attributes.items() if name not in _HEADERS}


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


async def _both(wanted: Any, beside: Any) -> tuple[Any, Any]:
    """Both results, made at the same time; the first one's error when both fail."""
    results: list[Any] = list(await asyncio.gather(wanted, beside, return_exceptions=True))
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results[0], results[1]


async def _gathered(work: list[Any]) -> list[Any]:
    """The results in order, a few at a time."""
    gate = asyncio.Semaphore(HEADS_AT_ONCE)

    async def one(each: Any) -> Any:
        async with gate:
            return await each

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(each)) for each in work]
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        for each in work:
            each.close()  # those that an error kept from starting
    return [task.result() for task in running]
