"""What commands say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.cli import output


@pytest.mark.parametrize(
    ("count", "shown"),
    (
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (12_345, "12 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**15, "5.0 PB"),
        (10**19, "10000 PB"),
    ),
)
def test_sizes_read_as_people_say_them(count: int, shown: str) -> None:
    assert output.size(count) == shown


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    shown = output.plain(text)

    assert len(shown) == len(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066" for c in shown)


def test_an_escape_sequence_in_a_title_is_shown_and_not_obeyed() -> None:
    assert "\x1b" not in output.text("\x1b]0;owned\x07rose").plain


def test_marks_of_a_highlight_become_styles_and_entities_text() -> None:
    shown = output.marked("a <mark>ros&amp;e</mark> &lt;mark&gt; in <mark>June")

    assert shown.plain == "a ros&e <mark> in June"
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["ros&e"]


@pytest.mark.parametrize(
    ("stamp", "shown"),
    (
        ("2026-05-04T23:30:00-02:00", "2026-05-05 01:30"),
        ("2026-05-04T23:30:00Z", "2026-05-04 23:30"),
        ("2026-05-04T10:00:00", "2026-05-04 10:00"),
        (None, ""),
        ("soon", ""),
    ),
)
def test_times_are_shown_in_utc(stamp: str | None, shown: str) -> None:
    assert output.minute(stamp) == shown


@pytest.mark.parametrize(
    ("end", "shown"),
    (
        (None, "live"),
        ("2001-02-03T04:05:06Z", "expired"),
        ("9001-02-03T04:05:06Z", "expires 9001-02-03 04:05"),
    ),
)
def test_a_time_of_expiry_reads_as_what_it_means_now(end: str | None, shown: str) -> None:
    assert output.life(end, "expires", "expired") == shown
