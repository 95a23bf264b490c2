"""Shelf: finished renditions on this machine, between a process's memory and the store. Kept by adapters.shelf.

Nothing here is the only copy of anything: what cannot be read is not there, what cannot be written is not kept, and no method
raises for a disk that is full, slow or gone.
"""

from __future__ import annotations

from typing import Protocol


class Shelf(Protocol):
    """Keys are those of renditions in the store, tenant and image first."""

    async def open(self) -> None:
        """Ready for use; what an earlier process kept is still there. Raises WrongState when the place cannot be used at all."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The bytes exactly as they were put, or None."""
        ...

    async def put(self, key: str, body: bytes) -> None:
        """Keep them, whole or not at all; what has not been asked for the longest makes room."""
        ...

    async def drop(self, prefix: str) -> int:
        """Let go of everything under 'tenant/' or 'tenant/image/'; how many."""
        ...
