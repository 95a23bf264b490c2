"""Keeping: records, bytes, index and caches of an installation, as its services use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from safelight.adapters.cache.memory import MemoryCache
from safelight.observability import Instruments
from safelight.ports.cache import Cache
from safelight.ports.catalog import Catalog
from safelight.ports.incoming import Incoming, Reception
from safelight.ports.search import Search
from safelight.ports.shelf import Shelf
from safelight.services.audited import Audited
from safelight.services.development import Buckets
from safelight.services.remembered import Forgetting, Remembered
from safelight.services.trail import Trail
from safelight.settings import Settings
from safelight.wiring.backends import (
    Kept,
    make_cache,
    make_catalog,
    make_incoming,
    make_kept,
    make_search,
    make_shelf,
)
from safelight.wiring.keys import LASTING, PSEUDONYMS, Keyring, catalog_keys, derived
from safelight.wiring.overrides import Overrides
from safelight.wiring.parts import Clock, Opening, Part, nothing

if TYPE_CHECKING:
    from safelight.adapters.storage.s3 import S3Store


@dataclass(frozen=True)
class Keeping:
    """What is kept, connected to nothing yet."""

    catalog: Catalog
    """Writes the audit trail, and has the shared cache forget what it changes."""
    cache: Cache
    shared: Cache | None
    """None without a server: a process's own memory would answer with what another process has changed."""
    remembered: Remembered
    trail: Trail
    rings: Mapping[str, Keyring]
    """By what its keys are for."""
    buckets: Buckets
    incoming: Incoming
    reception: Reception | None
    search: Search
    shelf: Shelf | None
    sweep: Opening | None
    s3: S3Store | None
    parts: tuple[Part, ...]


def make_keeping(settings: Settings, overrides: Overrides, clock: Clock, instruments: Instruments) -> Keeping:
    """Backends by the settings, and around the catalog what sees every change. Only the catalog's key file is read, or made, at once."""
    plain = overrides.get("catalog") or make_catalog(settings)
    shared = overrides.get("cache") or make_cache(settings)
    cache = shared or MemoryCache()
    days = settings.audit.retention_days
    keys = catalog_keys(settings)
    rings = {use: Keyring(derived(keys, use)) for use in LASTING}
    trail_keys = rings[PSEUDONYMS]
    trail = Trail(plain, clock, trail_keys, timedelta(days=days) if days else None)

    async def open_catalog() -> None:
        await plain.open()
        try:
            async with plain.directory() as directory:
                for use, key in await directory.people.trust.inherited_keys():
                    if use in rings:  # what is of no more use to this release is left alone
                        rings[use].inherit(key)
        except BaseException:
            await plain.close()
            raise

    catalog = plain if shared is None else Forgetting(plain, shared)
    catalog = Audited(catalog, clock, trail_keys[0], trail.appended)
    # An index of DynamoDB may lag behind what was committed: a page that was read too early would be kept for minutes.
    page_s = 0.0 if settings.is_on_dynamodb else settings.cache.page_s
    kept = _kept(settings, overrides)
    search = overrides.get("search") or make_search(settings)
    shelf = overrides.get("shelf") or make_shelf(settings)
    parts = [
        Part("catalog", open_catalog, plain.close, plain.ping),
        Part("cache", cache.open, cache.close, cache.ping, is_vital=False),
        Part("trail", nothing, trail.close, None),
        kept.part,
        Part("search", search.open, search.close, search.ping),
        *([] if shelf is None else [Part("shelf", shelf.open, nothing, None)]),
    ]
    return Keeping(
        catalog=catalog,
        cache=cache,
        shared=shared,
        remembered=Remembered(catalog, shared, instruments, settings.cache.record_s, page_s),
        trail=trail,
        rings=rings,
        buckets=kept.buckets,
        incoming=kept.incoming,
        reception=kept.reception,
        search=search,
        shelf=shelf,
        sweep=kept.sweep,
        s3=kept.s3,
        parts=tuple(parts),
    )


def _kept(settings: Settings, overrides: Overrides) -> Kept:
    if "originals" in overrides and "renditions" in overrides:
        buckets = Buckets(overrides["originals"], overrides["renditions"])
        incoming = make_incoming(settings, overrides.get("incoming") or buckets.originals)
        return Kept(buckets, incoming, incoming, Part("storage", nothing, nothing, None))
    return make_kept(settings)
