"""Links: an album for whoever has its address, until a time, perhaps behind a password.

What opens it is the token in the address, 256 random bits of which a hash is kept, or after a password a pass that is sealed with
a key outside the database. A link that has ended or was taken back, and one whose maker was disabled, is as one that never was.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from safelight import onetime
from safelight.domain import sharing
from safelight.domain.accounts import Actor, Tenant, hash_of
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, ImageId, LinkId, UserId, is_id, new_id
from safelight.domain.images import Image, Version
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort
from safelight.domain.sharing import MAX_LINKS, Link, checked_link
from safelight.errors import BadField, Forbidden, Misdirected, Missing, PasswordRequired, Unauthenticated, WrongState
from safelight.passwords import LONGEST
from safelight.ports.catalog import Catalog, Records
from safelight.services.lending import album_for
from safelight.services.lockout import Lockout
from safelight.services.passwords import Passwords
from safelight.services.standing import Standing

log = structlog.get_logger()

SHORTEST_PASSWORD: Final = 4
"""Shorter than an account's: it is told to people by telephone, and guessing is met by growing rests."""
PASS_S: Final = 3600
"""For which a password need not be given again."""
_NOBODY: Final = UserId("")
"""Sees what everybody may see."""
_SUBJECT: Final = "link"


@dataclass(frozen=True, slots=True)
class Pass:
    """That the password of a link was right; for a while, and never longer than the link lasts."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link shows: a page of the album's images."""

    link: Link
    house: Tenant
    album: Album
    page: Page


