from datetime import UTC, datetime

import pytest

from safelight.domain.ids import TenantId
from safelight.domain.usage import GB, Counts, Prices, Usage, checked_month, estimate, hour_of, month_of, share_of
from safelight.errors import BadField

START = datetime(2026, 6, 1, tzinfo=UTC)


def test_a_month_is_that_of_utc():
    from datetime import timedelta, timezone

    at = datetime(2026, 7, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))

    assert month_of(at) == "2026-06"
    assert hour_of(at) + 1 == hour_of(datetime(2026, 7, 1, 0, 0, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "26-01", "2026-1", "", "2026-06-01", "2026-06\n", "٢٠٢٦-06"])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(BadField):
        checked_month(text)


@pytest.mark.parametrize(
    ("since", "now", "share"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC), 1.0),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 6, 16, tzinfo=UTC), 0.5),
        (datetime(2026, 6, 16, tzinfo=UTC), datetime(2026, 7, 20, tzinfo=UTC), 0.5),
        (datetime(2026, 7, 2, tzinfo=UTC), datetime(2026, 7, 20, tzinfo=UTC), 0.0),
        (START, START, 0.0),
    ],
    ids=["past", "half over", "since its middle", "not here yet", "just begun"],
)
def test_the_share_of_a_month_is_what_has_passed_of_it(since, now, share):
    assert share_of("2026-06", since=since, now=now) == pytest.approx(share)


def test_december_ends_with_the_year():
    assert share_of("2026-12", since=START, now=datetime(2027, 1, 1, tzinfo=UTC)) == 1.0


def test_an_estimate_has_a_line_for_every_price_and_stores_by_the_average():
    usage = Usage(
        tenant=TenantId("t"),
        month="2026-06",
        counts=Counts(uploads=10, transformations=2_000, deliveries=500_000, delivered_bytes=3 * GB, requests=1),
        samples=4,
        byte_hours=8 * GB,
    )
    lines = list(estimate(usage, Prices(stored_gb_month=0.02, transformations_1000=0.5, delivered_gb=0.1), share=0.5))

    assert [(line.what, line.units) for line in lines] == [
        ("stored_gb_month", 1.0),
        ("transformations_1000", 2.0),
        ("delivered_gb", 3.0),
    ]
    assert sum(line.cost for line in lines) == pytest.approx(0.02 + 1.0 + 0.3)


def test_before_the_first_look_the_average_is_nothing():
    usage = Usage(tenant=TenantId("t"), month="2026-06", counts=Counts())

    assert (usage.average_bytes, usage.average_images) == (0, 0)
