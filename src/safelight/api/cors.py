"""CORS (Fetch standard, section 3.2): which pages of other origins may read the API's answers.

Outside everything else, so that a refusal by the rate limiter or the bound on bodies can be read as well as an answer.

An origin is compared with those of the settings and of the tenant, as a whole, and repeated only when it is one of them; `*` is answered as
`*`. Credentials are never allowed: a page sends its key or token itself, no cookie opens anything here, and so no stranger's page
can make a browser vouch for its user.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from safelight.api.edge import security
from safelight.api.problems import body_of, headers_of, status_of
from safelight.domain.ids import TenantId
from safelight.errors import Forbidden, SafelightError
from safelight.services.standing import Standing

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ANY: Final = "*"
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
# Named, since `*` does not stand for Authorization.
REQUEST_HEADERS: Final = (
    "Authorization, X-API-Key, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, Prefer, Range, X-Request-ID,"
    " X-Requested-With, X-HTTP-Method-Override, Tus-Resumable, Upload-Checksum, Upload-Concat, Upload-Defer-Length, Upload-Length, Upload-Metadata,"
    " Upload-Offset"
)
ANSWER_HEADERS: Final = (
    "Content-Disposition, Content-Range, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate,"
    " X-Request-ID, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Concat,"
    " Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)
MAX_AGE_S: Final = 7200
"""For which a browser remembers a preflight's answer; Chromium does so no longer."""


class Cors:
    """Round the API; deliveries have a constant answer of their own, since whoever has their URL has the picture."""

    def __init__(self, app: App, origins: Iterable[str], standing: Standing, *, public_url: str = "") -> None:
        self._app: Final = app
        self._security: Final = security(public_url)
        self._origins: Final = frozenset(origins)
        self._standing: Final = standing

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a preflight; let every other answer say who may read it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = [value for name, value in scope["headers"] if name == b"origin"]
        origin = asked[0].decode("latin-1") if len(asked) == 1 else ""
        if (
            origin
            and scope["method"] == "OPTIONS"
            and any(name == b"access-control-request-method" for name, _ in scope["headers"])
        ):
            await self._preflight(origin, send)
            return

        scope.setdefault("state", {})

        async def send_told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told = await self._told(origin, scope["state"].get("tenant"))
                if told:
                    told.append((b"access-control-expose-headers", ANSWER_HEADERS.encode()))
                message["headers"] = [*message["headers"], *told, *self._varies()]
            await send(message)

        await self._app(scope, receive, send_told)

    async def _preflight(self, origin: str, send: Any) -> None:
        told = await self._told(origin, None)
        body = b""
        if told:
            status = 204
            told += [
                (b"access-control-allow-methods", METHODS.encode()),
                (b"access-control-allow-headers", REQUEST_HEADERS.encode()),
                (b"access-control-max-age", b"%d" % MAX_AGE_S),
            ]
        else:
            error = Forbidden("Pages of this origin may not ask here.")
            status, body = status_of(error), body_of(status_of(error), error.code, error.detail)
            told = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
            told.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": [*told, *self._varies(), *self._security]})
        await send({"type": "http.response.body", "body": body})

    async def _told(self, origin: str, tenant: TenantId | None) -> Headers:
        """A preflight and who was refused at the door do not say whose they are: they may come from any tenant's page."""
        if ANY in self._origins:
            return [(b"access-control-allow-origin", ANY.encode())]
        if not origin:
            return []
        is_allowed = origin in self._origins
        if not is_allowed:
            try:
                whose = (await self._standing.origins()).get(origin, frozenset())
            except SafelightError:  # what they are is known to the catalog, which does not answer
                whose = frozenset()
            is_allowed = tenant in whose if tenant else bool(whose)
        return [(b"access-control-allow-origin", origin.encode("latin-1"))] if is_allowed else []

    def _varies(self) -> Headers:
        """A cache must not give one page's answer to another, nor an answer without the header to a page."""
        return [] if ANY in self._origins else [(b"vary", b"Origin")]
