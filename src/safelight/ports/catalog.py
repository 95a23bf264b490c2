"""Catalog: the records. Kept by adapters.catalog; checked by testing.contracts.catalog.

`tenant` opens the records of one tenant inside one transaction: it commits when the block ends and rolls back when the block
raises. Nothing in it can reach another tenant. `directory` is the one way in without a tenant: sign-in, key look-up, delivery
look-up and the relay use it. Transactions are short: never hold one across storage or pixels.

Missing rows raise Missing; a row that changed since it was read raises Stale; a backend that does not answer raises
BackendUnavailable. No driver exception leaves the adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from safelight.domain.accounts import ApiKey, SigningKey, Tenant, User
from safelight.domain.albums import Album
from safelight.domain.events import Event
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
from safelight.domain.images import Image
from safelight.domain.issuers import Identity, TrustedIssuer
from safelight.domain.journal import Entry, Numbered
from safelight.domain.people import Credential, Failures, Letter, OneTimeCode, Session, TokenKey
from safelight.domain.purges import Purge
from safelight.domain.queries import ImageQuery, Page
from safelight.domain.redevelopments import Redevelopment
from safelight.domain.sharing import Grant, Link, Loan
from safelight.domain.tenants import UNLIMITED, Quotas
from safelight.domain.uploads import Upload
from safelight.domain.webhooks import Delivery, DeliveryState, Endpoint
from safelight.ports.ledger import Ledger
from safelight.ports.trail import TrailRecords


class ImageRecords(Protocol):
    """The images of one tenant, tags and renditions with them."""

    async def add(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """A new row, counted in what the tenant stores. Raises AlreadyExists for its id, QuotaExceeded.

        However many add at once, no more of them are kept than fit. So it is with `save`, for bytes that are added.
        """
        ...

    async def get(self, image_id: ImageId) -> Image:
        """The image, in the trash or not. Raises Missing."""
        ...

    async def get_many(self, image_ids: Sequence[ImageId]) -> list[Image]:
        """Those that exist, in the order asked."""
        ...

    async def save(self, image: Image, *, within: Quotas = UNLIMITED) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row, QuotaExceeded."""
        ...

    async def remove(self, image_id: ImageId) -> None:
        """Row, tags and album places gone. Raises Missing."""
        ...

    async def page(self, query: ImageQuery) -> Page:
        """At most query.limit images in order, and the cursor behind them. Raises DamagedRecord unless the query skips those."""
        ...

    async def by_sha256(self, sha256: str, owner: UserId) -> Image | None:
        """This owner's oldest image with these bytes that is neither trashed, rejected nor failed.

        In a transaction that was told of none and then adds these bytes it is still so when it commits, or it ends with Busy.
        """
        ...

    async def trashed_before(self, before: datetime, limit: int = 100) -> list[Image]:
        """Images that went to the trash before that time, oldest first."""
        ...

    async def tags(self, prefix: str = "", limit: int = 100, *, owner: UserId | None = None) -> list[tuple[str, int]]:
        """Tags in use on images outside the trash, of one owner or of all, with counts, most used first, then by name."""
        ...


class ShareRecords(Protocol):
    """Whom the albums of one tenant are lent to: users by grants, anybody by links. Gone with the album, and with the user."""

    async def put_grant(self, grant: Grant) -> None:
        """It, in the place of the one that the user has of the album. Raises Missing for either."""
        ...

    async def drop_grant(self, album_id: AlbumId, user: UserId) -> None:
        """The row gone. Raises Missing."""
        ...

    async def grants(self, album_id: AlbumId) -> list[Grant]:
        """All of the album, past their end too, oldest first."""
        ...

    async def lent(
        self, user: UserId, at: datetime, *, after: AlbumId | None = None, limit: int = 50
    ) -> list[tuple[Album, Grant]]:
        """The albums of which the user has a grant that lasts beyond that time; newest first, behind `after`."""
        ...

    async def loans(self, image: Image, user: UserId) -> list[Loan]:
        """The albums in which the image lies by its owner's will, and which are this user's or of which they have a grant."""
        ...

    async def add_link(self, link: Link) -> None:
        """A new row. Raises AlreadyExists for its id, Missing for the album or for who made it."""
        ...

    async def links(self, album_id: AlbumId) -> list[Link]:
        """All of the album, past their end too, newest first."""
        ...

    async def drop_link(self, album_id: AlbumId, link_id: LinkId) -> None:
        """The row gone. Raises Missing, for a link of another album too."""
        ...


