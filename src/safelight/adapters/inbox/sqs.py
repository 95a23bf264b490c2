"""SqsInbox: an Amazon SQS queue, standard or FIFO, by long poll; or a server that speaks its protocol.

Whatever fails is said in our errors; messages that a batch could not delete or extend are left to come again, which is fine.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import botocore.exceptions  # type: ignore[import-untyped]  # botocore ships no types
import structlog
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]

from safelight.errors import BackendUnavailable, WrongState
from safelight.ports.inbox import Message

log = structlog.get_logger(__name__)

T = TypeVar("T")

LONGEST_POLL_S: Final = 20.0
LONGEST_HIDDEN_S: Final = 43_200.0
"""Both are limits of SQS."""
SETTING: Final = "SAFELIGHT_EVENTS__SQS_URL"


class SqsInbox:
    """Keeps Inbox.

    Args:
        url: The queue's, as SQS gives it: https://sqs.eu-central-1.amazonaws.com/123456789012/photos.
        region: Of the queue; empty takes it from the address.
        access_key_id: Empty asks the chain of the AWS SDKs.
        secret_access_key: Its secret.
        hidden_s: See Inbox.hidden_s.

    """

    def __init__(
        self, url: str, *, region: str = "", access_key_id: str = "", secret_access_key: str = "", hidden_s: float = 60.0
    ) -> None:
        self.hidden_s: Final = hidden_s
        self._url = url
        self._region = region or _region_of(url)
        self._credentials = (access_key_id or None, secret_access_key or None)
        self._client: Any = None
        self._closing: contextlib.AsyncExitStack | None = None
        self._has_dead_letters = False

    @property
    def has_dead_letters(self) -> bool:
        """Whether the queue has a redrive policy."""
        return self._has_dead_letters

    async def open(self) -> None:
        """Connect and look at the queue. A second open does nothing."""
        if self._client is not None:
            return
        parts = urlsplit(self._url)
        async with contextlib.AsyncExitStack() as closing:
            client = await closing.enter_async_context(
                get_session().create_client(
                    "sqs",
                    region_name=self._region,
                    endpoint_url=f"{parts.scheme}://{parts.netloc}",
                    aws_access_key_id=self._credentials[0],
                    aws_secret_access_key=self._credentials[1],
                    config=AioConfig(connect_timeout=5, read_timeout=LONGEST_POLL_S + 10, retries={"total_max_attempts": 3}),
                )
            )
            try:
                answer = await client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
            except botocore.exceptions.ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                    raise BackendUnavailable("The queue does not answer.") from error
                raise WrongState(
                    f"The queue cannot be used ({code}). Correct {SETTING}, and see that these credentials may"
                    " receive, delete and change the visibility of its messages, and read its attributes."
                ) from error
            except (botocore.exceptions.BotoCoreError, aiohttp.ClientError, OSError) as error:
                raise BackendUnavailable(f"The queue does not answer ({SETTING}).") from error
            self._has_dead_letters = bool(json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}"))
            self._closing, self._client = closing.pop_all(), client
        if not self._has_dead_letters:
            log.warning("inbox.no_dead_letters", queue=self._url.rpartition("/")[2])

    async def close(self) -> None:
        """A receive under way fails."""
        closing, self._closing, self._client = self._closing, None, None
        if closing is not None:
            await closing.aclose()

    async def ping(self) -> None:
        """Read an attribute."""
        await self._call(lambda client: client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"]))

    async def receive(self, *, wait_s: float = 20.0) -> list[Message]:
        """See Inbox.receive."""
        answer = await self._call(
            lambda client: client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=int(min(wait_s, LONGEST_POLL_S)),
                VisibilityTimeout=int(self.hidden_s),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        )
        return [
            Message(each["ReceiptHandle"], each["Body"], int(each.get("Attributes", {}).get("ApproximateReceiveCount", 1)))
            for each in answer.get("Messages", [])
        ]

    async def extend(self, messages: Sequence[Message]) -> None:
        """See Inbox.extend."""
        await self._change(messages, self.hidden_s)

    async def give_back(self, message: Message, *, after_s: float) -> None:
        """See Inbox.give_back."""
        await self._change([message], after_s)

    async def done(self, messages: Sequence[Message]) -> None:
        """See Inbox.done."""
        for at in range(0, len(messages), 10):
            entries = [{"Id": str(n), "ReceiptHandle": message.receipt} for n, message in enumerate(messages[at : at + 10])]
            answer = await self._call(
                lambda client, entries=entries: client.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[misc]
            )
            self._tell_failed("done", answer)

    async def _change(self, messages: Sequence[Message], hidden_s: float) -> None:
        for at in range(0, len(messages), 10):
            entries = [
                {"Id": str(n), "ReceiptHandle": message.receipt, "VisibilityTimeout": int(min(hidden_s, LONGEST_HIDDEN_S))}
                for n, message in enumerate(messages[at : at + 10])
            ]
            answer = await self._call(
                lambda client, entries=entries: client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[misc]
            )
            self._tell_failed("change", answer)

    def _tell_failed(self, what: str, answer: Any) -> None:
        failed = answer.get("Failed", [])
        if failed:
            log.info("inbox.partly_failed", what=what, count=len(failed), code=failed[0].get("Code"))

    async def _call(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        if self._client is None:
            raise BackendUnavailable("The queue is closed.")
        try:
            return await ask(self._client)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise BackendUnavailable("The queue does not answer.") from error
        except RuntimeError as error:  # the session has been closed under it
            raise BackendUnavailable("The queue is closed.") from error


def _region_of(url: str) -> str:
    """Of sqs.<region>.amazonaws.com; of other servers it does not matter."""
    labels = urlsplit(url).netloc.split(".")
    return labels[1] if labels[0] == "sqs" and len(labels) > 3 else "us-east-1"
