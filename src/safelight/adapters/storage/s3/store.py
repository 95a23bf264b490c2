"""S3Store: both buckets behind one connection, opened only when they are as they must be. Wiring builds it, readiness asks it.

What is wrong with the settings stops the start and is named with its mend; a store that does not answer is BackendUnavailable.
"""

from __future__ import annotations

import contextlib
import secrets
from datetime import datetime
from typing import Final, Self

import structlog

from safelight.adapters.storage.s3 import faults, governance
from safelight.adapters.storage.s3.bucket import PROBE, S3Storage
from safelight.adapters.storage.s3.connection import Connection
from safelight.adapters.storage.s3.governance import Governance
from safelight.adapters.storage.s3.options import (
    CREDENTIALS,
    ENDPOINT_URL,
    IS_ENCRYPTED,
    KMS_KEY_ID,
    REGION,
    BucketName,
    S3Options,
)
from safelight.errors import BackendUnavailable, Missing, SafelightError, WrongState

log = structlog.get_logger(__name__)

BUCKETS: Final[tuple[BucketName, ...]] = ("renditions", "originals")
"""In the order in which they are tried: what fails for originals alone is the matter of their key."""
OPENING_DEADLINE_S: Final = 5.0
"""Of one request at the start: some servers answer 500 to an unknown key, and whoever starts this wants to know soon."""
_BAD_REGION: Final = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301", "InvalidRegion"}
)


class S3Store:
    """Two buckets of one server. Built closed and bound to no event loop; open it in the one that uses it, after any fork."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The clients. Raises BackendUnavailable while closed."""
        if self._connection is None:
            raise BackendUnavailable("The object store is closed.")
        return self._connection

    def bucket(self, name: BucketName) -> S3Storage:
        """The Storage of that name."""
        return S3Storage(self, name)

    async def open(self) -> None:
        """Connect and look at both buckets. A second open does nothing.

        Raises WrongState for credentials, a bucket, its versioning or a key that will not do; it names the setting.
        """
        if self._connection is not None:
            return
        if self.options.spool_path is not None:
            with contextlib.suppress(OSError):  # told by the first upload that needs it, as any later trouble of that disk
                self.options.spool_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = await Connection.make(self.options)
        connection.deadline_s = min(OPENING_DEADLINE_S, self.options.deadline_s)
        try:
            for name in BUCKETS:
                await self._check(connection, name)
            self._connection = connection
            for name in () if self.options.is_read_only else BUCKETS:
                await self._probe(name)
            connection.deadline_s = self.options.deadline_s
        except BaseException:
            self._connection = None
            await connection.close()
            raise
        log.info("storage.opened", originals=self.options.originals_bucket, renditions=self.options.renditions_bucket)

    async def close(self) -> None:
        """Close every connection. Later calls raise BackendUnavailable until the next open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ping(self) -> None:
        """Whether both buckets answer. Raises BackendUnavailable."""
        connection = self.connection
        for name in BUCKETS:
            try:
                await connection.call("ping", lambda name=name: connection.client.head_bucket(Bucket=self.options.bucket(name)))  # type: ignore[misc]
            except Missing:
                log.warning("storage.bucket_missing", bucket=self.options.bucket(name))
                raise BackendUnavailable("The object store does not have its bucket any more.") from None

    async def abort_uploads(self, *, before: datetime) -> int:
        """Abort multipart uploads of both buckets that were begun before then; how many."""
        count = sum([await self.bucket(name).abort_uploads(before=before) for name in BUCKETS])
        if count:
            log.info("storage.uploads_aborted", count=count)
        return count

    async def has_rule(self, wishes: Governance, item: str) -> bool:
        """Whether the lifecycle of both buckets has this item of governance, as far as it can be read."""
        found = await governance.check(self.options, wishes, only=item)
        return bool(found) and all(each.state == "already" for each in found)

    async def _check(self, connection: Connection, name: BucketName) -> None:
        bucket = self.options.bucket(name)
        try:
            versioning = await connection.call(
                "look at versioning", lambda: connection.client.get_bucket_versioning(Bucket=bucket)
            )
        except SafelightError as error:
            raise self._mended(name, error) from error
        server = versioning["ResponseMetadata"]["HTTPHeaders"].get("server", "")
        connection.lists_whole = server.startswith("SeaweedFS")
        if self.options.needs_versions and versioning.get("Status") != "Enabled":
            raise WrongState(
                f"The bucket {bucket} ({self.options.setting(name)}) does not keep versions, without which a deleted original"
                " could not come back. Run `safelight bucket apply`, or enable versioning on it."
            )

    async def _probe(self, name: BucketName) -> None:
        """Write, read and remove an object: whoever may not, or has no such key, should not find out by the first upload."""
        bucket = self.bucket(name)
        key = f"{PROBE}/{secrets.token_hex(8)}"
        try:
            stored = await bucket.put(key, b"probe")
            try:
                await bucket.get(key)
            finally:
                await bucket.delete(key, version=stored.version)
        except SafelightError as error:
            raise self._mended(name, error, is_probe=True) from error

    def _mended(self, name: BucketName, error: SafelightError, *, is_probe: bool = False) -> SafelightError:
        """What is wrong, with the setting to look at; the error itself when that is no matter of settings."""
        cause = error.__cause__
        fault = faults.read(cause) if isinstance(cause, Exception) else None
        if fault is None:
            return error
        options = self.options
        bucket, setting, where = options.bucket(name), options.setting(name), options.where
        if fault.code in _BAD_REGION:
            return WrongState(f"The bucket {bucket} is not in this region. Set {REGION} to the bucket's ({fault.code}).")
        if fault.code == "NoSuchBucket" or (fault.is_absent and not is_probe):
            return WrongState(f"There is no bucket {bucket} at {where} ({setting}). Create it, or correct {setting}.")
        # AWS says KMS in code or message; SeaweedFS says nothing but 500, though to these objects only.
        is_kms = fault.code.startswith("KMS") or "kms:" in fault.reason or fault.status in {400, 500}
        if is_kms and is_probe and options.is_encrypted and options.key_id(name) is not None:
            return WrongState(
                f"The store does not seal objects of {bucket} with the key {options.key_id(name)} ({KMS_KEY_ID}): {_said(fault)}."
                " Correct the key id, and see that the key is enabled and these credentials may use it"
                " (kms:GenerateDataKey, kms:Decrypt)."
            )
        if fault.is_untrusted:
            return WrongState(
                f"The object store at {where} does not let these credentials use the bucket {bucket} ({setting}): {_said(fault)}."
                f" Correct {CREDENTIALS}, or what the AWS SDKs read in their place, or the policy of user and bucket."
            )
        if fault.status == 501 and is_probe:
            return WrongState(f"The object store at {where} does not encrypt objects. Set {IS_ENCRYPTED}=false to do without.")
        if fault.status == 0:
            return BackendUnavailable(f"The object store at {where} does not answer ({ENDPOINT_URL}).")
        return error


def _said(fault: faults.Fault) -> str:
    return fault.code or (str(fault.status) if fault.status else "no credentials")