class AlbumRecords(Protocol):
    """The albums of one tenant and the order of their images."""

    async def add(self, album: Album) -> None:
        """A new row. Raises AlreadyExists for its id."""
        ...

    async def get(self, album_id: AlbumId) -> Album:
        """With image_count (images outside the trash). Raises Missing."""
        ...

    async def save(self, album: Album) -> None:
        """Replace the row whose revision is one below. Raises Stale, Missing."""
        ...

    async def remove(self, album_id: AlbumId) -> None:
        """The album and its order gone; the images stay. Raises Missing."""
        ...

    async def page(self, owner: UserId | None, *, after: AlbumId | None = None, limit: int = 50) -> list[Album]:
        """Newest first, behind `after`; every owner's for None."""
        ...

    async def insert(
        self,
        album_id: AlbumId,
        image_ids: Sequence[ImageId],
        *,
        before: ImageId | None = None,
        lent_by: Collection[UserId] = (),
    ) -> int:
        """Add or move these images before that one, or to the end; the count of newly added. Raises Missing for any id.

        Those that `lent_by` own lie there by the will of their owners from then on, until they are dropped.
        """
        ...

    async def drop(self, album_id: AlbumId, image_ids: Sequence[ImageId]) -> int:
        """Take these out; those that are not in it are fine. A cover taken out is unset. The count taken out."""
        ...

    async def of_image(self, image_id: ImageId) -> list[AlbumId]:
        """The albums that hold it."""
        ...

    @property
    def shares(self) -> ShareRecords:
        """Whom they are lent to."""
        ...


class ApiKeyRecords(Protocol):
    """The API keys of one tenant."""

    async def add(self, key: ApiKey) -> None:
        """A new row. Raises AlreadyExists for its id, Missing for a user whom this tenant does not have."""
        ...

    async def all(self, user: UserId | None = None) -> list[ApiKey]:
        """Those of this user, everybody's for None; newest first."""
        ...

    async def save(self, key: ApiKey) -> None:
        """Replace name, networks and, unless it is set, revoked_at; what else the row says stands. Raises Missing."""
        ...


class IssuerRecords(Protocol):
    """Whose tokens one tenant believes beside ours, and which of its users those stand for."""

    async def add(self, issuer: TrustedIssuer) -> None:
        """A new row. Raises AlreadyExists for its id, an `iss` that the tenant has, or one of whose audiences another tenant has one.

        However many tenants add or save at once, no two have an `iss` for one audience: one comes first, and the others are
        refused, or end with Busy. So it is with `save`.
        """
        ...

    async def all(self) -> list[TrustedIssuer]:
        """Those of the tenant, oldest first."""
        ...

    async def save(self, issuer: TrustedIssuer) -> None:
        """Replace the terms of the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row.

        Raises AlreadyExists where another tenant has the `iss` for one of the audiences.
        """
        ...

    async def remove(self, issuer_id: IssuerId) -> None:
        """The row gone; users and their identities stay. Raises Missing."""
        ...

    async def identity(self, issuer: str, subject: str) -> tuple[Identity, User]:
        """Who that is. Raises Missing."""
        ...

    async def add_identity(self, identity: Identity) -> None:
        """A new row. Raises AlreadyExists for issuer and subject, Missing for a user whom this tenant does not have."""
        ...

    async def save_identity(self, identity: Identity) -> None:
        """Replace the row. Raises Missing."""
        ...


