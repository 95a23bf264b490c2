"""NoSearch: an installation without full text. Whatever is to be indexed is let go; whoever searches is told so.

`safelight reindex` brings the index into being once a search is set, so nothing is lost by having had none.
"""

from __future__ import annotations

from collections.abc import Sequence

from safelight.domain.ids import ImageId, TenantId
from safelight.domain.queries import Document, SearchQuery, SearchResult
from safelight.errors import SearchUnavailable

_MEND = "This installation has no search; its operator can set SAFELIGHT_SEARCH__URL."


class NoSearch:
    """Keeps Search, except that `search`, `digests`, `begin` and `publish` raise SearchUnavailable."""

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def ping(self) -> None:
        """Not there by choice, and therefore no reason not to be ready."""

    async def put(self, tenant: TenantId, documents: Sequence[Document], *, generation: int | None = None) -> None:
        """Let them go."""

    async def remove(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        """They are not here."""

    async def search(self, tenant: TenantId, query: SearchQuery) -> SearchResult:
        """Raises SearchUnavailable."""
        raise SearchUnavailable(_MEND)

    async def digests(self, tenant: TenantId, *, after: str = "", limit: int = 1000) -> dict[ImageId, str]:
        """Raises SearchUnavailable."""
        raise SearchUnavailable(_MEND)

    async def begin(self) -> int:
        """Raises SearchUnavailable."""
        raise SearchUnavailable(_MEND)

    async def publish(self, generation: int) -> None:
        """Raises SearchUnavailable."""
        raise SearchUnavailable(_MEND)
