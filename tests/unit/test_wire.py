"""Records survive the way through bytes, whatever is in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.ids import ImageId, TenantId, new_id
from safelight.domain.images import Image, Problem, Rendition, Version
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort
from safelight.services.wire import dumped, loaded, shape_of
from safelight.testing.factories import NOON, make_image

RENDITION = Rendition(
    preset="large",
    format="webp",
    media_type="image/webp",
    width=3,
    height=2,
    size_bytes=9,
    etag="e",
    object_key="t/i/1/large.webp",
)
FULL = replace(
    make_image(TenantId(new_id())),
    tags=("sea", "日本"),
    custom={"a": [1, 2.5, None, {"b": "\u2028"}]},
    metadata={"private": {"location": {"latitude": 51.4779}}},
    renditions=(RENDITION, replace(RENDITION, preset="small")),
    earlier=(
        Version(
            number=1, sha256="0" * 64, size_bytes=1, media_type="a/b", width=1, height=1, frames=1, file_name="", created_at=NOON
        ),
    ),
    taken_at=NOON.replace(microsecond=123_456),
    trashed_at=NOON,
    replaced_at=NOON,
    problem=Problem(code="c", detail="d"),
)


@pytest.mark.parametrize("image", [make_image(TenantId(new_id())), FULL], ids=["plain", "full"])
def test_an_image_comes_back_equal_in_value_and_type(image):
    again = loaded(Image, dumped(image))

    assert again == image
    assert [type(getattr(again, name)) for name in Image.__slots__] == [type(getattr(image, name)) for name in Image.__slots__]


@pytest.mark.parametrize(
    "following", [None, Cursor(Sort.TITLE, "zebra", ImageId(new_id())), Cursor(Sort.CREATED, 2**62, ImageId(new_id()))]
)
def test_a_page_comes_back_with_its_cursor(following):
    page = Page((FULL, make_image(FULL.tenant)), following)

    assert loaded(Page, dumped(page)) == page


@given(title=st.text(st.characters(exclude_categories=["Cs"]), max_size=50), size=st.integers(0, 2**62), at=st.datetimes())
def test_every_value_that_a_record_can_have_comes_back(title, size, at):
    image = replace(FULL, title=title, size_bytes=size, taken_at=at.replace(tzinfo=NOON.tzinfo))

    assert loaded(Image, dumped(image)) == image


def test_two_questions_are_two_keys_and_one_question_is_one():
    queries = [
        ImageQuery(),
        ImageQuery(limit=10),
        ImageQuery(tags=("a",)),
        ImageQuery(created_after=NOON),
        ImageQuery(is_trashed=True),
    ]

    assert len({dumped(query) for query in queries}) == len(queries)
    assert dumped(ImageQuery(tags=("a",))) == dumped(ImageQuery(tags=("a",)))


def test_another_shape_is_another_name():
    assert shape_of(Image) != shape_of(Page) != shape_of(Version)
    assert shape_of(Image) == shape_of(Image)
