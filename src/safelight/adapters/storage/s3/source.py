"""S3Source: the Source port on AWS S3 and whatever speaks it, by the credentials that the AWS SDKs find.

Not by the connection of the storage: another bucket, other credentials, and a command that waits instead of an event loop.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import botocore.session  # type: ignore[import-untyped]  # botocore ships no types
from botocore.config import Config  # type: ignore[import-untyped]

from safelight.adapters.storage.s3 import faults
from safelight.errors import BackendUnavailable, Missing, SafelightError, SourceRefused
from safelight.ports.source import Described, Found

T = TypeVar("T")

CHUNK: Final = 256 * 1024
_AWS: Final = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-][a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?")
_SEALING: Final = {
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
}


class S3Source:
    """Keeps Source. Nothing is sent before the first method is called.

    Args:
        bucket: Its name.
        prefix: How keys begin; '' for all.
        endpoint_url: None: what the AWS SDKs read, else AWS.
        page: Objects asked for at once.
        tries: How often a request is sent whose answer is 5xx, or which gets none.

    """

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None, page: int = 1000, tries: int = 4
    ) -> None:
        self.bucket, self.prefix, self._page = bucket, prefix, page
        session = botocore.session.get_session()
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=32,  # as many as the command has threads
            retries={"total_max_attempts": tries, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        )
        region = session.get_config_variable("region") or "us-east-1"
        self._client: Any = session.create_client("s3", endpoint_url=endpoint_url, region_name=region, config=config)

    def list(self) -> Iterator[Found]:
        """See Source.list."""
        turning: dict[str, str] = {}
        while True:
            arguments = {"Bucket": self.bucket, "Prefix": self.prefix, "MaxKeys": self._page, **turning}
            page = self._ask(lambda arguments=arguments: self._client.list_objects_v2(**arguments))  # type: ignore[misc]
            for each in page.get("Contents", ()):
                if not each["Key"].endswith("/"):
                    yield Found(each["Key"], each["ETag"].strip('"'), each["Size"])
            if not page.get("IsTruncated"):
                return
            turning = {"ContinuationToken": page["NextContinuationToken"]}

    def describe(self, found: Found) -> Described:
        """See Source.describe."""
        head = self._ask(lambda: self._client.head_object(Bucket=self.bucket, Key=found.key, ChecksumMode="ENABLED"))
        return Described(
            media_type=head.get("ContentType", ""),
            sha256=_hex(head.get("ChecksumSHA256", "")) if head.get("ChecksumType") != "COMPOSITE" else "",
            metadata={name.lower(): _decoded(value) for name, value in head.get("Metadata", {}).items()},
        )

    def read(self, found: Found, *, most: int | None = None) -> Iterator[bytes]:
        """See Source.read."""
        ranged = {} if most is None else {"Range": f"bytes=0-{most - 1}"}
        answer = self._ask(
            lambda: self._client.get_object(Bucket=self.bucket, Key=found.key, IfMatch=f'"{found.etag}"', **ranged)
        )
        with answer["Body"] as body:
            while chunk := self._ask(lambda: body.read(CHUNK)):
                yield chunk

    def copy(self, found: Found, url: str, headers: Mapping[str, str]) -> bool:
        """See Source.copy."""
        place = _place(url, str(self._client.meta.endpoint_url))
        if place is None:
            return False
        bucket, key = place
        said = {name.lower(): value for name, value in headers.items()}
        sealing = {argument: said[name] for name, argument in _SEALING.items() if name in said}
        try:
            self._ask(
                lambda: self._client.copy_object(
                    Bucket=bucket,
                    Key=key,
                    CopySource={"Bucket": self.bucket, "Key": found.key},
                    CopySourceIfMatch=f'"{found.etag}"',
                    MetadataDirective="REPLACE",
                    # Tags would need rights of their own on both sides, and nobody reads them.
                    TaggingDirective="REPLACE",
                    ContentType=said.get("content-type", "application/octet-stream"),
                    **sealing,
                )
            )
        except _Denied:
            return False
        return True

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            fault = faults.read(error)
            if fault is None:
                raise
            raise self._told(fault) from error

    def _told(self, fault: faults.Fault) -> SafelightError:
        if not fault.has_credentials:
            return _Denied(
                "There are no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            )
        if fault.code == "NoSuchBucket":
            return Missing(f"There is no bucket {self.bucket}.")
        if fault.is_absent:
            return Missing("The object is gone.")
        if fault.is_conflict:
            return SourceRefused("The object has changed since it was listed.")
        if fault.is_passing:
            return BackendUnavailable(f"The store of {self.bucket} does not answer.")
        reason = fault.code or str(fault.status)
        return (_Denied if fault.is_untrusted else SourceRefused)(f"The store of {self.bucket} refuses: {reason}.")


class _Denied(SourceRefused):
    """The credentials are not good for that."""


def _place(url: str, endpoint_url: str) -> tuple[str, str] | None:
    """Bucket and key of an object's URL at this endpoint, whichever way buckets are addressed; None for another store's."""
    there, here = urlsplit(url), urlsplit(endpoint_url)
    path = unquote(there.path).removeprefix("/")
    found = _AWS.fullmatch(there.hostname or "")
    if found and _AWS.fullmatch(here.hostname or ""):
        bucket, key = (found["bucket"], path) if found["bucket"] else path.partition("/")[::2]
    elif there.netloc == here.netloc:
        bucket, _, key = path.partition("/")
    elif there.netloc.endswith(f".{here.netloc}"):
        bucket, key = there.netloc.removesuffix(f".{here.netloc}"), path
    else:
        return None
    return (bucket, key) if bucket and key else None


def _decoded(value: str) -> str:
    """S3 answers metadata that is not ASCII as RFC 2047 words."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _hex(checksum: str) -> str:
    """A Base64 SHA-256 of S3 in hex; '' for none, and for one of parts (`…-3`)."""
    try:
        digest = base64.b64decode(checksum, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return digest.hex() if len(digest) == 32 else ""
