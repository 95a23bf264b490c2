"""From a request's credentials to an actor: `Authorization: Bearer <API key or access token>`, or `X-API-Key` for tools that cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final

from fastapi import Depends, Request

from safelight import jose
from safelight.api.rates import count_user
from safelight.domain.accounts import Actor
from safelight.errors import Unauthenticated
from safelight.services.witness import AT_HAND
from safelight.wiring import Safelight

MAX_TOKEN: Final = jose.LONGEST


def services_of(request: Request) -> Safelight:
    """The services behind this app."""
    services: Safelight = request.app.state.safelight
    return services


async def hall(request: Request) -> Safelight:
    """The same as a dependency: a coroutine, since the framework sends plain functions through a thread."""
    return services_of(request)


Hall = Annotated[Safelight, Depends(hall)]


def token_of(headers: Mapping[str, str]) -> str:
    """The credential among headers with lower-case names. Raises Unauthenticated where there is none that could be one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.casefold() != "bearer":
        token = headers.get("x-api-key", "")
    token = token.strip()
    if not token or len(token) > MAX_TOKEN:
        raise Unauthenticated
    return token


async def actor(request: Request) -> Actor:
    """Who asks, counted as one request of theirs. Raises Unauthenticated, TooMany, Misdirected."""
    services = services_of(request)
    actor = await services.accounts.authenticate(token_of(request.headers), address_of(request))
    if (witness := AT_HAND.get()) is not None:
        witness.actor = actor
    tenant = await services.standing.of(actor.tenant)
    request.state.tenant, request.state.domains = tenant.id, tenant.domains
    await services.standing.require_home(tenant, request.headers.get("host", ""))
    await count_user(services, actor, request.state)
    services.meter.requested(actor.tenant)
    return actor


def asking_again(request: Request) -> Callable[[], Awaitable[Actor]]:
    """Who asks, as of now, for an answer that goes on for long; not counted. What it returns raises like `authenticate`."""
    accounts = services_of(request).accounts
    token, address = token_of(request.headers), address_of(request)
    return lambda: accounts.authenticate(token, address)


def address_of(request: Request) -> str:
    """Where the request comes from; what a header says of it counts only from a proxy that the settings trust."""
    return str(request.state.client_address)


# `api.document` tells by this dependency which routes ask who is there.
Asking = Annotated[Actor, Depends(actor)]
