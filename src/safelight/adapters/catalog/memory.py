"""MemoryCatalog: the catalog in dictionaries, for unit tests and as the slow, plain reference that SqlCatalog is held to.

A writing transaction works on a copy and swaps it in at its end; readers keep the state that they began with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final, TypeVar

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.positions import between, spread
from safelight.adapters.catalog.rows import (
    checked_text,
    delivery_columns,
    delivery_of,
    endpoint_columns,
    grant_columns,
    grant_of,
    handed_out,
    issuer_columns,
    kept,
    kept_upload,
    link_columns,
    link_of,
    matches,
    purge_columns,
    purge_of,
    redevelopment_columns,
    redevelopment_of,
    sort_value,
)
from safelight.adapters.catalog.turns import Turns
from safelight.domain.accounts import ApiKey, SigningKey, Tenant, User
from safelight.domain.albums import Album
from safelight.domain.audit import INSTALLATION, Head, Sealed, TrailQuery, new_head
from safelight.domain.audit import Entry as TrailEntry
from safelight.domain.events import Event, ImageEvent
from safelight.domain.factors import Passkey, Totp
from safelight.domain.ids import (
    AlbumId,
    DeliveryId,
    EndpointId,
    ImageId,
    IssuerId,
    KeyId,
    LinkId,
    PasskeyId,
    PurgeId,
    RedevelopmentId,
    SessionId,
    TenantId,
    UploadId,
    UserId,
)
from safelight.domain.images import Image, Status
from safelight.domain.issuers import Identity, TrustedIssuer, require_alone
from safelight.domain.journal import Entry, Numbered
from safelight.domain.people import Credential, Failures, Letter, OneTimeCode, Session, TokenKey
from safelight.domain.purges import Purge, by_turns
from safelight.domain.queries import Cursor, ImageQuery, Page, Sort, micros
from safelight.domain.redevelopments import Redevelopment
from safelight.domain.sharing import Grant, Link, Loan
from safelight.domain.tenants import UNLIMITED, Quotas, Room, Stored
from safelight.domain.uploads import Upload
from safelight.domain.usage import Counts, Usage
from safelight.domain.webhooks import Delivery, DeliveryState, Endpoint
from safelight.errors import AlreadyExists, BackendUnavailable, BadCursor, Forbidden, Missing, Stale, WrongState
from safelight.ports.catalog import Directory, Journal, Records, Told
from safelight.ports.ledger import Ledger

_T = TypeVar("_T", User, Credential, OneTimeCode, Session, Totp, Passkey)


@dataclass(slots=True)
class _State:
    tenants: dict[TenantId, Tenant] = field(default_factory=dict)
    users: dict[UserId, User] = field(default_factory=dict)
    keys: dict[KeyId, ApiKey] = field(default_factory=dict)
    ring: dict[tuple[TenantId, str], SigningKey] = field(default_factory=dict)
    credentials: dict[UserId, Credential] = field(default_factory=dict)
    codes: dict[tuple[UserId, Letter], OneTimeCode] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    totps: dict[UserId, Totp] = field(default_factory=dict)
    passkeys: dict[PasskeyId, Passkey] = field(default_factory=dict)
    spent: dict[str, datetime] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)
    token_keys: dict[str, TokenKey] = field(default_factory=dict)
    issuers: dict[IssuerId, TrustedIssuer] = field(default_factory=dict)
    identities: dict[tuple[TenantId, str, str], Identity] = field(default_factory=dict)
    images: dict[ImageId, Image] = field(default_factory=dict)
    albums: dict[AlbumId, Album] = field(default_factory=dict)
    places: dict[tuple[AlbumId, ImageId], int] = field(default_factory=dict)
    lent: dict[tuple[AlbumId, ImageId], bool] = field(default_factory=dict)
    """Of the places, where the image's owner has put it there."""
    grants: dict[tuple[AlbumId, UserId], Grant] = field(default_factory=dict)
    links: dict[LinkId, Link] = field(default_factory=dict)
    uploads: dict[UploadId, Upload] = field(default_factory=dict)
    endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    deliveries: dict[tuple[EndpointId, DeliveryId], Delivery] = field(default_factory=dict)
    purges: dict[PurgeId, Purge] = field(default_factory=dict)
    redevelopments: dict[RedevelopmentId, Redevelopment] = field(default_factory=dict)
    told: dict[int, tuple[Event, datetime]] = field(default_factory=dict)
    journal: dict[int, tuple[TenantId, Entry]] = field(default_factory=dict)
    unsealed: dict[tuple[str, str], TrailEntry] = field(default_factory=dict)
    sealed: dict[tuple[str, int], Sealed] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    usage: dict[tuple[str, TenantId], tuple[Usage, int]] = field(default_factory=dict)
    last_number: int = 0

    def copy(self) -> _State:
        """Records are never changed in place, so copies of the dictionaries are enough."""
        state = copy(self)
        for one in fields(self):
            if isinstance(kept := getattr(self, one.name), dict):
                setattr(state, one.name, dict(kept))
        return state


@dataclass(slots=True)
class _Transaction:
    state: _State
    writes: bool
    is_over: bool = False

    def read(self) -> _State:
        if self.is_over:
            raise WrongState("The transaction has ended.")
        return self.state

    def write(self) -> _State:
        if not self.writes:
            raise WrongState("This transaction was opened for reading.")
        return self.read()


