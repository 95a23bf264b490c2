"""Search: words to images. Kept by adapters.search; checked by testing.contracts.search.

Its contents can always be made again from the catalog. Documents are written asynchronously, so it may lag, never lead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from safelight.domain.ids import ImageId, TenantId
from safelight.domain.queries import Document, SearchQuery, SearchResult


class Search(Protocol):
    """One index over all tenants; every question names one tenant and sees only that."""

    async def open(self) -> None:
        """Connect, and make an empty index where there is none. Raises BackendUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def ping(self) -> None:
        """Ask it something small. Raises BackendUnavailable."""
        ...

    async def put(self, tenant: TenantId, documents: Sequence[Document], *, generation: int | None = None) -> None:
        """Add or replace by image id, in the index in use or in a generation being built; idempotent."""
        ...

    async def remove(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        """Forget these, in the index in use and in any being built; unknown ids are fine."""
        ...

    async def search(self, tenant: TenantId, query: SearchQuery) -> SearchResult:
        """All words must match (a word matches a field's word that begins with it), best first, then newest.

        Where a word matches nothing it is replaced by the tenant's nearest known word: one edit up to five letters, two beyond
        (Damerau-Levenshtein, optimal string alignment); `corrected` then holds the mended text. Punctuation, quotes and
        operators are plain text. Never raises for any text.
        """
        ...

    async def digests(self, tenant: TenantId, *, after: str = "", limit: int = 1000) -> dict[ImageId, str]:
        """What the index in use holds, by image id from behind `after`, each with its `Document.digest`."""
        ...

    async def begin(self) -> int:
        """Start a new, empty generation beside the one in use; its number. An abandoned one is dropped."""
        ...

    async def publish(self, generation: int) -> None:
        """Readers see this generation from now on, at once; the old one is dropped. Raises Missing for an unknown one."""
        ...
