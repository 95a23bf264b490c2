"""Sharing: what the owner of an album lets others do with it, by grants to users of the tenant and by links for whoever has them.

Values and what follows from them. What a `Lent` thing allows is in `access`. An album lends only what its images' owners have put
into it themselves: its own owner, and those who may contribute for as long as they may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, LinkId, TenantId, UserId
from safelight.domain.images import Image
from safelight.errors import BadField

MAX_GRANTS: Final = 200
"""Of one album: they are read with every page of it."""
MAX_LINKS: Final = 50
"""Live ones of one album."""
MAX_NOTE: Final = 200
LONGEST_LINK: Final = timedelta(days=366)
"""A link that nobody remembers having given away should not be good for ever."""


class Level(StrEnum):
    """view: see the album and its images; contribute: put images of one's own into it, too."""

    VIEW = "view"
    CONTRIBUTE = "contribute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one user may do with one album that is not theirs."""

    tenant: TenantId
    album: AlbumId
    user: UserId
    level: Level
    has_originals: bool = False
    """The files as they came in, too, of the images that are the album's owner's."""
    created_at: datetime
    expires_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Not past its end."""
        return self.expires_at is None or now < self.expires_at

    def lets_contribute(self, now: datetime) -> bool:
        """Whether its user may put in images now."""
        return self.level is Level.CONTRIBUTE and self.is_live(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What whoever has its token may see of an album: `<id>-<secret>`, of which only the SHA-256 of the secret is kept."""

    id: LinkId
    tenant: TenantId
    album: AlbumId
    made_by: UserId
    secret_hash: bytes
    password_hash: str = field(default="", repr=False)
    """Asked for where there is one."""
    has_originals: bool = False
    note: str = ""
    """To whom it was given, say; never shown to them."""
    created_at: datetime
    expires_at: datetime

    def is_live(self, now: datetime) -> bool:
        """Not past its end."""
        return now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """An album in which an image lies by the will of its owner, and which somebody may perhaps see."""

    album: AlbumId
    album_owner: UserId
    taken: Grant | None
    """What who asks has of the album; None when it is theirs."""
    given: Grant | None
    """What the image's owner has of it; None when it is theirs, or no longer lent."""


@dataclass(frozen=True, slots=True)
class Lent:
    """That somebody else's thing has been lent to the actor, and with what."""

    may_contribute: bool = False
    has_originals: bool = False


def lent_album(grants: Sequence[Grant], user: UserId, now: datetime) -> Lent | None:
    """What an album's grants let this user do with it."""
    mine = next((grant for grant in grants if grant.user == user and grant.is_live(now)), None)
    return None if mine is None else Lent(mine.lets_contribute(now), mine.has_originals)


def lent_image(image: Image, loans: Sequence[Loan], now: datetime) -> Lent | None:
    """What albums let who asks do with an image. Nobody sees what another has thrown away."""
    good = [loan for loan in loans if _is_good(image, loan, now)]
    if image.is_trashed or not good:
        return None
    own = [loan.taken for loan in good if loan.album_owner == image.owner and loan.taken is not None]
    return Lent(has_originals=any(grant.has_originals for grant in own))


def lenders(album: Album, grants: Sequence[Grant], now: datetime) -> tuple[UserId, ...]:
    """Whose images the album shows to everybody who may see it."""
    return (album.owner, *(grant.user for grant in grants if grant.lets_contribute(now)))


def checked_end(expires_at: datetime | None, now: datetime) -> None:
    """Raises BadField for an end that lies behind us."""
    if expires_at is not None and expires_at <= now:
        raise BadField("It ends some time from now.", field="expires_at")


def checked_link(note: str, expires_at: datetime, now: datetime) -> str:
    """The note as it is kept. Raises BadField for it, or for an end that is too far away or behind us."""
    checked_end(expires_at, now)
    if expires_at - now > LONGEST_LINK:
        raise BadField(f"A link ends within {LONGEST_LINK.days} days.", field="expires_at")
    if len(note) > MAX_NOTE or (note and not note.isprintable()):
        raise BadField(f"A note has at most {MAX_NOTE} printable characters.", field="note")
    return note.strip()


def link_shows_original(link: Link, album: Album, image: Image) -> bool:
    """Whether a link gives the file as it came in: of what the album's owner owns, who alone can have meant it."""
    return link.has_originals and image.owner == album.owner


def _is_good(image: Image, loan: Loan, now: datetime) -> bool:
    is_taken = loan.taken is None or loan.taken.is_live(now)
    is_given = loan.album_owner == image.owner or (loan.given is not None and loan.given.lets_contribute(now))
    return is_taken and is_given
