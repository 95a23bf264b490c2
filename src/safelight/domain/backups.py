"""Which backups are kept: the newest of each of the last days, weeks and months that have one. Pure; called by services.backups."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime

from safelight.errors import BadField


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How many days, ISO weeks (ISO 8601, from Monday) and months, all of UTC, keep the newest backup of theirs.

    Days without a backup do not count, so that nothing is lost by a machine that was off. The newest of all is always kept.
    """

    daily: int
    weekly: int
    monthly: int

    def __post_init__(self) -> None:
        if min(self.daily, self.weekly, self.monthly) < 0:
            raise BadField("A number of backups to keep is 0 or more.", field="keep")

    def kept(self, backups: Iterable[tuple[str, datetime]]) -> set[str]:
        """The ids to keep, of ids with the moments that they are of."""
        newest_first = sorted(backups, key=lambda one: (one[1], one[0]), reverse=True)
        rules: tuple[tuple[int, Callable[[datetime], Hashable]], ...] = (
            (self.daily, lambda at: at.date()),
            (self.weekly, lambda at: at.isocalendar()[:2]),
            (self.monthly, lambda at: (at.year, at.month)),
        )
        kept = {id for id, _ in newest_first[:1]}
        for most, period_of in rules:
            newest: dict[Hashable, str] = {}
            for id, at in newest_first:
                newest.setdefault(period_of(at), id)
            kept |= set(list(newest.values())[:most])
        return kept
