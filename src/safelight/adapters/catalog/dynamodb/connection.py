"""Connection: the client of one open catalog, and the one way through which every request goes.

A call makes attempts until one succeeds, its error is final, or its deadline comes; between them it waits with full jitter. The
driver's own retries are off, so that the deadline is ours. A repeated transaction carries the token of its first attempt, by which
DynamoDB knows it again (ClientRequestToken, kept for ten minutes): an answer that was lost does not make it fail or count twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator
from typing import Any, Final, Self

import structlog
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # aiobotocore ships no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.loaders import create_loader  # type: ignore[import-untyped]

from safelight.adapters.catalog.dynamodb import faults
from safelight.adapters.catalog.dynamodb.options import DynamoOptions
from safelight.errors import BackendUnavailable

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
BATCH: Final = 100
"""Keys of one BatchGetItem."""


class Connection:
    """The client of one event loop; its methods are made at run time: hence Any."""

    def __init__(self, options: DynamoOptions, client: Any, closing: contextlib.AsyncExitStack) -> None:
        self.options: Final = options
        self.client: Final = client
        self._closing: Final = closing

    @classmethod
    async def make(cls, options: DynamoOptions) -> Self:
        """A client that has not sent anything yet."""
        session = get_session()
        session.register_component("data_loader", _models())
        region = options.region or session.get_config_variable("region") or "us-east-1"
        config = AioConfig(
            connect_timeout=options.connect_timeout_s,
            read_timeout=options.attempt_timeout_s,
            max_pool_connections=options.max_connections,
            retries={"total_max_attempts": 1},
        )
        async with contextlib.AsyncExitStack() as closing:
            client = await closing.enter_async_context(
                session.create_client("dynamodb", region_name=region, endpoint_url=options.endpoint_url, config=config)
            )
            return cls(options, client, closing.pop_all())
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection."""
        await self._closing.aclose()

    async def call(self, operation: str, *, is_quiet: bool = False, **arguments: Any) -> dict[str, Any]:
        """The answer of the first attempt that succeeds, within the deadline.

        Raises ConditionFailed, or what `faults.translated` makes of a fault. Quiet is for who tells the fault otherwise than by the log.
        """
        loop = asyncio.get_running_loop()
        ends, pause_s = loop.time() + self.options.deadline_s, FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(min(self.options.attempt_timeout_s, ends - loop.time())):
                    answer: dict[str, Any] = await getattr(self.client, operation)(**arguments)
                    return answer
            except Exception as error:
                fault = faults.read(error)
                if fault is None:
                    raise
                if fault.failed:
                    raise faults.ConditionFailed(fault.failed) from error
                wait_s = random.uniform(0, pause_s)  # noqa: S311 (full jitter, no secret)
                if not fault.is_passing or loop.time() + wait_s >= ends:
                    translation = faults.translated(fault)
                    if isinstance(translation, BackendUnavailable) and not is_quiet:
                        log.warning(
                            "catalog.failed", operation=operation, status=fault.status, code=fault.code, reason=fault.reason
                        )
                    raise translation from error
                log.debug("catalog.retried", operation=operation, status=fault.status, code=fault.code, causes=fault.causes)
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def pages(self, operation: str = "query", **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """Every answer of a Query, or of a Scan, each of at most a megabyte."""
        start: dict[str, Any] = {}
        while True:
            answer = await self.call(operation, TableName=self.options.table, **arguments, **start)
            yield answer
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def rows(self, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items with these keys as they are now, in any order; those that do not exist are left out."""
        batches = [keys[at : at + BATCH] for at in range(0, len(keys), BATCH)]
        return [row for rows in await asyncio.gather(*map(self._batch, batches)) for row in rows]

    async def _batch(self, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        ends, pause_s = loop.time() + self.options.deadline_s, FIRST_PAUSE_S
        while keys:
            asked = {self.options.table: {"Keys": keys, "ConsistentRead": True}}
            answer = await self.call("batch_get_item", RequestItems=asked)
            found += answer["Responses"].get(self.options.table, [])
            # What did not fit into the answer (16 MB) or the table's throughput is told, not found missing.
            keys = answer.get("UnprocessedKeys", {}).get(self.options.table, {}).get("Keys", [])
            if keys and not answer["Responses"].get(self.options.table):
                if loop.time() >= ends:
                    raise BackendUnavailable("The catalog does not answer.")
                await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return found


@functools.cache
def _models() -> Any:
    """What botocore knows of DynamoDB: some hundred kilobytes of JSON, read once a process instead of once a session."""
    return create_loader()
