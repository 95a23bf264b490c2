"""Redevelopments: many pictures developed once more, so many a second, and how far that has come. Pure.

running -> done | cancelled | failed, with paused in between. First the pictures are counted, then begun in the order in which they came in. At
most MOST_UNDER_WAY are under way at a time, and each is noted until it has ended: what a crash leaves, another process goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from safelight.domain.ids import AlbumId, ImageId, RedevelopmentId, TenantId, UserId
from safelight.domain.images import Image, Status
from safelight.domain.queries import Cursor, ImageQuery, Sort
from safelight.domain.recipes import Recipe
from safelight.errors import BadField, WrongState

MIN_RATE: Final = 0.01
MAX_RATE: Final = 100.0
USUAL_RATE: Final = 2.0
MOST_UNDER_WAY: Final = 64
AT_ONCE: Final = 8
"""Begun in one transaction: with their events they fit into one of DynamoDB."""
MAX_OPEN: Final = 5
"""Redevelopments of a tenant that have not ended."""
KEPT: Final = timedelta(days=30)
"""For which one that has ended can be looked up."""
MAX_CAUSE: Final = 300
_IDLE: Final = timedelta(seconds=1)
"""What was not used of the rate for longer than this is not made up for."""


class RedevelopmentState(StrEnum):
    """Where one stands."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED: Final = frozenset({RedevelopmentState.DONE, RedevelopmentState.CANCELLED, RedevelopmentState.FAILED})
