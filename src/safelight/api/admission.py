"""Admission: of the requests of the API, so many are worked on at a time; the rest is refused before anything is done for it.

Without it all that arrive are begun: when they are more than can be done, all of them get slow together, and what they hold grows with
their number. A request counts from its first byte until its answer begins, but for the time in which it waits for its client: slow
uploads, downloads and streams of events hold a connection and no place. Deliveries are admitted by what they take (`delivery`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from safelight.api.problems import body_of, headers_of, status_of
from safelight.api.rates import UNCOUNTED
from safelight.errors import Busy
from safelight.observability import Instruments

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 * 2**20
"""For how long, and how much of a body, somebody is listened to who is refused: more is cut off."""


class Admission:
    """Outside of all that costs something: a refusal must take next to nothing, since it comes when there is too much to do."""

    def __init__(self, app: App, instruments: Instruments, *, most: int, headers: Headers = ()) -> None:
        self._app: Final = app
        self._most: Final = most
        self._working = 0
        self._refused: Final = instruments.refused.labels(Busy.code)
        error = Busy(retry_after_s=1)
        self._body: Final = body_of(status_of(error), error.code, error.detail, **error.extra)
        told = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
        self._start: Final = {
            "type": "http.response.start",
            "status": status_of(error),
            "headers": [*told, (b"content-length", b"%d" % len(self._body)), *headers],
        }

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass it on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        if self._working >= self._most:
            self._refused.inc()
            await _heard_out(scope, receive)
            await send({**self._start})
            await send({"type": "http.response.body", "body": self._body})
            return
        # Whoever has been let in stays, even when others have come while its body did: what has been begun is not refused any more.
        is_working, is_answered = True, False
        self._working += 1

        def rest() -> None:
            nonlocal is_working
            self._working -= is_working
            is_working = False

        async def receive_resting() -> MutableMapping[str, Any]:
            nonlocal is_working
            rest()
            message: MutableMapping[str, Any] = await receive()
            if not is_answered:
                self._working += not is_working
                is_working = True
            return message

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            nonlocal is_answered
            is_answered = True
            rest()
            await send(message)

        try:
            await self._app(scope, receive_resting, send_marked)
        finally:
            is_answered = True  # for who still listens
            rest()


async def _heard_out(scope: Scope, receive: Any) -> None:
    """The body, thrown away: a connection that is closed while its client still sends is reset, and the answer is lost (RFC 9112 section 9.6)."""
    if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
        return
    left = LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
