"""Places elsewhere: what an allow-list covers, in whichever spelling, and for how long a copy is good."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from safelight.domain.sources import Patience, climbs, covered, good_for, is_shared, places, source
from safelight.errors import BadField, SourceNotAllowed

LISTED = places(["https://CDN.example.com:443/photos/", "https://other.example", "http://10.0.0.1:8080/a%20b"])
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PATIENCE = Patience(usual_s=3600, least_s=60, most_s=86_400)


def test_an_allow_list_has_one_spelling_and_each_place_once():
    assert LISTED == ("https://cdn.example.com/photos/", "https://other.example/", "http://10.0.0.1:8080/a%20b")
    assert places(["https://a.example", "https://A.example/"]) == ("https://a.example/",)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/photos/sea.jpg",
        "https://cdn.example.com:443/photos/2026/sea.jpg?w=9&x=../..",
        "https://cdn.example.com/photos/..sea..jpg",
        "https://cdn.example.com/photos",
        "https://other.example/anything",
        "http://10.0.0.1:8080/a b/c.png",
    ],
)
def test_what_lies_at_or_below_a_place_is_covered(url):
    assert covered(source(url.replace("a b", "a%20b")), LISTED)


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example.com/photos/sea.jpg",
        "https://cdn.example.com:8443/photos/sea.jpg",
        "https://cdn.example.com/photos-of-others/sea.jpg",
        "https://cdn.example.com/",
        "https://cdn.example.com./x",
        "https://cdn.example.com.evil.example/photos/sea.jpg",
        "https://evil.example/https://cdn.example.com/photos/sea.jpg",
        "https://cdn.example.com/photos/../secret.jpg",
        "https://cdn.example.com/photos/%2e%2e/secret.jpg",
        "https://cdn.example.com/photos/..%2fsecret.jpg",
        "https://cdn.example.com/photos/%252e%252e/secret.jpg",
        "https://cdn.example.com/photos/..%5csecret.jpg",
        "https://cdn.example.com/photos/..;x=1/secret.jpg",
        "https://cdn.example.com/photos/./../secret.jpg",
        "https://cdn.example.com/photos/%" + "25" * 500 + "2e%" + "25" * 400 + "2e/x",
    ],
)
def test_what_lies_beside_it_or_climbs_is_not(url):
    assert not covered(source(url), LISTED)


BUCKETS = places(["s3://bucket/photos/", "S3://whole", "https://bucket/photos"])


def test_places_in_buckets_have_one_spelling():
    assert BUCKETS == ("s3://bucket/photos", "s3://whole/", "https://bucket/photos")
    assert places(BUCKETS) == BUCKETS
    assert places(["s3://bucket/summer 2026", "s3://bucket/100%"]) == ("s3://bucket/summer 2026", "s3://bucket/100%")


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/photos/sea.jpg",
        "s3://bucket/photos",
        "s3://bucket/photos/..sea..jpg",
        "s3://bucket/photos/a b/100%?w=9#é+.jpg",
        "S3://bucket/photos/sea.jpg",
        "s3://whole/anything",
    ],
)
def test_objects_at_or_below_a_place_in_a_bucket_are_covered_and_spelled_as_they_are(url):
    assert covered(source(url), BUCKETS)
    assert str(source(url)).removeprefix("s3") == url[2:]


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/photos-of-others/sea.jpg",
        "s3://bucket/photosea.jpg",
        "s3://bucket/Photos/sea.jpg",
        "s3://bucket/sea.jpg",
        "s3://bucket",
        "s3://bucket-of-others/photos/sea.jpg",
        "s3://bucket.evil/photos/sea.jpg",
        "s3://whole",
        "s3://whole/",
        "s3://whole2/anything",
        "https://whole/anything",
        "http://bucket/photos/sea.jpg",
    ],
)
def test_objects_beside_it_are_not(url):
    assert not covered(source(url), BUCKETS)


@pytest.mark.parametrize("word", ["s3://ours", "S3://ours/below", "s3://ours-renditions/"])
def test_a_bucket_in_which_all_tenants_objects_lie_is_on_no_list(word):
    with pytest.raises(BadField, match="own"):
        places(["s3://ours-of-others/photos", word], own_buckets={"ours", "ours-renditions"})


@pytest.mark.parametrize(
    "url",
    [
        "https://user:password@cdn.example.com/photos/sea.jpg",
        "https://cdn.example.com\\@evil.example/photos/",
        "https://0x7f.1/photos/",
        "file:///etc/passwd",
        "local:///etc/passwd",
        "s3://",
        "s3:///key",
        "s3://Bucket/key",
        "s3://a/key",
        "s3://user@bucket/key",
        "s3://bucket:443/key",
        "s3://bucket..name/key",
        "s3://bucket?x/key",
        "s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/key",
        "s3://bucket/photos//sea.jpg",
        "s3://bucket//photos/sea.jpg",
        "s3://bucket/photos/",
        "s3://bucket/photos/../secret.jpg",
        "s3://bucket/photos/./sea.jpg",
        "s3://bucket/photos/%2e%2e/secret.jpg",
        "s3://bucket/photos/%252E%252e%252fsecret.jpg",
        "s3://bucket/photos\\..\\secret.jpg",
        "s3://bucket/photos/sea\x00.jpg",
        "s3://bucket/photos/sea\ud800.jpg",
        "s3://bucket/" + "é" * 513,
        "https://",
        "https://cdn.example.com/" + "x" * 3000,
    ],
)
def test_what_cannot_be_read_is_on_nobodys_list(url):
    with pytest.raises(SourceNotAllowed) as refused:
        source(url)
    assert refused.value.detail == SourceNotAllowed().detail


@pytest.mark.parametrize(
    "place",
    [
        "",
        "cdn.example.com",
        "ftp://cdn.example.com/",
        "https://u@cdn.example.com/",
        "https://a.example/?x",
        "https://a.example/a/../b",
    ],
)
def test_a_place_that_says_two_things_is_refused(place):
    with pytest.raises(BadField) as refused:
        places([place])
    assert refused.value.extra == {"field": "sources"}


def test_a_list_has_an_end():
    with pytest.raises(BadField):
        places([f"https://{number}.example.com" for number in range(21)])


def test_names_with_dots_in_them_do_not_climb():
    assert not climbs("/a..b/...c/.hidden/%41")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 3600),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": "public, max-age=600, s-maxage=700"}, 700),
        ({"cache-control": "MAX-AGE=600", "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "10000"}, 60),
        ({"cache-control": "max-age=31536000, immutable"}, 86_400),
        ({"cache-control": "max-age=9999999999999"}, 3600),
        ({"cache-control": "max-age=-5"}, 3600),
        ({"cache-control": "no-store, max-age=600"}, 60),
        ({"cache-control": "no-cache"}, 60),
        ({"expires": "Mon, 01 Jun 2026 00:10:00 GMT"}, 600),
        ({"expires": "0"}, 60),
        ({"expires": "Mon, 01 Jun 99999 00:10:00 GMT"}, 60),
        ({"cache-control": 'max-age="90"', "expires": "0"}, 90),
    ],
)
def test_a_copy_is_good_for_as_long_as_its_source_says_within_bounds(headers, seconds):
    assert good_for(headers, PATIENCE, NOW) == seconds


@pytest.mark.parametrize(
    ("said", "expected"), [("", True), ("max-age=9", True), ("private", False), ('Private="x"', False), ("no-store", False)]
)
def test_what_a_source_keeps_from_caches_we_keep_from_them(said, expected):
    assert is_shared({"cache-control": said}) is expected
