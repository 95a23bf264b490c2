from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.api.ranges import condition, http_date, spans

AT = datetime(2026, 5, 17, 12, 30, 15, 123456, tzinfo=UTC)
ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-", [(0, 100)]),
        ("bytes=90-500", [(90, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-500", [(0, 100)]),
        ("bytes=0-9,20-29", [(0, 10), (20, 30)]),
        ("bytes=200-300,0-1", [(0, 2)]),
        ("bytes=100-", 416),
        ("bytes=-0", 416),
        ("bytes=5-4", None),
        ("bytes=abc", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=0-99,0-99", None),
        ("bytes=" + ",".join(["0-0"] * 1000), None),
        ("bytes=" + "9" * 5000 + "-", None),
        ("bytes=²-3", None),
    ],
)  # fmt: skip
def test_a_range_header_is_read_as_rfc_9110_says(header, wanted):
    assert spans({"range": header}, 100, ETAG, AT) == wanted


@given(st.text(max_size=60))
def test_no_range_header_is_an_error(header):
    result = spans({"range": "bytes=" + header}, 10, ETAG, AT)

    assert result is None or result == 416 or all(0 <= start < end <= 10 for start, end in result)


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"if-none-match": '"abc"'}, 304),
        ({"if-none-match": 'W/"abc"'}, 304),
        ({"if-none-match": '"x", "abc"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, None),
        ({"if-match": '"abc"'}, None),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-match": '"x"'}, 412),
        ({"if-modified-since": http_date(AT)}, 304),
        ({"if-modified-since": http_date(AT - timedelta(seconds=1))}, None),
        ({"if-modified-since": "yesterday"}, None),
        ({"if-unmodified-since": http_date(AT - timedelta(seconds=1))}, 412),
        ({"if-none-match": '"x"', "if-modified-since": http_date(AT)}, None),
    ],
)
def test_conditions_are_weighed_in_the_order_of_rfc_9110(headers, wanted):
    assert condition(headers, ETAG, AT) == wanted


def test_if_range_with_another_etag_asks_for_the_whole():
    assert spans({"range": "bytes=0-1", "if-range": '"x"'}, 100, ETAG, AT) is None
    assert spans({"range": "bytes=0-1", "if-range": ETAG}, 100, ETAG, AT) == [(0, 2)]
    assert spans({"range": "bytes=0-1", "if-range": http_date(AT)}, 100, ETAG, AT) == [(0, 2)]
