"""Redevelopments as values: when the next may begin, what has become of those that were, and when it is over."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.ids import TenantId
from safelight.domain.images import Status
from safelight.domain.queries import Cursor, Sort
from safelight.domain.redevelopments import AT_ONCE, MAX_CAUSE, MOST_UNDER_WAY, RedevelopmentState, UnderWay, checked_rate
from safelight.errors import BadField, WrongState
from safelight.testing.factories import NOON, make_image, make_redevelopment

TENANT = TenantId("01j0000000000000000000000a")
RUNNING, PAUSED, DONE, CANCELLED, FAILED = RedevelopmentState


def after(seconds):
    return NOON + timedelta(seconds=seconds)


def begun_images(count):
    return [make_image(TENANT, status=Status.DEVELOPING, printing=1, developed_version=1) for _ in range(count)]


def one(**fields):
    return make_redevelopment(TENANT, is_counted=True, **fields)


def behind(image):
    return Cursor(Sort.CREATED, 1, image.id)


def test_no_more_are_begun_in_a_second_than_the_rate_says():
    redevelopment, total = one(rate=2.0, next_at=NOON), 0
    for tick in range(100):  # every tenth of a second
        at = after(tick / 10)
        count = redevelopment.may_begin(at=at)
        if count:
            images = begun_images(count)
            redevelopment = redevelopment.begun(images, 0, behind(images[-1]), at=at)
            redevelopment = redevelopment.settled({}, at=at)
            total += count

    assert 19 <= total <= 21


def test_what_was_not_used_of_the_rate_is_not_made_up_for():
    assert one(rate=3.0, next_at=NOON).may_begin(at=after(3600)) == 4
    assert one(rate=100.0, next_at=NOON).may_begin(at=after(3600)) == AT_ONCE
    assert one(rate=0.01, next_at=after(100)).may_begin(at=after(99)) == 0
    assert one(rate=0.01, next_at=after(100)).may_begin(at=after(100)) == 1


def test_no_more_are_under_way_than_can_be_watched():
    under_way = tuple(UnderWay(image=image.id, version=1, printing=1) for image in begun_images(MOST_UNDER_WAY - 3))

    assert one(rate=100.0, under_way=under_way).may_begin(at=after(10)) == 3


@pytest.mark.parametrize("fields", [{"state": PAUSED}, {"state": CANCELLED}, {"state": DONE}, {"is_begun": True}])
def test_nothing_is_begun_where_nothing_is_to_be(fields):
    assert one(**fields).may_begin(at=after(10)) == 0


def test_each_picture_that_was_begun_is_counted_once_by_what_has_become_of_it():
    images = begun_images(5)
    redevelopment = one(total=5).begun(images, 0, None, at=NOON)
    ready = replace(images[0], status=Status.READY, developed_printing=1)
    failed = replace(images[1], status=Status.FAILED)
    refused = replace(images[2], status=Status.READY)
    known = {image.id: image for image in (ready, failed, refused, images[3])}  # the last was removed

    settled = redevelopment.settled(known, at=NOON)

    assert (settled.done, settled.failed, settled.skipped) == (1, 2, 1)
    assert [each.image for each in settled.under_way] == [images[3].id]
    assert settled.settled(known, at=NOON) is settled
    assert settled.state is RUNNING
    over = settled.settled({images[3].id: replace(images[3], version=2, developed_version=2, printing=0)}, at=NOON)
    assert (over.state, over.done) == (DONE, 2)  # bytes that came in between were developed instead


def test_it_is_over_when_none_is_left_to_begin_and_none_is_under_way():
    assert one().begun([], 3, None, at=NOON).state is DONE
    assert one().begun(begun_images(1), 0, None, at=NOON).state is RUNNING
    assert one().begun([], 0, behind(make_image(TENANT)), at=NOON).state is RUNNING
    assert make_redevelopment(TENANT).counted(0, None, at=NOON).state is DONE
    assert make_redevelopment(TENANT, is_dry_run=True).counted(7, None, at=NOON).state is DONE
    assert make_redevelopment(TENANT).counted(7, None, at=NOON).state is RUNNING


def test_the_moves_that_are_legal():
    assert one().moved(PAUSED, at=NOON).moved(RUNNING, at=after(5)).state is RUNNING
    assert one().moved(PAUSED, at=NOON).moved(CANCELLED, at=NOON).has_ended
    for state, to in (
        (DONE, CANCELLED),
        (CANCELLED, RUNNING),
        (RUNNING, RUNNING),
        (PAUSED, PAUSED),
        (DONE, PAUSED),
        (FAILED, RUNNING),
    ):
        with pytest.raises(WrongState):
            one(state=state).moved(to, at=NOON)


def test_somebody_looks_after_a_cancelled_one_until_its_pictures_have_ended():
    images = begun_images(1)
    cancelled = one().begun(images, 0, behind(images[0]), at=NOON).moved(CANCELLED, at=NOON)

    assert cancelled.is_at_work
    assert not cancelled.settled({}, at=NOON).is_at_work
    assert cancelled.settled({}, at=NOON).state is CANCELLED


def test_one_that_cannot_go_on_begins_nothing_more_and_counts_what_it_had_begun():
    images = begun_images(1)
    failed = one().begun(images, 0, behind(images[0]), at=NOON).gave_up("too_broad: " + "x" * 1000, at=after(1))

    assert (failed.state, failed.cause[:10], len(failed.cause)) == (FAILED, "too_broad:", MAX_CAUSE)
    assert failed.has_ended
    assert failed.is_at_work
    assert failed.may_begin(at=after(60)) == 0
    over = failed.settled({}, at=after(2))
    assert (over.state, over.skipped, over.is_at_work) == (FAILED, 1, False)


@pytest.mark.parametrize("rate", [0, -1, 0.009, 100.1, math.nan, math.inf])
def test_a_rate_is_within_its_bounds(rate):
    with pytest.raises(BadField):
        checked_rate(rate)
