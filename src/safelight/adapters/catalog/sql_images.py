"""The images of one tenant in SQL. Statements are built once per shape of question; only values change from call to call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Boolean, ColumnElement, Select, and_, bindparam, delete, exists, func, insert, not_, select, tuple_, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import IMAGE_COLUMNS, image_columns, image_of
from safelight.adapters.catalog.tables import album_images, albums, image_tags, images, tenants
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.images import Image, Status, Visibility
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort, micros
from safelight.domain.tenants import UNLIMITED, Quotas, Room, Stored
from safelight.errors import BadCursor, DamagedRecord, Missing, Stale

T = TypeVar("T")

CHUNK: Final = 500
"""Ids per IN list: well below the 32766 variables of SQLite."""

_place: Final = album_images.alias("places").c
_image: Final = [images.c[name] for name in IMAGE_COLUMNS]
_here: Final = images.c.tenant == bindparam("tenant")
_this: Final = (images.c.id == bindparam("id")) & _here

_GET: Final = select(*_image).where(_this)
_GET_MANY: Final = select(*_image).where(images.c.id.in_(bindparam("ids", expanding=True)), _here)
_ADD: Final = insert(images)
_ADD_TAG: Final = insert(image_tags)
_BEFORE: Final = select(images.c.revision, images.c.tags, images.c.is_trashed, images.c.created_at, images.c.stored_bytes).where(
    _this
)
_SAVE: Final = (
    update(images)
    .where(images.c.id == bindparam("old_id"), images.c.tenant == bindparam("old_tenant"))
    .where(images.c.revision == bindparam("old_revision"))
)
_MOVE_PLACES: Final = update(album_images).where(album_images.c.image == bindparam("old_id"))
_DROP_TAGS: Final = delete(image_tags).where(image_tags.c.image == bindparam("id"))
_REMOVE: Final = delete(images).where(_this)
_STORED: Final = select(tenants.c.stored_bytes, tenants.c.stored_images).where(tenants.c.id == bindparam("tenant"))
_COUNT: Final = (
    update(tenants)
    .where(tenants.c.id == bindparam("tenant"))
    .values(stored_bytes=tenants.c.stored_bytes + bindparam("more"), stored_images=tenants.c.stored_images + bindparam("images"))
)
_UNSET_COVER: Final = (
    update(albums).where(albums.c.cover == bindparam("old_id"), albums.c.tenant == bindparam("old_tenant")).values(cover=None)
)
_BY_SHA256: Final = (
    select(*_image)
    .where(_here, images.c.sha256 == bindparam("sha256"), images.c.owner == bindparam("owner"))
    .where(images.c.trashed_at.is_(None), images.c.status.not_in([Status.REJECTED.value, Status.FAILED.value]))
    .order_by(images.c.created_at, images.c.id)
    .limit(1)
)
_TRASHED_BEFORE: Final = (
    select(*_image)
    .where(_here, images.c.trashed_at < bindparam("before"))
    .order_by(images.c.trashed_at, images.c.id)
    .limit(bindparam("limit"))
)
_used: Final = func.count().label("used")
_TAGS: Final = (
    select(image_tags.c.tag, _used)
    .where(image_tags.c.tenant == bindparam("tenant"), image_tags.c.is_trashed == bindparam("trashed", type_=Boolean))
    .group_by(image_tags.c.tag)
    .order_by(_used.desc(), image_tags.c.tag)
    .limit(bindparam("limit"))
)
_TAGS_FROM: Final = _TAGS.where(image_tags.c.tag >= bindparam("low"), image_tags.c.tag < bindparam("high"))
_OF_OWNER: Final = image_tags.c.owner == bindparam("owner")
_OWN_TAGS: Final = _TAGS.where(_OF_OWNER)
_OWN_TAGS_FROM: Final = _TAGS_FROM.where(_OF_OWNER)

_SORT_COLUMNS: Final = {
    "created_at": images.c.created_at,
    "taken_at": images.c.dated_at,
    "title": images.c.title_key,
    "size": images.c.size_bytes,
}

_lent: Final = exists().where(_place.album == bindparam("album"), _place.image == images.c.id, _place.is_lent)
"""A probe of the whole key of album_images, for those images only that are neither one's own nor public."""

