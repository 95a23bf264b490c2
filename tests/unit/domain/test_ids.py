import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain.ids import is_id, new_id


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=10, unique=True))
@settings(max_examples=100, deadline=None)
def test_ids_sort_by_the_time_they_were_made_at(milliseconds):
    ids = {ms: new_id((ms + 0.5) / 1000) for ms in milliseconds}

    assert [ids[ms] for ms in sorted(ids)] == sorted(ids.values())


@given(st.integers(0, 2**48 - 1))
@settings(max_examples=100, deadline=None)
def test_every_id_has_the_shape_of_one(milliseconds):
    assert is_id(new_id(milliseconds / 1000))


def test_ids_of_one_moment_differ():
    assert len({new_id(0) for _ in range(1000)}) == 1000


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_other_text_has_not(text):
    assert is_id(text) == (len(text) == 26 and set(text) <= set("0123456789abcdefghjkmnpqrstvwxyz") and text[0] in "01234567")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 25,
        "0" * 27,
        "8" + "0" * 25,
        "i" * 26,
        "l" * 26,
        "o" * 26,
        "u" * 26,
        "A" * 26,
        "0" * 25 + "\n",
        "٠" * 26,
        "0" * 10_000,
    ],
    ids=repr,
)
def test_what_is_nearly_an_id_is_none(text):
    assert not is_id(text)
