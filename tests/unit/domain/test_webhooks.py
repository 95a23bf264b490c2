from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from safelight.domain.events import EVENTS
from safelight.domain.ids import TenantId, derived_id, least_id, new_id
from safelight.domain.webhooks import (
    JITTER,
    LONGEST_WAIT,
    MAX_ATTEMPTS,
    MAX_EXCERPT,
    NAMES,
    TYPES,
    WAITS,
    Attempt,
    DeliveryState,
    DisabledFor,
    excerpt_of,
    image_data,
    retry_after,
    wait_after,
    wanted_by,
)
from safelight.errors import BadField, WrongState
from safelight.testing.factories import NOON, make_delivery, make_endpoint, make_image

TENANT = TenantId(new_id())
DAY = timedelta(days=1)
WORKED = Attempt(at=NOON, duration_ms=5, status=204)
FAILED = Attempt(at=NOON, duration_ms=5, status=500)


def endpoint(**fields):
    return make_endpoint(TENANT, **fields)


def test_an_endpoint_without_a_filter_wants_everything():
    assert all(endpoint().wants(name) for name in NAMES)


def test_a_filter_names_types_and_families():
    picky = endpoint(events=("image.ready", "album.*"))

    assert [name for name in NAMES if picky.wants(name)] == ["album.created", "album.deleted", "album.edited", "image.ready"]


def test_one_that_is_off_is_not_told():
    off = endpoint().disabled(DisabledFor.ASKED, at=NOON)

    assert wanted_by([endpoint(), off], "image.ready") != []
    assert off not in wanted_by([endpoint(), off], "image.ready")


@pytest.mark.parametrize("events", [("image.unknown",), ("*",), ("image",), ("",), ("x" * 10_000,)])
def test_a_filter_of_unknown_types_is_refused(events):
    with pytest.raises(BadField):
        endpoint().edited(at=NOON, events=events)


@pytest.mark.parametrize("description", ["x" * 501, "a\r\nb", "\x1b[2J"])
def test_a_description_is_short_and_printable(description):
    with pytest.raises(BadField):
        endpoint().edited(at=NOON, description=description)


def test_two_secrets_sign_while_the_grace_lasts_and_one_after_it():
    before = endpoint(secret=b"old")
    after = before.rotated(b"new", at=NOON, grace=DAY)

    assert after.secrets(NOON + DAY - timedelta(seconds=1)) == (b"new", b"old")
    assert after.secrets(NOON + DAY) == (b"new",)
    assert before.rotated(b"new", at=NOON, grace=timedelta(0)).secrets(NOON) == (b"new",)
    assert after.rotated(b"newest", at=NOON, grace=DAY).secrets(NOON) == (b"newest", b"new")


def test_a_delivery_that_was_taken_has_ended():
    after = make_delivery(endpoint()).tried(WORKED, wait=DAY)

    assert (after.state, after.due_at, after.attempts) == (DeliveryState.DELIVERED, None, (WORKED,))


@pytest.mark.parametrize("status", [0, 199, 300, 301, 302, 308, 400, 404, 429, 500, 503])
def test_one_that_was_not_is_tried_again_after_a_rest(status):
    after = make_delivery(endpoint()).tried(replace(FAILED, status=status), wait=DAY)

    assert (after.state, after.due_at, after.tries) == (DeliveryState.WAITING, NOON + DAY, 1)


def test_after_the_last_rest_there_is_one_more_attempt_and_then_it_is_given_up():
    delivery = make_delivery(endpoint())
    for _ in range(len(WAITS)):
        delivery = delivery.tried(FAILED, wait=DAY)
        assert delivery.state is DeliveryState.WAITING
    delivery = delivery.tried(FAILED, wait=DAY)

    assert (delivery.state, delivery.due_at, delivery.tries) == (DeliveryState.FAILED, None, len(WAITS) + 1)


def test_410_gone_is_believed_at_once():
    gone = replace(FAILED, status=410)
    delivery = make_delivery(endpoint()).tried(gone, wait=DAY)
    after = endpoint().answered(gone, delivery, patience=5 * DAY)

    assert delivery.state is DeliveryState.FAILED
    assert (after.is_enabled, after.disabled_for, after.revision) == (False, DisabledFor.GONE, 2)


