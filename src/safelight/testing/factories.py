"""Factories: records with sensible defaults, any field overridden by name. For tests of anything above the domain.

Ids sort by `created_at`, as those of real records do.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from safelight.domain.accounts import ApiKey, Role, Scope, SigningKey, Tenant, User
from safelight.domain.albums import Album
from safelight.domain.factors import Passkey, Totp, passkey_id
from safelight.domain.ids import (
    AlbumId,
    CodeId,
    DeliveryId,
    EndpointId,
    ImageId,
    IssuerId,
    KeyId,
    LinkId,
    PurgeId,
    RedevelopmentId,
    SessionId,
    TenantId,
    UploadId,
    UserId,
    new_id,
)
from safelight.domain.images import Image, Rendition, Status
from safelight.domain.issuers import Identity, Terms, TrustedIssuer
from safelight.domain.journal import Entry
from safelight.domain.people import Credential, Letter, OneTimeCode, Session, TokenKey
from safelight.domain.purges import Purge, PurgeOf
from safelight.domain.queries import Document
from safelight.domain.redevelopments import Redevelopment
from safelight.domain.sharing import Grant, Level, Link
from safelight.domain.uploads import Upload
from safelight.domain.webhooks import Delivery, Endpoint

NOON: Final = datetime(2026, 6, 21, 12, 0, tzinfo=UTC)
"""When things are made, unless a test says otherwise."""


def make_tenant(**fields: Any) -> Tenant:
    """A tenant with a name of its own."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or TenantId(new_id(created_at.timestamp()))
    return replace(Tenant(id=id, name=f"tenant-{id}", created_at=created_at), **fields)


def make_user(tenant: TenantId, **fields: Any) -> User:
    """A user with the role user and a name of its own."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or UserId(new_id(created_at.timestamp()))
    return replace(User(id=id, tenant=tenant, name=f"user-{id}", role=Role.USER, created_at=created_at), **fields)


def make_key(user: User, **fields: Any) -> ApiKey:
    """A live key that may read and write."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or KeyId(new_id(created_at.timestamp()))
    key = ApiKey(
        id=id,
        tenant=user.tenant,
        user=user.id,
        name="laptop",
        secret_hash=hashlib.sha256(id.encode()).digest(),
        scopes=frozenset({Scope.READ, Scope.WRITE}),
        created_at=created_at,
    )
    return replace(key, **fields)


def make_signing_key(tenant: TenantId, **fields: Any) -> SigningKey:
    """A live key of 32 bytes."""
    created_at = fields.get("created_at", NOON)
    kid = fields.get("kid") or new_id(created_at.timestamp())[-8:]
    secret = hashlib.sha256(kid.encode()).digest()
    return replace(SigningKey(kid=kid, tenant=tenant, secret=secret, created_at=created_at), **fields)


def make_credential(user: User, **fields: Any) -> Credential:
    """A verified address of its own, without a password."""
    credential = Credential(tenant=user.tenant, user=user.id, email=f"{user.id}@example.org", verified_at=NOON, changed_at=NOON)
    return replace(credential, **fields)


def make_code(user: User, **fields: Any) -> OneTimeCode:
    """A live code to verify an address with, for a day."""
    created_at = fields.get("created_at", NOON)
    code = OneTimeCode(
        tenant=user.tenant,
        user=user.id,
        letter=Letter.VERIFY,
        id=CodeId(new_id(created_at.timestamp())),
        created_at=created_at,
        expires_at=created_at + timedelta(days=1),
    )
    return replace(code, **fields)