class AccountRecords(Protocol):
    """Users of one tenant, the keys of its URLs, and by what else somebody comes in."""

    async def add_user(self, user: User) -> None:
        """A new row. Raises AlreadyExists for its id or name."""
        ...

    async def users(self) -> list[User]:
        """All, by name."""
        ...

    async def save_user(self, user: User) -> None:
        """Replace the row. Raises Missing."""
        ...

    @property
    def api_keys(self) -> ApiKeyRecords:
        """Of programs."""
        ...

    @property
    def issuers(self) -> IssuerRecords:
        """Whose tokens it believes."""
        ...

    async def remove_user(self, user_id: UserId) -> None:
        """The user with their keys, credential, codes, sessions, factors and identities gone. Raises Missing."""
        ...

    async def add_signing_key(self, key: SigningKey) -> None:
        """A new row; the secret is kept encrypted. Raises AlreadyExists for its kid."""
        ...

    async def signing_keys(self) -> list[SigningKey]:
        """The ring with its secrets, newest first, retired ones too."""
        ...

    async def retire_signing_key(self, kid: str, at: datetime) -> None:
        """Set retired_at (may lie ahead). Raises Missing."""
        ...


class UploadRecords(Protocol):
    """The uploads of one tenant: announced, under way and for some days after their end."""

    async def add(self, upload: Upload) -> None:
        """A new row. Raises AlreadyExists for its id."""
        ...

    async def get(self, upload_id: UploadId) -> Upload:
        """The upload, whatever its state. Raises Missing."""
        ...

    async def save(self, upload: Upload) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row."""
        ...

    async def remove(self, upload_id: UploadId) -> None:
        """The row gone. Raises Missing."""
        ...

    async def due(self, at: datetime, limit: int = 100) -> list[Upload]:
        """Those whose `due_at` is not behind that time, longest overdue first."""
        ...


class PeopleRecords(Protocol):
    """How the users of one tenant sign in: credentials, one-time codes, sessions."""

    async def add_credential(self, credential: Credential) -> None:
        """A new row. Raises AlreadyExists for its user or address, Missing for a user whom this tenant does not have."""
        ...

    async def credential(self, user: UserId) -> Credential:
        """The user's. Raises Missing."""
        ...

    async def save_credential(self, credential: Credential) -> None:
        """Replace the row. Raises Missing, AlreadyExists for an address that another user has."""
        ...

    async def put_code(self, code: OneTimeCode) -> None:
        """A row, in place of the one that the user has for this letter. Raises Missing for an unknown user."""
        ...

    async def code(self, user: UserId, letter: Letter) -> OneTimeCode:
        """The user's newest for this letter, live or not. Raises Missing."""
        ...

    async def add_session(self, session: Session) -> None:
        """A new row. Raises AlreadyExists for its id, Missing for an unknown user."""
        ...

    async def session(self, session_id: SessionId) -> Session:
        """The session, live or not. Raises Missing."""
        ...

    async def save_session(self, session: Session) -> None:
        """Replace the row. Raises Missing."""
        ...

    async def sessions(self, user: UserId) -> list[Session]:
        """The user's that have not been ended, most recently used first; expired ones until they are swept."""
        ...


class FactorRecords(Protocol):
    """What a tenant's users prove themselves with beside a password, and marks of what is used once."""

    async def totp(self, user: UserId) -> Totp:
        """The user's authenticator app, confirmed or not, with its secret. Raises Missing."""
        ...

    async def put_totp(self, totp: Totp) -> None:
        """It, in the place of the one that this transaction sees; the secret is kept encrypted. Raises Missing for the user.

        Of two transactions that have seen the same one and put another each, one takes place; the other waits and sees it, or
        ends with Busy. So a code and a recovery code are used once.
        """
        ...

    async def drop_totp(self, user: UserId) -> None:
        """Forget it; none is fine."""
        ...

    async def add_passkey(self, passkey: Passkey) -> None:
        """A new row. Raises AlreadyExists when anybody has it, of whichever tenant, Missing for the user."""
        ...

    async def passkey(self, passkey_id: PasskeyId) -> Passkey:
        """By its id. Raises Missing."""
        ...

    async def passkeys(self, user: UserId) -> list[Passkey]:
        """The user's, oldest first."""
        ...

    async def save_passkey(self, passkey: Passkey) -> None:
        """Replace the row. Raises Missing."""
        ...

    async def remove_passkey(self, passkey_id: PasskeyId) -> None:
        """Forget it. Raises Missing."""
        ...

    async def spend(self, mark: str, until: datetime) -> None:
        """Remember until then that this was used. Raises AlreadyExists when it was before, by whichever tenant; or Busy."""
        ...


