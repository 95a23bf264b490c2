"""S3 names: keys and metadata come back as they were, and keys keep their order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.adapters.storage.s3.names import Label, from_s3, is_key, is_prefix, is_version, to_s3
from safelight.testing.contracts.storage import ALLOWED_KEYS, ODD_KEYS, REFUSED_KEYS

TRICKY = st.text('\x01 !".~\x7f[\\]/-0a\ufffc\ufffd\ufffe\uffff\U00010000', min_size=1, max_size=6)


@given(ALLOWED_KEYS | TRICKY.filter(is_key))
def test_a_key_comes_back_as_it_was(key):
    assert from_s3(to_s3(key)) == key


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
def test_odd_keys_come_back_as_they_were(key):
    assert from_s3(to_s3(key)) == key


def test_an_ordinary_key_goes_as_it_is():
    for key in ("01ja/01jb/3/thumb_300.webp", "a-b/c.d/Ü 写真".replace(" ", "_"), "a/b.!c"):
        assert to_s3(key) == key or key.endswith("!c")


@given(TRICKY, TRICKY)
def test_escapes_keep_order_and_prefixes(one, other):
    assert (to_s3(one) < to_s3(other)) == (one < other)
    assert to_s3(other).startswith(to_s3(one)) == other.startswith(one)


@given(TRICKY)
def test_escaped_keys_hold_nothing_that_a_path_or_a_listing_cannot(key):
    name = to_s3(key)

    assert not any(ord(char) <= 32 or char in "\x7f\\\ufffe\uffff" for char in name)
    assert "." not in name.split("/")


@pytest.mark.parametrize("name", ("a b", "./a", "a!zz", "a~", "x/", "a//b", "\\", "[", "a!2"))
def test_a_foreign_name_is_no_key_of_ours(name):
    assert from_s3(name) is None


@pytest.mark.parametrize("key", REFUSED_KEYS, ids=ascii)
def test_refused_keys_are_no_keys(key):
    assert not is_key(key)


@pytest.mark.parametrize("prefix", ("a//", "/", "a..b", "a\0", "\ud83d", "x" * 901), ids=ascii)
def test_no_key_begins_with_what_no_key_holds(prefix):
    assert not is_prefix(prefix)


@pytest.mark.parametrize("version", ("", "a b", "é", "\ud83d", "a\0", "x" * 1025), ids=ascii)
def test_what_no_server_gives_is_no_version(version):
    assert not is_version(version)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        max_size=4,
    )
)
def test_metadata_comes_back_as_it_was_through_headers_that_are_plain(metadata):
    label = Label("0" * 64, datetime(2026, 11, 21, 5, 4, 3, 21, tzinfo=UTC), "abc", metadata)

    headers = label.headers()

    for name, value in headers.items():
        assert name == name.lower()
        assert value
        assert all(33 <= ord(char) < 127 for char in name + value)
    assert Label.read(headers) == label


def test_a_name_like_one_of_ours_is_not_taken_for_ours():
    label = Label("0" * 64, datetime(2026, 1, 1, tzinfo=UTC), "abc", {"safelight-sha256": "theirs"})

    assert Label.read(label.headers()) == label


@pytest.mark.parametrize("lacking", ("safelight-sha256", "safelight-at", "safelight-put"))
def test_headers_of_somebody_else_are_no_label(lacking):
    headers = Label("0" * 64, datetime(2026, 1, 1, tzinfo=UTC), "abc", {}).headers()
    del headers[lacking]

    assert Label.read(headers) is None
