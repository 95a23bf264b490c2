"""Vault: where backups are kept, apart from what they are backups of. Kept by adapters.storage; checked by testing.contracts.vault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from safelight.ports.storage import Body


class Vault(Protocol):
    """Sealed entries by name: letters, digits and '-', parted by '/'. One command uses a vault at a time."""

    async def open(self) -> None:
        """Take it. Raises DataDirInUse, BackendUnavailable, WrongState for another key than it was made with."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...

    async def has(self, name: str) -> bool:
        """Whether there is such an entry."""
        ...

    async def put(self, name: str, body: Body) -> None:
        """The entry, whole and safe on disk, or as it was before; a body that raises leaves nothing behind."""
        ...

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Its bytes in order. Raises Missing; DamagedObject, perhaps on the way, when they are not what was put there."""
        ...

    async def names(self, folder: str) -> list[str]:
        """The entries of the folder, in order."""
        ...

    async def remove(self, name: str) -> None:
        """The entry is gone; fine when it was not there."""
        ...