"""Nothing more is begun."""
_MOVES: Final = {
    RedevelopmentState.PAUSED: frozenset({RedevelopmentState.RUNNING}),
    RedevelopmentState.RUNNING: frozenset({RedevelopmentState.PAUSED}),
    RedevelopmentState.CANCELLED: frozenset({RedevelopmentState.RUNNING, RedevelopmentState.PAUSED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which pictures: all of these at once. Bounds of time are half open, of when a picture came in."""

    album: AlbumId | None = None
    tags: tuple[str, ...] = ()
    status: Status | None = None
    after: datetime | None = None
    before: datetime | None = None

    def query(self, *, limit: int, cursor: Cursor | None) -> ImageQuery:
        """The page of them behind the cursor, oldest first."""
        return ImageQuery(
            album=self.album,
            tags=self.tags,
            status=self.status,
            created_after=self.after,
            created_before=self.before,
            sort=Sort.CREATED,
            limit=limit,
            cursor=cursor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A picture that was begun: over when that printing of it is delivered, or something else has become of it."""

    image: ImageId
    version: int
    printing: int

    def has_succeeded(self, image: Image) -> bool:
        """What is delivered is this printing, or one after it."""
        return (image.developed_version, image.developed_printing) >= (self.version, self.printing)

    def is_open(self, image: Image) -> bool:
        """It is still being developed."""
        return image.status is Status.DEVELOPING and (image.version, image.printing) == (self.version, self.printing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redevelopment:
    """One request to develop pictures again. `rate` is at most so many begun a second."""

    id: RedevelopmentId
    tenant: TenantId
    asked_by: UserId
    created_at: datetime
    updated_at: datetime
    next_at: datetime
    """When the next picture may be begun."""
    state: RedevelopmentState = RedevelopmentState.RUNNING
    revision: int = 1
    selection: Selection = field(default_factory=Selection)
    recipe: Recipe | None = None
    """By which; None is the one that is for each picture now."""
    rate: float = USUAL_RATE
    is_dry_run: bool = False
    """Only counted."""
    is_counted: bool = False
    is_begun: bool = False
    """There is none left to begin."""
    cursor: str = ""
    """Behind the last picture that was counted, then behind the last that was begun."""
    total: int = 0
    """Counted until now."""
    done: int = 0
    failed: int = 0
    skipped: int = 0
    """Were just being developed, had never been accepted, went to the trash, or have a record that cannot be read."""
    under_way: tuple[UnderWay, ...] = ()
    cause: str = ""
    """Why it has failed, the error's code first."""

    @property
    def has_ended(self) -> bool:
        """Nothing more comes of it."""
        return self.state in ENDED

    @property
    def is_at_work(self) -> bool:
        """There is something to begin, or to see the end of."""
        return self.state is RedevelopmentState.RUNNING or bool(self.under_way)

    @property
    def goes_on_at(self) -> Cursor | None:
        """Where the next page begins; None for the first."""
        return Cursor.decode(self.cursor, Sort.CREATED) if self.cursor else None

    def moved(self, state: RedevelopmentState, *, at: datetime) -> Redevelopment:
        """Paused, resumed or cancelled. Pictures that are under way go on. Raises WrongState."""
        if self.state not in _MOVES[state]:
            raise WrongState(f"This redevelopment is {self.state}.")
        return replace(self, state=state, next_at=max(self.next_at, at), updated_at=at, revision=self.revision + 1)

    def gave_up(self, cause: str, *, at: datetime) -> Redevelopment:
        """It cannot go on. Pictures that are under way do."""
        return replace(self, state=RedevelopmentState.FAILED, cause=cause[:MAX_CAUSE], updated_at=at, revision=self.revision + 1)

    def counted(self, more: int, behind: Cursor | None, *, at: datetime) -> Redevelopment:
        """So many more were found; None is the end."""
        return replace(
            self,
            total=self.total + more,
            cursor=behind.encode() if behind else "",
            is_counted=behind is None,
            next_at=max(self.next_at, at),
            state=RedevelopmentState.DONE if behind is None and (self.is_dry_run or not self.total + more) else self.state,
            updated_at=at,
            revision=self.revision + 1,
        )

    def may_begin(self, *, at: datetime) -> int:
        """How many pictures now: what the rate has room for since the last, and the next transaction."""
        if self.state is not RedevelopmentState.RUNNING or self.is_begun or at < self.next_at:
            return 0
        room = int((at - max(self.next_at, at - _IDLE)).total_seconds() * self.rate) + 1
        return min(room, AT_ONCE, MOST_UNDER_WAY - len(self.under_way))

    def settled(self, images: Mapping[ImageId, Image], *, at: datetime) -> Redevelopment:
        """With those counted that have ended. The same where none has."""
        still = tuple(one for one in self.under_way if one.image in images and one.is_open(images[one.image]))
        if len(still) == len(self.under_way):
            return self
        ended = [one for one in self.under_way if one not in still]
        gone = sum(one.image not in images for one in ended)
        done = sum(one.image in images and one.has_succeeded(images[one.image]) for one in ended)
        after = replace(
            self,
            under_way=still,
            done=self.done + done,
            skipped=self.skipped + gone,
            failed=self.failed + len(ended) - done - gone,
            updated_at=at,
            revision=self.revision + 1,
        )
        return _ended(after)

    def begun(self, some: Sequence[Image], skipped: int, behind: Cursor | None, *, at: datetime) -> Redevelopment:
        """These are under way, as they are now; behind the cursor there are more."""
        slot = max(self.next_at, at - _IDLE)
        after = replace(
            self,
            under_way=(*self.under_way, *(UnderWay(image=one.id, version=one.version, printing=one.printing) for one in some)),
            skipped=self.skipped + skipped,
            cursor=behind.encode() if behind else "",
            is_begun=behind is None,
            next_at=slot + timedelta(seconds=len(some) / self.rate),
            updated_at=at,
            revision=self.revision + 1,
        )
        # Some may have come to the selection since they were counted.
        known = after.done + after.failed + after.skipped + len(after.under_way)
        return _ended(replace(after, total=known if after.is_begun else max(known, after.total)))


def _ended(one: Redevelopment) -> Redevelopment:
    is_over = one.is_begun and not one.under_way and one.state is RedevelopmentState.RUNNING
    return replace(one, state=RedevelopmentState.DONE) if is_over else one


def can_be_begun(image: Image) -> bool:
    """Whether it is at rest, with bytes that could be developed."""
    return not image.is_trashed and image.status in (Status.READY, Status.FAILED)


def checked_rate(rate: float) -> float:
    """The same. Raises BadField."""
    if not MIN_RATE <= rate <= MAX_RATE:  # NaN is neither
        raise BadField(f"rate is {MIN_RATE} to {MAX_RATE:g} pictures a second.", field="rate")
    return round(rate, 3)
