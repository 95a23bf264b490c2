"""What a tenant may be called, have and has: names, quotas, what is stored, and whether something more fits. Catalogs keep the counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from safelight.errors import BadField, QuotaExceeded

Which = Literal["bytes", "images"]
LARGEST = 2**53 - 1
"""The largest whole number that every client of a JSON API reads as it is (RFC 8259 section 6)."""
MAX_ORIGINS: Final = 20
"""Of pages that may call the API; and as many host names."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORIGIN: Final = re.compile(
    r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
)  # as browsers serialise it: RFC 6454 section 6.2
_DOMAIN: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """At most so much: 0 is any amount; None, of a tenant, is what the installation says."""

    bytes: int | None = None
    """Of originals: every version of every image, those in the trash among them."""
    images: int | None = None
    """Those in the trash among them."""
    transformations: int | None = None
    """Made in a month."""
    requests_per_s: int | None = None
    """Of all users together."""

    def over(self, defaults: Quotas) -> Quotas:
        """These, and the defaults where they say nothing."""
        own = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        return replace(defaults, **own)

    @property
    def limits_storage(self) -> bool:
        """Whether taking in an image can be too much."""
        return bool(self.bytes or self.images)


UNLIMITED = Quotas()


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tenant has now."""

    bytes: int = 0
    images: int = 0


NOTHING = Stored()


@dataclass(frozen=True, slots=True)
class Room:
    """What is left to a tenant, as of when it was asked; the catalog asks again, in the transaction that keeps the row."""

    quotas: Quotas = UNLIMITED
    stored: Stored = NOTHING

    def require(self, size_bytes: int, *, images: int = 1) -> None:
        """Return if so much more fits. Raises QuotaExceeded."""
        if not (size_bytes or images):
            return
        for which, limit, used, more in (
            ("images", self.quotas.images, self.stored.images, images),
            ("bytes", self.quotas.bytes, self.stored.bytes, size_bytes),
        ):
            if limit and more > 0 and used + more > limit:
                raise exceeded(which, limit, used)

    @property
    def bytes_left(self) -> int | None:
        """None for any number."""
        return max(0, self.quotas.bytes - self.stored.bytes) if self.quotas.bytes else None


def exceeded(which: str, limit: int, used: int) -> QuotaExceeded:
    """The refusal, which says how much there is of what."""
    return QuotaExceeded(f"The tenant may have {limit} {which} and has {used}.", which=which, limit=limit, used=used)


def checked_quotas(quotas: Quotas) -> Quotas:
    """The same. Raises BadField for what is no amount."""
    for each in fields(quotas):
        value = getattr(quotas, each.name)
        if value is not None and not 0 <= value <= LARGEST:
            raise BadField(f"quotas.{each.name} is a whole number from 0 to {LARGEST}.", field=f"quotas.{each.name}")
    return quotas


def checked_name(name: str) -> str:
    """The name of a tenant. Raises BadField."""
    if not _NAME.fullmatch(name):
        raise BadField(
            "A tenant's name has 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first.", field="name"
        )
    return name


def checked_terms(terms: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a tenant's record, if those that have a rule keep it. Raises BadField."""
    if not 0 <= terms.get("trash_days", 0) <= 36_500:
        raise BadField("trash_days is a whole number from 0 to 36500.", field="trash_days")
    domains = terms.get("domains", ())
    if len(domains) > MAX_ORIGINS or not all(len(domain) <= 253 and _DOMAIN.fullmatch(domain) for domain in domains):
        raise BadField(
            f"domains are at most {MAX_ORIGINS} host names in lower-case letters, like photos.shop.example.", field="domains"
        )
    origins = terms.get("origins", ())
    if len(origins) > MAX_ORIGINS or not all(len(origin) <= 300 and _ORIGIN.fullmatch(origin) for origin in origins):
        raise BadField(f"origins are at most {MAX_ORIGINS} like https://shop.example, as browsers send them.", field="origins")
    return terms
