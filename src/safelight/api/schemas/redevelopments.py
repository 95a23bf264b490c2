"""Redevelopments on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from safelight.api.conditions import album_id
from safelight.api.schemas.common import Id, In, Instant, Out
from safelight.domain.images import MAX_TAGS, Status
from safelight.domain.redevelopments import USUAL_RATE, Redevelopment, RedevelopmentState, Selection


class SelectionIn(In):
    """Which pictures: those that fit all of it. Nothing is every picture that is not in the trash."""

    album: Id | None = Field(None, max_length=26)
    tags: list[str] = Field([], max_length=MAX_TAGS, description="Pictures with all of these.")
    status: Status | None = None
    after: Instant | None = Field(None, description="That came in at this time or later.")
    before: Instant | None = Field(None, description="That came in before this time; before now where nothing is said.")

    def selection(self) -> Selection:
        """As the services take it. Raises BadField for an album that cannot be."""
        return Selection(
            album=album_id(self.album) if self.album else None,
            tags=tuple(self.tags),
            status=self.status,
            after=self.after,
            before=self.before,
        )


class RedevelopmentIn(In):
    """Pictures to develop again."""

    filter: SelectionIn = SelectionIn()
    recipe: str = Field("", max_length=40, description="A recipe, or a version of one; '' is the one that is for each picture.")
    rate: float = Field(USUAL_RATE, description="At most so many begun a second, 0.01 to 100.")
    dry_run: bool = Field(False, description="Only count them.")


class SelectionOut(Out):
    """Which pictures."""

    album: str | None
    tags: list[str]
    status: Status | None
    after: datetime | None
    before: datetime | None


class RedevelopmentOut(Out):
    """Pictures that are developed again, and how far that has come."""

    id: str
    state: RedevelopmentState
    filter: SelectionOut
    recipe: str | None = Field(description="By which; null is the one that is for each picture.")
    rate: float
    dry_run: bool
    total: int = Field(description="Pictures that fit, as far as they are counted.")
    is_counted: bool
    under_way: int
    done: int
    failed: int
    skipped: int = Field(
        description="Were just being developed, had been rejected, went away, or have a record that cannot be read."
    )
    cause: str = Field(description="Why it has failed: an error code, and what it says. Empty for one that has not.")
    created_at: datetime
    updated_at: datetime


def redevelopment_out(one: Redevelopment) -> RedevelopmentOut:
    """The redevelopment as an admin gets it."""
    chosen = one.selection
    return RedevelopmentOut(
        id=one.id,
        state=one.state,
        filter=SelectionOut(
            album=chosen.album, tags=list(chosen.tags), status=chosen.status, after=chosen.after, before=chosen.before
        ),
        recipe=one.recipe.reference if one.recipe else None,
        rate=one.rate,
        dry_run=one.is_dry_run,
        total=one.total,
        is_counted=one.is_counted,
        under_way=len(one.under_way),
        done=one.done,
        failed=one.failed,
        skipped=one.skipped,
        cause=one.cause,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


class RedevelopmentPage(Out):
    """Redevelopments, newest first."""

    redevelopments: list[RedevelopmentOut]
    next: str | None