class DeliveryRecords(Protocol):
    """What the webhook endpoints of one tenant are to be told, and what became of it; gone with their endpoint."""

    async def add(self, delivery: Delivery) -> None:
        """A new row. Raises AlreadyExists for its id at this endpoint, Missing without the endpoint."""
        ...

    async def get(self, endpoint: EndpointId, delivery_id: DeliveryId) -> Delivery:
        """The delivery, whatever its state. Raises Missing."""
        ...

    async def save(self, delivery: Delivery) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row."""
        ...

    async def due(self, endpoint: EndpointId, at: datetime, limit: int = 10) -> list[Delivery]:
        """Those whose `due_at` is not behind that time, longest overdue first."""
        ...

    async def page(
        self, endpoint: EndpointId, *, before: str = "", state: DeliveryState | None = None, limit: int = 50
    ) -> list[Delivery]:
        """Newest id first, those below `before`, in this state if one is given."""
        ...

    async def sweep(self, endpoint: EndpointId, at: datetime, limit: int = 500) -> int:
        """Forget those whose `forget_at` has come, oldest id first; how many. Less than the limit: there are no more."""
        ...


class WebhookRecords(Protocol):
    """The webhook endpoints of one tenant; their secrets are kept encrypted."""

    async def add(self, endpoint: Endpoint) -> None:
        """A new row. Raises AlreadyExists for its id."""
        ...

    async def get(self, endpoint_id: EndpointId) -> Endpoint:
        """With its secrets. Raises Missing."""
        ...

    async def all(self) -> list[Endpoint]:
        """Every one, newest first."""
        ...

    async def save(self, endpoint: Endpoint) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row."""
        ...

    async def remove(self, endpoint_id: EndpointId) -> None:
        """The endpoint and its deliveries gone. Raises Missing."""
        ...

    @property
    def deliveries(self) -> DeliveryRecords:
        """What they are told."""
        ...


class RedevelopmentRecords(Protocol):
    """Requests to develop many of one tenant's pictures again."""

    async def add(self, redevelopment: Redevelopment) -> None:
        """A new row. Raises AlreadyExists for its id."""
        ...

    async def get(self, redevelopment_id: RedevelopmentId) -> Redevelopment:
        """The redevelopment, whatever its state. Raises Missing."""
        ...

    async def save(self, redevelopment: Redevelopment) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row."""
        ...

    async def page(self, *, before: str = "", limit: int = 50) -> list[Redevelopment]:
        """Newest id first, those below `before`."""
        ...

    async def sweep(self, before: datetime, limit: int = 500) -> int:
        """Forget those that have ended and were last changed before that time; how many. Less than the limit: there are no more."""
        ...


class Telling(Protocol):
    """What a transaction tells of itself."""

    @property
    def trail(self) -> TrailRecords:
        """The tenant's audit trail."""
        ...

    async def emit(self, event: Event) -> None:
        """Tell this when, and only when, the transaction commits; in the journal too, if it is about an image."""
        ...


