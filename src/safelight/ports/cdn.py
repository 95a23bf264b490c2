"""Cdn: a distribution that keeps copies of what we deliver. Kept by adapters.cdn; checked by testing.contracts.cdn.

Only told what to let go of. A distribution that does not answer raises BackendUnavailable, one that has too much to do Busy: try
again later. One that refuses us raises WrongState: somebody has to mend the settings or a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Cdn(Protocol):
    """One distribution."""

    @property
    def name(self) -> str:
        """Tells it from the others, also after a restart."""
        ...

    async def open(self) -> None:
        """Connect. One that does not answer is met again when it is needed. Raises WrongState when it refuses us."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...

    async def ping(self) -> None:
        """Whether it would listen now. Raises Busy, BackendUnavailable, WrongState when it refuses us."""
        ...

    async def invalidate(self, paths: Sequence[str], *, reference: str) -> str:
        """Begin to let go of these paths, which may end in `*`; the id to ask by.

        The same reference and paths again are the same invalidation. Raises Busy, BackendUnavailable, WrongState.
        """
        ...

    async def is_done(self, invalidation: str) -> bool:
        """Whether nothing of it is kept any more, anywhere. Raises Busy, BackendUnavailable, WrongState for an unknown id."""
        ...
