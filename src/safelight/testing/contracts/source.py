"""What every source must do, sentence by sentence of ports.source. Inherit and give a `source` fixture and what puts objects there.

`source` reads below `in/` of an empty bucket, ten objects a page. `put(key, body, **words)` writes an object with these arguments of S3's PutObject;
`offer(body)` is the URL and the headers of a PUT of so many bytes into another bucket of the same store, and what reads it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from safelight.errors import Missing, SourceRefused
from safelight.ports.source import Source

Put = Callable[..., object]
Offer = Callable[[int], tuple[str, Mapping[str, str], Callable[[], tuple[bytes, str]]]]


def only(source: Source) -> Any:
    (one,) = source.list()
    return one


class SourceContract:
    def test_everything_below_the_prefix_is_listed_and_nothing_else(self, source: Source, put: Put) -> None:
        keys = ["in/a.jpg", "in/b/c d+é.jpg", "in/b/é.jpg", "other/x.jpg", "in/folder/"]
        for key in keys:
            put(key, b"" if key.endswith("/") else key.encode())

        assert {(each.key, each.size_bytes) for each in source.list()} == {(key, len(key.encode())) for key in keys[:3]}

    def test_more_than_a_page_is_listed_whole(self, source: Source, put: Put) -> None:
        for number in range(25):
            put(f"in/{number:04}", b"x")

        assert [each.key for each in source.list()] == [f"in/{number:04}" for number in range(25)]

    def test_the_bytes_that_were_listed_are_read_whole_or_from_the_beginning(self, source: Source, put: Put) -> None:
        body = bytes(range(256)) * 3000
        put("in/a", body)
        found = only(source)

        assert b"".join(source.read(found)) == body
        assert b"".join(source.read(found, most=20)) == body[:20]

    def test_an_object_says_its_type_its_metadata_and_its_checksum(self, source: Source, put: Put) -> None:
        put("in/a", b"x", ContentType="image/png", Metadata={"Title": "A rose", "note": "100%25"}, ChecksumAlgorithm="SHA256")
        said = source.describe(only(source))

        assert (said.media_type, said.metadata) == ("image/png", {"title": "A rose", "note": "100%25"})
        assert said.sha256 in ("", hashlib.sha256(b"x").hexdigest())

    def test_an_object_that_has_changed_is_refused_and_one_that_is_gone_is_missing(
        self, source: Source, put: Put, offer: Offer
    ) -> None:
        put("in/a", b"first")
        found = only(source)
        put("in/a", b"second")
        url, headers, _ = offer(5)
        with pytest.raises(SourceRefused):
            list(source.read(found))
        with pytest.raises(SourceRefused):
            source.copy(found, url, headers)

        gone = replace(found, key="in/gone")
        for call in (lambda: list(source.read(gone)), lambda: source.describe(gone), lambda: source.copy(gone, url, headers)):
            with pytest.raises(Missing):
                call()

    def test_the_store_copies_by_itself_where_the_url_is_its_own(self, source: Source, put: Put, offer: Offer) -> None:
        put("in/a é.png", b"pixels", ContentType="image/png", Metadata={"title": "Not for others"})
        url, headers, written = offer(6)

        assert source.copy(only(source), url, {**headers, "Content-Type": "image/jpeg"})
        assert written() == (b"pixels", "image/jpeg")

    def test_another_stores_url_is_not_copied_to(self, source: Source, put: Put) -> None:
        put("in/a", b"x")
        found = only(source)
        for url in ("http://127.0.0.1:1/bucket/key", "https://b.s3.amazonaws.com/key", "/uploads/x", "https://example.org/", ""):
            assert not source.copy(found, url, {})
