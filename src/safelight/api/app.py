"""The application: delivery in front, the API behind it, the gallery beside it. A plain ASGI callable that any server can run."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI

from safelight import __version__, worker
from safelight.api import document, problems
from safelight.api.admission import Admission
from safelight.api.cors import Cors
from safelight.api.delivery import PREFIXES, DeliveryDoor
from safelight.api.edge import Edge, security
from safelight.api.rates import Rated
from safelight.api.routes import (
    admin,
    albums,
    audit,
    auth,
    events,
    health,
    images,
    imports,
    incoming,
    me,
    mfa,
    passkeys,
    presets,
    privacy,
    purges,
    recipes,
    redevelopments,
    shared,
    sources,
    tenants,
    tus,
    uploads,
    usage,
    warmings,
    webhooks,
)
from safelight.api.witness import Witnessed
from safelight.settings import listed
from safelight.wiring import Safelight

DESCRIPTION: Final = """
Takes pictures in, checks and develops them into renditions, keeps originals encrypted and versioned, makes them findable and
delivers them fast by signed URL. Every refusal is `application/problem+json` with a stable `code`.
"""


_ROUTERS: Final = (
    images.router,
    uploads.router,
    imports.router,
    albums.router,
    admin.router,
    purges.router,
    warmings.router,
    tenants.router,
    sources.router,
    presets.router,
    recipes.router,
    redevelopments.router,
    usage.router,
    me.router,
    audit.router,
    webhooks.router,
    privacy.router,
    events.router,
    incoming.router,
    tus.router,
    auth.router,
    mfa.router,
    passkeys.router,
    auth.well_known,
    shared.router,
    health.router,
)
"""In the order in which they are asked for a request's route."""


def create_api(safelight: Safelight, *, works: bool = True, console: APIRouter | None = None) -> FastAPI:
    """The FastAPI application; it opens and closes the services, and relays and keeps the clock unless told not to."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await safelight.open()
        try:
            if works:
                async with worker.working(safelight, is_alone=safelight.settings.is_alone):
                    yield
            else:
                yield
        finally:
            safelight.progress.drain()  # or each stream would be a request in flight for as long as its client likes
            await safelight.close()

    api = FastAPI(
        title="Safelight",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    api.state.safelight = safelight
    api.state.public_url = safelight.settings.server.public_url
    problems.install(api)
    for router in _ROUTERS:
        # Not by `include_router`: it makes every route a second time, when it is first asked for, which takes the first requests of
        # a process most of a second together, and it looks for each request's route twice.
        api.router.routes.extend(router.routes)
    document.install(api)
    if console is not None:
        api.router.routes.extend(console.routes)
    return api


class Front:
    """Sends `/i/…`, `/imgproxy/…`, `/thumbor/…` and `/iiif/…` to delivery and everything else through the edge to the API."""

    def __init__(self, safelight: Safelight, *, works: bool = True, console: APIRouter | None = None) -> None:
        self.api = create_api(safelight, works=works, console=console)
        self._delivery = DeliveryDoor(safelight)
        server = safelight.settings.server
        witnessed = Witnessed(Rated(self.api, safelight), safelight.trail)
        edge = Edge(witnessed, safelight.instruments, body_idle_s=server.body_idle_s, public_url=server.public_url)
        guards = security(server.public_url)
        admitted = Admission(edge, safelight.instruments, most=server.max_requests, headers=guards)
        self._edge = Cors(admitted, listed(server.cors_origins), safelight.standing, public_url=server.public_url)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIXES):
            await self._delivery(scope, receive, send)
        else:
            await self._edge(scope, receive, send)
