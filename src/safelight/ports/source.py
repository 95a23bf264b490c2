"""Source: objects of somebody's bucket that are to become pictures. Kept by adapters.storage.s3; checked by testing.contracts.source.

Read by `safelight import` with the credentials of whoever calls it, never by a server. Every method waits, and threads may share one.
All raise SourceRefused for what the store will not do, by the reason that it gives, and BackendUnavailable when it does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

MAX_COPY_BYTES: Final = 5 * 1024**3
"""The most that one CopyObject takes (Amazon S3 API reference, CopyObject)."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object as a listing tells of it. `etag` is another one for other bytes."""

    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What an object says of itself: `sha256` in hex, where the store keeps one of the whole object; names of metadata in small letters."""

    media_type: str = ""
    sha256: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """What lies below one prefix of one bucket."""

    def list(self) -> Iterator[Found]:
        """Every object, page by page; markers of folders (keys that end with '/') are none. Raises Missing for no such bucket."""
        ...

    def describe(self, found: Found) -> Described:
        """Its headers. Raises Missing when it is gone."""
        ...

    def read(self, found: Found, *, most: int | None = None) -> Iterator[bytes]:
        """The bytes that were listed, or the first `most` of them. Raises Missing when it is gone; SourceRefused when it has changed."""
        ...

    def copy(self, found: Found, url: str, headers: Mapping[str, str]) -> bool:
        """Have the store itself write the object, of MAX_COPY_BYTES at most, where a presigned PUT with these headers would; whether it has.

        False, with nothing sent, where the URL is another store's; False where the store does not let this caller copy. Raises Missing when it is gone; SourceRefused when it has changed.
        """
        ...
