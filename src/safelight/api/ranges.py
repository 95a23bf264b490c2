"""Conditional requests and ranges as RFC 9110 has them (sections 13 and 14). Pure: headers in, a decision out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, Literal

MAX_RANGES: Final = 16
"""More are answered with the whole: a request for thousands of one-byte ranges is an attack (RFC 9110 section 17.15)."""

Span = tuple[int, int]
"""First byte and the one behind the last."""


def http_date(at: datetime) -> str:
    """An IMF-fixdate (section 5.6.7)."""
    return format_datetime(at.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _listed(header: str, etag: str, *, is_weak_fine: bool) -> bool:
    if header.strip() == "*":
        return True
    for candidate in header.split(","):
        tag = candidate.strip()
        if tag.startswith("W/"):
            if not is_weak_fine:
                continue
            tag = tag[2:]
        if tag == etag:
            return True
    return False


def condition(headers: Mapping[str, str], etag: str, modified_at: datetime) -> Literal[304, 412] | None:
    """What the conditions of a GET or HEAD lead to (section 13.2.2); None when they let it pass. `etag` is quoted."""
    modified = modified_at.astimezone(UTC).replace(microsecond=0)
    if (value := headers.get("if-match")) is not None:
        if not _listed(value, etag, is_weak_fine=False):
            return 412
    elif (value := headers.get("if-unmodified-since")) is not None and (since := _date(value)) and modified > since:
        return 412
    if (value := headers.get("if-none-match")) is not None:
        return 304 if _listed(value, etag, is_weak_fine=True) else None
    if (value := headers.get("if-modified-since")) is not None and (since := _date(value)) and modified <= since:
        return 304
    return None


def spans(headers: Mapping[str, str], size: int, etag: str, modified_at: datetime) -> list[Span] | Literal[416] | None:
    """The parts that were asked for, in order; None for the whole, 416 when none of them lies inside."""
    value = headers.get("range")
    if value is None or not _if_range(headers, etag, modified_at):
        return None
    unit, _, rest = value.partition("=")
    if unit.strip().lower() != "bytes":
        return None
    wanted: list[Span] = []
    parts = rest.split(",")
    if len(parts) > MAX_RANGES:
        return None
    for part in parts:
        first, dash, last = (text.strip() for text in part.partition("-"))
        if not dash or not _is_number(first, last):
            return None  # not a range that we know: the whole (section 14.2)
        if first == "":
            length = int(last)
            if length and size:
                wanted.append((max(0, size - length), size))
        else:
            start, end = int(first), int(last) + 1 if last else size
            if end <= start and last:
                return None
            if start < size:
                wanted.append((start, min(end, size)))
    if not wanted:
        return 416
    if sum(end - start for start, end in wanted) > size:
        return None  # overlapping: the whole is cheaper for everybody
    return wanted


def _is_number(first: str, last: str) -> bool:
    if not first and not last:
        return False
    return all(text == "" or (text.isascii() and text.isdigit() and len(text) < 20) for text in (first, last))


def _if_range(headers: Mapping[str, str], etag: str, modified_at: datetime) -> bool:
    value = headers.get("if-range")
    if value is None:
        return True
    if value.strip().startswith(('"', "W/")):
        return value.strip() == etag
    since = _date(value)
    return since is not None and since == modified_at.astimezone(UTC).replace(microsecond=0)
