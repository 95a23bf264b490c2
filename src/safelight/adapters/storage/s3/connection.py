"""Connection: the clients of one S3Store, and the one way through which every request goes. Called by bucket, upload, store.

Each call makes attempts until one succeeds, its error is final, or its deadline comes; between them it waits with full jitter.
The drivers' own retries are off: only who knows that a request was sent before can tell an object of ours from somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import structlog
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # aiobotocore ships no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.loaders import create_loader  # type: ignore[import-untyped]
from obstore.store import S3Store as Bytes

from safelight.adapters.storage.s3 import faults, listing
from safelight.adapters.storage.s3.options import CREDENTIALS, BucketName, S3Options
from safelight.errors import BackendUnavailable, SafelightError, WrongState

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Credential

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 3.0
CREDENTIALS_TTL: Final = timedelta(minutes=5)
"""How long obstore believes credentials of the chain, which refreshes those that expire ten minutes before they do."""


class Connection:
    """The clients of one event loop. `client` is botocore's S3, whose methods are made at run time: hence Any."""

    def __init__(self, options: S3Options, client: Any, signer: Any, region: str, credentials: Any | None, closing: Any) -> None:
        self.options = options
        self.client = client
        self.signer = signer
        """The client that presigns, for the address by which others reach the server; it sends nothing."""
        self.deadline_s = options.deadline_s
        self.lists_whole = False
        """The server's pages are not to be trusted, see `listing`. Known from the first answer."""
        self._region = region
        self._credentials = credentials
        self._closing: contextlib.AsyncExitStack = closing
        self._stores: dict[BucketName, Bytes] = {}

    @classmethod
    async def make(cls, options: S3Options) -> Self:
        """Clients that have not sent anything yet. Raises WrongState when no credentials are to be found."""
        session = get_session()
        session.register_component("data_loader", _models())
        region = options.region or session.get_config_variable("region") or "us-east-1"
        credentials = None
        if options.access_key_id is None:
            # Reads files and may ask the instance's metadata service, which botocore itself gives a second.
            try:
                async with asyncio.timeout(options.deadline_s):
                    credentials = await session.get_credentials()
            except Exception as error:
                fault = faults.read(error)
                if fault is None:
                    raise
                log.warning("storage.credentials_failed", reason=fault.reason)
            if credentials is None:
                raise WrongState(
                    f"There are no credentials for the object store. Set {CREDENTIALS}, or provide what the AWS SDKs read:"
                    " AWS_ACCESS_KEY_ID, ~/.aws/credentials, web identity, or an instance role."
                )
        config = AioConfig(
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.attempt_timeout_s,
            max_pool_connections=options.max_connections,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if options.is_path_style else "auto"},
            signature_version="s3v4",
        )

        def made_for(endpoint_url: str | None) -> Any:
            return session.create_client(
                "s3",
                region_name=region,
                endpoint_url=endpoint_url,
                aws_access_key_id=options.access_key_id,
                aws_secret_access_key=options.secret_access_key,
                aws_session_token=options.session_token,
                config=config,
            )

        async with contextlib.AsyncExitStack() as closing:
            client = signer = await closing.enter_async_context(made_for(options.endpoint_url))
            if options.public_endpoint_url is not None:
                signer = await closing.enter_async_context(made_for(options.public_endpoint_url))
            listing.keep_order(client)
            return cls(options, client, signer, region, credentials, closing.pop_all())
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection."""
        await self._closing.aclose()

    def bytes(self, bucket: BucketName) -> Bytes:
        """The client that carries the bytes of this bucket, with its encryption."""
        if bucket not in self._stores:
            self._stores[bucket] = self._bytes(bucket)
        return self._stores[bucket]

    async def call(self, what: str, attempt: Callable[[], Awaitable[T]], *, is_quiet: bool = False) -> T:
        """The result of the first attempt that succeeds, within the deadline. Raises what `faults.translated` makes of a fault.

        Errors of Safelight's own pass as they are. Quiet is for who tells the fault in another way than by the log.
        """
        loop = asyncio.get_running_loop()
        ends, pause_s = loop.time() + self.deadline_s, FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(min(self.options.attempt_timeout_s, ends - loop.time())):
                    return await attempt()
            except SafelightError:
                raise
            except Exception as error:
                fault = faults.read(error)
                if fault is None:
                    raise
                wait_s = random.uniform(0, pause_s)  # noqa: S311 (full jitter, no secret)
                if not fault.is_passing or not fault.has_credentials or loop.time() + wait_s >= ends:
                    translation = faults.translated(fault)
                    if isinstance(translation, BackendUnavailable) and not is_quiet:
                        log.warning("storage.failed", what=what, status=fault.status, code=fault.code, reason=fault.reason)
                    raise translation from error
                log.info("storage.retried", what=what, status=fault.status, code=fault.code)
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def sealing(self, bucket: BucketName) -> dict[str, Any]:
        """The encryption of an object of this bucket, as arguments of botocore."""
        if not self.options.is_encrypted:
            return {}
        key_id = self.options.key_id(bucket)
        if key_id is None:
            return {"ServerSideEncryption": "AES256"}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id, "BucketKeyEnabled": True}

    def _bytes(self, bucket: BucketName) -> Bytes:
        options = self.options
        name = options.bucket(bucket)
        # A dot in the name would ask for a certificate of two levels.
        is_path_style = options.is_path_style or "." in name
        config: S3Config = {
            "region": self._region,
            "checksum_algorithm": "sha256",
            "virtual_hosted_style_request": not is_path_style,
        }
        if options.endpoint_url is not None:
            parts = urlsplit(options.endpoint_url)
            config["endpoint"] = options.endpoint_url if is_path_style else f"{parts.scheme}://{name}.{parts.netloc}"
        if options.is_encrypted:
            key_id = options.key_id(bucket)
            config["server_side_encryption"] = "AES256" if key_id is None else "aws:kms"
            if key_id is not None:
                config["sse_kms_key_id"] = key_id
                config["sse_bucket_key_enabled"] = True
        if options.access_key_id is not None and options.secret_access_key is not None:
            config["access_key_id"] = options.access_key_id
            config["secret_access_key"] = options.secret_access_key
            if options.session_token is not None:
                config["session_token"] = options.session_token
        return Bytes(
            name,
            config=config,
            client_options={
                "allow_http": (options.endpoint_url or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=options.connect_timeout_s),
                "timeout": timedelta(seconds=options.attempt_timeout_s),
                "pool_max_idle_per_host": str(options.max_connections),
                "pool_idle_timeout": timedelta(seconds=20),  # below the 30 s and more of the servers known
            },
            retry_config={"max_retries": 0},
            credential_provider=None if self._credentials is None else self._current,
        )

    async def _current(self) -> S3Credential:
        assert self._credentials is not None
        frozen = await self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_TTL,
        }


@functools.cache
def _models() -> Any:
    """What botocore knows of S3: a megabyte of JSON, read once a process instead of once a session."""
    return create_loader()


async def settled(work: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, object]]) -> T:
    """The result of the work. Cancelled, it waits for it, then undoes it: a request that was sent cannot be called back."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await finished(task)
        if not task.cancelled() and task.exception() is None:
            await finished(asyncio.ensure_future(undo(task.result())))
        raise


async def finished(task: asyncio.Task[Any]) -> None:
    """Until it is done. Further cancellations are not passed on: the caller is raising already, and must not leave it alone."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        log.info("storage.unsettled", error=type(task.exception()).__name__)
