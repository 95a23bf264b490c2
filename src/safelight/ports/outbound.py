"""Outbound: reading a URL that a stranger gave, and telling something to one. Kept by adapters.outbound; checked by testing.contracts.outbound.

What is asked is the address that was judged: a name is resolved once for each request, every address that it has must be within
reach, and the connection goes to one of those, so that a name which means something else a moment later changes nothing.
Redirects of a fetch are judged like the first URL, those of a post are answers like any other. Nothing of ours goes along: no cookie, no credentials, no proxy of the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from safelight.domain.addresses import Reach, Target

MAX_REDIRECTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """`connect_s` for a name and for a connection, `idle_s` without a byte, `total_s` for everything with redirects."""

    max_bytes: int
    connect_s: float = 5.0
    idle_s: float = 10.0
    total_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: the status, how long it asked us to stay away (as it says it), and how the body began."""

    status: int
    retry_after: str = ""
    beginning: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of asking for a copy: the answer's headers, their names in small letters, and its bytes."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    is_unchanged: bool = False
    """The conditions say that the copy at hand is still good, and there are no bytes."""


class Outbound(Protocol):
    """Goes out, and only as far as it may."""

    def fetch(self, target: Target, *, reach: Reach, limits: FetchLimits) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a 200, as they were sent: nothing is decompressed.

        Entering and reading raise SourceNotAllowed; SourceUnreachable for an address or name that is not there or is out of reach, alike; SourceRefused for
        an answer other than 200, an encoding, or too many redirects; TooManyBytes as soon as there are more than allowed;
        SourceUnavailable for what may go better another time: no answer, a broken or late one, a 429 or 5xx.
        """
        ...

    def get(
        self, target: Target, conditions: Mapping[str, str], *, reach: Reach, limits: FetchLimits
    ) -> AbstractAsyncContextManager[Reading]:
        """The same for who keeps a copy, and may have one: `conditions` are headers (RFC 9110 section 13.1), of which a 304 is the answer.

        Raises what `fetch` raises, and Missing for a 404 or 410; SourceTimedOut, a SourceUnavailable, where the time is over.
        """
        ...

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str], *, reach: Reach, limits: FetchLimits) -> Answer:
        """Send a body, once, and take whatever is answered, of its own body `limits.max_bytes` at most.

        What comes after the answer's head decides nothing: a body that does not end, or breaks off, is left where it is.
        Raises SourceNotAllowed, SourceUnreachable, SourceUnavailable as `fetch` does; also after it may have arrived there.
        """
        ...