def make_session(user: User, **fields: Any) -> Session:
    """A live session, for a month."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or SessionId(new_id(created_at.timestamp()))
    session = Session(
        id=id,
        tenant=user.tenant,
        user=user.id,
        created_at=created_at,
        used_at=created_at,
        expires_at=created_at + timedelta(days=30),
        family_hash=hashlib.sha256(b"family" + id.encode()).digest(),
        current_hash=hashlib.sha256(b"turn" + id.encode()).digest(),
        proven_at=created_at,
    )
    return replace(session, **fields)


def make_totp(user: User, **fields: Any) -> Totp:
    """A confirmed authenticator app without recovery codes."""
    totp = Totp(tenant=user.tenant, user=user.id, secret=secrets.token_bytes(20), created_at=NOON, confirmed_at=NOON)
    return replace(totp, **fields)


def make_passkey(user: User, **fields: Any) -> Passkey:
    """A passkey that was never used; nobody has its private key."""
    credential = fields.get("credential") or secrets.token_bytes(16)
    passkey = Passkey(
        id=passkey_id(credential),
        tenant=user.tenant,
        user=user.id,
        credential=credential,
        public_key=b"\xa5" * 77,
        sign_count=0,
        name="phone",
        created_at=NOON,
    )
    return replace(passkey, **fields)


def make_token_key(**fields: Any) -> TokenKey:
    """A live key with bytes that are no real one."""
    kid = fields.get("kid") or new_id()[-12:]
    key = TokenKey(kid=kid, algorithm="EdDSA", private=hashlib.sha256(kid.encode()).digest(), created_at=NOON)
    return replace(key, **fields)


def make_issuer(tenant: TenantId, **fields: Any) -> TrustedIssuer:
    """An issuer whose tokens for `app` are believed."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or IssuerId(new_id(created_at.timestamp()))
    issuer = TrustedIssuer(
        id=id, tenant=tenant, issuer=f"https://{new_id()}.example.org", created_at=created_at, terms=Terms(audiences=("app",))
    )
    return replace(issuer, **fields)


def make_identity(user: User, **fields: Any) -> Identity:
    """Who the user is elsewhere."""
    identity = Identity(
        tenant=user.tenant, issuer="https://login.example.org", subject=new_id(), user=user.id, created_at=NOON, role_at=NOON
    )
    return replace(identity, **fields)


def make_image(tenant: TenantId, owner: UserId | None = None, **fields: Any) -> Image:
    """A private image that is ready and has no renditions; its bytes differ from every other's."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or ImageId(new_id(created_at.timestamp()))
    image = Image(
        id=id,
        tenant=tenant,
        owner=owner or UserId(new_id(NOON.timestamp())),
        created_at=created_at,
        updated_at=fields.get("updated_at", created_at),
        status=Status.READY,
        title="Untitled",
        file_name="IMG_0001.jpg",
        media_type="image/jpeg",
        size_bytes=2_400_000,
        sha256=hashlib.sha256(id.encode()).hexdigest(),
        width=4000,
        height=3000,
    )
    return replace(image, **fields)


def make_rendition(image: Image, **fields: Any) -> Rendition:
    """The WebP thumbnail of an image."""
    rendition = Rendition(
        preset="thumb_300",
        format="webp",
        media_type="image/webp",
        width=300,
        height=225,
        size_bytes=11_000,
        etag=hashlib.sha256(image.id.encode()).hexdigest(),
        object_key=image.rendition_key("thumb_300", "webp", folder=image.folder),
    )
    return replace(rendition, **fields)


def make_grant(album: Album, user: User, **fields: Any) -> Grant:
    """To see the album, without an end."""
    grant = Grant(tenant=album.tenant, album=album.id, user=user.id, level=Level.VIEW, created_at=album.created_at)
    return replace(grant, **fields)


def make_link(album: Album, user: User, **fields: Any) -> Link:
    """To see the album, for a week and without a password."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or LinkId(new_id(created_at.timestamp()))
    link = Link(
        id=id,
        tenant=album.tenant,
        album=album.id,
        made_by=user.id,
        secret_hash=hashlib.sha256(id.encode()).digest(),
        created_at=created_at,
        expires_at=created_at + timedelta(days=7),
    )
    return replace(link, **fields)


