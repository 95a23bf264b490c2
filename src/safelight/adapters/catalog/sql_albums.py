"""The albums of one tenant in SQL, and the order of their images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.positions import between, spread
from safelight.adapters.catalog.rows import album_columns, album_of
from safelight.adapters.catalog.sql_images import chunks
from safelight.adapters.catalog.sql_shares import COUNT, SqlShares
from safelight.adapters.catalog.tables import album_images, albums, images
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, ImageId, TenantId, UserId
from safelight.errors import Missing, Stale

_place: Final = album_images.c
_here: Final = albums.c.tenant == bindparam("tenant")
_this: Final = (albums.c.id == bindparam("id")) & _here
_in_this: Final = _place.album == bindparam("album")
_of_these: Final = _place.image.in_(bindparam("ids", expanding=True))

_GET: Final = select(albums, COUNT).where(_this)
_EXISTS: Final = select(albums.c.id).where(_this)
_ADD: Final = insert(albums)
_SAVE: Final = (
    update(albums)
    .where(albums.c.id == bindparam("old_id"), albums.c.tenant == bindparam("old_tenant"))
    .where(albums.c.revision == bindparam("old_revision"))
)
_REMOVE: Final = delete(albums).where(_this)
_PAGE: Final = select(albums, COUNT).where(_here).order_by(albums.c.id.desc()).limit(bindparam("limit"))
_OF_IMAGE: Final = (
    select(_place.album)
    .join_from(album_images, albums, albums.c.id == _place.album)
    .where(_place.image == bindparam("image"), _here)
    .order_by(_place.album)
)
_THESE_IMAGES: Final = select(images.c.id, images.c.owner, images.c.is_trashed, images.c.created_at).where(
    images.c.id.in_(bindparam("ids", expanding=True)), images.c.tenant == bindparam("tenant")
)
_LENT: Final = select(_place.image).where(_in_this, _of_these, _place.is_lent)
_POSITION: Final = select(_place.position).where(_in_this, _place.image == bindparam("image"))
_TAKE_OUT: Final = delete(album_images).where(_in_this, _of_these)
_PUT_IN: Final = insert(album_images)
_FIRST_FROM: Final = select(func.min(_place.position)).where(_in_this, _place.position >= bindparam("position"))
_LAST: Final = select(func.max(_place.position)).where(_in_this)
_LAST_BEFORE: Final = _LAST.where(_place.position < bindparam("position"))
_IN_ORDER: Final = select(_place.image, _place.position).where(_in_this).order_by(_place.position)
_RENUMBER: Final = (
    update(album_images)
    .where(_place.album == bindparam("of"), _place.image == bindparam("which"))
    .values(position=bindparam("to"))
)
_UNSET_COVER: Final = (
    update(albums)
    .where(albums.c.id == bindparam("old_id"), albums.c.tenant == bindparam("old_tenant"))
    .where(albums.c.cover.in_(bindparam("ids", expanding=True)))
    .values(cover=None)
)


@dataclass(frozen=True, slots=True)
class SqlAlbums:
    """Keeps AlbumRecords."""

    transaction: Transaction
    tenant: TenantId
    shares: SqlShares

    @claiming
    def add(self, album: Album) -> None:
        """A new row."""
        require_own(album.tenant, self.tenant)
        self.transaction.connection.execute(_ADD, album_columns(album))

    @reading
    def get(self, album_id: AlbumId) -> Album:
        """By id."""
        row = self.transaction.connection.execute(_GET, self._key(album_id)).mappings().first()
        if row is None:
            raise Missing
        return self._read(row)

    @writing
    def save(self, album: Album) -> None:
        """Replace the row."""
        require_own(album.tenant, self.tenant)
        columns = album_columns(album)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": album.revision - 1}
        saved = self.transaction.connection.execute(_SAVE, columns | old)
        if saved.rowcount != 1:
            self._require(album.id)
            raise Stale

    @writing
    def remove(self, album_id: AlbumId) -> None:
        """The row; its places go with it by foreign key."""
        if self.transaction.connection.execute(_REMOVE, self._key(album_id)).rowcount != 1:
            raise Missing

    @reading
    def page(self, owner: UserId | None, *, after: AlbumId | None = None, limit: int = 50) -> list[Album]:
        """By id: ids sort by time, and the album behind which to go on may be gone by then."""
        statement, values = _PAGE, {"tenant": self.tenant, "limit": limit, "owner": owner, "after": after}
        if owner is not None:
            statement = statement.where(albums.c.owner == bindparam("owner"))
        if after is not None:
            statement = statement.where(albums.c.id < bindparam("after"))
        return [self._read(row) for row in self.transaction.connection.execute(statement, values).mappings()]

    @writing
    def insert(
        self,
        album_id: AlbumId,
        image_ids: Sequence[ImageId],
        *,
        before: ImageId | None = None,
        lent_by: Collection[UserId] = (),
    ) -> int:
        """Everything is looked up before anything is moved, so that Missing leaves the album as it was."""
        self._require(album_id)
        ids = list(dict.fromkeys(image_ids))
        found = self._images(ids)
        if len(found) != len(ids):
            raise Missing
        connection, album = self.transaction.connection, {"album": album_id}
        at: int | None = None
        if before is not None:
            at = connection.execute(_POSITION, album | {"image": before}).scalar()
            if at is None:
                raise Missing
        if not ids:
            return 0
        lent = self._lent(album_id, ids) | {image_id for image_id, (owner, _) in found.items() if owner in lent_by}
        moved = self._take_out(album_id, ids)
        positions = self._room(album_id, at, len(ids))
        connection.execute(
            _PUT_IN,
            [
                found[image_id][1] | album | {"position": position, "is_lent": image_id in lent}
                for image_id, position in zip(ids, positions, strict=True)
            ],
        )
        return len(ids) - moved

    @writing
    def drop(self, album_id: AlbumId, image_ids: Sequence[ImageId]) -> int:
        """Places, and the cover with them."""
        self._require(album_id)
        for chunk in chunks(image_ids):
            self.transaction.connection.execute(_UNSET_COVER, {"old_id": album_id, "old_tenant": self.tenant, "ids": chunk})
        return self._take_out(album_id, image_ids)

    @reading
    def of_image(self, image_id: ImageId) -> list[AlbumId]:
        """Along ix_album_images_image."""
        values = {"image": image_id, "tenant": self.tenant}
        return list(self.transaction.connection.execute(_OF_IMAGE, values).scalars())

    def _room(self, album_id: AlbumId, at: int | None, count: int) -> list[int]:
        """Free positions before the first image at or behind `at`; the album is renumbered when there are too few."""
        connection, album = self.transaction.connection, {"album": album_id}
        high = None if at is None else connection.execute(_FIRST_FROM, album | {"position": at}).scalar()
        if high is None:
            low = connection.execute(_LAST, album).scalar()
        else:
            low = connection.execute(_LAST_BEFORE, album | {"position": high}).scalar()
        if (positions := between(low, high, count)) is not None:
            return positions
        order = connection.execute(_IN_ORDER, album).all()
        new = spread(len(order) + count)
        first_behind = sum(position < high for _, position in order) if high is not None else len(order)
        kept = new[:first_behind] + new[first_behind + count :]
        connection.execute(
            _RENUMBER, [{"of": album_id, "which": image, "to": to} for (image, _), to in zip(order, kept, strict=True)]
        )
        return new[first_behind : first_behind + count]

    def _take_out(self, album_id: AlbumId, ids: Sequence[ImageId]) -> int:
        return sum(
            self.transaction.connection.execute(_TAKE_OUT, {"album": album_id, "ids": chunk}).rowcount for chunk in chunks(ids)
        )

    def _lent(self, album_id: AlbumId, ids: Sequence[ImageId]) -> set[str]:
        connection = self.transaction.connection
        return {id for chunk in chunks(ids) for id in connection.execute(_LENT, {"album": album_id, "ids": chunk}).scalars()}

    def _images(self, ids: Sequence[ImageId]) -> dict[str, tuple[str, dict[str, Any]]]:
        """By id: the owner, and what a place says of the image."""
        return {
            row.id: (row.owner, {"image": row.id, "is_trashed": row.is_trashed, "created_at": row.created_at})
            for chunk in chunks(ids)
            for row in self.transaction.connection.execute(_THESE_IMAGES, {"ids": chunk, "tenant": self.tenant})
        }

    def _require(self, album_id: AlbumId) -> None:
        if self.transaction.connection.execute(_EXISTS, self._key(album_id)).first() is None:
            raise Missing

    def _key(self, album_id: AlbumId) -> dict[str, Any]:
        return {"id": album_id, "tenant": self.tenant}

    @staticmethod
    def _read(row: Any) -> Album:  # a RowMapping; its keys are typed wider than text
        return album_of(row)
