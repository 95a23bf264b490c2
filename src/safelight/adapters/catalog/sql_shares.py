"""Whom the albums of one tenant are lent to, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, or_, select

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import album_of, grant_columns, grant_of, link_columns, link_of
from safelight.adapters.catalog.sql_own import own_row, require_user
from safelight.adapters.catalog.tables import album_grants, album_images, album_links, albums
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, LinkId, TenantId, UserId
from safelight.domain.images import Image
from safelight.domain.queries import micros
from safelight.domain.sharing import Grant, Link, Loan
from safelight.errors import Missing

_grant: Final = album_grants.c
_place: Final = album_images.c
_taken: Final = album_grants.alias("taken")
_given: Final = album_grants.alias("given")

COUNT: Final = (
    select(func.count())
    .select_from(album_images)
    .where(_place.album == albums.c.id, _place.is_trashed.is_(False))
    .scalar_subquery()
    .label("image_count")
)
"""The images of an album outside the trash."""
_ALBUM: Final = select(albums.c.id).where(albums.c.id == bindparam("id"), albums.c.tenant == bindparam("tenant"))
_THIS: Final = (_grant.album == bindparam("old_album")) & (_grant.user == bindparam("old_user"))
_DROP: Final = delete(album_grants).where(_THIS, _grant.tenant == bindparam("old_tenant"))
_GRANTS: Final = (
    select(album_grants)
    .where(_grant.album == bindparam("album"), _grant.tenant == bindparam("tenant"))
    .order_by(_grant.created_at, _grant.user)
)
_LENT: Final = (
    select(*albums.c, COUNT, *(column.label(f"grant_{column.name}") for column in _grant))
    .join_from(album_grants, albums, albums.c.id == _grant.album)
    .where(_grant.user == bindparam("user"), _grant.tenant == bindparam("tenant"))
    .where(or_(_grant.expires_at.is_(None), _grant.expires_at > bindparam("at")))
    .order_by(_grant.album.desc())
    .limit(bindparam("limit"))
)
_LENT_BEHIND: Final = _LENT.where(_grant.album < bindparam("after"))
_LOANS: Final = (
    select(
        albums.c.id,
        albums.c.owner,
        *(column.label(f"taken_{column.name}") for column in _taken.c),
        *(column.label(f"given_{column.name}") for column in _given.c),
    )
    .join_from(album_images, albums, albums.c.id == _place.album)
    .outerjoin(_taken, (_taken.c.album == _place.album) & (_taken.c.user == bindparam("user")))
    .outerjoin(_given, (_given.c.album == _place.album) & (_given.c.user == bindparam("lender")))
    .where(_place.image == bindparam("image"), _place.is_lent, albums.c.tenant == bindparam("tenant"))
    .where(or_(albums.c.owner == bindparam("user"), _taken.c.user.is_not(None)))
    .order_by(_place.album)
)


_link: Final = album_links.c
_LINKS: Final = (
    select(album_links).where(_link.album == bindparam("album"), _link.tenant == bindparam("tenant")).order_by(_link.id.desc())
)
_DROP_LINK: Final = delete(album_links).where(
    _link.id == bindparam("old_id"), _link.album == bindparam("old_album"), _link.tenant == bindparam("old_tenant")
)


@dataclass(frozen=True, slots=True)
class SqlShares:
    """Keeps ShareRecords."""

    transaction: Transaction
    tenant: TenantId

    @writing
    def put_grant(self, grant: Grant) -> None:
        """Out with the old; writers of a tenant take turns."""
        require_own(grant.tenant, self.tenant)
        self._require(grant.album, grant.user)
        self._drop(grant.album, grant.user)
        self.transaction.connection.execute(insert(album_grants), grant_columns(grant))

    @writing
    def drop_grant(self, album_id: AlbumId, user: UserId) -> None:
        """By its key."""
        if not self._drop(album_id, user):
            raise Missing

    @reading
    def grants(self, album_id: AlbumId) -> list[Grant]:
        """Along the key of album_grants, sorted here: an album has some hundred at most."""
        rows: Any = self.transaction.connection.execute(_GRANTS, {"album": album_id, "tenant": self.tenant}).mappings()
        return [grant_of(row) for row in rows]

    @reading
    def lent(self, user: UserId, at: datetime, *, after: AlbumId | None = None, limit: int = 50) -> list[tuple[Album, Grant]]:
        """Along ix_album_grants_user."""
        values = {"user": user, "tenant": self.tenant, "at": micros(at), "limit": limit, "after": after}
        rows = self.transaction.connection.execute(_LENT if after is None else _LENT_BEHIND, values).mappings()
        return [(album_of(_without(row, "grant_")), grant_of(_named(row, "grant_"))) for row in rows]

    @reading
    def loans(self, image: Image, user: UserId) -> list[Loan]:
        """Along ix_album_images_image, with a probe of each album for either grant."""
        values = {"image": image.id, "lender": image.owner, "user": user, "tenant": self.tenant}
        rows = self.transaction.connection.execute(_LOANS, values).mappings()
        return [
            Loan(album=row["id"], album_owner=row["owner"], taken=_maybe(row, "taken_"), given=_maybe(row, "given_"))
            for row in rows
        ]

    @claiming
    def add_link(self, link: Link) -> None:
        """A new row."""
        require_own(link.tenant, self.tenant)
        self._require(link.album, link.made_by)
        self.transaction.connection.execute(insert(album_links), link_columns(link))

    @reading
    def links(self, album_id: AlbumId) -> list[Link]:
        """Along ix_album_links_album."""
        rows: Any = self.transaction.connection.execute(_LINKS, {"album": album_id, "tenant": self.tenant}).mappings()
        return [link_of(row) for row in rows]

    @writing
    def drop_link(self, album_id: AlbumId, link_id: LinkId) -> None:
        """By its key."""
        values = {"old_id": link_id, "old_album": album_id, "old_tenant": self.tenant}
        if self.transaction.connection.execute(_DROP_LINK, values).rowcount != 1:
            raise Missing

    def _require(self, album_id: AlbumId, user: UserId) -> None:
        own_row(self.transaction, self.tenant, _ALBUM, album_id)
        require_user(self.transaction, self.tenant, user)

    def _drop(self, album_id: AlbumId, user: UserId) -> bool:
        values = {"old_album": album_id, "old_user": user, "old_tenant": self.tenant}
        return self.transaction.connection.execute(_DROP, values).rowcount == 1


def _named(row: Any, prefix: str) -> dict[str, Any]:  # a RowMapping; its keys are typed wider than text
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _without(row: Any, prefix: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith(prefix)}


def _maybe(row: Any, prefix: str) -> Grant | None:
    found = _named(row, prefix)
    return None if found["user"] is None else grant_of(found)