@dataclass(frozen=True, slots=True)
class _Images:
    transaction: _Transaction
    tenant: TenantId

    def _mine(self) -> list[Image]:
        return [image for image in self.transaction.read().images.values() if image.tenant == self.tenant]

    async def add(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        state = self.transaction.write()
        require_own(image.tenant, self.tenant)
        if image.id in state.images:
            raise AlreadyExists
        fresh = kept(image)
        self._count(image.stored_bytes, images=1, within=within)
        state.images[image.id] = fresh

    async def get(self, image_id: ImageId) -> Image:
        return handed_out(self._found(image_id))

    async def get_many(self, image_ids: Sequence[ImageId]) -> list[Image]:
        mine = {image.id: image for image in self._mine()}
        return [handed_out(mine[image_id]) for image_id in image_ids if image_id in mine]

    async def save(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        state = self.transaction.write()
        require_own(image.tenant, self.tenant)
        before = self._found(image.id)
        if before.revision != image.revision - 1:
            raise Stale
        fresh = kept(image)
        self._count(image.stored_bytes - before.stored_bytes, images=0, within=within)
        state.images[image.id] = fresh

    async def remove(self, image_id: ImageId) -> None:
        state = self.transaction.write()
        self._count(-self._found(image_id).stored_bytes, images=-1, within=UNLIMITED)
        del state.images[image_id]
        state.places = {place: position for place, position in state.places.items() if place[1] != image_id}
        for album in [album for album in state.albums.values() if album.cover == image_id]:
            state.albums[album.id] = replace(album, cover=None)

    async def page(self, query: ImageQuery) -> Page:
        if query.cursor is not None and query.cursor.sort is not query.sort:
            raise BadCursor
        state = self.transaction.read()
        found = [(self._value(state, image, query), image.id, image) for image in self._mine() if _matches(state, image, query)]
        found.sort(key=lambda one: one[:2], reverse=query.sort.is_descending)
        if query.cursor is not None:
            last = (query.cursor.value, query.cursor.image)
            found = [one for one in found if (one[:2] < last if query.sort.is_descending else one[:2] > last)]
        shown = found[: query.limit]
        images = tuple(handed_out(image) for _, _, image in shown)
        return Page(images, Cursor(query.sort, *shown[-1][:2]) if len(found) > query.limit else None)

    async def by_sha256(self, sha256: str, owner: UserId) -> Image | None:
        same = [
            image
            for image in self._mine()
            if image.sha256 == sha256
            and image.owner == owner
            and not image.is_trashed
            and image.status not in (Status.REJECTED, Status.FAILED)
        ]
        return handed_out(min(same, key=lambda image: (image.created_at, image.id))) if same else None

    async def trashed_before(self, before: datetime, limit: int = 100) -> list[Image]:
        stamped = [(image.trashed_at, image.id, image) for image in self._mine() if image.trashed_at is not None]
        old = sorted(one for one in stamped if micros(one[0]) < micros(before))
        return [handed_out(image) for _, _, image in old[:limit]]

    async def tags(self, prefix: str = "", limit: int = 100, *, owner: UserId | None = None) -> list[tuple[str, int]]:
        counted = (image for image in self._mine() if not image.is_trashed and owner in (None, image.owner))
        used = Counter(tag for image in counted for tag in set(image.tags))
        found = [(tag, count) for tag, count in used.items() if tag.startswith(prefix.casefold())]
        return sorted(found, key=lambda one: (-one[1], one[0]))[:limit]

    def _count(self, more: int, *, images: int, within: Quotas) -> None:
        state = self.transaction.write()
        tenant = state.tenants[self.tenant]
        stored = tenant.stored
        Room(within, stored).require(more, images=images)
        state.tenants[self.tenant] = replace(tenant, stored=Stored(stored.bytes + more, stored.images + images))

    def _found(self, image_id: ImageId) -> Image:
        image = self.transaction.read().images.get(image_id)
        if image is None or image.tenant != self.tenant:
            raise Missing
        return image

    @staticmethod
    def _value(state: _State, image: Image, query: ImageQuery) -> int | str:
        if query.sort is Sort.POSITION:
            assert query.album is not None
            return state.places[query.album, image.id]
        return sort_value(image, query.sort)


def _matches(state: _State, image: Image, query: ImageQuery) -> bool:
    if query.album is None:
        return matches(image, query)
    place = query.album, image.id
    return place in state.places and matches(image, query, is_lent=state.lent.get(place, False))


@dataclass(frozen=True, slots=True)
class _Shares:
    transaction: _Transaction
    tenant: TenantId

    async def put_grant(self, grant: Grant) -> None:
        state = self.transaction.write()
        require_own(grant.tenant, self.tenant)
        self._require(grant.album, grant.user)
        state.grants[grant.album, grant.user] = grant_of(grant_columns(grant))

    async def drop_grant(self, album_id: AlbumId, user: UserId) -> None:
        state = self.transaction.write()
        if (album_id, user) not in state.grants or state.grants[album_id, user].tenant != self.tenant:
            raise Missing
        del state.grants[album_id, user]

    async def grants(self, album_id: AlbumId) -> list[Grant]:
        found = [grant for grant in self._mine() if grant.album == album_id]
        return sorted(found, key=lambda grant: (grant.created_at, grant.user))

    async def lent(
        self, user: UserId, at: datetime, *, after: AlbumId | None = None, limit: int = 50
    ) -> list[tuple[Album, Grant]]:
        albums = _Albums(self.transaction, self.tenant, self)
        mine = [grant for grant in self._mine() if grant.user == user and grant.is_live(at)]
        found = [grant for grant in mine if after is None or grant.album < after]
        newest = sorted(found, key=lambda grant: grant.album, reverse=True)[:limit]
        return [(await albums.get(grant.album), grant) for grant in newest]

    async def loans(self, image: Image, user: UserId) -> list[Loan]:
        state = self.transaction.read()
        found = []
        for album_id in await _Albums(self.transaction, self.tenant, self).of_image(image.id):
            owner, taken = state.albums[album_id].owner, state.grants.get((album_id, user))
            if state.lent.get((album_id, image.id)) and (owner == user or taken is not None):
                found.append(
                    Loan(album=album_id, album_owner=owner, taken=taken, given=state.grants.get((album_id, image.owner)))
                )
        return found

    async def add_link(self, link: Link) -> None:
        state = self.transaction.write()
        require_own(link.tenant, self.tenant)
        self._require(link.album, link.made_by)
        if link.id in state.links:
            raise AlreadyExists
        state.links[link.id] = link_of(link_columns(link))

    async def links(self, album_id: AlbumId) -> list[Link]:
        everyones = self.transaction.read().links.values()
        found = [link for link in everyones if (link.album, link.tenant) == (album_id, self.tenant)]
        return sorted(found, key=lambda link: link.id, reverse=True)

    async def drop_link(self, album_id: AlbumId, link_id: LinkId) -> None:
        state = self.transaction.write()
        link = state.links.get(link_id)
        if link is None or (link.album, link.tenant) != (album_id, self.tenant):
            raise Missing
        del state.links[link_id]

    def _require(self, album_id: AlbumId, user: UserId) -> None:
        state = self.transaction.read()
        for found in (state.albums.get(album_id), state.users.get(user)):
            if found is None or found.tenant != self.tenant:
                raise Missing

    def _mine(self) -> list[Grant]:
        return [grant for grant in self.transaction.read().grants.values() if grant.tenant == self.tenant]


@dataclass(frozen=True, slots=True)
class _Albums:
    transaction: _Transaction
    tenant: TenantId
    shares: _Shares

    async def add(self, album: Album) -> None:
        state = self.transaction.write()
        require_own(album.tenant, self.tenant)
        if album.id in state.albums:
            raise AlreadyExists
        checked_text(album.title, album.description)
        state.albums[album.id] = replace(album, image_count=0)

    async def get(self, album_id: AlbumId) -> Album:
        return self._counted(self._found(album_id))

    async def save(self, album: Album) -> None:
        state = self.transaction.write()
        require_own(album.tenant, self.tenant)
        if self._found(album.id).revision != album.revision - 1:
            raise Stale
        checked_text(album.title, album.description)
        state.albums[album.id] = album

    async def remove(self, album_id: AlbumId) -> None:
        state = self.transaction.write()
        self._found(album_id)
        del state.albums[album_id]
        state.places = {place: position for place, position in state.places.items() if place[0] != album_id}
        state.grants = {key: grant for key, grant in state.grants.items() if key[0] != album_id}
        state.links = {key: link for key, link in state.links.items() if link.album != album_id}

    async def page(self, owner: UserId | None, *, after: AlbumId | None = None, limit: int = 50) -> list[Album]:
        mine = [album for album in self.transaction.read().albums.values() if album.tenant == self.tenant]
        found = [album for album in mine if owner in (None, album.owner) and (after is None or album.id < after)]
        return [self._counted(album) for album in sorted(found, key=lambda album: album.id, reverse=True)[:limit]]

    async def insert(
        self,
        album_id: AlbumId,
        image_ids: Sequence[ImageId],
        *,
        before: ImageId | None = None,
        lent_by: Collection[UserId] = (),
    ) -> int:
        state = self.transaction.write()
        self._found(album_id)
        ids = list(dict.fromkeys(image_ids))
        for image_id in ids:
            if image_id not in state.images or state.images[image_id].tenant != self.tenant:
                raise Missing
        order = self._order(album_id)
        if before is not None and before not in order:
            raise Missing
        behind = order[order.index(before) :] if before is not None else []
        anchor = next((image_id for image_id in behind if image_id not in ids), None)
        rest = [image_id for image_id in order if image_id not in ids]
        at = len(rest) if anchor is None else rest.index(anchor)
        for image_id in ids:
            was_lent = state.places.pop((album_id, image_id), None) is not None and state.lent[album_id, image_id]
            state.lent[album_id, image_id] = was_lent or state.images[image_id].owner in lent_by
        low = state.places[album_id, rest[at - 1]] if at else None
        high = None if anchor is None else state.places[album_id, anchor]
        positions = between(low, high, len(ids)) if ids else []
        if positions is None:
            whole = rest[:at] + ids + rest[at:]
            state.places |= dict(zip([(album_id, image_id) for image_id in whole], spread(len(whole)), strict=True))
        else:
            state.places |= dict(zip([(album_id, image_id) for image_id in ids], positions, strict=True))
        return len(set(ids) - set(order))

    async def drop(self, album_id: AlbumId, image_ids: Sequence[ImageId]) -> int:
        state = self.transaction.write()
        album = self._found(album_id)
        if album.cover in image_ids:
            state.albums[album_id] = replace(album, cover=None)
        return sum(state.places.pop((album_id, image_id), None) is not None for image_id in dict.fromkeys(image_ids))

    async def of_image(self, image_id: ImageId) -> list[AlbumId]:
        state = self.transaction.read()
        held = [album for album, image in state.places if image == image_id]
        return sorted(album for album in held if state.albums[album].tenant == self.tenant)

    def _order(self, album_id: AlbumId) -> list[ImageId]:
        placed = [(position, image) for (album, image), position in self.transaction.read().places.items() if album == album_id]
        return [image for _, image in sorted(placed)]

    def _found(self, album_id: AlbumId) -> Album:
        album = self.transaction.read().albums.get(album_id)
        if album is None or album.tenant != self.tenant:
            raise Missing
        return album

    def _counted(self, album: Album) -> Album:
        images = self.transaction.read().images
        return replace(album, image_count=sum(not images[image_id].is_trashed for image_id in self._order(album.id)))


@dataclass(frozen=True, slots=True)
class _ApiKeys:
    transaction: _Transaction
    tenant: TenantId

    async def add(self, key: ApiKey) -> None:
        state = self.transaction.write()
        require_own(key.tenant, self.tenant)
        if key.user not in state.users or state.users[key.user].tenant != self.tenant:
            raise Missing
        if key.id in state.keys:
            raise AlreadyExists
        checked_text(key.name)
        state.keys[key.id] = key

    async def all(self, user: UserId | None = None) -> list[ApiKey]:
        mine = [key for key in self.transaction.read().keys.values() if key.tenant == self.tenant and user in (None, key.user)]
        return sorted(mine, key=lambda key: (key.created_at, key.id), reverse=True)

    async def save(self, key: ApiKey) -> None:
        state = self.transaction.write()
        require_own(key.tenant, self.tenant)
        kept = state.keys.get(key.id)
        if kept is None or kept.tenant != self.tenant:
            raise Missing
        checked_text(key.name)
        revoked_at = kept.revoked_at or key.revoked_at
        state.keys[key.id] = replace(kept, name=key.name, networks=key.networks, revoked_at=revoked_at)


@dataclass(frozen=True, slots=True)
class _Issuers:
    transaction: _Transaction
    tenant: TenantId

    async def add(self, issuer: TrustedIssuer) -> None:
        state = self.transaction.write()
        require_own(issuer.tenant, self.tenant)
        issuer_columns(issuer)
        mine = [one for one in state.issuers.values() if one.tenant == self.tenant]
        if issuer.id in state.issuers or any(one.issuer == issuer.issuer for one in mine):
            raise AlreadyExists
        require_alone(issuer, [one for one in state.issuers.values() if one.issuer == issuer.issuer])
        state.issuers[issuer.id] = issuer

    async def all(self) -> list[TrustedIssuer]:
        mine = [one for one in self.transaction.read().issuers.values() if one.tenant == self.tenant]
        return sorted(mine, key=lambda one: (one.created_at, one.id))

    async def save(self, issuer: TrustedIssuer) -> None:
        state = self.transaction.write()
        require_own(issuer.tenant, self.tenant)
        issuer_columns(issuer)
        before = state.issuers.get(issuer.id)
        if before is None or before.tenant != self.tenant:
            raise Missing
        if before.revision != issuer.revision - 1:
            raise Stale
        after = replace(before, terms=issuer.terms, revision=issuer.revision)
        require_alone(after, [one for one in state.issuers.values() if one.issuer == before.issuer])
        state.issuers[issuer.id] = after

    async def remove(self, issuer_id: IssuerId) -> None:
        state = self.transaction.write()
        if issuer_id not in state.issuers or state.issuers[issuer_id].tenant != self.tenant:
            raise Missing
        del state.issuers[issuer_id]

    async def identity(self, issuer: str, subject: str) -> tuple[Identity, User]:
        state = self.transaction.read()
        found = state.identities.get((self.tenant, issuer, subject))
        if found is None:
            raise Missing
        return found, state.users[found.user]

    async def add_identity(self, identity: Identity) -> None:
        state = self.transaction.write()
        require_own(identity.tenant, self.tenant)
        if identity.user not in state.users or state.users[identity.user].tenant != self.tenant:
            raise Missing
        checked_text(identity.issuer, identity.subject)
        if (self.tenant, identity.issuer, identity.subject) in state.identities:
            raise AlreadyExists
        state.identities[self.tenant, identity.issuer, identity.subject] = identity

    async def save_identity(self, identity: Identity) -> None:
        state = self.transaction.write()
        require_own(identity.tenant, self.tenant)
        if (self.tenant, identity.issuer, identity.subject) not in state.identities:
            raise Missing
        state.identities[self.tenant, identity.issuer, identity.subject] = identity


@dataclass(frozen=True, slots=True)
class _Accounts:
    transaction: _Transaction
    tenant: TenantId
    api_keys: _ApiKeys
    issuers: _Issuers

    async def add_user(self, user: User) -> None:
        state = self.transaction.write()
        require_own(user.tenant, self.tenant)
        if user.id in state.users:
            raise AlreadyExists
        self._name(user)
        state.users[user.id] = user

    async def users(self) -> list[User]:
        mine = [user for user in self.transaction.read().users.values() if user.tenant == self.tenant]
        return sorted(mine, key=lambda user: user.name)

    async def save_user(self, user: User) -> None:
        state = self.transaction.write()
        require_own(user.tenant, self.tenant)
        if user.id not in state.users or state.users[user.id].tenant != self.tenant:
            raise Missing
        self._name(user)
        state.users[user.id] = user

    async def remove_user(self, user_id: UserId) -> None:
        state = self.transaction.write()
        if user_id not in state.users or state.users[user_id].tenant != self.tenant:
            raise Missing
        del state.users[user_id]
        state.credentials.pop(user_id, None)
        state.totps.pop(user_id, None)
        state.codes = {key: code for key, code in state.codes.items() if code.user != user_id}
        state.keys = {key: one for key, one in state.keys.items() if one.user != user_id}
        state.sessions = {key: one for key, one in state.sessions.items() if one.user != user_id}
        state.passkeys = {key: one for key, one in state.passkeys.items() if one.user != user_id}
        state.identities = {key: one for key, one in state.identities.items() if one.user != user_id}
        state.grants = {key: one for key, one in state.grants.items() if one.user != user_id}
        state.links = {key: one for key, one in state.links.items() if one.made_by != user_id}

    async def add_signing_key(self, key: SigningKey) -> None:
        state = self.transaction.write()
        require_own(key.tenant, self.tenant)
        if (key.tenant, key.kid) in state.ring:
            raise AlreadyExists
        state.ring[key.tenant, key.kid] = key

    async def signing_keys(self) -> list[SigningKey]:
        mine = [key for key in self.transaction.read().ring.values() if key.tenant == self.tenant]
        return sorted(mine, key=lambda key: (key.created_at, key.kid), reverse=True)

    async def retire_signing_key(self, kid: str, at: datetime) -> None:
        state = self.transaction.write()
        key = state.ring.get((self.tenant, kid))
        if key is None:
            raise Missing
        state.ring[self.tenant, kid] = replace(key, retired_at=at)

    def _name(self, user: User) -> None:
        checked_text(user.name)
        others = [one for one in self.transaction.read().users.values() if one.tenant == self.tenant and one.id != user.id]
        if any(one.name == user.name for one in others):
            raise AlreadyExists


@dataclass(frozen=True, slots=True)
class _Uploads:
    transaction: _Transaction
    tenant: TenantId

    async def add(self, upload: Upload) -> None:
        state = self.transaction.write()
        require_own(upload.tenant, self.tenant)
        if upload.id in state.uploads:
            raise AlreadyExists
        state.uploads[upload.id] = kept_upload(upload)

    async def get(self, upload_id: UploadId) -> Upload:
        return kept_upload(self._found(upload_id))

    async def save(self, upload: Upload) -> None:
        state = self.transaction.write()
        require_own(upload.tenant, self.tenant)
        if self._found(upload.id).revision != upload.revision - 1:
            raise Stale
        state.uploads[upload.id] = kept_upload(upload)

    async def remove(self, upload_id: UploadId) -> None:
        state = self.transaction.write()
        self._found(upload_id)
        del state.uploads[upload_id]

    async def due(self, at: datetime, limit: int = 100) -> list[Upload]:
        mine = [upload for upload in self.transaction.read().uploads.values() if upload.tenant == self.tenant]
        due = [upload for upload in mine if micros(upload.due_at) <= micros(at)]
        return [kept_upload(upload) for upload in sorted(due, key=lambda upload: (upload.due_at, upload.id))[:limit]]

    def _found(self, upload_id: UploadId) -> Upload:
        upload = self.transaction.read().uploads.get(upload_id)
        if upload is None or upload.tenant != self.tenant:
            raise Missing
        return upload


@dataclass(frozen=True, slots=True)
class _People:
    transaction: _Transaction
    tenant: TenantId

    async def add_credential(self, credential: Credential) -> None:
        state = self.transaction.write()
        require_own(credential.tenant, self.tenant)
        self._user(credential.user)
        if credential.user in state.credentials:
            raise AlreadyExists
        self._address(credential)
        state.credentials[credential.user] = credential

    async def credential(self, user: UserId) -> Credential:
        return self._mine(self.transaction.read().credentials.get(user))

    async def save_credential(self, credential: Credential) -> None:
        state = self.transaction.write()
        require_own(credential.tenant, self.tenant)
        self._mine(state.credentials.get(credential.user))
        self._address(credential)
        state.credentials[credential.user] = credential

    async def put_code(self, code: OneTimeCode) -> None:
        state = self.transaction.write()
        require_own(code.tenant, self.tenant)
        self._user(code.user)
        state.codes[code.user, code.letter] = code

    async def code(self, user: UserId, letter: Letter) -> OneTimeCode:
        return self._mine(self.transaction.read().codes.get((user, letter)))

    async def add_session(self, session: Session) -> None:
        state = self.transaction.write()
        require_own(session.tenant, self.tenant)
        self._user(session.user)
        if session.id in state.sessions:
            raise AlreadyExists
        checked_text(session.address, session.agent)
        state.sessions[session.id] = session

    async def session(self, session_id: SessionId) -> Session:
        return self._mine(self.transaction.read().sessions.get(session_id))

    async def save_session(self, session: Session) -> None:
        state = self.transaction.write()
        require_own(session.tenant, self.tenant)
        self._mine(state.sessions.get(session.id))
        checked_text(session.address, session.agent)
        state.sessions[session.id] = session

    async def sessions(self, user: UserId) -> list[Session]:
        everyones = self.transaction.read().sessions.values()
        mine = [one for one in everyones if (one.tenant, one.user, one.ended_at) == (self.tenant, user, None)]
        return sorted(mine, key=lambda one: (one.used_at, one.id), reverse=True)

    def _user(self, user: UserId) -> None:
        self._mine(self.transaction.read().users.get(user))

    def _mine(self, found: _T | None) -> _T:
        if found is None or found.tenant != self.tenant:
            raise Missing
        return found

    def _address(self, credential: Credential) -> None:
        checked_text(credential.email, credential.language)
        for one in self.transaction.read().credentials.values():
            if (one.tenant, one.email) == (credential.tenant, credential.email) and one.user != credential.user:
                raise AlreadyExists


@dataclass(frozen=True, slots=True)
class _Factors:
    transaction: _Transaction
    tenant: TenantId

    async def totp(self, user: UserId) -> Totp:
        return self._mine(self.transaction.read().totps.get(user))

    async def put_totp(self, totp: Totp) -> None:
        state = self.transaction.write()
        require_own(totp.tenant, self.tenant)
        self._mine(state.users.get(totp.user))
        state.totps[totp.user] = totp

    async def drop_totp(self, user: UserId) -> None:
        state = self.transaction.write()
        if user in state.totps and state.totps[user].tenant == self.tenant:
            del state.totps[user]

    async def add_passkey(self, passkey: Passkey) -> None:
        state = self.transaction.write()
        require_own(passkey.tenant, self.tenant)
        self._mine(state.users.get(passkey.user))
        if passkey.id in state.passkeys:
            raise AlreadyExists
        checked_text(passkey.name, passkey.aaguid, *passkey.transports)
        state.passkeys[passkey.id] = passkey

    async def passkey(self, passkey_id: PasskeyId) -> Passkey:
        return self._mine(self.transaction.read().passkeys.get(passkey_id))

    async def passkeys(self, user: UserId) -> list[Passkey]:
        everyones = self.transaction.read().passkeys.values()
        mine = [one for one in everyones if (one.tenant, one.user) == (self.tenant, user)]
        return sorted(mine, key=lambda one: (one.created_at, one.id))

    async def save_passkey(self, passkey: Passkey) -> None:
        state = self.transaction.write()
        require_own(passkey.tenant, self.tenant)
        self._mine(state.passkeys.get(passkey.id))
        checked_text(passkey.name, passkey.aaguid, *passkey.transports)
        state.passkeys[passkey.id] = passkey

    async def remove_passkey(self, passkey_id: PasskeyId) -> None:
        state = self.transaction.write()
        self._mine(state.passkeys.get(passkey_id))
        del state.passkeys[passkey_id]

    async def spend(self, mark: str, until: datetime) -> None:
        state = self.transaction.write()
        if mark in state.spent:
            raise AlreadyExists
        state.spent[mark] = until

    def _mine(self, found: _T | None) -> _T:
        if found is None or found.tenant != self.tenant:
            raise Missing
        return found


@dataclass(frozen=True, slots=True)
class _Trust:
    transaction: _Transaction

    async def token_keys(self) -> list[TokenKey]:
        ring = self.transaction.read().token_keys.values()
        return sorted(ring, key=lambda key: (key.created_at, key.kid), reverse=True)

    async def inherited_keys(self) -> list[tuple[str, bytes]]:
        return []  # nobody moves into memory

    async def add_token_key(self, key: TokenKey) -> None:
        state = self.transaction.write()
        if key.kid in state.token_keys:
            raise AlreadyExists
        state.token_keys[key.kid] = key

    async def retire_token_key(self, kid: str, at: datetime) -> None:
        state = self.transaction.write()
        if kid not in state.token_keys:
            raise Missing
        state.token_keys[kid] = replace(state.token_keys[kid], retired_at=at)

    async def issuers(self, issuer: str) -> list[TrustedIssuer]:
        found = [one for one in self.transaction.read().issuers.values() if one.issuer == issuer]
        return sorted(found, key=lambda one: (one.created_at, one.id))


@dataclass(frozen=True, slots=True)
class _PeopleDirectory:
    transaction: _Transaction
    trust: _Trust

    async def by_email(self, tenant: str, email: str) -> tuple[Credential, User]:
        state = self.transaction.read()
        for one in state.credentials.values():
            if one.email == email and state.tenants[one.tenant].name == tenant:
                return one, state.users[one.user]
        raise Missing

    async def session(self, session_id: SessionId) -> tuple[Session, User]:
        state = self.transaction.read()
        if session_id not in state.sessions:
            raise Missing
        session = state.sessions[session_id]
        return session, state.users[session.user]

    async def link(self, link_id: LinkId) -> tuple[Link, User]:
        state = self.transaction.read()
        if link_id not in state.links:
            raise Missing
        return state.links[link_id], state.users[state.links[link_id].made_by]

    async def failures(self, subjects: Sequence[str]) -> list[Failures]:
        noted = self.transaction.read().failures
        return [noted[subject] for subject in sorted(set(subjects)) if subject in noted]

    async def count_failure(self, subject: str, at: datetime, *, since: datetime) -> Failures:
        state = self.transaction.write()
        last = state.failures.get(subject)
        count = 1 if last is None or last.last_at < since else last.count + 1
        state.failures[subject] = Failures(subject=subject, count=count, last_at=at)
        return state.failures[subject]

    async def forget_failures(self, subject: str) -> None:
        self.transaction.write().failures.pop(subject, None)

    async def touch_key(self, key_id: KeyId, at: datetime) -> None:
        state = self.transaction.write()
        key = state.keys.get(key_id)
        if key is not None and (key.last_used_at is None or key.last_used_at < at):
            state.keys[key_id] = replace(key, last_used_at=at)

    async def sweep(self, before: datetime) -> int:
        state = self.transaction.write()
        sessions = [id for id, one in state.sessions.items() if one.expires_at < before]
        codes = [id for id, one in state.codes.items() if one.expires_at < before]
        failures = [id for id, one in state.failures.items() if one.last_at < before]
        for session in sessions:
            del state.sessions[session]
        for code in codes:
            del state.codes[code]
        for failure in failures:
            del state.failures[failure]
        spent = [mark for mark, expires_at in state.spent.items() if expires_at < before]
        for mark in spent:
            del state.spent[mark]
        return len(sessions) + len(codes) + len(failures) + len(spent)


@dataclass(frozen=True, slots=True)
class _Deliveries:
    transaction: _Transaction
    tenant: TenantId

    async def add(self, delivery: Delivery) -> None:
        state = self.transaction.write()
        require_own(delivery.tenant, self.tenant)
        if delivery.endpoint not in state.endpoints or state.endpoints[delivery.endpoint].tenant != self.tenant:
            raise Missing
        if (delivery.endpoint, delivery.id) in state.deliveries:
            raise AlreadyExists
        state.deliveries[delivery.endpoint, delivery.id] = delivery_of(delivery_columns(delivery))

    async def get(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Delivery:
        delivery = self.transaction.read().deliveries.get((endpoint, delivery_id))
        if delivery is None or delivery.tenant != self.tenant:
            raise Missing
        return delivery

    async def save(self, delivery: Delivery) -> None:
        state = self.transaction.write()
        require_own(delivery.tenant, self.tenant)
        if (await self.get(delivery.endpoint, delivery.id)).revision != delivery.revision - 1:
            raise Stale
        state.deliveries[delivery.endpoint, delivery.id] = delivery_of(delivery_columns(delivery))

    async def due(self, endpoint: EndpointId, at: datetime, limit: int = 10) -> list[Delivery]:
        waiting = [(one.due_at, one.id, one) for one in self._of(endpoint) if one.due_at is not None]
        return [one for _, _, one in sorted(one for one in waiting if micros(one[0]) <= micros(at))[:limit]]

    async def page(
        self, endpoint: EndpointId, *, before: str = "", state: DeliveryState | None = None, limit: int = 50
    ) -> list[Delivery]:
        found = [one for one in self._of(endpoint) if state in (None, one.state) and (not before or one.id < before)]
        return sorted(found, key=lambda one: one.id, reverse=True)[:limit]

    async def sweep(self, endpoint: EndpointId, at: datetime, limit: int = 500) -> int:
        state = self.transaction.write()
        old = sorted(one.id for one in self._of(endpoint) if micros(one.forget_at) <= micros(at))[:limit]
        for delivery_id in old:
            del state.deliveries[endpoint, delivery_id]
        return len(old)

    def _of(self, endpoint: EndpointId) -> list[Delivery]:
        everyones = self.transaction.read().deliveries.values()
        return [one for one in everyones if (one.tenant, one.endpoint) == (self.tenant, endpoint)]


@dataclass(frozen=True, slots=True)
class _Webhooks:
    transaction: _Transaction
    tenant: TenantId

    @property
    def deliveries(self) -> _Deliveries:
        return _Deliveries(self.transaction, self.tenant)

    async def add(self, endpoint: Endpoint) -> None:
        state = self.transaction.write()
        require_own(endpoint.tenant, self.tenant)
        if endpoint.id in state.endpoints:
            raise AlreadyExists
        endpoint_columns(endpoint)
        state.endpoints[endpoint.id] = endpoint

    async def get(self, endpoint_id: EndpointId) -> Endpoint:
        endpoint = self.transaction.read().endpoints.get(endpoint_id)
        if endpoint is None or endpoint.tenant != self.tenant:
            raise Missing
        return endpoint

    async def all(self) -> list[Endpoint]:
        mine = [one for one in self.transaction.read().endpoints.values() if one.tenant == self.tenant]
        return sorted(mine, key=lambda one: (one.created_at, one.id), reverse=True)

    async def save(self, endpoint: Endpoint) -> None:
        state = self.transaction.write()
        require_own(endpoint.tenant, self.tenant)
        if (await self.get(endpoint.id)).revision != endpoint.revision - 1:
            raise Stale
        endpoint_columns(endpoint)
        state.endpoints[endpoint.id] = endpoint

    async def remove(self, endpoint_id: EndpointId) -> None:
        state = self.transaction.write()
        await self.get(endpoint_id)
        del state.endpoints[endpoint_id]
        state.deliveries = {key: one for key, one in state.deliveries.items() if key[0] != endpoint_id}


@dataclass(frozen=True, slots=True)
class _Journal:
    transaction: _Transaction
    tenant: TenantId

    def _mine(self) -> list[Numbered]:
        journal = self.transaction.read().journal
        return [Numbered(number, entry) for number, (tenant, entry) in sorted(journal.items()) if tenant == self.tenant]

    async def add(self, entry: Entry) -> None:
        state = self.transaction.write()
        state.last_number += 1
        state.journal[state.last_number] = (self.tenant, entry)

    async def after(
        self, number: int, *, owner: UserId | None = None, image: ImageId | None = None, limit: int = 200
    ) -> list[Numbered]:
        return [
            one
            for one in self._mine()
            if one.number > number and owner in (None, one.entry.owner) and image in (None, one.entry.image)
        ][:limit]

    async def last(self) -> int:
        return max((one.number for one in self._mine()), default=0)

    async def sweep(self, before: datetime, limit: int = 1000) -> int:
        state = self.transaction.write()
        gone = list(takewhile(lambda one: one.entry.at < before, self._mine()[:limit]))
        for one in gone:
            del state.journal[one.number]
        return len(gone)

    async def forget(self, owner: UserId, limit: int) -> int:
        state = self.transaction.write()
        gone = [one for one in self._mine() if one.entry.owner == owner][:limit]
        for one in gone:
            del state.journal[one.number]
        return len(gone)


@dataclass(frozen=True, slots=True)
class _Ledger:
    transaction: _Transaction

    async def add(self, tenant: TenantId, month: str, counts: Counts) -> None:
        state = self.transaction.write()
        usage, last_hour = self._of(tenant, month)
        state.usage[month, tenant] = replace(usage, counts=usage.counts + counts), last_hour

    async def sample(self, tenant: TenantId, month: str, hour: int, stored: Stored) -> None:
        state = self.transaction.write()
        usage, last_hour = self._of(tenant, month)
        if last_hour >= hour:
            raise Stale
        byte_hours, image_hours = usage.byte_hours + stored.bytes, usage.image_hours + stored.images
        noted = replace(usage, samples=usage.samples + 1, byte_hours=byte_hours, image_hours=image_hours)
        state.usage[month, tenant] = noted, hour

    async def usage(self, tenant: TenantId, month: str) -> Usage:
        return self._of(tenant, month)[0]

    async def usages(self, month: str) -> list[Usage]:
        found = self.transaction.read().usage
        return [usage for (each, _), (usage, _) in sorted(found.items(), key=lambda one: one[0]) if each == month]

    def _of(self, tenant: TenantId, month: str) -> tuple[Usage, int]:
        unknown = Usage(tenant=tenant, month=month, counts=Counts()), -1
        return self.transaction.read().usage.get((month, tenant), unknown)


@dataclass(frozen=True, slots=True)
class _Trail:
    transaction: _Transaction
    chain: str

    async def append(self, entry: TrailEntry) -> None:
        state = self.transaction.write()
        if entry.chain != self.chain:
            raise Forbidden("The entry belongs to another chain.")
        if (self.chain, entry.id) in state.unsealed or any(entry.id == one.entry.id for one in self._sealed()):
            raise AlreadyExists
        state.unsealed[self.chain, entry.id] = entry

    async def unsealed(self, limit: int) -> list[TrailEntry]:
        mine = [entry for (chain, _), entry in self.transaction.read().unsealed.items() if chain == self.chain]
        return sorted(mine, key=lambda entry: entry.id)[:limit]

    async def head(self) -> Head:
        return self.transaction.read().heads.get(self.chain) or new_head(self.chain)

    async def seal(self, sealed: Sequence[Sealed], head: Head, *, was: Head) -> None:
        state = self.transaction.write()
        if await self.head() != was:
            raise Stale
        for one in sealed:
            state.unsealed.pop((self.chain, one.entry.id), None)
            state.sealed[self.chain, one.number] = one
        state.heads[self.chain] = head

    async def page(self, query: TrailQuery) -> list[Sealed]:
        pruned = (await self.head()).pruned.number
        found = [one for one in self._sealed() if one.number > pruned and query.matches(one.entry)]
        found.sort(key=lambda one: one.number, reverse=not query.is_oldest_first)
        if query.after is not None:
            found = [one for one in found if (one.number > query.after) is query.is_oldest_first and one.number != query.after]
        return found[: query.limit]

    async def forget_origins(self, actors: Sequence[str], limit: int) -> int:
        state = self.transaction.write()
        entries = [(self.chain, one.number) for one in self._sealed() if one.entry.origin and one.entry.actor in actors][:limit]
        for key in entries:
            state.sealed[key] = replace(state.sealed[key], entry=replace(state.sealed[key].entry, origin=None))
        waiting = [id for id, one in state.unsealed.items() if id[0] == self.chain and one.origin and one.actor in actors]
        for id in waiting[: limit - len(entries)]:
            state.unsealed[id] = replace(state.unsealed[id], origin=None)
        return len(entries) + len(waiting[: limit - len(entries)])

    async def drop_pruned(self, limit: int) -> int:
        state = self.transaction.write()
        pruned = (await self.head()).pruned.number
        gone = [one.number for one in self._sealed() if one.number <= pruned][:limit]
        for number in gone:
            del state.sealed[self.chain, number]
        return len(gone)

    def _sealed(self) -> list[Sealed]:
        return [one for (chain, _), one in self.transaction.read().sealed.items() if chain == self.chain]


@dataclass(frozen=True, slots=True)
class _Records:
    transaction: _Transaction
    tenant: Tenant
    images: _Images
    albums: _Albums
    accounts: _Accounts
    uploads: _Uploads
    people: _People
    factors: _Factors
    webhooks: _Webhooks
    trail: _Trail
    redevelopments: _Redevelopments

    async def emit(self, event: Event) -> None:
        state = self.transaction.write()
        require_own(event.tenant, self.tenant.id)
        state.last_number += 1
        now = datetime.now(UTC)
        state.told[state.last_number] = event, now
        if isinstance(event, ImageEvent):
            await _Journal(self.transaction, self.tenant.id).add(Entry.of(event, now))


@dataclass(frozen=True, slots=True)
class _Purges:
    transaction: _Transaction

    async def add(self, purge: Purge) -> None:
        state = self.transaction.write()
        if purge.id in state.purges:
            raise AlreadyExists
        state.purges[purge.id] = purge_of(purge_columns(purge))

    async def get(self, tenant: TenantId, purge_id: PurgeId) -> Purge:
        purge = self.transaction.read().purges.get(purge_id)
        if purge is None or purge.tenant != tenant:
            raise Missing
        return purge

    async def save(self, purge: Purge) -> None:
        state = self.transaction.write()
        if (await self.get(purge.tenant, purge.id)).revision != purge.revision - 1:
            raise Stale
        state.purges[purge.id] = purge_of(purge_columns(purge))

    async def due(self, at: datetime, *, is_ours: bool, limit: int = 100) -> list[Purge]:
        some = [one for one in self.transaction.read().purges.values() if one.is_ours == is_ours]
        waiting = [(one.due_at, one.id, one) for one in some if one.due_at is not None]
        due = [purge for due_at, _, purge in sorted(waiting, key=lambda one: one[:2]) if due_at <= at]
        return by_turns(due, lambda purge: purge.tenant)[:limit]

    async def page(self, tenant: TenantId, *, before: str = "", limit: int = 50) -> list[Purge]:
        mine = [
            one for one in self.transaction.read().purges.values() if one.tenant == tenant and (not before or one.id < before)
        ]
        return sorted(mine, key=lambda one: one.id, reverse=True)[:limit]

    async def sweep(self, tenant: TenantId, before: datetime, limit: int = 500) -> int:
        state = self.transaction.write()
        mine = sorted(
            one.id for one in state.purges.values() if one.tenant == tenant and one.has_ended and one.updated_at < before
        )
        for purge_id in mine[:limit]:
            del state.purges[purge_id]
        return len(mine[:limit])


@dataclass(frozen=True, slots=True)
class _Redevelopments:
    transaction: _Transaction
    tenant: TenantId

    async def add(self, redevelopment: Redevelopment) -> None:
        state = self.transaction.write()
        require_own(redevelopment.tenant, self.tenant)
        if redevelopment.id in state.redevelopments:
            raise AlreadyExists
        state.redevelopments[redevelopment.id] = redevelopment_of(redevelopment_columns(redevelopment))

    async def get(self, redevelopment_id: RedevelopmentId) -> Redevelopment:
        found = self.transaction.read().redevelopments.get(redevelopment_id)
        if found is None or found.tenant != self.tenant:
            raise Missing
        return found

    async def save(self, redevelopment: Redevelopment) -> None:
        state = self.transaction.write()
        require_own(redevelopment.tenant, self.tenant)
        if (await self.get(redevelopment.id)).revision != redevelopment.revision - 1:
            raise Stale
        state.redevelopments[redevelopment.id] = redevelopment_of(redevelopment_columns(redevelopment))

    async def page(self, *, before: str = "", limit: int = 50) -> list[Redevelopment]:
        every = self.transaction.read().redevelopments.values()
        mine = [one for one in every if one.tenant == self.tenant and (not before or one.id < before)]
        return sorted(mine, key=lambda one: one.id, reverse=True)[:limit]

    async def sweep(self, before: datetime, limit: int = 500) -> int:
        state = self.transaction.write()
        every = state.redevelopments.values()
        old = [
            one.id
            for one in every
            if one.tenant == self.tenant and one.has_ended and not one.is_at_work and one.updated_at < before
        ]
        for redevelopment_id in sorted(old)[:limit]:
            del state.redevelopments[redevelopment_id]
        return len(old[:limit])


@dataclass(frozen=True, slots=True)
class _Outbox:
    transaction: _Transaction
    purges: _Purges

    async def untold(self, limit: int = 100) -> list[Told]:
        return [Told(number, event, at) for number, (event, at) in sorted(self.transaction.read().told.items())[:limit]]

    async def mark_told(self, numbers: Sequence[int]) -> None:
        state = self.transaction.write()
        for number in numbers:
            state.told.pop(number, None)

    async def due(self, at: datetime) -> list[tuple[TenantId, EndpointId]]:
        state = self.transaction.read()
        waiting = {one.endpoint for one in state.deliveries.values() if one.due_at is not None and one.due_at <= at}
        return [(one.tenant, one.id) for one in state.endpoints.values() if one.is_enabled and one.id in waiting]

    async def redeveloping(self, limit: int = 100) -> list[tuple[TenantId, RedevelopmentId]]:
        every = self.transaction.read().redevelopments.values()
        return sorted(((one.tenant, one.id) for one in every if one.is_at_work), key=lambda one: one[1])[:limit]


@dataclass(frozen=True, slots=True)
class _Directory:
    transaction: _Transaction
    outbox: _Outbox
    people: _PeopleDirectory
    trail: _Trail

    async def key(self, key_id: KeyId) -> tuple[ApiKey, User]:
        state = self.transaction.read()
        if key_id not in state.keys:
            raise Missing
        key = state.keys[key_id]
        return key, state.users[key.user]

    async def tenant_of(self, id: ImageId | AlbumId) -> TenantId:
        state = self.transaction.read()
        found = state.images.get(ImageId(id)) or state.albums.get(AlbumId(id))
        if found is None:
            raise Missing
        return found.tenant

    async def tenants(self) -> list[Tenant]:
        return sorted(self.transaction.read().tenants.values(), key=lambda tenant: (tenant.created_at, tenant.id))

    async def add_tenant(self, tenant: Tenant) -> None:
        state = self.transaction.write()
        if tenant.id in state.tenants:
            raise AlreadyExists
        self._name(tenant)
        state.tenants[tenant.id] = tenant

    async def save_tenant(self, tenant: Tenant) -> None:
        state = self.transaction.write()
        if tenant.id not in state.tenants:
            raise Missing
        before = state.tenants[tenant.id]
        if before.revision != tenant.revision - 1:
            raise Stale
        self._name(tenant)
        state.tenants[tenant.id] = replace(tenant, stored=before.stored)

    async def strip_tenant(self, tenant: TenantId) -> None:
        state = self.transaction.write()
        if tenant not in state.tenants:
            raise Missing
        state.ring = {key: one for key, one in state.ring.items() if one.tenant != tenant}
        state.usage = {key: one for key, one in state.usage.items() if key[1] != tenant}

    def _name(self, tenant: Tenant) -> None:
        checked_text(tenant.name)
        if any(one.name == tenant.name for one in self.transaction.read().tenants.values() if one.id != tenant.id):
            raise AlreadyExists


class MemoryCatalog:
    """Keeps Catalog. `open` needs no `migrate` first; what was written is gone with the object."""

    def __init__(self) -> None:
        self._state = _State()
        self._writing: Final = Turns(1)
        self._is_open = False

    async def open(self) -> None:
        """There is nothing to connect to."""
        self._is_open = True

    async def close(self) -> None:
        """Further calls raise BackendUnavailable, as those of a real one do."""
        self._is_open = False

    async def migrate(self) -> list[str]:
        """There is no schema."""
        return []

    async def plan(self) -> list[str]:
        """There is no schema."""
        return []

    async def ping(self) -> None:
        """Whether it is open."""
        if not self._is_open:
            raise BackendUnavailable("The catalog is not open.")

    @asynccontextmanager
    async def tenant(self, tenant: TenantId, *, writes: bool = False) -> AsyncIterator[Records]:
        """One transaction over one tenant's records."""
        async with self._transaction(writes=writes) as transaction:
            row = transaction.state.tenants.get(tenant)
            if row is None:
                raise Missing
            parts: Any = (transaction, row.id)
            yield _Records(
                transaction,
                row,
                _Images(*parts),
                _Albums(transaction, row.id, _Shares(*parts)),
                _Accounts(transaction, row.id, _ApiKeys(*parts), _Issuers(*parts)),
                _Uploads(*parts),
                _People(*parts),
                _Factors(*parts),
                _Webhooks(*parts),
                _Trail(*parts),
                _Redevelopments(*parts),
            )

    @asynccontextmanager
    async def journal(self, tenant: TenantId, *, writes: bool = False) -> AsyncIterator[Journal]:
        """One transaction over one tenant's journal."""
        async with self._transaction(writes=writes) as transaction:
            if tenant not in transaction.state.tenants:
                raise Missing
            yield _Journal(transaction, tenant)

    @asynccontextmanager
    async def ledger(self, *, writes: bool = False) -> AsyncIterator[Ledger]:
        """One transaction over what tenants have used."""
        async with self._transaction(writes=writes) as transaction:
            yield _Ledger(transaction)

    @asynccontextmanager
    async def directory(self, *, writes: bool = False) -> AsyncIterator[Directory]:
        """One transaction outside any tenant."""
        async with self._transaction(writes=writes) as transaction:
            people = _PeopleDirectory(transaction, _Trust(transaction))
            yield _Directory(transaction, _Outbox(transaction, _Purges(transaction)), people, _Trail(transaction, INSTALLATION))

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[_Transaction]:
        await self.ping()
        if not writes:
            transaction = _Transaction(self._state, writes=False)
            try:
                yield transaction
            finally:
                transaction.is_over = True
            return
        await self._writing.take(timeout_s=10.0)
        transaction = _Transaction(self._state.copy(), writes=True)
        try:
            yield transaction
            self._state = transaction.state
        finally:
            transaction.is_over = True
            self._writing.give()
