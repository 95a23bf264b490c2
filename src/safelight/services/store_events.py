"""The store tells: what it says has been created is taken in. Called by the HTTP receiver and by the queue's consumer.

An event is a hint, never a command: it may come twice, late, in any order or never, and may speak of what is not ours. What
happens is decided by the upload's row and the object itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import structlog

from safelight.domain.ids import TenantId, UploadId, is_id
from safelight.domain.notices import Notice, read_notices
from safelight.domain.uploads import UploadState
from safelight.errors import Missing, NotArrived
from safelight.observability import Instruments
from safelight.ports.incoming import Incoming
from safelight.services.uploads import Uploads

log = structlog.get_logger()

AT_ONCE: Final = 16


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

    async def _heard(self, notice: Notice) -> Heard:
        key = self.incoming.key_of(notice.bucket, notice.key)
        parts = (key or "").split("/")
        if len(parts) != 3 or parts[0] != "incoming" or not (is_id(parts[1]) and is_id(parts[2])):
            return Heard.IGNORED
        try:
            upload = await self.uploads.arrived(TenantId(parts[1]), UploadId(parts[2]))
        except (Missing, NotArrived):
            log.info("store_event.nothing_there", upload_id=parts[2])
            return Heard.IGNORED
        outcomes = {UploadState.ACCEPTED: Heard.ACCEPTED, UploadState.REJECTED: Heard.REJECTED}
        return outcomes.get(upload.state, Heard.IGNORED)
