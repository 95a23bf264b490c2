"""Parts: what is opened and closed, and the house that they make."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from safelight.imaging import Sandbox
from safelight.observability import Instruments
from safelight.ports.cache import Cache
from safelight.ports.catalog import Catalog
from safelight.ports.incoming import Reception
from safelight.ports.workflows import Workflows
from safelight.services.accounts import Accounts
from safelight.services.albums import Albums
from safelight.services.api_keys import ApiKeys
from safelight.services.courier import Courier
from safelight.services.delivery import Delivery
from safelight.services.development import Development
from safelight.services.erasure import Erasure
from safelight.services.factors import Factors
from safelight.services.history import History
from safelight.services.imports import Imports
from safelight.services.ingest import Ingest
from safelight.services.issuers import TrustedIssuers
from safelight.services.library import Library
from safelight.services.limiter import Limiter
from safelight.services.links import Links
from safelight.services.meter import Meter
from safelight.services.passkeys import Passkeys
from safelight.services.progress import Progress
from safelight.services.purges import Purges
from safelight.services.recipes import RecipeBook
from safelight.services.reconciler import Reconciler
from safelight.services.redevelopments import Redevelopments
from safelight.services.relay import Relay
from safelight.services.remote_delivery import RemoteDelivery
from safelight.services.resumable import Resumable
from safelight.services.scrub import Scrub
from safelight.services.secondleg import SecondLeg
from safelight.services.sharing import Sharing
from safelight.services.signin import SignIn
from safelight.services.signup import SignUp
from safelight.services.standing import Standing
from safelight.services.stepup import StepUp
from safelight.services.store_events import StoreEvents
from safelight.services.takeout import Takeout
from safelight.services.tenant_erasure import TenantErasure
from safelight.services.tenants import Tenants
from safelight.services.tokens import Tokens
from safelight.services.trail import Trail
from safelight.services.upkeep import Upkeep
from safelight.services.uploads import Uploads
from safelight.services.warmings import Warmings
from safelight.services.webhooks import Webhooks
from safelight.settings import Settings

log = structlog.get_logger()


Clock = Callable[[], datetime]


Opening = Callable[[], Awaitable[object]]


def utc_now() -> datetime:
    """The clock of real life."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Part:
    """Something that is opened and closed; what can be asked how it is, readiness asks."""

    name: str
    open: Opening
    close: Opening
    ping: Opening | None
    is_vital: bool = True
    """Without it nothing goes; without the others everything goes slower."""


@dataclass(frozen=True)
class Safelight:
    """Every service of one process, connected between `open` and `close`."""

    settings: Settings
    instruments: Instruments
    catalog: Catalog
    cache: Cache
    limiter: Limiter
    standing: Standing
    tenants: Tenants
    recipes: RecipeBook
    redevelopments: Redevelopments
    meter: Meter
    workflows: Workflows
    sandbox: Sandbox
    accounts: Accounts
    api_keys: ApiKeys
    issuers: TrustedIssuers
    signup: SignUp
    signin: SignIn
    tokens: Tokens
    step_up: StepUp
    second_leg: SecondLeg
    factors: Factors
    passkeys: Passkeys
    trail: Trail
    takeout: Takeout
    erasure: Erasure
    tenant_erasure: TenantErasure
    ingest: Ingest
    library: Library
    albums: Albums
    sharing: Sharing
    links: Links
    development: Development
    delivery: Delivery
    remote_delivery: RemoteDelivery
    relay: Relay
    upkeep: Upkeep
    reconciler: Reconciler
    scrub: Scrub
    uploads: Uploads
    resumable: Resumable
    imports: Imports
    progress: Progress
    history: History
    webhooks: Webhooks
    courier: Courier
    purges: Purges
    warmings: Warmings
    reception: Reception | None
    """Takes what is uploaded directly, where no store does."""
    store_events: StoreEvents
    listening: tuple[tuple[str, Opening], ...]
    """What workers do for as long as they live, beside the relay."""
    parts: tuple[Part, ...]
    chores: tuple[tuple[str, float, Opening], ...]
    _opened: list[Part] = field(default_factory=list)

    @property
    def pings(self) -> Mapping[str, Opening]:
        """What readiness asks, by name."""
        return {part.name: part.ping for part in self.parts if part.ping is not None}

    @property
    def is_draining(self) -> bool:
        """Not open: no traffic should come here."""
        return len(self._opened) != len(self.parts)

    async def open(self) -> None:
        """Connect every part, all at once: some wait for processes while others import. One that cannot closes the others."""

        async def connect(part: Part) -> None:
            await part.open()
            self._opened.append(part)

        results = await asyncio.gather(*map(connect, self.parts), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.close()
            raise failures[0]

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[Safelight]:
        """Connected to what is kept and taking no part in the work, for a command beside the servers and workers."""
        async with contextlib.AsyncExitStack() as opened:
            for part in self.parts:
                if part.name in ("catalog", "cache", "storage", "search"):
                    await part.open()
                    opened.push_async_callback(part.close)
            yield self

    async def close(self) -> None:
        """Let go of every part, work before what it works on; one that cannot be closed does not keep the others."""
        for part in sorted(self._opened, key=self.parts.index, reverse=True):
            self._opened.remove(part)
            try:
                await part.close()
            except Exception:
                log.exception("part.close_failed", part=part.name)


async def nothing() -> None:
    """Neither closed nor asked: a disk that is gone is a cache that is empty."""
