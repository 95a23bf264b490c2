"""S3Incoming: the Incoming port on S3. The store enforces what an offer says; promoting is a copy that the store makes itself.

A form is a POST policy (content-length-range, exact key and type); a PUT signs length, type and, where the client told it, the
SHA-256. Both carry the bucket's encryption, so that a bucket policy which demands it is content.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from safelight.adapters.storage import _pieces
from safelight.adapters.storage.s3 import names
from safelight.adapters.storage.s3.bucket import S3Storage
from safelight.adapters.storage.s3.connection import settled
from safelight.domain.uploads import Method, Piece, Upload
from safelight.errors import BadField
from safelight.ports.incoming import Offer
from safelight.ports.storage import Body, Opened, Stored

if TYPE_CHECKING:
    from safelight.adapters.storage.s3.store import S3Store

_HEADERS: Final = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
}


_UNREACHABLE: Final = re.compile("[\x00-\x1f\\\\\x7f\ufffe\uffff]|(?:^|/)\\.")
"""What some client or server folds or refuses in a name, see `names`; hidden files are nobody's pictures anyway."""


class _AsTheyLie(S3Storage):
    """Objects under the names that others gave them, which `names` would escape."""

    def _name_of(self, key: str) -> str:
        return self._prefix + key


class S3Incoming:
    """What is sent lies below `incoming/` of the originals bucket."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._bucket = _AsTheyLie(store, "originals")
        self._name = store.options.bucket("originals")

    async def offer(self, upload: Upload, *, max_bytes: int) -> Offer:
        """See Incoming.offer. Nothing is sent to the store: the URL is computed."""
        ttl_s = max(1, int((upload.expires_at - datetime.now(UTC)).total_seconds()))
        return await (self._form(upload, ttl_s, max_bytes) if upload.method is Method.POST else self._put(upload, ttl_s))

    async def append(self, upload: Upload, body: Body) -> Piece:
        """See Incoming.append. An object, not a part: S3 would not take a part below 5 MiB, nor read one back."""
        return await _pieces.appended(self._bucket, upload, body)

    async def drop(self, pieces: Sequence[Piece]) -> None:
        """See Incoming.drop."""
        await _pieces.dropped(self._bucket, pieces)

    async def open(self, upload: Upload) -> Opened:
        """See Incoming.open."""
        if upload.method is Method.TUS:
            return await _pieces.opened(self._bucket, upload)
        return await self._bucket.open(upload.key, version=upload.source_version or None)

    async def promote(self, upload: Upload, stored: Stored, key: str, *, media_type: str, sha256: str) -> bool:
        """See Incoming.promote. The bytes do not leave the store; pieces it would not make one object of."""
        if upload.method is Method.TUS:
            return False
        connection = self._store.connection
        label = names.Label(sha256, datetime.now(UTC), secrets.token_hex(8), {})
        name = self._name_of(key)

        async def copy() -> str:
            copied = await connection.call(
                "promote",
                lambda: connection.client.copy_object(
                    Bucket=self._name,
                    Key=name,
                    CopySource={"Bucket": self._name, "Key": self._name_of(upload.key), "VersionId": stored.version},
                    MetadataDirective="REPLACE",
                    Metadata=label.headers(),
                    ContentType=media_type,
                    CacheControl=self._store.options.cache_control("originals"),
                    **connection.sealing("originals"),
                ),
            )
            return str(copied.get("VersionId") or "null")

        await settled(copy(), lambda version: self._bucket.delete(key, version=version))
        return True

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
        """See Incoming.key_of."""
        prefix = self._store.options.prefix
        if bucket != self._name or not name.startswith(prefix):
            return None
        key = name.removeprefix(prefix)
        return key if names.is_key(key) and not _UNREACHABLE.search(key) else None

    async def _form(self, upload: Upload, ttl_s: int, max_bytes: int) -> Offer:
        size = upload.size_bytes
        fields = {"Content-Type": upload.media_type, **self._sealing()}
        lengths = [1, max_bytes] if size is None else [size, size]
        made = await self._store.connection.signer.generate_presigned_post(
            Bucket=self._name,
            Key=self._name_of(upload.key),
            Fields=fields,
            Conditions=[["content-length-range", *lengths], *({name: value} for name, value in fields.items())],
            ExpiresIn=ttl_s,
        )
        return Offer(method="POST", url=made["url"], fields=made["fields"], headers={}, expires_at=upload.expires_at)

    async def _put(self, upload: Upload, ttl_s: int) -> Offer:
        if upload.size_bytes is None:
            raise BadField("A PUT is signed for one size: say it.", field="size")
        headers = {"Content-Type": upload.media_type, **self._sealing()}
        arguments: dict[str, Any] = {
            "Bucket": self._name,
            "Key": self._name_of(upload.key),
            "ContentType": upload.media_type,
            "ContentLength": upload.size_bytes,
            **self._store.connection.sealing("originals"),
        }
        if upload.sha256:
            arguments["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(upload.sha256)).decode()
            headers["x-amz-checksum-sha256"] = arguments["ChecksumSHA256"]
        url = await self._store.connection.signer.generate_presigned_url("put_object", Params=arguments, ExpiresIn=ttl_s)
        return Offer(method="PUT", url=url, fields={}, headers=headers, expires_at=upload.expires_at)

    def _sealing(self) -> dict[str, str]:
        sealing = self._store.connection.sealing("originals")
        return {_HEADERS[name]: "true" if value is True else str(value) for name, value in sealing.items()}

    def _name_of(self, key: str) -> str:
        return self._store.options.prefix + key