_FILTERS: Final[Mapping[str, ColumnElement[bool]]] = {
    "owner": images.c.owner == bindparam("owner"),
    "not_owner": images.c.owner != bindparam("not_owner"),
    # Said with NOT, because SQLite makes of an OR two index look-ups and sorts their union on every page. PostgreSQL turns it
    # back into the OR, of which it knows how many rows it finds; of a CASE it would expect next to none, and read everything.
    "visible_to": not_(and_(images.c.owner != bindparam("visible_to"), images.c.visibility != Visibility.PUBLIC.value)),
    "lent_to": not_(
        and_(
            images.c.owner != bindparam("lent_to"),
            images.c.visibility != Visibility.PUBLIC.value,
            not_(and_(_lent, images.c.owner.in_(bindparam("lent_by", expanding=True)))),
        )
    ),
    "status": images.c.status == bindparam("status"),
    "visibility": images.c.visibility == bindparam("visibility"),
    "media_type": images.c.media_type == bindparam("media_type"),
    "camera": images.c.camera == bindparam("camera"),
    "created_after": images.c.created_at >= bindparam("created_after"),
    "created_before": images.c.created_at < bindparam("created_before"),
    "taken_after": images.c.dated_at >= bindparam("taken_after"),
    "taken_before": images.c.dated_at < bindparam("taken_before"),
    "min_bytes": images.c.size_bytes >= bindparam("min_bytes"),
    "max_bytes": images.c.size_bytes <= bindparam("max_bytes"),
}
_TIMES: Final = frozenset({"created_after", "created_before", "taken_after", "taken_before"})
_PLAIN: Final = tuple(name for name in _FILTERS if name not in ("not_owner", "lent_to"))


