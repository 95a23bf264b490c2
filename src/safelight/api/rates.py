"""Rates at the door: a request counts for its address before anything is done, and for its user as soon as one is known.

A refusal is a 429 with `Retry-After`; every answer says how much is left (draft-ietf-httpapi-ratelimit-headers-10).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from safelight.api.client_address import client_address
from safelight.api.problems import body_of, headers_of, status_of
from safelight.domain.accounts import Actor
from safelight.domain.rates import Grant, Rate, counted_as
from safelight.errors import TooMany
from safelight.services.limiter import Policy, per_minute, per_second
from safelight.services.witness import AT_HAND
from safelight.settings import RateSettings
from safelight.wiring import Safelight

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RateClass:
    """What lies under a prefix is counted together, by client address, apart from the rest."""

    name: str
    prefix: str
    rate: Callable[[RateSettings], Rate | None]


CLASSES: Final = (
    RateClass("auth", "/auth/", lambda rates: per_minute(rates.auth_per_minute)),
    RateClass("shared", "/shared/", lambda rates: per_minute(rates.shared_per_minute)),
    RateClass("address", "/", lambda rates: per_second(rates.address_per_s)),
)
"""The first that fits. A stricter class for other routes is one more line before the last, and a setting."""
UNCOUNTED: Final = frozenset({"/health/live", "/health/ready", "/metrics"})


class Rated:
    """Before the API, behind the edge. Leaves the client's address in `request.state.client_address`."""

    def __init__(self, app: App, safelight: Safelight) -> None:
        settings = safelight.settings
        self._app: Final = app
        self._limiter: Final = safelight.limiter
        self._address: Final = client_address(settings.server)
        classes = ((each, each.rate(settings.rate)) for each in CLASSES)
        self._classes: Final = tuple((each.prefix, Policy(each.name, rate) if rate else None) for each, rate in classes)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass it on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["client_address"] = address = self._address.of(scope)
        if (witness := AT_HAND.get()) is not None:
            witness.address = address

        async def send_told(message: MutableMapping[str, Any]) -> None:
            standing = state.get("rate")
            if standing is not None and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *told(*standing)]
            await send(message)

        policy = self._policy(scope["path"])
        if policy is not None and address:
            grant = await self._limiter.ask(policy, counted_as(address))
            state["rate"] = (policy, grant)
            if not grant.is_granted:
                await _refuse(state, grant, send_told)
                return
        await self._app(scope, receive, send_told)

    def _policy(self, path: str) -> Policy | None:
        if path in UNCOUNTED:
            return None
        return next((policy for prefix, policy in self._classes if path.startswith(prefix)), None)


async def _refuse(state: MutableMapping[str, Any], grant: Grant, send: Any) -> None:
    error = too_many(grant)
    state["problem_code"] = error.code
    status = status_of(error)
    body = body_of(status, error.code, error.detail, **error.extra)
    headers = [(name.encode(), value.encode()) for name, value in headers_of(error).items()]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def count_user(safelight: Safelight, actor: Actor, state: Any) -> None:
    """One request of this user, and of the tenant where it has a quota of them. Raises TooMany."""
    standing = safelight.standing
    quotas = standing.quotas(await standing.of(actor.tenant))
    user, tenant = per_second(safelight.settings.rate.user_per_s), per_second(quotas.requests_per_s or 0)
    for name, rate, who in (("tenant", tenant, str(actor.tenant)), ("user", user, f"{actor.tenant}:{actor.user}")):
        if rate is not None:
            policy = Policy(name, rate)
            grant = await safelight.limiter.ask(policy, who)
            state.rate = (policy, grant)
            if not grant.is_granted:
                raise too_many(grant)


def delivery_policy(rates: RateSettings) -> Policy | None:
    """Of deliveries, which each process counts for itself: a hit takes less time than a trip to the cache."""
    rate = per_second(rates.delivery_per_s)
    return Policy("delivery", rate) if rate else None


def too_many(grant: Grant) -> TooMany:
    """The refusal, with whole seconds to wait: no client comes back too early for having rounded down."""
    return TooMany(retry_after_s=max(1, math.ceil(grant.retry_after_s)))


def told(policy: Policy, grant: Grant) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy: "user";q=1000;w=1` and `RateLimit: "user";r=999;t=1`: quota, window, what is left, and for how long."""
    rate = policy.rate
    wait_s = grant.retry_after_s or (rate.burst - grant.remaining) / rate.per_s
    return [
        (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (policy.name.encode(), rate.burst, math.ceil(rate.window_s))),
        (b"ratelimit", b'"%s";r=%d;t=%d' % (policy.name.encode(), grant.remaining, math.ceil(wait_s))),
    ]
