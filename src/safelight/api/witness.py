"""The door's part of the audit trail: who asks, for whoever writes; and what leaves no record, told once the answer is out.

What changed something has left an entry in its transaction. Told from here: refusals (not knowing who, not being allowed, asking
too often), what administrators read, and requests that do something without a record, such as signing URLs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from safelight.domain.audit import DONE
from safelight.services.trail import Trail
from safelight.services.witness import AT_HAND, Witness

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSALS: Final = frozenset({401, 403, 429})
_NAMED_BY: Final = ("id", "kid")
"""Parameters of paths that name a thing; others may be secrets."""


class Witnessed:
    """Round the API and its rates, behind the edge."""

    def __init__(self, app: App, trail: Trail) -> None:
        self._app: Final = app
        self._trail: Final = trail

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass it on, and tell what has become of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        witness = Witness(agent=agent[:1024].decode("latin-1"))
        state = scope.setdefault("state", {})
        status = 0

        async def send_seen(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = AT_HAND.set(witness)
        try:
            await self._app(scope, receive, send_seen)
        finally:
            AT_HAND.reset(token)
            result = _result(scope, state, status, witness)
            if result is not None:
                self._trail.note(witness, action_of(scope), object=_object(scope), result=result)


def _result(scope: Scope, state: MutableMapping[str, Any], status: int, witness: Witness) -> str | None:
    """What is to be told; None for nothing."""
    if status in _REFUSALS or (status == 404 and state.get("is_hidden")):
        return str(state.get("problem_code", "refused"))
    if not 200 <= status < 400:
        return None
    if scope["method"] in _READS:
        return DONE if scope["path"].startswith("/admin") and witness.actor is not None else None
    return DONE if not witness.written and witness.actor is not None else None


def action_of(scope: Scope) -> str:
    """The route's name under its resource, as generated clients call it: `images.urls`."""
    route = scope.get("route")
    if route is None:
        return "request"
    tag = next(iter(getattr(route, "tags", None) or ()), "")
    name = str(getattr(route, "name", "") or "request")
    return f"{tag}.{name}" if tag else name


def _object(scope: Scope) -> str:
    parameters = scope.get("path_params") or {}
    name = next((str(parameters[each]) for each in _NAMED_BY if each in parameters), "")
    tag = next(iter(getattr(scope.get("route"), "tags", None) or ()), "")
    is_plain = name.isascii() and name.isprintable() and len(name) <= 80
    return f"{tag.removesuffix('s')}/{name}" if tag and name and is_plain else ""