@dataclass(frozen=True, slots=True)
class SqlImages:
    """Keeps ImageRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """A new row, and one per tag."""
        require_own(image.tenant, self.tenant)
        self._count(image.stored_bytes, images=1, within=within)
        self.transaction.connection.execute(_ADD, image_columns(image))
        self._add_tags(image)

    @reading
    def get(self, image_id: ImageId) -> Image:
        """By id."""
        row = self.transaction.connection.execute(_GET, {"id": image_id, "tenant": self.tenant}).first()
        if row is None:
            raise Missing
        return _read(row)

    @reading
    def get_many(self, image_ids: Sequence[ImageId]) -> list[Image]:
        """By ids, in their order."""
        found: dict[str, Image] = {}
        for chunk in chunks(image_ids):
            rows = self.transaction.connection.execute(_GET_MANY, {"ids": chunk, "tenant": self.tenant})
            found |= {row[0]: _read(row) for row in rows}
        return [found[image_id] for image_id in image_ids if image_id in found]

    @writing
    def save(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """Replace the row; tags and album places follow where what they carry has changed."""
        require_own(image.tenant, self.tenant)
        connection, this = self.transaction.connection, {"id": image.id, "tenant": self.tenant}
        before = connection.execute(_BEFORE, this).first()
        if before is None:
            raise Missing
        columns = image_columns(image)
        old = {"old_id": columns.pop("id"), "old_tenant": columns.pop("tenant"), "old_revision": image.revision - 1}
        if before.revision != image.revision - 1:
            raise Stale
        self._count(image.stored_bytes - before.stored_bytes, images=0, within=within)
        if connection.execute(_SAVE, columns | old).rowcount != 1:
            raise Stale
        has_moved = (before.is_trashed, before.created_at) != (columns["is_trashed"], columns["created_at"])
        if has_moved:
            connection.execute(
                _MOVE_PLACES, {"old_id": image.id, "is_trashed": columns["is_trashed"], "created_at": columns["created_at"]}
            )
        if has_moved or tuple(before.tags) != image.tags:
            connection.execute(_DROP_TAGS, this)
            self._add_tags(image)

    @writing
    def remove(self, image_id: ImageId) -> None:
        """The row; tags and places go with it by foreign key."""
        this = {"id": image_id, "tenant": self.tenant}
        before = self.transaction.connection.execute(_BEFORE, this).first()
        if before is None or self.transaction.connection.execute(_REMOVE, this).rowcount != 1:
            raise Missing
        self._count(-before.stored_bytes, images=-1, within=UNLIMITED)
        self.transaction.connection.execute(_UNSET_COVER, {"old_id": image_id, "old_tenant": self.tenant})

    @reading
    def page(self, query: ImageQuery) -> Page:
        """One more row than asked tells whether there is a next page."""
        if query.cursor is not None and query.cursor.sort is not query.sort:
            raise BadCursor
        try:
            rows = self._rows(query)
            shown = tuple(_read(row[:-1]) for row in rows[: query.limit])
        except DamagedRecord:
            if not query.skips_damaged:
                raise
            return self._sound_ones(query)
        return Page(shown, _behind(rows, query))

    def _rows(self, query: ImageQuery, *, is_bare: bool = False) -> list[tuple[Any, ...]]:
        """Each ends with what it is sorted by; bare ones have nothing else but the id."""
        rows: list[tuple[Any, ...]] = []
        for statement, values in _parts(query, is_bare=is_bare):
            rows += [tuple(row) for row in self.transaction.connection.execute(statement, values | {"tenant": self.tenant})]
        rows.sort(key=lambda row: (row[-1], row[0]), reverse=query.sort.is_descending)  # two parts are merged by that
        return rows

    def _sound_ones(self, query: ImageQuery) -> Page:
        """Row by row, since JSON that is none ends a statement at its row."""
        rows = self._rows(query, is_bare=True)
        sound: list[Image] = []
        damaged: list[ImageId] = []
        for image_id, _ in rows[: query.limit]:
            try:
                row = self.transaction.connection.execute(_GET, {"id": image_id, "tenant": self.tenant}).first()
                sound += [] if row is None else [_read(row)]
            except DamagedRecord:
                damaged.append(image_id)
        return Page(tuple(sound), _behind(rows, query), tuple(damaged))

    @reading
    def by_sha256(self, sha256: str, owner: UserId) -> Image | None:
        """Along ix_images_sha256."""
        row = self.transaction.connection.execute(_BY_SHA256, {"tenant": self.tenant, "sha256": sha256, "owner": owner}).first()
        return None if row is None else _read(row)

    @reading
    def trashed_before(self, before: datetime, limit: int = 100) -> list[Image]:
        """Along ix_images_trashed_at."""
        values = {"tenant": self.tenant, "before": micros(before), "limit": limit}
        return [_read(row) for row in self.transaction.connection.execute(_TRASHED_BEFORE, values)]

    @reading
    def tags(self, prefix: str = "", limit: int = 100, *, owner: UserId | None = None) -> list[tuple[str, int]]:
        """Counted along the key of image_tags, or ix_image_tags_owner. U+10FFFF is no character, so no tag sorts behind it."""
        values: dict[str, Any] = {"tenant": self.tenant, "trashed": False, "limit": limit}
        if prefix:
            low = prefix.casefold()
            values |= {"low": low, "high": low + "\U0010ffff"}
        if owner is None:
            statement = _TAGS_FROM if prefix else _TAGS
        else:
            statement, values["owner"] = _OWN_TAGS_FROM if prefix else _OWN_TAGS, owner
        rows = self.transaction.connection.execute(statement, values)
        return [(tag, used) for tag, used in rows]

    def _count(self, more: int, *, images: int, within: Quotas) -> None:
        """A transaction that writes holds its tenant's row, so what is read here is still so when it is changed."""
        if not (more or images):
            return
        if within.limits_storage:
            row = self.transaction.connection.execute(_STORED, {"tenant": self.tenant}).one()
            Room(within, Stored(*row)).require(more, images=images)
        self.transaction.connection.execute(_COUNT, {"tenant": self.tenant, "more": more, "images": images})

    def _add_tags(self, image: Image) -> None:
        if image.tags:
            created_at = micros(image.created_at)
            stamp = {"tenant": self.tenant, "owner": image.owner, "is_trashed": image.is_trashed, "created_at": created_at}
            # The set: a record that names a tag twice still has one row for it.
            tags = [stamp | {"tag": tag, "image": image.id} for tag in dict.fromkeys(image.tags)]
            self.transaction.connection.execute(_ADD_TAG, tags)


def chunks(ids: Sequence[T]) -> Iterator[list[T]]:
    """Ids in lists that fit one statement."""
    rest = iter(ids)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _read(row: Sequence[Any]) -> Image:
    try:
        return image_of(row)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("A row of the catalog cannot be read.") from error


def _behind(rows: Sequence[Sequence[Any]], query: ImageQuery) -> Cursor | None:
    if len(rows) <= query.limit:
        return None
    last = rows[query.limit - 1]
    return Cursor(query.sort, last[-1], last[0])


