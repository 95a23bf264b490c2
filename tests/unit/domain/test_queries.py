import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain.ids import ImageId, new_id
from safelight.domain.queries import Cursor, ImageQuery, SearchQuery, Sort
from safelight.errors import BadCursor, BadField

BY_TITLE = [sort for sort in Sort if sort.column == "title"]
BY_NUMBER = [sort for sort in Sort if sort.column != "title"]
IDS = st.integers(0, 2**40).map(lambda ms: ImageId(new_id(ms / 1000)))
CURSORS = st.one_of(
    st.builds(Cursor, st.sampled_from(BY_TITLE), st.text(st.characters(codec="utf-8"), max_size=60), IDS),
    st.builds(Cursor, st.sampled_from(BY_NUMBER), st.integers(-(2**63), 2**63 - 1), IDS),
)


@given(CURSORS)
@settings(max_examples=200, deadline=None)
def test_a_cursor_comes_back_from_its_text(cursor):
    assert Cursor.decode(cursor.encode(), cursor.sort) == cursor


@given(CURSORS)
@settings(max_examples=50, deadline=None)
def test_a_cursor_needs_no_escaping_in_a_url(cursor):
    assert set(cursor.encode()) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(CURSORS, st.sampled_from(list(Sort)))
@settings(max_examples=100, deadline=None)
def test_a_cursor_of_another_order_is_refused(cursor, sort):
    if sort is not cursor.sort:
        with pytest.raises(BadCursor):
            Cursor.decode(cursor.encode(), sort)


@given(
    st.one_of(st.text(max_size=1200), st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())),
    st.sampled_from(Sort),
)
@settings(max_examples=300, deadline=None)
def test_no_other_text_is_a_cursor_and_none_raises_anything_else(text, sort):
    with pytest.raises(BadCursor):
        Cursor.decode(text, sort)


@given(CURSORS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_cursor_that_was_tampered_with_is_another_cursor_or_refused(cursor, data):
    text = cursor.encode()
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("Az09-_=!é")) + text[at + 1 :]
    try:
        found = Cursor.decode(changed, cursor.sort)
    except BadCursor:
        return

    assert found.sort is cursor.sort
    assert type(found.value) is type(cursor.value)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        "text",
        5,
        ["size", 5],
        ["size", 5, 5],
        ["size", True, "0" * 26],
        ["size", 2.0, "0" * 26],
        ["size", 2**63, "0" * 26],
    ]
    + [
        ["size", 5, "not an id"],
        ["size", "5", "0" * 26],
        ["title", 5, "0" * 26],
        [["size"], 5, "0" * 26],
        ["size", 5, "0" * 26, 1],
    ],
    ids=str,
)
def test_json_of_another_shape_is_refused(content):
    text = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    with pytest.raises(BadCursor):
        Cursor.decode(text, Sort.SIZE)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(BadField):
        ImageQuery(limit=limit)
    with pytest.raises(BadField):
        SearchQuery(text="", limit=limit)


def test_an_order_by_position_needs_an_album():
    with pytest.raises(BadField):
        ImageQuery(sort=Sort.POSITION)


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"text": "x" * 501}, "q"), ({"text": "", "offset": 10_001}, "cursor"), ({"text": "", "offset": -1}, "cursor")],
)
def test_a_question_beyond_the_bounds_is_refused(fields, field):
    with pytest.raises(BadField) as caught:
        SearchQuery(**fields)

    assert caught.value.extra["field"] == field