@dataclass(frozen=True, slots=True)
class Links:
    """`keys` seal passes: the first makes them, every one is believed."""

    catalog: Catalog
    clock: Callable[[], datetime]
    passwords: Passwords
    lockout: Lockout
    standing: Standing
    keys: Sequence[bytes]

    async def add(
        self,
        actor: Actor,
        album_id: AlbumId,
        *,
        expires_at: datetime,
        password: str = "",
        has_originals: bool = False,
        note: str = "",
    ) -> tuple[str, Link]:
        """A link, and its token: this is the only time that it is known.

        Raises Missing, Forbidden, BadField, WrongState when there are too many, Busy.
        """
        now = self.clock()
        async with self.catalog.tenant(actor.tenant) as records:
            await album_for(records, actor, "album.share", album_id, now)
        note = checked_link(note, expires_at, now)
        if password and not SHORTEST_PASSWORD <= len(password) <= LONGEST:
            raise BadField(f"A link's password has {SHORTEST_PASSWORD} to {LONGEST} characters.", field="password")
        secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        link = Link(
            id=LinkId(new_id(now.timestamp())),
            tenant=actor.tenant,
            album=album_id,
            made_by=actor.user,
            secret_hash=hash_of(secret),
            password_hash=await self.passwords.hash(password) if password else "",
            has_originals=has_originals,
            note=note,
            created_at=now,
            expires_at=expires_at,
        )
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await album_for(records, actor, "album.share", album_id, now)
            await self._make_room(records, album_id, now)
            await records.albums.shares.add_link(link)
        log.info("link.added", link=link.id, album=album_id)
        return f"{link.id}-{secret}", link

    async def all(self, actor: Actor, album_id: AlbumId) -> Sequence[Link]:
        """The album's, newest first. Raises Missing, Forbidden."""
        async with self.catalog.tenant(actor.tenant) as records:
            await album_for(records, actor, "album.share", album_id, self.clock())
            return await records.albums.shares.links(album_id)

    async def remove(self, actor: Actor, album_id: AlbumId, link_id: LinkId) -> None:
        """Let it lead nowhere from now on. Raises Missing, Forbidden."""
        async with self.catalog.tenant(actor.tenant, writes=True) as records:
            await album_for(records, actor, "album.share", album_id, self.clock())
            await records.albums.shares.drop_link(album_id, link_id)
        log.info("link.removed", link=link_id, album=album_id)

    async def unlock(self, token: str, password: str, *, address: str, host: str = "") -> Pass:
        """Take the link's password. Raises Missing, Unauthenticated, LockedOut, Busy, TenantSuspended."""
        link, now = await self._found(token), self.clock()
        await self._at_home(link, host)

        async def attempt() -> None:
            await self.lockout.require(_SUBJECT, link.id, address)
            if not await self.passwords.matches(link.password_hash, password):
                await self.lockout.count(_SUBJECT, link.id, address)
                raise Unauthenticated("The password is not right.")

        if link.password_hash:
            await self.passwords.in_turn(attempt)
            await self.lockout.forgive(_SUBJECT, link.id)
        expires_at = min(int(link.expires_at.timestamp()), int(now.timestamp()) + PASS_S)
        text = onetime.token(self.keys[0], (_SUBJECT, link.id, str(expires_at)))
        return Pass(text, datetime.fromtimestamp(expires_at, UTC))

    async def opened(
        self, token: str, given: str = "", *, limit: int = 100, cursor: Cursor | None = None, host: str = ""
    ) -> Opened:
        """What the link shows, to whoever has it. `given`: a pass. Raises Missing, PasswordRequired, TenantSuspended."""
        link, now = await self._passed(token, given), self.clock()
        house = await self._at_home(link, host)
        async with self.catalog.tenant(link.tenant) as records:
            album = await records.albums.get(link.album)
            lenders = sharing.lenders(album, await records.albums.shares.grants(album.id), now)
            query = ImageQuery(
                album=album.id, visible_to=_NOBODY, lent_by=lenders, sort=Sort.POSITION, limit=limit, cursor=cursor
            )
            page = await records.images.page(query)
        shown = tuple(image for image in page.images if image.renditions)
        return Opened(link, house, album, Page(shown, page.next))

    async def original(self, token: str, given: str, image_id: ImageId, *, host: str = "") -> tuple[Image, Version]:
        """An image of the link and its present version. Raises Missing, Forbidden without originals, PasswordRequired."""
        link, now = await self._passed(token, given), self.clock()
        await self._at_home(link, host)
        async with self.catalog.tenant(link.tenant) as records:
            album, image = await records.albums.get(link.album), await records.images.get(image_id)
            loans = [loan for loan in await records.albums.shares.loans(image, album.owner) if loan.album == album.id]
        if sharing.lent_image(image, loans, now) is None:
            raise Missing
        if not sharing.link_shows_original(link, album, image):
            raise Forbidden("This link does not give originals.")
        return image, image.present

    async def _found(self, token: str) -> Link:
        """By its token, in a time that does not depend on how much of it is right."""
        link_id, _, secret = token.partition("-")
        if not is_id(link_id):
            raise Missing
        async with self.catalog.directory() as directory:
            link, maker = await directory.people.link(LinkId(link_id))
        is_right = hmac.compare_digest(hash_of(secret), link.secret_hash)
        if not is_right or not link.is_live(self.clock()) or maker.disabled_at is not None:
            raise Missing
        return link

    async def _passed(self, token: str, given: str) -> Link:
        link = await self._found(token)
        if link.password_hash:
            parts = onetime.opened(self.keys, given, 3) if given else None
            if parts is None or parts[:2] != [_SUBJECT, link.id] or int(parts[2]) <= self.clock().timestamp():
                raise PasswordRequired
        return link

    async def _at_home(self, link: Link, host: str) -> Tenant:
        house = await self.standing.of(link.tenant)
        try:
            await self.standing.require_home(house, host)
        except Misdirected:  # at another tenant's host name it is not there
            raise Missing from None
        house.require_active()
        return house

    async def _make_room(self, records: Records, album_id: AlbumId, now: datetime) -> None:
        """Ended ones go when another comes; until then their owner can look them up."""
        links = await records.albums.shares.links(album_id)
        for link in links:
            if not link.is_live(now):
                await records.albums.shares.drop_link(album_id, link.id)
        if sum(link.is_live(now) for link in links) >= MAX_LINKS:
            raise WrongState(f"An album has {MAX_LINKS} links at most; remove one first.")
