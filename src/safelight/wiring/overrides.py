"""Overrides: what a test may say instead of what the settings choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from safelight import flows
from safelight.ports.archive import Archive
from safelight.ports.cache import Cache
from safelight.ports.catalog import Catalog
from safelight.ports.cdn import Cdn
from safelight.ports.inbox import Inbox
from safelight.ports.mailer import Mailer
from safelight.ports.outbound import Outbound
from safelight.ports.search import Search
from safelight.ports.shelf import Shelf
from safelight.ports.storage import Storage
from safelight.ports.workflows import Workflows
from safelight.wiring.parts import Clock


class Overrides(TypedDict, total=False):
    """What a test may say instead: `build(Settings(), catalog=MemoryCatalog())`."""

    clock: Clock
    catalog: Catalog
    cache: Cache
    originals: Archive
    renditions: Archive
    incoming: Storage
    inbox: Inbox
    search: Search
    shelf: Shelf
    mailer: Mailer
    outbound: Outbound
    fronts: Sequence[Cdn]
    workflows: Callable[[flows.Bound], Workflows]
