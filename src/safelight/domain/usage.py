"""What tenants use, month by month (UTC), and what that costs by a price list. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Final

from safelight.domain.ids import TenantId
from safelight.errors import BadField

GB: Final = 10**9
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


@dataclass(slots=True)
class Counts:
    """What has happened; added to for as long as the month lasts."""

    uploads: int = 0
    uploaded_bytes: int = 0
    transformations: int = 0
    """Made on request; what is delivered again is not made again."""
    deliveries: int = 0
    delivered_bytes: int = 0
    requests: int = 0
    """To the API."""

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One tenant's month. What is stored is looked at once an hour: `byte_hours` and `image_hours` are the sums of what was seen."""

    tenant: TenantId
    month: str
    counts: Counts
    samples: int = 0
    byte_hours: int = 0
    image_hours: int = 0

    @property
    def average_bytes(self) -> int:
        """0 before the first look."""
        return self.byte_hours // self.samples if self.samples else 0

    @property
    def average_images(self) -> int:
        """Likewise."""
        return self.image_hours // self.samples if self.samples else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a unit costs, 0 for what is free; a gigabyte has 10**9 bytes."""

    stored_gb_month: float = 0.0
    uploads_1000: float = 0.0
    transformations_1000: float = 0.0
    deliveries_1000: float = 0.0
    delivered_gb: float = 0.0
    requests_1000: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an estimate: so many units at that price."""

    what: str
    units: float
    price: float

    @property
    def cost(self) -> float:
        """Not rounded: who writes an invoice rounds once."""
        return self.units * self.price


def month_of(at: datetime) -> str:
    """`2026-06`, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m")


def months(since: datetime, until: datetime) -> Iterator[str]:
    """Every month that either lies in, or that lies between them."""
    year, month = map(int, month_of(since).split("-"))
    while (text := f"{year}-{month:02}") <= month_of(until):
        yield text
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def hour_of(at: datetime) -> int:
    """The hour since 1970, which names a look at what is stored."""
    return int(at.timestamp()) // 3600


def checked_month(text: str) -> str:
    """The same. Raises BadField."""
    if not _MONTH.fullmatch(text):
        raise BadField("A month is written like 2026-06.", field="month")
    return text


def share_of(month: str, *, since: datetime, now: datetime) -> float:
    """How much of the month has passed for who is here since then: 0 to 1."""
    begin = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC)
    end = datetime(begin.year + begin.month // 12, begin.month % 12 + 1, 1, tzinfo=UTC)
    return max(0.0, (min(now, end) - max(since, begin)) / (end - begin))


def estimate(usage: Usage, prices: Prices, *, share: float) -> Iterator[Line]:
    """Every line that has a price; `share` of a month for what is stored."""
    counts = usage.counts
    lines = (
        Line("stored_gb_month", usage.average_bytes / GB * share, prices.stored_gb_month),
        Line("uploads_1000", counts.uploads / 1000, prices.uploads_1000),
        Line("transformations_1000", counts.transformations / 1000, prices.transformations_1000),
        Line("deliveries_1000", counts.deliveries / 1000, prices.deliveries_1000),
        Line("delivered_gb", counts.delivered_bytes / GB, prices.delivered_gb),
        Line("requests_1000", counts.requests / 1000, prices.requests_1000),
    )
    return (line for line in lines if line.price)
