"""Delivered: what the delivery door asks for, what it gets, and what that was decided by. The values of `delivery`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from safelight.domain.accounts import SigningKey, Tenant
from safelight.domain.ids import TenantId
from safelight.domain.images import Image
from safelight.imaging.transform import NO_HINTS, Hints, Original


@dataclass(frozen=True, slots=True)
class Asked:
    """What a URL asks for: `/i/{image_id}/{file}?v={version}`, and what the client can show."""

    image_id: str
    file: str
    version: str | None = None
    accept: str = ""
    hints: Hints = NO_HINTS
    host: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Bytes and what to say of them. `max_age_s` is None where the URL names no version and so may change its meaning."""

    body: bytes
    media_type: str
    etag: str
    modified_at: datetime
    is_public: bool
    max_age_s: int | None
    source: str
    varies_by: tuple[str, ...] = ()
    """Names of the headers of the request that took part in the choice."""
    download: str = ""
    """Name under which a browser should save it."""
    is_cut_short: bool = False
    """The first frame of an animation that is too large to be made."""
    tenant: TenantId = TenantId("")  # noqa: RUF009 (a name for text)
    """Whose it is."""
    is_attachment: bool = True
    """Whether it should save rather than show it, where there is a name."""
    is_immutable: bool = True
    """Nothing else will ever be under its address."""
    key: str = ""
    """Where its bytes are kept."""
    grounds: Grounds | None = None
    """None where another request may differ though its URL, and what it varies by, are the same."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that may be delivered to who asks, and what is known of its delivered bytes."""

    known: Known
    original: Original

    @property
    def image(self) -> Image:
        """Its record."""
        return self.known.image


@dataclass(frozen=True, slots=True)
class Known:
    """An image with its tenant and the tenant's signing keys, believed for two seconds."""

    image: Image
    tenant: Tenant
    ring: tuple[SigningKey, ...]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a delivery was decided by. As long as it holds, the same URL at the same host means the same bytes to equal clients."""

    known: Known
    until: float
    """Seconds since 1970: the end of its signature, or infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """What the settings allow one request."""

    url_ttl_s: int
    max_animation_pixels: int
    presets_only: bool = False
    """Other transforms are refused, signed or not."""
