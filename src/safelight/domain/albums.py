"""Albums: an ordered selection of one owner's images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId
from safelight.errors import BadField

MAX_ALBUM_TITLE: Final = 200
MAX_ALBUM_IMAGES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """`cover` is one of its images, or the first when none is chosen; `revision` is its ETag."""

    id: AlbumId
    tenant: TenantId
    owner: UserId
    title: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    cover: ImageId | None = None
    image_count: int = 0
    revision: int = 1

    def edited(self, *, at: datetime, **changes: Any) -> Album:
        """With another title, description or cover. Raises BadField."""
        title = changes.get("title", self.title)
        if not title.strip() or len(title) > MAX_ALBUM_TITLE or "\x00" in title:
            raise BadField(f"An album's title has 1 to {MAX_ALBUM_TITLE} characters.", field="title")
        if len(changes.get("description", "")) > 5_000:
            raise BadField("An album's description has at most 5000 characters.", field="description")
        return replace(self, revision=self.revision + 1, updated_at=at, **changes)