class Records(Telling, Protocol):
    """One tenant's records inside one transaction."""

    @property
    def tenant(self) -> Tenant:
        """The tenant itself."""
        ...

    @property
    def images(self) -> ImageRecords:
        """Its images."""
        ...

    @property
    def albums(self) -> AlbumRecords:
        """Its albums."""
        ...

    @property
    def accounts(self) -> AccountRecords:
        """Its users and keys."""
        ...

    @property
    def uploads(self) -> UploadRecords:
        """What is on its way in."""
        ...

    @property
    def people(self) -> PeopleRecords:
        """How its users sign in."""
        ...

    @property
    def factors(self) -> FactorRecords:
        """What they sign in with beside a password."""
        ...

    @property
    def webhooks(self) -> WebhookRecords:
        """Whom it wants told."""
        ...

    @property
    def redevelopments(self) -> RedevelopmentRecords:
        """What of it is developed again."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """An event in the outbox, by the order of telling, with the time at which it was put there."""

    number: int
    event: Event
    at: datetime


class PurgeRecords(Protocol):
    """What caches are to let go of, across tenants, since CDNs are told of several at once."""

    async def add(self, purge: Purge) -> None:
        """A new row. Raises AlreadyExists for its id."""
        ...

    async def get(self, tenant: TenantId, purge_id: PurgeId) -> Purge:
        """The tenant's, whatever its state. Raises Missing."""
        ...

    async def save(self, purge: Purge) -> None:
        """Replace the row whose revision is one below. Raises Stale when it is not there any more, Missing without a row."""
        ...

    async def due(self, at: datetime, *, is_ours: bool, limit: int = 100) -> list[Purge]:
        """Those about our own caches, or the others, whose `due_at` is not behind that time: of each tenant the longest overdue first.

        Tenants take turns: first the first of each, longest overdue first, then the second of each, and so on. One that cannot be
        read is passed over: it would hold up every other.
        """
        ...

    async def page(self, tenant: TenantId, *, before: str = "", limit: int = 50) -> list[Purge]:
        """The tenant's, newest id first, those below `before`."""
        ...

    async def sweep(self, tenant: TenantId, before: datetime, limit: int = 500) -> int:
        """Forget the tenant's that have ended and were last changed before that time; how many. Less than the limit: there are no more."""
        ...


class Outbox(Protocol):
    """What is still to be told: events to the workflow engine, deliveries to those whom tenants named, purges to caches."""

    async def untold(self, limit: int = 100) -> list[Told]:
        """Events that have not been relayed, oldest first."""
        ...

    async def mark_told(self, numbers: Sequence[int]) -> None:
        """They have been relayed; they may be forgotten."""
        ...

    async def due(self, at: datetime) -> list[tuple[TenantId, EndpointId]]:
        """The enabled webhook endpoints with deliveries whose `due_at` is not behind that time, in any order."""
        ...

    async def redeveloping(self, limit: int = 100) -> list[tuple[TenantId, RedevelopmentId]]:
        """The redevelopments with something to begin or to see the end of, oldest first."""
        ...

    @property
    def purges(self) -> PurgeRecords:
        """What caches are to let go of."""
        ...


class TrustDirectory(Protocol):
    """Whose tokens are believed: our own ring of keys, and the tenants' issuers. And which older keys are still of use."""

    async def token_keys(self) -> list[TokenKey]:
        """The ring with its private keys, newest first, retired ones too."""
        ...

    async def add_token_key(self, key: TokenKey) -> None:
        """A new row; the private key is kept encrypted. Raises AlreadyExists for its kid."""
        ...

    async def retire_token_key(self, kid: str, at: datetime) -> None:
        """Set retired_at (may lie ahead). Raises Missing."""
        ...

    async def issuers(self, issuer: str) -> list[TrustedIssuer]:
        """Every tenant's with this `iss`, oldest first."""
        ...

    async def inherited_keys(self) -> list[tuple[str, bytes]]:
        """What each is for, and itself: those of the installations that `safelight move` has carried here. Kept encrypted."""
        ...


