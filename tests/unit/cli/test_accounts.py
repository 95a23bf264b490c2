"""What an asset of Cloudinary or imgix becomes here."""

from __future__ import annotations

from typing import Any

import pytest

from safelight.cli.accounts import Asset, Other, asset_of
from safelight.cli.listings import Broken, Entry
from safelight.domain.images import MAX_CUSTOM_BYTES, MAX_TAGS, MAX_TITLE

URL = "https://res.cloudinary.com/demo/image/upload/v1312461204/shoes/red.jpg"


def read(service: Any, fields: dict[str, Any], **options: str) -> Any:
    return asset_of(service, Entry(7, fields), **options)


def test_a_cloudinary_resource_keeps_its_names_words_tags_and_folder() -> None:
    asset = read(
        "cloudinary",
        {
            "public_id": "shoes/red",
            "format": "jpg",
            "version": 1312461204,
            "resource_type": "image",
            "bytes": 1234,
            "secure_url": URL,
            "tags": ["Shoes", " red  shoes ", "", "shoes"],
            "context": {"custom": {"caption": "Red", "alt": "A red shoe", "sku": "1"}},
            "metadata": {"season": "summer"},
        },
    )

    assert asset == Asset(
        name="shoes/red",
        stamp=f"1312461204 {URL}",
        url=URL,
        size_bytes=1234,
        file_name="red.jpg",
        title="Red",
        description="A red shoe",
        tags=("shoes", "red shoes"),
        album="shoes",
        custom={
            "cloudinary": {
                "public_id": "shoes/red",
                "context": {"caption": "Red", "alt": "A red shoe", "sku": "1"},
                "metadata": {"season": "summer"},
            }
        },
    )


def test_a_row_of_a_table_says_the_same_as_an_answer_of_the_api() -> None:
    row = {
        "public_id": "red",
        "secure_url": URL,
        "tags": "shoes,red shoes",
        "context": "caption=Red|alt=A red shoe",
        "bytes": "12",
    }
    asset = read("cloudinary", row)

    assert (asset.tags, asset.title, asset.description, asset.size_bytes) == (("shoes", "red shoes"), "Red", "A red shoe", 12)


def test_the_folder_that_an_account_shows_goes_before_the_one_in_the_public_id() -> None:
    fields = {"public_id": "a/b", "secure_url": URL}

    assert [read("cloudinary", fields | more).album for more in ({}, {"folder": "c"}, {"folder": "c", "asset_folder": "d"})] == [
        "a",
        "c",
        "d",
    ]


def test_an_imgix_asset_keeps_its_names_words_tags_and_folder() -> None:
    attributes = {
        "origin_path": "/products/été 1.jpg",
        "name": "Summer",
        "description": "On the beach",
        "tags": {"beach": 0.9, "car": 0},
        "categories": ["2026"],
        "custom_fields": {"sku": "1"},
        "media_kind": "IMAGE",
        "content_type": "image/jpeg",
        "file_size": 99,
        "date_modified": 5,
    }
    asset = read("imgix", {"id": "x", "type": "assets", "attributes": attributes}, base_url="https://demo.imgix.net/")
    url = "https://demo.imgix.net/products/%C3%A9t%C3%A9%201.jpg"

    assert asset == Asset(
        name="products/été 1.jpg",
        stamp=f"5 99 {url}",
        url=url,
        size_bytes=99,
        file_name="été 1.jpg",
        title="Summer",
        description="On the beach",
        tags=("beach", "2026"),
        album="products",
        custom={"imgix": {"origin_path": "products/été 1.jpg", "custom_fields": {"sku": "1"}}},
    )


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        ("cloudinary", {"public_id": "a", "resource_type": "video", "secure_url": URL}),
        ("imgix", {"origin_path": "a.mp4", "content_type": "video/mp4", "url": URL}),
        ("imgix", {"origin_path": "a.pdf", "media_kind": "DOCUMENT", "content_type": "application/pdf", "url": URL}),
    ],
)
def test_what_is_no_picture_is_passed_over(service: str, fields: dict[str, Any]) -> None:
    assert isinstance(read(service, fields), Other)


@pytest.mark.parametrize(
    ("service", "fields", "missing"),
    [
        ("cloudinary", {}, "public_id"),
        ("cloudinary", {"public_id": ["a"], "secure_url": URL}, "public_id"),
        ("cloudinary", {"public_id": "a"}, "secure_url"),
        ("cloudinary", {"public_id": "a", "secure_url": "file:///etc/passwd"}, "secure_url"),
        ("imgix", {"attributes": None}, "origin_path"),
        ("imgix", {"origin_path": "/a.jpg"}, "--base-url"),
    ],
)
def test_what_an_entry_lacks_is_told_with_its_line(service: str, fields: dict[str, Any], missing: str) -> None:
    found = read(service, fields)

    assert isinstance(found, Broken)
    assert found.line == 7 and missing in found.reason


@pytest.mark.parametrize("junk", [None, True, [], {}, [{}], {"custom": 1}, {"custom": {"a": [1]}}, "\x00", "{", 1e99, [1, "a"]])
def test_fields_of_another_shape_are_as_if_they_were_not_there(junk: Any) -> None:
    for name in ("tags", "context", "metadata", "bytes", "format", "folder", "version", "original_filename"):
        assert isinstance(read("cloudinary", {"public_id": "a", "secure_url": URL, name: junk}), Asset)
    for name in ("tags", "categories", "custom_fields", "file_size", "name", "description", "date_modified"):
        assert isinstance(read("imgix", {"origin_path": "a", "url": URL, name: junk}), Asset)


def test_words_are_cut_to_what_a_picture_takes() -> None:
    asset = read(
        "cloudinary",
        {
            "public_id": "a",
            "secure_url": URL,
            "tags": [f"t{number}" for number in range(MAX_TAGS + 50)] + ["x" * 100],
            "context": {"custom": {"caption": "x" * 1000}},
            "metadata": {"long": "x" * MAX_CUSTOM_BYTES},
        },
    )

    assert (len(asset.title), len(asset.tags)) == (MAX_TITLE, MAX_TAGS)
    assert asset.custom == {"cloudinary": {"public_id": "a"}}
