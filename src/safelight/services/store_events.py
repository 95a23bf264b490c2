"""The store tells: what it says has been created is taken in. Called by the HTTP receiver and by the queue's consumer.

An event is a hint, never a command: it may come twice, late, in any order or never, and may speak of what is not ours. What
happens is decided by the upload's row and the object itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog

from safelight.domain.ids import TenantId, UploadId, is_id
from safelight.domain.notices import Notice, read_notices
from safelight.domain.uploads import UploadState
from safelight.errors import BadRequest, Missing, NotArrived, SafelightError
from safelight.observability import Instruments
from safelight.ports.inbox import Inbox, Message
from safelight.ports.incoming import Incoming
from safelight.services.uploads import Uploads

log = structlog.get_logger()

AT_ONCE: Final = 16
LONGEST_REST_S: Final = 300.0
"""Between two tries of a message that failed for our own reasons; the first rest is a second, each is twice the one before."""


class Heard(StrEnum):
    """What became of one event."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    IGNORED = "ignored"
    """Of another bucket or key, of an upload that has ended, or of an object that is gone."""


@dataclass(frozen=True, slots=True)
class StoreEvents:
    """Hears every door's events."""

    incoming: Incoming
    uploads: Uploads
    instruments: Instruments

    async def hear(self, document: Any) -> Mapping[Heard, int]:
        """How many events ended how. Raises BadRequest for what no store says, and what is worth hearing again."""
        notices = list(dict.fromkeys(read_notices(document)))
        places = asyncio.Semaphore(AT_ONCE)

        async def one(notice: Notice) -> Heard:
            async with places:
                return await self._heard(notice)

        results = await asyncio.gather(*map(one, notices), return_exceptions=True)
        heard = Counter(result for result in results if isinstance(result, Heard))
        for outcome, count in heard.items():
            self.instruments.store_events.labels(outcome.value).inc(count)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return heard

    async def listen(self, inbox: Inbox) -> None:
        """Take in what the queue brings, for as long as the process lives."""
        rest_s = 1.0
        while True:
            try:
                await self.read(inbox, await inbox.receive())
                rest_s = 1.0
            except SafelightError as error:
                log.warning("inbox.failed", code=error.code)
                await asyncio.sleep(rest_s)
                rest_s = min(2 * rest_s, LONGEST_REST_S)

    async def read(self, inbox: Inbox, messages: Sequence[Message]) -> None:
        """Hear these; those that are heard are done, the others come again, or are put aside by the queue."""
        if not messages:
            return
        beating = asyncio.create_task(_beat(inbox, messages))
        try:
            heard = await asyncio.gather(*(self._read(inbox, message) for message in messages))
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
        await inbox.done([message for message, is_done in zip(messages, heard, strict=True) if is_done])

    async def _read(self, inbox: Inbox, message: Message) -> bool:
        """Whether it need not come again."""
        try:
            await self.hear(_parsed(message.body))
        except BadRequest as error:
            log.error("inbox.not_understood", detail=error.detail, times=message.times)
            if not inbox.has_dead_letters:
                return True  # it would come for ever
            await inbox.give_back(message, after_s=0)
            return False
        except Exception as error:
            # One message must not keep the others; what it was is told by the log, and by the queue's dead letters.
            log.warning("inbox.message_failed", times=message.times, exc_info=error)
            with contextlib.suppress(SafelightError):
                await inbox.give_back(message, after_s=min(2.0 ** min(message.times - 1, 20), LONGEST_REST_S))
            return False
        return True

    async def _heard(self, notice: Notice) -> Heard:
        key = self.incoming.key_of(notice.bucket, notice.key) or ""
        parts = key.split("/")
        is_announced = len(parts) == 3 and parts[0] == "incoming" and is_id(parts[1]) and is_id(parts[2])
        try:
            upload = await (
                self.uploads.arrived(TenantId(parts[1]), UploadId(parts[2]), is_urgent=False)
                if is_announced
                else self.uploads.found(key)
            )
        except (Missing, NotArrived):
            return Heard.IGNORED
        outcomes = {UploadState.ACCEPTED: Heard.ACCEPTED, UploadState.REJECTED: Heard.REJECTED}
        return outcomes.get(upload.state, Heard.IGNORED)


async def _beat(inbox: Inbox, messages: Sequence[Message]) -> None:
    """Keep them hidden while they are being heard."""
    while True:
        await asyncio.sleep(inbox.hidden_s / 3)
        try:
            await inbox.extend(messages)
        except SafelightError as error:
            log.info("inbox.not_extended", code=error.code)


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The message is not JSON.") from None
