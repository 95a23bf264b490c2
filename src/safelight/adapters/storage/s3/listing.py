"""Listing: what is in a bucket, in the order of our keys. Called by bucket; `keep_order` by connection when it makes the client.

S3 lists keys in the order of their UTF-8 bytes, page by page. SeaweedFS (4.48) sorts within a page, but turns its pages in the
order of its folders: where a key is also the folder of another ('a' beside 'a/b'), a page after the first may leave keys out.
There, a listing that fits one page is read whole and sorted here; a longer one is turned by the server, which is exact for
the keys of Safelight, none of which is another's folder. Purging never turns a page: it removes the first until none is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from safelight.adapters.storage.s3.connection import Connection

PAGE: Final = 1000
"""The most that S3 lists, or deletes, in one request."""
_PILE: Final = "SafelightPile"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version or delete marker of an S3 key."""

    name: str
    version: str
    is_marker: bool
    is_latest: bool
    size_bytes: int
    modified_at: datetime


def keep_order(client: Any) -> None:
    """Make `list_object_versions` also answer the entries as they came.

    botocore parts versions from delete markers and so loses how they alternate; their times, whole seconds, do not tell.
    """
    client.meta.events.register("before-parse.s3.ListObjectVersions", _add_pile)


def _add_pile(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] != 200:
        return
    root = ET.fromstring(response_dict["body"])  # noqa: S314 (from our own store; expat limits entity expansion since 2.4.1)
    fields = {_tag(child): child.text or "" for child in root if not len(child)}
    is_quoted = fields.get("EncodingType") == "url"
    pile: list[Entry] = []
    for child in root:
        if _tag(child) not in {"Version", "DeleteMarker"}:
            continue
        values = {_tag(each): each.text or "" for each in child}
        pile.append(
            Entry(
                name=unquote_plus(values["Key"]) if is_quoted else values["Key"],
                version=values.get("VersionId") or "null",
                is_marker=_tag(child) == "DeleteMarker",
                is_latest=values.get("IsLatest") == "true",
                size_bytes=int(values.get("Size") or 0),
                modified_at=datetime.fromisoformat(values["LastModified"]).astimezone(UTC),
            )
        )
    customized_response_dict[_PILE] = pile


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


async def names(connection: Connection, bucket: str, prefix: str, after: str) -> AsyncIterator[list[str]]:
    """S3 keys that begin with `prefix`, behind `after`, in order, page by page."""
    client = connection.client
    if connection.lists_whole:
        page = await connection.call("list", lambda: client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE))
        if not page.get("IsTruncated"):
            yield sorted(each["Key"] for each in page.get("Contents", ()) if each["Key"] > after)
            return
    turning: dict[str, str] = {"StartAfter": after} if after else {}
    while True:
        arguments = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **turning}
        page = await connection.call("list", lambda arguments=arguments: client.list_objects_v2(**arguments))  # type: ignore[misc]
        yield sorted(each["Key"] for each in page.get("Contents", ()))
        if not page.get("IsTruncated"):
            return
        turning = {"ContinuationToken": page["NextContinuationToken"]}


async def piles(connection: Connection, bucket: str, prefix: str, after: str) -> AsyncIterator[tuple[str, list[Entry]]]:
    """S3 keys that begin with `prefix`, behind `after`, in order, each with every version and marker of it, newest first."""
    held: list[Entry] = []
    async for page in _pages(connection, bucket, prefix, after):
        for entry in page:
            if held and held[-1].name != entry.name:
                yield held[-1].name, held
                held = []
            held.append(entry)
    if held:
        yield held[-1].name, held


async def _pages(connection: Connection, bucket: str, prefix: str, after: str) -> AsyncIterator[list[Entry]]:
    client = connection.client
    turning: dict[str, str] = {"KeyMarker": after} if after else {}
    if connection.lists_whole and turning:
        whole = await connection.call(
            "list versions", lambda: client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE)
        )
        if not whole.get("IsTruncated"):
            yield sorted((each for each in whole[_PILE] if each.name > after), key=lambda each: each.name)
            return
    while True:
        arguments = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE, **turning}
        page = await connection.call(
            "list versions",
            lambda arguments=arguments: client.list_object_versions(**arguments),  # type: ignore[misc]
        )
        yield sorted(page[_PILE], key=lambda each: each.name)
        if not page.get("IsTruncated"):
            return
        turning = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}


async def first_entries(connection: Connection, bucket: str, prefix: str) -> list[Entry]:
    """The first page of everything that is under the prefix."""
    page = await connection.call(
        "list versions",
        lambda: connection.client.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=PAGE),
    )
    return list(page[_PILE])


async def pile(connection: Connection, bucket: str, name: str) -> list[Entry]:
    """Every version and marker of one S3 key, newest first."""
    found: list[Entry] = []
    turning: dict[str, str] = {}
    while True:
        arguments = {"Bucket": bucket, "Prefix": name, "MaxKeys": PAGE, **turning}
        page = await connection.call(
            "list versions",
            lambda arguments=arguments: connection.client.list_object_versions(**arguments),  # type: ignore[misc]
        )
        entries: list[Entry] = page[_PILE]
        found += [each for each in entries if each.name == name]
        # The key itself sorts before all that it begins.
        if not page.get("IsTruncated") or any(each.name != name for each in entries):
            return found
        turning = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}
