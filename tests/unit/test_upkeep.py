"""Which versions are noncurrent for long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safelight.ports.archive import Layer, Pile
from safelight.services.upkeep import noncurrent

NOW = datetime(2026, 6, 21, tzinfo=UTC)


def pile(*days_ago: float) -> Pile:
    """Layers that came so many days ago; a negative number is a marker."""
    return Pile(
        "t/i/1/original",
        tuple(
            Layer(version=str(number), size_bytes=1, modified_at=NOW - timedelta(days=abs(days)), is_marker=days < 0)
            for number, days in enumerate(days_ago)
        ),
    )


@pytest.mark.parametrize(
    ("days_ago", "expired"),
    (
        ((), ""),
        ((400,), ""),  # the version of now, however old
        ((400, 10), ""),  # replaced ten days ago: that is what counts, not its age
        ((400, 100), "0"),
        ((400, 100, 95), "01"),
        ((400, 100, 10), "0"),
        ((400, -100), ""),  # the trash
        ((400, -100, -95), "1"),  # a second marker hides the first
        ((400, 300, -100), "0"),
        ((400, -300, 100), "01"),
        ((-400,), ""),
        ((-400, -100), "0"),
    ),
)
def test_a_version_expires_by_the_time_since_it_was_laid_upon_and_the_trash_does_not(days_ago, expired) -> None:
    assert "".join(layer.version for layer in noncurrent(pile(*days_ago), NOW - timedelta(days=90))) == expired
