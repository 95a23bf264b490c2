from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain.ids import TenantId, new_id
from safelight.domain.images import (
    MAX_TAG,
    MAX_TAGS,
    Problem,
    Status,
    checked,
    normal_file_name,
    normal_tag,
    normal_tags,
)
from safelight.errors import BadField, WrongState
from safelight.testing.factories import NOON, make_image

TENANT = TenantId(new_id())
LATER = NOON + timedelta(hours=1)


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_a_tag_that_is_taken_is_short_printable_and_already_normal(text):
    try:
        tag = normal_tag(text)
    except BadField:
        return

    assert 1 <= len(tag) <= MAX_TAG
    assert tag.isprintable()
    assert tag == " ".join(tag.split())
    assert len(tag.casefold()) > MAX_TAG or normal_tag(tag) == tag.casefold()


@pytest.mark.parametrize(
    ("typed", "kept"), [("  Golden \t Hour ", "golden hour"), ("STRASSE", "strasse"), ("Straße", "strasse"), ("日本", "日本")]
)
def test_a_tag_is_trimmed_and_folded(typed, kept):
    assert normal_tag(typed) == kept


@pytest.mark.parametrize("bad", ["", "   ", "\n", "a\x00b", "a\u202eb", "\ud800", "x" * 65, "ß" * 33], ids=ascii)
def test_what_is_no_tag_is_refused(bad):
    with pytest.raises(BadField):
        normal_tag(bad)


@given(st.lists(st.sampled_from(["a", "A", " a ", "b", "B  c", "b c"]), max_size=12))
@settings(max_examples=100, deadline=None)
def test_tags_keep_their_order_each_once(tags):
    kept = normal_tags(tags)

    assert len(set(kept)) == len(kept)
    assert list(kept) == list(dict.fromkeys(normal_tag(tag) for tag in tags))


def test_a_hundred_tags_are_taken_and_one_more_is_not():
    assert len(normal_tags([f"t{n}" for n in range(MAX_TAGS)])) == MAX_TAGS
    with pytest.raises(BadField):
        normal_tags([f"t{n}" for n in range(MAX_TAGS + 1)])


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_a_file_name_is_the_last_part_of_a_path_without_control_characters(name):
    kept = normal_file_name(name)

    assert len(kept) <= 255
    assert not set(kept) & {"/", "\\", "\x00", "\n", "\r", "\x7f"}
    assert not any("\ud800" <= character <= "\udfff" for character in kept)
    kept.encode()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("C:\\photos\\sea.jpg", "sea.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a/b/", ""),
        ("a\r\nb.jpg", "ab.jpg"),
        (" été.jpg ", "été.jpg"),
    ],
)
def test_a_clients_path_is_not_believed(name, kept):
    assert normal_file_name(name) == kept


@pytest.mark.parametrize("changes", [{"title": "x" * 201}, {"title": "a\x00"}, {"description": "x" * 5001}, {"tags": ["\n"]}])
def test_words_beyond_the_bounds_are_refused(changes):
    with pytest.raises(BadField):
        checked(changes)


def test_every_move_raises_the_revision_and_stamps_the_time():
    image = make_image(TENANT)
    problem = Problem(code="corrupt_image", detail="It ends early.")
    moves = [
        image.edited(at=LATER, title="Sea"),
        image.developed(at=LATER, renditions=()),
        image.rejected(problem, at=LATER),
        image.failed(problem, at=LATER),
        image.trashed(at=LATER),
    ]

    assert {(move.revision, move.updated_at) for move in moves} == {(2, LATER)}
    assert [move.status for move in moves[1:4]] == [Status.READY, Status.REJECTED, Status.FAILED]


def test_the_trash_is_entered_and_left_once():
    image = make_image(TENANT)
    trashed = image.trashed(at=LATER)
    for illegal in (
        lambda: trashed.trashed(at=LATER),
        lambda: trashed.edited(at=LATER, title="x"),
        lambda: image.restored(at=LATER),
    ):
        with pytest.raises(WrongState):
            illegal()

    assert not trashed.restored(at=LATER).is_trashed


def test_developing_again_forgets_the_problem():
    failed = make_image(TENANT).failed(Problem(code="x", detail="y"), at=NOON)

    assert failed.developed(at=LATER, renditions=()).problem is None


def test_every_key_of_an_image_begins_with_its_prefix_and_that_with_the_tenant():
    image = make_image(TENANT, version=3)

    assert image.prefix.startswith(f"{TENANT}/")
    for key in (image.original_key, image.master_key("master"), image.rendition_key("thumb_300", "webp", folder="3")):
        assert key.startswith(f"{image.prefix}3/")