def _parts(query: ImageQuery, *, is_bare: bool) -> list[tuple[Select[Any], dict[str, Any]]]:
    """The statements that together find the page: one, or two for 'own or public' in the order of arrival.

    Own and public images each have an index in that order, so that neither is searched among all of the tenant's.
    """
    part = partial(_part, is_bare=is_bare)
    if query.visible_to is None:
        return [part(query)]
    if query.is_trashed:  # nobody sees what another has thrown away, see domain.access
        return (
            [] if query.owner not in (None, query.visible_to) else [part(replace(query, owner=query.visible_to, visible_to=None))]
        )
    if query.owner == query.visible_to or query.visibility is Visibility.PUBLIC:
        return [part(replace(query, visible_to=None))]
    is_split = query.owner is None and query.visibility is None and not query.tags and query.album is None
    if not is_split or query.sort.column != "created_at":
        return [part(query)]
    own = replace(query, owner=query.visible_to, visible_to=None)
    public = replace(query, visibility=Visibility.PUBLIC, visible_to=None)
    return [part(own), part(public, not_owner=query.visible_to)]


def _part(query: ImageQuery, *, is_bare: bool, not_owner: UserId | None = None) -> tuple[Select[Any], dict[str, Any]]:
    values: dict[str, Any] = {name: value for name in _PLAIN if (value := getattr(query, name)) is not None}
    filters = frozenset(values)
    for name in filters & _TIMES:
        values[name] = micros(values[name])
    if not_owner is not None:
        filters, values["not_owner"] = filters | {"not_owner"}, not_owner
    if query.album is not None and query.lent_by and "visible_to" in values:
        values |= {"lent_to": values.pop("visible_to"), "lent_by": list(query.lent_by)}
        filters = filters - {"visible_to"} | {"lent_to"}
    tags = tuple(dict.fromkeys(query.tags))
    statement = page_statement(
        query.sort,
        filters,
        tags=len(tags),
        is_in_album=query.album is not None,
        is_behind=query.cursor is not None,
        is_bare=is_bare,
    )
    values |= {"trashed": query.is_trashed, "limit": query.limit + 1, "album": query.album}
    values |= {f"tag_{n}": tag for n, tag in enumerate(tags)}
    if query.cursor is not None:
        values |= {"after_value": query.cursor.value, "after_id": query.cursor.image}
    return statement, values


@lru_cache(maxsize=512)
def page_statement(
    sort: Sort, filters: frozenset[str], *, tags: int, is_in_album: bool, is_behind: bool, is_bare: bool = False
) -> Select[Any]:
    """The statement for questions of this shape: it walks the index of whatever narrows most and is sorted alike."""
    wanted = [images.c.id] if is_bare else _image
    by_arrival = sort.column == "created_at"
    trashed = bindparam("trashed", type_=Boolean)
    by: ColumnElement[Any]
    by_id: ColumnElement[str] = images.c.id
    first_tag = 0
    in_album = (album_images.c.album == bindparam("album")) & (album_images.c.is_trashed == trashed)
    if is_in_album and (by_arrival or sort is Sort.POSITION):
        by, by_id = (album_images.c.created_at if by_arrival else album_images.c.position), album_images.c.image
        statement = (
            select(*wanted, by).join_from(album_images, images, images.c.id == album_images.c.image).where(in_album, _here)
        )
    elif tags and by_arrival:
        by, by_id, first_tag = image_tags.c.created_at, image_tags.c.image, 1
        statement = (
            select(*wanted, by)
            .join_from(image_tags, images, images.c.id == image_tags.c.image)
            .where(image_tags.c.tenant == bindparam("tenant"), image_tags.c.is_trashed == trashed)
            .where(image_tags.c.tag == bindparam("tag_0"))
        )
    else:
        by = _SORT_COLUMNS[sort.column]
        statement = select(*wanted, by).where(_here, images.c.is_trashed == trashed)
    if is_in_album and by.table is not album_images:
        statement = statement.where(images.c.id.in_(select(album_images.c.image).where(in_album)))
    for n in range(first_tag, tags):
        statement = statement.where(_tagged(n))
    for name in sorted(filters):
        statement = statement.where(_FILTERS[name])
    if is_behind:
        here, there = tuple_(by, by_id), tuple_(bindparam("after_value", type_=by.type), bindparam("after_id"))
        statement = statement.where(here < there if sort.is_descending else here > there)
    order = [by.desc(), by_id.desc()] if sort.is_descending else [by, by_id]
    return statement.order_by(*order).limit(bindparam("limit"))


def _tagged(n: int) -> ColumnElement[bool]:
    """The image has the nth tag: one probe of the whole key of image_tags."""
    tag = image_tags.alias(f"tag_{n}_rows")
    return exists().where(
        tag.c.tenant == bindparam("tenant"),
        tag.c.is_trashed == bindparam("trashed", type_=Boolean),
        tag.c.tag == bindparam(f"tag_{n}"),
        tag.c.created_at == images.c.created_at,
        tag.c.image == images.c.id,
    )
