"""CloudFrontCdn: one distribution of Amazon CloudFront, told through its API.

Signing of URLs is not here but in `safelight.signing.cloudfront`, which asks nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import aiohttp
import botocore.exceptions  # type: ignore[import-untyped]  # botocore ships no types
import structlog
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]

from safelight.errors import BackendUnavailable, Busy, SafelightError, Unavailable, WrongState

log = structlog.get_logger(__name__)

_BUSY: Final = frozenset(
    {"TooManyInvalidationsInProgress", "Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
)
_NEEDED: Final = "cloudfront:CreateInvalidation and cloudfront:GetInvalidation"
_NOBODY: Final = "I00000000000000000000000000"
"""An invalidation that is not there: asking for it tells whether the distribution is, with no permission more than is needed."""


class CloudFrontCdn:
    """Keeps Cdn.

    Args:
        distribution: Its id, like E2EXAMPLE1234.
        setting: Where that id was said, for whoever has to correct it.
        endpoint_url: Of the API; empty is Amazon's.
        access_key_id: Empty asks the chain of the AWS SDKs.
        secret_access_key: Its secret.

    """

    def __init__(
        self,
        distribution: str,
        *,
        setting: str,
        endpoint_url: str = "",
        access_key_id: str = "",
        secret_access_key: str = "",
    ) -> None:
        self.name: Final = distribution
        self._setting: Final = setting
        self._endpoint_url: Final = endpoint_url or None
        self._credentials: Final = (access_key_id or None, secret_access_key or None)
        self._client: Any = None
        self._closing: contextlib.AsyncExitStack | None = None

    async def open(self) -> None:
        """Connect and look whether the distribution is there and ours. A second open does nothing."""
        if self._client is not None:
            return
        async with contextlib.AsyncExitStack() as closing:
            self._client = await closing.enter_async_context(
                get_session().create_client(
                    "cloudfront",
                    region_name="us-east-1",  # the API of CloudFront is there, wherever the edges are
                    endpoint_url=self._endpoint_url,
                    aws_access_key_id=self._credentials[0],
                    aws_secret_access_key=self._credentials[1],
                    # Whoever calls tries again later anyway, and knows how long to rest.
                    config=AioConfig(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2}),
                )
            )
            closing.callback(setattr, self, "_client", None)
            try:
                await self.ping()
            except Unavailable as error:
                # Delivery goes on without; what is to be purged waits.
                log.warning("cdn.away", distribution=self.name, error=error.detail)
            self._closing = closing.pop_all()

    async def close(self) -> None:
        """A call under way fails."""
        closing, self._closing = self._closing, None
        if closing is not None:
            await closing.aclose()

    async def ping(self) -> None:
        """Ask for an invalidation that is not there."""
        await self._call(
            lambda client: client.get_invalidation(DistributionId=self.name, Id=_NOBODY), expected="NoSuchInvalidation"
        )

    async def invalidate(self, paths: Sequence[str], *, reference: str) -> str:
        """CloudFront itself sees to it that the same reference is the same invalidation."""
        batch = {"Paths": {"Quantity": len(paths), "Items": list(paths)}, "CallerReference": reference}
        answer = await self._call(lambda client: client.create_invalidation(DistributionId=self.name, InvalidationBatch=batch))
        return str(answer["Invalidation"]["Id"])

    async def is_done(self, invalidation: str) -> bool:
        """Amazon writes Completed, others COMPLETED."""
        answer = await self._call(lambda client: client.get_invalidation(DistributionId=self.name, Id=invalidation))
        return str(answer["Invalidation"]["Status"]).casefold() == "completed"

    async def _call(self, ask: Callable[[Any], Awaitable[Any]], *, expected: str = "") -> Any:  # botocore has no types
        if self._client is None:
            raise BackendUnavailable("The connection to CloudFront is closed.")
        try:
            return await ask(self._client)
        except botocore.exceptions.ClientError as error:
            if expected and error.response.get("Error", {}).get("Code") == expected:
                return None
            raise self._refusal(error) from error
        except botocore.exceptions.NoCredentialsError as error:
            raise WrongState(f"There are no credentials for CloudFront ({self._setting}): {error}") from error
        except (botocore.exceptions.BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise BackendUnavailable("CloudFront does not answer.") from error
        except RuntimeError as error:  # the session has been closed under it
            raise BackendUnavailable("The connection to CloudFront is closed.") from error

    def _refusal(self, error: Any) -> SafelightError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _BUSY:
            return Busy(f"CloudFront has too much to do ({code}).")
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
            return BackendUnavailable("CloudFront does not answer.")
        return WrongState(
            f"CloudFront refuses the distribution {self.name} ({code}). Correct {self._setting}, and see that these"
            f" credentials may call {_NEEDED}."
        )