def test_a_replay_begins_the_schedule_anew_and_keeps_the_log():
    delivery = make_delivery(endpoint()).tried(WORKED, wait=DAY)
    again = delivery.replayed(at=NOON + 3 * DAY, kept=7 * DAY)

    assert (again.id, again.body, again.message_id) == (delivery.id, delivery.body, delivery.message_id)
    assert (again.state, again.tries, again.due_at, again.attempts) == (DeliveryState.WAITING, 0, NOON + 3 * DAY, (WORKED,))
    assert again.forget_at == NOON + 10 * DAY
    with pytest.raises(WrongState):
        again.replayed(at=NOON, kept=DAY)


def test_only_the_last_attempts_are_kept():
    delivery = make_delivery(endpoint())
    for number in range(50):
        delivery = delivery.tried(replace(FAILED, duration_ms=number), wait=DAY)

    assert [one.duration_ms for one in delivery.attempts] == list(range(50 - MAX_ATTEMPTS, 50))


def test_an_endpoint_is_switched_off_when_a_delivery_was_given_up_and_nothing_worked_for_days():
    given_up = make_delivery(endpoint(), state=DeliveryState.FAILED, due_at=None)
    failing = endpoint().answered(FAILED, given_up, patience=5 * DAY)

    assert (failing.is_enabled, failing.failing_since) == (True, NOON)
    later = replace(FAILED, at=NOON + 5 * DAY)
    off = failing.answered(later, given_up, patience=5 * DAY)
    assert (off.disabled_at, off.disabled_for, off.revision) == (NOON + 5 * DAY, DisabledFor.FAILING, failing.revision + 1)
    # The first failure after a silence is not the last.
    waiting = make_delivery(endpoint())
    assert failing.answered(later, waiting, patience=5 * DAY) is failing
    back = failing.answered(WORKED, waiting, patience=5 * DAY)
    assert back.failing_since is None
    assert back.answered(WORKED, waiting, patience=5 * DAY) is back
    assert off.enabled(at=NOON).failing_since is None


def test_rests_grow_and_add_up_to_a_day():
    assert list(WAITS) == sorted(WAITS)
    assert timedelta(hours=20) < sum(WAITS, timedelta()) < timedelta(hours=24)
    assert sum((wait_after(n, chance=0.999) for n in range(1, len(WAITS) + 1)), timedelta()) < timedelta(hours=30)


def test_a_rest_is_spread_and_never_shorter_than_the_schedule():
    for tries in range(1, 20):
        at_least = WAITS[min(tries, len(WAITS)) - 1]
        assert wait_after(tries, chance=0.0) == at_least
        assert at_least < wait_after(tries, chance=0.5) < at_least * (1 + JITTER)


def test_retry_after_is_obeyed_within_a_day():
    assert wait_after(1, chance=0.5, asked=timedelta(hours=1)) == timedelta(hours=1)
    assert wait_after(1, chance=0.0, asked=timedelta(0)) == WAITS[0]
    assert wait_after(1, chance=0.0, asked=timedelta(days=9)) == LONGEST_WAIT


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(minutes=2)),
        (" 0 ", timedelta(0)),
        ("9" * 4000, LONGEST_WAIT),
        (format_datetime(NOON + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        (format_datetime(NOON - timedelta(minutes=5), usegmt=True), timedelta(0)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, wait):
    assert retry_after(value, NOON) == wait


@pytest.mark.parametrize("body", [b"", b"\x00\x1b[2J\xff\xfe", b"x" * 9999, "日本".encode()[:-1], b"\xe2\x80\xae"])
def test_an_excerpt_is_short_text_that_harms_no_terminal(body):
    text = excerpt_of(body)

    assert len(text) <= MAX_EXCERPT
    assert text.isprintable()


def test_what_is_told_of_an_image_holds_no_url_and_no_place():
    image = make_image(TENANT, place="Zürich", metadata={"private": {"location": {"latitude": 47.4}}, "public": {}})
    told = image_data(image)

    assert {"id", "version", "revision", "status"} <= told.keys()
    assert not any("url" in name or name in ("place", "metadata", "location", "renditions") for name in told)
    assert "Zürich" not in str(told)


def test_every_type_belongs_to_an_event_of_ours_and_has_one_name():
    assert set(TYPES) <= set(EVENTS)
    assert len(NAMES) == len(TYPES)


def test_ids_of_one_time_lie_above_the_least_of_it():
    at = datetime(2026, 11, 21, tzinfo=UTC).timestamp()

    assert least_id(at) <= derived_id(at, "x") < least_id(at + 0.002)
    assert derived_id(at - 0.002, "x") < least_id(at)
