"""Which backups are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safelight.domain.backups import Retention
from safelight.errors import BadField

START = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)  # a Thursday


def nightly(days, *, each=1):
    return [(f"{day:03d}.{number}", START + timedelta(days=day, hours=number)) for day in range(days) for number in range(each)]


def test_the_newest_of_each_of_the_last_days_is_kept():
    kept = Retention(daily=3, weekly=0, monthly=0).kept(nightly(10, each=2))

    assert kept == {"009.1", "008.1", "007.1"}


def test_weeks_begin_on_monday_and_months_on_the_first():
    kept = Retention(daily=0, weekly=2, monthly=2).kept(nightly(40))

    assert {START + timedelta(days=int(id[:3])) for id in kept} == {
        datetime(2026, 2, 9, 2, 0, tzinfo=UTC),  # the newest: of its week and month
        datetime(2026, 2, 8, 2, 0, tzinfo=UTC),  # the Sunday before
        datetime(2026, 1, 31, 2, 0, tzinfo=UTC),
    }


def test_days_without_a_backup_do_not_count():
    some = [one for one in nightly(60) if int(one[0][:3]) % 10 == 0]

    assert len(Retention(daily=4, weekly=0, monthly=0).kept(some)) == 4


def test_the_newest_is_kept_whatever_is_asked_and_nothing_is_kept_of_nothing():
    assert Retention(daily=0, weekly=0, monthly=0).kept(nightly(3)) == {"002.0"}
    assert Retention(daily=7, weekly=4, monthly=12).kept([]) == set()


def test_a_year_of_nights_leaves_as_many_as_was_asked_for():
    kept = Retention(daily=7, weekly=4, monthly=12).kept(nightly(365))

    assert 7 + 3 + 11 - 1 <= len(kept) <= 7 + 4 + 12


def test_a_negative_number_is_refused():
    with pytest.raises(BadField):
        Retention(daily=-1, weekly=0, monthly=0)
