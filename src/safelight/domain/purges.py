"""Purges: what caches are to let go of, how far that has come, and the paths by which a CDN is told. Pure.

forgetting -> removing -> waiting -> running -> waiting (more of a tag, or another try) -> done | failed. What is asked for by hand
goes from our own caches first (forgetting, removing), page by page; what Safelight notes itself begins with the CDNs. These are
told slice by slice: as many images at a time as their wildcards may be under way at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from safelight.domain.ids import ImageId, PurgeId, TenantId
from safelight.domain.queries import Cursor, Sort
from safelight.domain.sources import encoded

T = TypeVar("T")

SETTLE: Final = timedelta(seconds=3)
"""Before the CDN is told, and before what is outdated is removed: every process believes a record for two seconds, and would fill
the CDN and the store again from what it believes."""
LEASE: Final = timedelta(seconds=15)
"""For whoever goes on with a page of our own caches; then somebody else does."""
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(minutes=10)
MOST_ATTEMPTS: Final = 40
"""In a row: six hours, since throttling and an outage of the CDN pass."""
KEPT: Final = timedelta(days=30)
"""For which one that has ended can be looked up."""
MOST_WILDCARDS: Final = 15
"""Under way at a time: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html"""
MAX_CAUSE: Final = 300
_TRASH: Final = "trash/"
"""Before the cursor, when the trash is walked: what comes back from there is not to be served from what was made before."""


class PurgeOf(StrEnum):
    """One image, the images with a tag, what is kept of a picture that lies elsewhere, or whatever a tenant has."""

    IMAGE = "image"
    TAG = "tag"
    SOURCE = "source"
    TENANT = "tenant"


class PurgeState(StrEnum):
    """Where a purge stands: our own caches forget, what they held is removed from the store, CDNs are told."""

    FORGETTING = "forgetting"
    REMOVING = "removing"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OURS: Final = frozenset({PurgeState.FORGETTING, PurgeState.REMOVING})
"""Still about our own caches, which do not wait for CDNs, nor these for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """One thing to let go of. `value` is the image's id, the tag or the address; '' for a whole tenant."""

    id: PurgeId
    tenant: TenantId
    what: PurgeOf
    value: str = ""
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    """When to go on; None once it has ended."""
    state: PurgeState = PurgeState.WAITING
    revision: int = 1
    images: int = 1
    """That it is about."""
    images_done: int = 0
    """Of which the state is over; of one that is done, or has come to the CDNs, those that every CDN has said are gone."""
    slice: tuple[ImageId, ...] = ()
    """The images in turn."""
    cursor: str = ""
    """Where the images go on behind the slice or page; '' at their beginning and, for CDNs, at their end."""
    batch: str = ""
    """Those that are told together; '' while none is under way."""
    invalidations: Mapping[str, str] = field(default_factory=dict)
    """The batch's, by the name of the CDN that has been told."""
    attempts: int = 0
    """That failed, since something last succeeded."""
    cause: str = ""
    """Why the last one did."""

    @property
    def has_ended(self) -> bool:
        """Nothing more comes of it."""
        return self.due_at is None

    @property
    def is_ours(self) -> bool:
        """It is still about our own caches."""
        return self.state in OURS

    @property
    def walks_at(self) -> tuple[bool, Cursor | None]:
        """Whether the trash is walked, and where its next page begins; None for the first."""
        text = self.cursor.removeprefix(_TRASH)
        return self.cursor.startswith(_TRASH), Cursor.decode(text, Sort.CREATED) if text else None

    def claimed(self, *, at: datetime) -> Purge:
        """Somebody goes on with our own caches; nobody else need for a while."""
        return replace(self, due_at=at + LEASE, updated_at=at, revision=self.revision + 1)

    def walked(self, count: int, cursor: Cursor | None, *, at: datetime, has_cdn: bool) -> Purge:
        """So many images more are through this state. Behind the last comes the trash, then the next state.

        Before the next page it goes behind the others, so that a long one keeps nobody's short one waiting.
        """
        is_trashed, _ = self.walks_at
        done = self.images_done + count
        after = replace(self, attempts=0, cause="", updated_at=at, due_at=at, revision=self.revision + 1)
        if cursor or not (is_trashed or self.what in (PurgeOf.IMAGE, PurgeOf.SOURCE)):
            place = (_TRASH if is_trashed or not cursor else "") + (cursor.encode() if cursor else "")
            # Images may have come since they were counted.
            return replace(after, cursor=place, images_done=done, images=max(done, self.images))
        if self.state is PurgeState.FORGETTING:
            return replace(after, state=PurgeState.REMOVING, cursor="", images_done=0, images=done, due_at=at + SETTLE)
        if has_cdn:
            return replace(after, state=PurgeState.WAITING, cursor="", images_done=0, images=done, due_at=at)
        return replace(after, state=PurgeState.DONE, due_at=None, cursor="", slice=(), images_done=done, images=done)

    def sliced(self, images: Sequence[ImageId], cursor: Cursor | None) -> Purge:
        """These come next, and behind the cursor there are more."""
        return replace(self, slice=tuple(images), cursor=cursor.encode() if cursor else "")

    @property
    def goes_on_at(self) -> Cursor | None:
        """Where the tag's next page begins; None for its first."""
        return Cursor.decode(self.cursor, Sort.CREATED) if self.cursor else None

    def begun(self, batch: str, *, at: datetime) -> Purge:
        """It is part of what is told next. Keeps its `due_at`, so that what is under way is first in line."""
        return replace(self, state=PurgeState.RUNNING, batch=batch, invalidations={}, updated_at=at, revision=self.revision + 1)

    def told(self, invalidations: Mapping[str, str], *, at: datetime) -> Purge:
        """These CDNs have taken the batch."""
        return replace(self, invalidations=dict(invalidations), updated_at=at, revision=self.revision + 1)

    def put_off(self, cause: str, *, at: datetime) -> Purge:
        """It did not work: again later where it was, longer each time; after too many it has failed."""
        attempts = self.attempts + 1
        wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
        is_over = attempts >= MOST_ATTEMPTS
        return replace(
            self,
            state=PurgeState.FAILED if is_over else self.state if self.is_ours else PurgeState.WAITING,
            due_at=None if is_over else at + wait,
            batch="",
            invalidations={},
            attempts=attempts,
            cause=cause[:MAX_CAUSE],
            updated_at=at,
            revision=self.revision + 1,
        )

    def went(self, *, at: datetime) -> Purge:
        """The slice is gone everywhere. With more to come it goes behind the others."""
        after = replace(self, batch="", invalidations={}, attempts=0, cause="", updated_at=at, revision=self.revision + 1)
        if self.what is PurgeOf.TAG and self.cursor:
            done = self.images_done + len(self.slice)
            # Images may have got the tag since they were counted.
            return replace(
                after, state=PurgeState.WAITING, due_at=at, slice=(), images_done=done, images=max(done + 1, self.images)
            )
        done = self.images if self.what is not PurgeOf.TAG else self.images_done + len(self.slice)
        return replace(after, state=PurgeState.DONE, due_at=None, slice=(), images_done=done, images=done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What of ours lies behind CDNs, as prefixes of paths that end with '/'. Before nothing: an empty tuple."""

    front: tuple[str, ...] = ()
    """Under which Safelight delivers an image by its id."""
    whole_front: tuple[str, ...] = ()
    """Under which it delivers anything, other grammars' URLs among them, which name the image at their end."""
    buckets: tuple[str, ...] = ()
    """Before the tenant's id."""
    remote_front: tuple[str, ...] = ()
    """Under which it delivers what lies elsewhere, by its address in base 64."""

    @property
    def images_at_once(self) -> int:
        """That fit into one invalidation."""
        return MOST_WILDCARDS // max(len(self.front), len(self.buckets), 1)


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths with their wildcards, sorted: before Safelight, and before the buckets."""

    front: tuple[str, ...]
    buckets: tuple[str, ...]

    @property
    def most(self) -> int:
        """What counts against the limit of wildcards, which each distribution has for itself."""
        return max(len(self.front), len(self.buckets))

    def reference(self, batch: str) -> str:
        """What makes telling them twice telling them once; other paths under the same name would be refused."""
        digest = hashlib.sha256("\n".join((*self.front, "", *self.buckets)).encode()).hexdigest()
        return f"safelight-{batch}-{digest[:16]}"


def paths_of(purges: Iterable[Purge], ground: Ground) -> Paths:
    """What the slices of all of these are, each path once. CloudFront knows `*` at the end of a path only."""
    front: set[str] = set()
    buckets: set[str] = set()
    for purge in purges:
        if purge.what is PurgeOf.TENANT:
            front |= {f"{prefix}*" for prefix in ground.whole_front}
            buckets |= {f"{prefix}{purge.tenant}/*" for prefix in ground.buckets}
        elif purge.what is PurgeOf.SOURCE:
            front |= {f"{prefix}{encoded(purge.value)}/*" for prefix in ground.remote_front}
        else:
            front |= {f"{prefix}{image}/*" for image in purge.slice for prefix in ground.front}
            buckets |= {f"{prefix}{purge.tenant}/{image}/*" for image in purge.slice for prefix in ground.buckets}
    return Paths(tuple(sorted(front)), tuple(sorted(buckets)))


def by_turns(waiting: Iterable[T], tenant: Callable[[T], str]) -> list[T]:
    """Of every tenant the first of these, in their order, then of every tenant the second, and so on."""
    met: Counter[str] = Counter()
    placed = []
    for one in waiting:
        placed.append((met[tenant(one)], one))
        met[tenant(one)] += 1
    return [one for _, one in sorted(placed, key=lambda place: place[0])]


def joined(purges: Iterable[Purge], ground: Ground) -> list[Purge]:
    """As many of these, in their order, as may be under way together; the first one in any case."""
    taken: list[Purge] = []
    for purge in purges:
        if taken and paths_of([*taken, purge], ground).most > MOST_WILDCARDS:
            break
        taken.append(purge)
    return taken
