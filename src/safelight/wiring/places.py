"""Places: an installation from outside, for those who start, copy and restore it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safelight.errors import BadField, DataDirInUse, WrongState
from safelight.ports.archive import Moments, Row
from safelight.services.moving import Holdings
from safelight.settings import Settings
from safelight.wiring.backends import (
    make_catalog,
    make_kept,
    make_tables,
    processes_at_work,
)
from safelight.wiring.build import build
from safelight.wiring.elsewhere import backends
from safelight.wiring.keys import lasting_keys
from safelight.wiring.parts import Part, Safelight


async def rehearse(settings: Settings) -> None:
    """Connect to whatever is kept elsewhere and let go again, so that what is wrong with the settings is told before anything begins.

    In a process of its own: the drivers' threads do not survive the fork of the workers. Raises what opening raises.
    """
    for backend in backends(settings):
        if backend.rehearse is not None:
            await backend.rehearse()


@dataclass(frozen=True)
class Place:
    """An installation as `safelight move` sees it: what it keeps, who is at work on it, and how it is opened."""

    settings: Settings
    holdings: Holdings
    parts: tuple[Part, ...]

    @classmethod
    def at(cls, settings: Settings, *, is_source: bool) -> Place:
        """Connected to nothing yet. Of a source nothing is made or written: raises WrongState where its key is missing."""
        if is_source and not settings.catalog.secret_key.get_secret_value() and not settings.secrets_file.exists():
            raise WrongState(
                f"The key that its signing secrets are sealed with is missing: {settings.secrets_file}."
                " Put the file back, or set SAFELIGHT_CATALOG__SECRET_KEY."
            )
        tables = make_tables(settings)
        kept = make_kept(settings, is_read_only=is_source)
        catalog = Part("catalog", tables.open, tables.close, tables.filling)
        return cls(settings, Holdings(tables, kept.buckets), (catalog, kept.part))

    @property
    def moments(self) -> Moments:
        """The rows, for who needs them as they were at one moment. Raises BadField where they cannot be had so."""
        tables = self.holdings.tables
        if self.settings.is_on_dynamodb:
            raise BadField(
                "A backup is of one moment, as which a table of DynamoDB cannot be read while others write: have DynamoDB keep"
                " recovery to a point in time, or `safelight move` a stopped installation.",
                field="SAFELIGHT_CATALOG__URL",
            )
        return cast(Moments, tables)

    def lasting_keys(self) -> list[Row]:
        """What finds and checks what was made under its keys, for an installation that it is moved into."""
        return lasting_keys(self.settings)

    async def processes_at_work(self) -> int:
        """How many servers and workers take part in its work now."""
        return await processes_at_work(self.settings)

    def safelight(self) -> Safelight:
        """The services over the same buckets and a catalog that may still be half filled."""
        catalog = make_catalog(self.settings, is_whole=False)
        buckets = self.holdings.buckets
        # Nobody else is there to be told of a change, so no cache is asked either.
        alone = self.settings.model_copy(update={"cache": type(self.settings.cache)()})
        return build(alone, catalog=catalog, originals=buckets.originals, renditions=buckets.renditions)


@contextlib.contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for one server. Raises DataDirInUse, which names the process that has it."""
    import fcntl

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DataDirInUse(
                f"Another Safelight server (process {holder}) uses {data_dir}. Stop it, or give this one a --data-dir of its own."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
