"""Sources: where pictures that are not the tenant's own may be delivered from, and for how long a copy of one is good. Pure.

A place of the allow-list is a server with a path, `https://cdn.example.com/photos`, or a bucket with a prefix, `s3://bucket/photos`;
it covers what lies at or below it. The threat is a path that says one thing to who compares it and another to who serves it: one
that climbs, in whichever spelling, lies nowhere.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from safelight.domain.addresses import Target, parse
from safelight.errors import BadField, SourceNotAllowed

MAX_SOURCES: Final = 20
MAX_KEY_BYTES: Final = 1024
"""In UTF-8 (Amazon S3 User Guide, Naming Amazon S3 objects)."""
_S3: Final = "s3://"
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
"""Amazon S3 User Guide, General purpose bucket naming rules. It becomes a part of a host's name."""
_SECONDS: Final = re.compile(r"[0-9]{1,10}")
_ESCAPED: Final = 4
"""How often a name may be escaped over and over; nobody means more, and looking further is work for whoever asks."""


@dataclass(frozen=True, slots=True)
class BucketObject:
    """`s3://bucket/key`, as the AWS CLI reads it: the key is what the bucket has, `%`, `?`, `#` and `+` being letters like any.

    `key` is '' for a place that is a whole bucket.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{_S3}{self.bucket}/{self.key}"


Elsewhere = Target | BucketObject


def source(url: str) -> Elsewhere:
    """What an address of the grammars names. Raises SourceNotAllowed: what cannot be read is on nobody's list."""
    try:
        return elsewhere(url)
    except BadField:
        raise SourceNotAllowed from None


def elsewhere(url: str) -> Elsewhere:
    """The same, of who may be told what is wrong with it. Raises BadField."""
    return _bucket_object(url) if _is_of_bucket(url) else parse(url)


def encoded(url: str) -> str:
    """As the native grammar has it in a path: URL-safe base 64 without padding."""
    return base64.urlsafe_b64encode(url.encode()).rstrip(b"=").decode()


def places(words: Iterable[str], *, own_buckets: Collection[str] = ()) -> tuple[str, ...]:
    """An allow-list in its one spelling, each place once. Raises BadField; for a bucket of ours too, which has all tenants' objects."""
    found: dict[str, None] = {}
    for word in words:
        try:
            place = elsewhere(word.removesuffix("/") if _is_of_bucket(word) else word)
        except BadField as error:
            raise BadField(f"sources: {word[:80]!r}: {error.detail}", field="sources") from None
        if isinstance(place, Target) and ("?" in place.path or climbs(place.path)):
            raise BadField(f"sources: {word[:80]!r} has a query, or a path that climbs.", field="sources")
        if isinstance(place, BucketObject) and place.bucket in own_buckets:
            raise BadField(f"sources: {word[:80]!r} is a bucket of this installation's own.", field="sources")
        found[str(place)] = None
    if len(found) > MAX_SOURCES:
        raise BadField(f"sources are at most {MAX_SOURCES}.", field="sources")
    return tuple(found)


def covered(found: Elsewhere, listed: Iterable[str]) -> bool:
    """Whether it lies at or below a place of a tenant's list."""
    return any(covers(_place(place), found) for place in listed)


def covers(place: Elsewhere, found: Elsewhere) -> bool:
    """Whether it is at the same server or in the same bucket, and at or below whole segments of the place's path or key."""
    if isinstance(place, BucketObject) or isinstance(found, BucketObject):
        if not (isinstance(place, BucketObject) and isinstance(found, BucketObject) and found.key):
            return False
        is_below = not place.key or found.key == place.key or found.key.startswith(f"{place.key}/")
        return is_below and place.bucket == found.bucket
    is_there = (place.scheme, place.host, place.port) == (found.scheme, found.host, found.port)
    own, path = place.path.rstrip("/"), found.path.partition("?")[0]
    return is_there and (path == own or path.startswith(f"{own}/")) and not climbs(path)


def climbs(path: str) -> bool:
    """Whether a server could take a part of the path for a step up, however often it undoes escapes, or drops what a `;` begins."""
    for _ in range(_ESCAPED):
        if any(part.partition(";")[0] in (".", "..") for part in re.split(r"[/\\]", path)):
            return True
        path, before = unquote(path), path
        if path == before:
            return False
    return True


@lru_cache(maxsize=4096)
def _place(text: str) -> Elsewhere:
    return elsewhere(text)


def _is_of_bucket(url: str) -> bool:
    return url[: len(_S3)].lower() == _S3


def _bucket_object(url: str) -> BucketObject:
    bucket, _, key = url[len(_S3) :].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise BadField("url names no bucket: s3://bucket/key.", field="url")
    if any(char < " " or char == "\\" or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in key):
        raise BadField("url has no backslashes or control characters.", field="url")
    # Stores that keep objects as files take `a//b` for `a/b`, and proxies before any store may.
    if key and ("" in key.split("/") or climbs(key)):
        raise BadField("url has a key with an empty part, or one that climbs.", field="url")
    if len(key.encode()) > MAX_KEY_BYTES:
        raise BadField(f"url has a key of more than {MAX_KEY_BYTES} bytes.", field="url")
    return BucketObject(bucket, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds for which a copy is good without a question: where its source says nothing, at least, and at most."""

    usual_s: int
    least_s: int
    most_s: int


def good_for(headers: Mapping[str, str], patience: Patience, now: datetime) -> int:
    """Seconds that an answer with these headers (lower case) says of itself, within bounds (RFC 9111 section 4.2.1)."""
    said = directives(headers.get("cache-control", ""))
    if said.keys() & {"no-store", "no-cache"}:
        return patience.least_s
    lasts = next((value for name in ("s-maxage", "max-age") if (value := _seconds(said.get(name, ""))) is not None), None)
    if lasts is None and "expires" in headers:
        lasts = _until(headers["expires"], now)
    if lasts is None:
        return patience.usual_s
    age = _seconds(headers.get("age", "")) or 0
    return min(max(lasts - age, patience.least_s), patience.most_s)


def is_shared(headers: Mapping[str, str]) -> bool:
    """Whether caches between us and the reader may keep it."""
    return not directives(headers.get("cache-control", "")).keys() & {"private", "no-store"}


def directives(value: str) -> dict[str, str]:
    """Of a Cache-Control header, in small letters."""
    pairs = (part.strip().lower().partition("=") for part in value.split(","))
    return {name.strip(): argument.strip().strip('"') for name, _, argument in pairs if name}


def _seconds(text: str) -> int | None:
    return int(text) if _SECONDS.fullmatch(text) else None


def _until(date: str, now: datetime) -> int:
    try:
        at = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return 0  # RFC 9111 section 5.3: as if it were over
    return int((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
