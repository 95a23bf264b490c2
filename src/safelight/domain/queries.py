"""Questions to the catalog: filters, sort orders and the keyset cursor (no page numbers, so depth costs nothing)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from safelight.domain.ids import AlbumId, ImageId, UserId, is_id
from safelight.domain.images import Image, Status, Visibility
from safelight.errors import BadCursor, BadField

MAX_LIMIT: Final = 200
MAX_CURSOR: Final = 1_000


class Sort(StrEnum):
    """A leading minus is newest, largest or last first. `taken_at` falls back to `created_at` where it is unknown."""

    CREATED = "created_at"
    CREATED_DESC = "-created_at"
    TAKEN = "taken_at"
    TAKEN_DESC = "-taken_at"
    TITLE = "title"
    TITLE_DESC = "-title"
    SIZE = "size"
    SIZE_DESC = "-size"
    POSITION = "position"

    @property
    def is_descending(self) -> bool:
        """Whether larger values come first."""
        return self.value.startswith("-")

    @property
    def column(self) -> str:
        """The value it sorts by, without direction."""
        return self.value.removeprefix("-")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: the value it was sorted by (microseconds since 1970 for times) and its id."""

    sort: Sort
    value: int | str
    image: ImageId

    def encode(self) -> str:
        """URL-safe text; clients treat it as opaque."""
        raw = json.dumps([self.sort.value, self.value, self.image], separators=(",", ":"), ensure_ascii=False)
        return base64.urlsafe_b64encode(raw.encode()).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str, sort: Sort) -> Cursor:
        """The cursor again. Raises BadCursor for anything that `encode` has not made for this sort."""
        if len(text) > MAX_CURSOR:
            raise BadCursor
        try:
            raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            made_for, value, image = json.loads(raw)
        except (ValueError, TypeError, binascii.Error, RecursionError) as error:
            raise BadCursor from error
        wanted = str if sort.column == "title" else int
        if made_for != sort.value or type(value) is not wanted or not isinstance(image, str) or not is_id(image):
            raise BadCursor
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise BadCursor
        return cls(sort, value, ImageId(image))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuery:
    """Which images, in which order. Bounds of time are half open: after <= t < before."""

    owner: UserId | None = None
    visible_to: UserId | None = None
    """Only this user's own images and everybody's public ones; None for an admin, who sees all of the tenant."""
    album: AlbumId | None = None
    lent_by: tuple[UserId, ...] = ()
    """With both of the two above: also what these have put into the album themselves, outside the trash."""
    tags: tuple[str, ...] = ()
    status: Status | None = None
    visibility: Visibility | None = None
    media_type: str | None = None
    camera: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    is_trashed: bool = False
    sort: Sort = Sort.CREATED_DESC
    limit: int = 50
    cursor: Cursor | None = None
    skips_damaged: bool = False
    """Records that cannot be read are named by the page; else they are an error, so that nobody takes a part for the whole."""

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadField(f"limit is 1 to {MAX_LIMIT}.", field="limit")
        if self.sort is Sort.POSITION and self.album is None:
            raise BadField("sort=position needs an album.", field="sort")


@dataclass(frozen=True, slots=True)
class Page:
    """Images in order; `next` continues behind them and is None at the end."""

    images: tuple[Image, ...]
    next: Cursor | None = None
    damaged: tuple[ImageId, ...] = ()
    """Whose records cannot be read, where the question was to skip those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """Words to look for, with filters. An empty text finds everything, newest first."""

    text: str
    visible_to: UserId | None = None
    tags: tuple[str, ...] = ()
    media_type: str | None = None
    year: int | None = None
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadField(f"limit is 1 to {MAX_LIMIT}.", field="limit")
        if not 0 <= self.offset <= 10_000:
            raise BadField("Search goes 10000 results deep; narrow the query.", field="cursor")
        if len(self.text) > 500:
            raise BadField("q has at most 500 characters.", field="q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What the search knows of one image."""

    image: ImageId
    owner: UserId
    is_public: bool
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    file_name: str = ""
    camera: str = ""
    place: str = ""
    media_type: str = ""
    dated_at: datetime

    @property
    def digest(self) -> str:
        """The same for the same document, whichever search keeps it: 64 bits of SHA-256, in hexadecimal digits."""
        values = asdict(self) | {"dated_at": micros(self.dated_at)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Hit:
    """One found image; highlights map a field to its text, escaped as HTML, with <mark> round the words that matched."""

    image: ImageId
    score: float
    highlights: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Hits in order; facets count the tags, types and years among all that matched (`facet -> value -> count`)."""

    hits: tuple[Hit, ...]
    total: int
    facets: dict[str, dict[str, int]]
    is_total_exact: bool = True
    """False where at least `total` match: then facets count, and ranks compare, the newest `total` of them."""
    corrected: str | None = None
    """The text that was searched instead, when a word had to be mended to find anything."""
    next_offset: int | None = None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970 UTC: exact, as a float is not after 2106. Raises BadField for a time without offset."""
    if at.tzinfo is None:
        raise BadField("A time needs its offset from UTC.")
    return (at - _EPOCH) // timedelta(microseconds=1)
