"""Warmings: renditions made before somebody asks for them; what is wanted, and how far that has come. Pure.

waiting -> running -> done | failed -> running, when its dead letter is retried. It goes page by page, so that between two pages others have their turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId, WarmingId
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.errors import BadField

PAGE: Final = 10
"""Images between two turns: a run holds a place of the engine while it makes them."""
MAX_TRANSFORMS: Final = 20
KEPT: Final = timedelta(days=30)
"""For which one can be looked up."""
MAX_CAUSE: Final = 300


class WarmingState(StrEnum):
    """Where one stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warming:
    """Transforms to make of one image, or of the images in an album, with a tag, or both."""

    id: WarmingId
    tenant: TenantId
    user: UserId
    transforms: tuple[str, ...]
    """As URLs say them: `w=300,h=200,fit=cover.webp`, `thumb_300.avif`, `card.webp`."""
    image: ImageId | None = None
    album: AlbumId | None = None
    tag: str = ""
    created_at: datetime
    updated_at: datetime
    state: WarmingState = WarmingState.WAITING
    page: int = 0
    """The next one."""
    cursor: str = ""
    """Where it begins; '' for the first."""
    images: int = 1
    """That it is about, as counted at its beginning; there may be more by now."""
    images_done: int = 0
    made: int = 0
    present: int = 0
    """Renditions that were there already."""
    failed: int = 0
    """Renditions that cannot be made."""
    cause: str = ""
    """Why the last of these cannot, or why all ended."""

    @property
    def has_ended(self) -> bool:
        """Nothing more comes of it."""
        return self.state in (WarmingState.DONE, WarmingState.FAILED)

    @property
    def query(self) -> ImageQuery:
        """The page that comes next."""
        cursor = Cursor.decode(self.cursor, Sort.CREATED) if self.cursor else None
        tags = (self.tag,) if self.tag else ()
        return ImageQuery(album=self.album, tags=tags, sort=Sort.CREATED, limit=PAGE, cursor=cursor)

    def went(self, done: Count, images: int, cursor: Cursor | None, *, at: datetime) -> Warming:
        """A page is through; behind the cursor there are more."""
        through = self.images_done + images
        return replace(
            self,
            state=WarmingState.RUNNING if cursor else WarmingState.DONE,
            page=self.page + 1,
            cursor=cursor.encode() if cursor else "",
            images=max(self.images, through) if cursor else through,
            images_done=through,
            made=self.made + done.made,
            present=self.present + done.present,
            failed=self.failed + done.failed,
            cause=done.cause[:MAX_CAUSE] or self.cause,
            updated_at=at,
        )

    def gave_up(self, cause: str, done: Count, *, at: datetime) -> Warming:
        """It ends here; what has been made stays."""
        return replace(
            self,
            state=WarmingState.FAILED,
            made=self.made + done.made,
            present=self.present + done.present,
            failed=self.failed + done.failed,
            cause=cause[:MAX_CAUSE],
            updated_at=at,
        )

    def taken_up(self, *, at: datetime) -> Warming:
        """Somebody has its page tried again, after it was given up."""
        return replace(self, state=WarmingState.RUNNING, cause="", updated_at=at)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = asdict(self)
        return told | {"created_at": self.created_at.isoformat(), "updated_at": self.updated_at.isoformat()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Warming:
        """The warming again. Raises KeyError, TypeError, ValueError for what is none."""
        times = {name: datetime.fromisoformat(told[name]) for name in ("created_at", "updated_at")}
        return cls(**{**told, **times, "state": WarmingState(told["state"]), "transforms": tuple(told["transforms"])})


@dataclass(slots=True)
class Count:
    """What has become of the renditions of a page."""

    made: int = 0
    present: int = 0
    failed: int = 0
    cause: str = ""


def checked_transforms(transforms: Sequence[str]) -> tuple[str, ...]:
    """Each once, in the order given. Raises BadField for none, or too many."""
    once = tuple(dict.fromkeys(transforms))
    if not 1 <= len(once) <= MAX_TRANSFORMS:
        raise BadField(f"Give 1 to {MAX_TRANSFORMS} transforms.", field="transforms")
    return once