def make_album(tenant: TenantId, owner: UserId | None = None, **fields: Any) -> Album:
    """An empty album."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or AlbumId(new_id(created_at.timestamp()))
    album = Album(
        id=id,
        tenant=tenant,
        owner=owner or UserId(new_id(NOON.timestamp())),
        title="Summer",
        created_at=created_at,
        updated_at=created_at,
    )
    return replace(album, **fields)


def make_document(**fields: Any) -> Document:
    """What the search is told of a private image without words."""
    document = Document(
        image=ImageId(new_id(NOON.timestamp())),
        owner=UserId(new_id(NOON.timestamp())),
        is_public=False,
        media_type="image/jpeg",
        dated_at=NOON,
    )
    return replace(document, **fields)


def make_entry(image: Image, **fields: Any) -> Entry:
    """An entry of the journal about the image as it is."""
    entry = Entry(
        image=image.id, owner=image.owner, name="image.accepted", at=NOON, version=image.version, revision=image.revision
    )
    return replace(entry, **fields)


def make_upload(tenant: TenantId, owner: UserId | None = None, **fields: Any) -> Upload:
    """A pending upload by form, good for an hour."""
    created_at = fields.get("created_at", NOON)
    upload = Upload(
        id=fields.get("id") or UploadId(new_id(created_at.timestamp())),
        tenant=tenant,
        owner=owner or UserId(new_id(NOON.timestamp())),
        created_at=created_at,
        updated_at=fields.get("updated_at", created_at),
        expires_at=created_at + timedelta(hours=1),
        media_type="image/jpeg",
        size_bytes=2_400_000,
        file_name="IMG_0001.jpg",
    )
    return replace(upload, **fields)


def make_redevelopment(tenant: TenantId, **fields: Any) -> Redevelopment:
    """Of every picture, just asked for."""
    created_at = fields.get("created_at", NOON)
    one = Redevelopment(
        id=fields.get("id") or RedevelopmentId(new_id(created_at.timestamp())),
        tenant=tenant,
        asked_by=UserId(new_id(NOON.timestamp())),
        created_at=created_at,
        updated_at=created_at,
        next_at=created_at,
    )
    return replace(one, **fields)


def make_purge(tenant: TenantId, **fields: Any) -> Purge:
    """An image that caches are to let go of, due when it is made."""
    created_at = fields.get("created_at", NOON)
    image = ImageId(new_id(created_at.timestamp()))
    purge = Purge(
        id=fields.get("id") or PurgeId(new_id(created_at.timestamp())),
        tenant=tenant,
        what=PurgeOf.IMAGE,
        value=image,
        slice=(image,),
        created_at=created_at,
        updated_at=created_at,
        due_at=created_at,
    )
    return replace(purge, **fields)


def make_endpoint(tenant: TenantId, **fields: Any) -> Endpoint:
    """A webhook endpoint that wants to hear everything."""
    created_at = fields.get("created_at", NOON)
    id = fields.get("id") or EndpointId(new_id(created_at.timestamp()))
    secret = hashlib.sha256(id.encode()).digest()
    url = "https://receiver.example/hook"
    return replace(Endpoint(id=id, tenant=tenant, url=url, secret=secret, created_at=created_at, updated_at=created_at), **fields)


def make_delivery(endpoint: Endpoint, **fields: Any) -> Delivery:
    """A delivery that is due when it is made, kept for a week."""
    created_at = fields.get("created_at", NOON)
    delivery = Delivery(
        id=fields.get("id") or DeliveryId(new_id(created_at.timestamp())),
        tenant=endpoint.tenant,
        endpoint=endpoint.id,
        type="ping",
        body='{"type":"ping","timestamp":"2026-06-21T12:00:00Z","data":{}}',
        created_at=created_at,
        due_at=created_at,
        forget_at=created_at + timedelta(days=7),
    )
    return replace(delivery, **fields)
