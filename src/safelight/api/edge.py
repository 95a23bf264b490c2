"""Round every API request, as one plain ASGI callable: correlation id, canonical log line, figures, security headers, a bound on bodies.

The framework's own bound answers in plain text, so it is not used.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException

from safelight.api.problems import body_of
from safelight.domain.ids import new_id
from safelight.observability import Instruments

log = structlog.get_logger("safelight.access")

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

SMALL_BYTES: Final = 256 * 1024
"""The body of a request that is read into memory: more than any record can hold."""
_STREAMED: Final = re.compile(r"/images|/images/[^/]+/original|/(?:events|incoming|tus)/.*")
"""Routes that take larger ones, and bound them themselves."""
_SECRET: Final = re.compile(r"/shared/[^/]+")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    # Of answers that are no pages; pages say their own.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")  # RFC 6797


def transport_security(public_url: str) -> tuple[tuple[bytes, bytes], ...]:
    """Where clients come by https they are told to stay with it; said over http it would mean nothing (RFC 6797 section 7.2)."""
    return (_TRANSPORT,) if public_url.startswith("https://") else ()


def security(public_url: str) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer forbids a browser to do, unless the answer says it itself."""
    return (*_SECURITY, *transport_security(public_url))


def told_path(path: str) -> str:
    """The path as it may be logged: what opens a link is a secret."""
    return _SECRET.sub("/shared/…", path)


class Edge:
    """Wraps the API; delivery has its own door and does without."""

    def __init__(self, app: App, instruments: Instruments, *, body_idle_s: float, public_url: str = "") -> None:
        self._app = app
        self._security = security(public_url)
        self._body_idle_s = body_idle_s
        self._requests = instruments.requests
        self._in_flight = instruments.in_flight
        self._refused = instruments.refused

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request, or pass on what is not HTTP."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_id().encode()
        status = 0

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                extra = [pair for pair in self._security if pair[0] not in present]
                message["headers"] = [*message["headers"], *extra, (b"x-request-id", request_id)]
            await send(message)

        self._in_flight.inc()
        state = scope.setdefault("state", {})
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            try:
                await self._app(scope, self._bounded(scope, receive), send_marked)
            except Exception:
                log.exception("request.crashed", method=scope["method"], path=told_path(scope["path"]))
                if status == 0:
                    body = body_of(500, "internal", "Something went wrong.", request_id=request_id.decode())
                    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
                    await send_marked({"type": "http.response.start", "status": 500, "headers": headers})
                    await send_marked({"type": "http.response.body", "body": body})
            finally:
                self._in_flight.dec()
                took = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")
                self._requests.labels(scope["method"], route, f"{status // 100}xx").observe(took)
                code = state.get("problem_code")
                if code:
                    self._refused.labels(code).inc()
                if not route.startswith("/health"):
                    log.info(
                        "request", method=scope["method"], route=route, status=status, took_ms=round(took * 1000, 1), code=code
                    )

    def _bounded(self, scope: Scope, receive: Any) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
        """The body, of bounded size unless the route streams it, and from a client that counts as gone when it stops half-way."""
        limit = math.inf if _STREAMED.fullmatch(scope["path"]) else SMALL_BYTES
        told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        left = limit - int(told[:20]) if told.isdigit() else limit
        came = 0
        is_complete = False

        async def receive_in_time() -> MutableMapping[str, Any]:
            nonlocal came, is_complete
            if left < 0:
                raise HTTPException(413, f"The body has at most {SMALL_BYTES} bytes.")
            if is_complete:  # what comes now is its hanging up, which may take as long as it likes
                message: MutableMapping[str, Any] = await receive()
                return message
            try:
                async with asyncio.timeout(self._body_idle_s):
                    message = await receive()
            except TimeoutError:
                message = {"type": "http.disconnect"}
            is_complete = message["type"] != "http.request" or not message.get("more_body", False)
            came += len(message.get("body", b""))
            if came > limit:
                raise HTTPException(413, f"The body has at most {SMALL_BYTES} bytes.")
            return message

        return receive_in_time
