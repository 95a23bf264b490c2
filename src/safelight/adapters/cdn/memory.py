"""MemoryCdn: a distribution in dictionaries, for tests: it remembers what it was told, and is done when the test says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from safelight.errors import BackendUnavailable, SafelightError, WrongState


class MemoryCdn:
    """Keeps Cdn. `fault` is raised by whatever it is asked, as long as it is set."""

    def __init__(self, name: str = "memory", *, is_quick: bool = True) -> None:
        """`is_quick`: everything is done at once; else when `finish` is called."""
        self.name: Final = name
        self.told: Final[dict[str, tuple[str, ...]]] = {}
        self.fault: SafelightError | None = None
        self._is_quick: Final = is_quick
        self._done: Final[set[str]] = set()
        self._is_open = False

    async def open(self) -> None:
        """There is nothing to connect to."""
        self._is_open = True

    async def close(self) -> None:
        """Further calls raise BackendUnavailable, as those of a real one do."""
        self._is_open = False

    async def ping(self) -> None:
        """See Cdn.ping."""
        self._ask()

    async def invalidate(self, paths: Sequence[str], *, reference: str) -> str:
        """The reference is the id. Raises WrongState for one that was used for other paths."""
        self._ask()
        if self.told.setdefault(reference, tuple(paths)) != tuple(paths):
            raise WrongState("The reference was used for other paths.")
        return reference

    async def is_done(self, invalidation: str) -> bool:
        """See Cdn.is_done."""
        self._ask()
        if invalidation not in self.told:
            raise WrongState("There is no such invalidation.")
        return self._is_quick or invalidation in self._done

    def finish(self) -> None:
        """Whatever was told by now is done."""
        self._done.update(self.told)

    def _ask(self) -> None:
        if not self._is_open:
            raise BackendUnavailable("The CDN is closed.")
        if self.fault is not None:
            raise self.fault