class PeopleDirectory(Protocol):
    """What signing in has to know before the tenant is known, and what belongs to no tenant, such as failed attempts."""

    async def by_email(self, tenant: str, email: str) -> tuple[Credential, User]:
        """Who signs in with this address at the tenant of this name. Raises Missing."""
        ...

    async def session(self, session_id: SessionId) -> tuple[Session, User]:
        """The session and its user, live or not. Raises Missing."""
        ...

    async def link(self, link_id: LinkId) -> tuple[Link, User]:
        """The link to an album and who made it, live or not. Raises Missing."""
        ...

    async def failures(self, subjects: Sequence[str]) -> list[Failures]:
        """What is noted of these; nothing for those of which nothing is."""
        ...

    async def count_failure(self, subject: str, at: datetime, *, since: datetime) -> Failures:
        """One more, counted anew where the last one was before `since`. However many count at once, none is lost."""
        ...

    async def forget_failures(self, subject: str) -> None:
        """Nothing is noted any more; unknown subjects are fine."""
        ...

    async def touch_key(self, key_id: KeyId, at: datetime) -> None:
        """Note when the key was last used; unknown ids are fine."""
        ...

    async def sweep(self, before: datetime) -> int:
        """Forget sessions, codes and marks that expired, and failures that were noted, before that time; how many rows."""
        ...

    @property
    def trust(self) -> TrustDirectory:
        """Whose tokens are believed."""
        ...


class Directory(Protocol):
    """Across tenants: what has to be known before the tenant is known, and the outbox."""

    async def key(self, key_id: KeyId) -> tuple[ApiKey, User]:
        """The key and its user, live or not. Raises Missing."""
        ...

    async def tenant_of(self, id: ImageId | AlbumId) -> TenantId:
        """Whose image or album it is. Raises Missing."""
        ...

    async def tenants(self) -> list[Tenant]:
        """All, oldest first."""
        ...

    async def add_tenant(self, tenant: Tenant) -> None:
        """A new row. Raises AlreadyExists for its id or name."""
        ...

    async def save_tenant(self, tenant: Tenant) -> None:
        """Replace the row whose revision is one below, all but what is stored. Raises Stale, Missing, AlreadyExists for its name."""
        ...

    async def strip_tenant(self, tenant: TenantId) -> None:
        """Signing keys, and what it has used, gone; the row stays. Fine when there is nothing. Raises Missing without a row."""
        ...

    @property
    def outbox(self) -> Outbox:
        """What is still to be told."""
        ...

    @property
    def people(self) -> PeopleDirectory:
        """Signing in."""
        ...

    @property
    def trail(self) -> TrailRecords:
        """The audit trail of what belongs to no tenant."""
        ...


class Journal(Protocol):
    """What has happened to the images of one tenant. Entries come to be with `emit`, and by `add` for what no event says."""

    async def add(self, entry: Entry) -> None:
        """One more, at the end."""
        ...

    async def after(
        self, number: int, *, owner: UserId | None = None, image: ImageId | None = None, limit: int = 200
    ) -> list[Numbered]:
        """The first ones behind that number, of one owner or one image where that is said.

        Whoever has read up to a number has missed none before it: entries that might still be overtaken are not told yet, which
        on DynamoDB takes two seconds.
        """
        ...

    async def last(self) -> int:
        """A number that is behind every entry which is told now, and before every one that will be."""
        ...

    async def sweep(self, before: datetime, limit: int = 1000) -> int:
        """Forget the oldest, as far as they are from before that time; how many."""
        ...

    async def forget(self, owner: UserId, limit: int) -> int:
        """Forget what is told of this owner's images; how many entries, at most `limit`."""
        ...


class Catalog(Protocol):
    """The way in. `open` refuses a schema that it does not know; `migrate` brings it up to date."""

    async def open(self) -> None:
        """Connect. Raises BackendUnavailable, WrongState when the schema is not the one this release needs."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; the revisions that were applied, none when it already was."""
        ...

    async def plan(self) -> list[str]:
        """The revisions that `migrate` would apply, in order; changes nothing. Raises WrongState for a newer schema."""
        ...

    async def ping(self) -> None:
        """Ask it something small. Raises BackendUnavailable."""
        ...

    def tenant(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Records]:
        """One transaction over one tenant's records; `writes` takes the right to write at its start. Raises Missing."""
        ...

    def journal(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Journal]:
        """The journal of one tenant, in a transaction of its own. Raises Missing."""
        ...

    def ledger(self, *, writes: bool = False) -> AbstractAsyncContextManager[Ledger]:
        """What every tenant has used, in a transaction of its own."""
        ...

    def directory(self, *, writes: bool = False) -> AbstractAsyncContextManager[Directory]:
        """One transaction outside any tenant."""
        ...
