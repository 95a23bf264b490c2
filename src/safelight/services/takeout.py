"""Takeout: everything that is kept of a user, or of a tenant, as one ZIP that is streamed while it is made. Nothing is stored for it.

Originals go in as they came, in every version; what is known of them, the albums with whom they are lent to, the accounts and the
entries of the audit trail as JSON. The last entry is a manifest with the SHA-256 of every other, and with the names of the originals
that could not be had: one that the store has lost or damaged keeps nobody from the rest.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from safelight.domain import access
from safelight.domain.accounts import Actor, Tenant, User
from safelight.domain.audit import TrailQuery, sealed_document
from safelight.domain.ids import AlbumId, TenantId, UserId
from safelight.domain.images import Image
from safelight.domain.queries import ImageQuery, Sort
from safelight.domain.usage import months
from safelight.errors import DamagedObject, Missing
from safelight.ports.catalog import Catalog
from safelight.ports.storage import Opened, Storage
from safelight.services.trail import Trail

_SECRETS: Final = frozenset(
    {
        "secret_hash",
        "family_hash",
        "current_hash",
        "previous_hash",
        "password_hash",
        "recovery",
        "secret",
        "previous_secret",
        "salt",
        "public_key",
        "credential",
    }
)
"""What is kept to recognize a secret by is not the user's data."""


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Originals by their names in the ZIP: those without an entry, and those whose entry, if any, is not what came in."""

    absent: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Takeout:
    """Reads only."""

    catalog: Catalog
    originals: Storage
    trail: Trail
    clock: Callable[[], datetime]

    async def own(self, actor: Actor) -> AsyncIterator[bytes]:
        """The actor's. Raises Forbidden."""
        access.require(actor, "account.export")
        return await self._begun(actor.tenant, actor.user)

    async def of(self, actor: Actor, user_id: UserId) -> AsyncIterator[bytes]:
        """A user's of the actor's tenant. Raises Forbidden, Missing."""
        access.require(actor, "users.manage")
        return await self._begun(actor.tenant, user_id)

    async def of_tenant(self, actor: Actor, tenant_id: TenantId) -> AsyncIterator[bytes]:
        """A whole tenant: an operator any, an admin their own. Raises Forbidden, Missing."""
        access.require(actor, "tenant.export")
        async with self.catalog.tenant(tenant_id) as records:
            tenant = records.tenant
        access.require(actor, "tenant.export", tenant)
        if tenant.erased_at is not None:
            raise Missing
        return self._tenant_written(tenant)

    async def _begun(self, tenant: TenantId, user_id: UserId) -> AsyncIterator[bytes]:
        async with self.catalog.tenant(tenant) as records:
            user = next((one for one in await records.accounts.users() if one.id == user_id), None)
        if user is None:
            raise Missing
        return self._written(user)

    async def _written(self, user: User) -> AsyncIterator[bytes]:
        archive, gaps = _Zip(self.clock()), _Gaps()
        archive.add("account.json", _json(await self._account(user)))
        archive.add("albums.json", _json([album async for album in self._albums(user.tenant, user.id)]))
        archive.add("lent.json", _json([lent async for lent in self._lent(user)]))
        yield archive.taken()
        async for chunk in self._pictures(archive, self._images(user.tenant, user.id), gaps):
            yield chunk
        query = TrailQuery(actors=self.trail.pseudonyms(user.tenant, user.id))
        async for chunk in _lines(archive, "audit.ndjson", self._trail(user.tenant, query)):
            yield chunk
        told = {"user": user.id, "made_at": self.clock(), **asdict(gaps), "sha256": archive.digests}
        archive.add("manifest.json", _json(told))
        yield archive.ended()

    async def _tenant_written(self, tenant: Tenant) -> AsyncIterator[bytes]:
        archive, gaps = _Zip(self.clock()), _Gaps()
        archive.add("tenant.json", _json(await self._record(tenant)))
        archive.add("usage.json", _json(await self._usage(tenant)))
        for name, values in (
            ("users.ndjson", self._accounts(tenant.id)),
            ("albums.ndjson", self._albums(tenant.id, None)),
        ):
            async for chunk in _lines(archive, name, values):
                yield chunk
        async for chunk in self._pictures(archive, self._images(tenant.id, None), gaps):
            yield chunk
        async for chunk in _lines(archive, "audit.ndjson", self._trail(tenant.id, TrailQuery())):
            yield chunk
        told = {"tenant": tenant.id, "made_at": self.clock(), **asdict(gaps), "sha256": archive.digests}
        archive.add("manifest.json", _json(told))
        yield archive.ended()

    async def _pictures(self, archive: _Zip, images: AsyncIterator[Image], gaps: _Gaps) -> AsyncIterator[bytes]:
        """Into the archive, piece by piece."""
        async for image in images:
            archive.add(f"images/{image.id}/image.json", _json(_open(asdict(image))))
            for version in image.versions:
                name = f"images/{image.id}/{version.number}.{_extension(version.media_type)}"
                if image.is_damaged(version.number):
                    gaps.damaged.append(name)
                    continue
                try:
                    opened = await self._original(image.key_of_version(version.number))
                except Missing:  # it was refused when it was developed, or is lost
                    gaps.absent.append(name)
                    continue
                except DamagedObject:
                    gaps.damaged.append(name)
                    continue
                # What has been sent cannot be taken back: the entry ends where it breaks off, and the manifest says so.
                with suppress(DamagedObject, Missing), archive.entry(name) as write:
                    async for chunk in opened.chunks:
                        write(chunk)
                        yield archive.taken()
                if archive.digests[name] != version.sha256:
                    del archive.digests[name]
                    gaps.damaged.append(name)
            yield archive.taken()

    async def _original(self, key: str) -> Opened:
        """Its newest version, be it under the delete marker of the trash. Raises Missing."""
        try:
            return await self.originals.open(key)
        except Missing:
            for stored in await self.originals.versions(key):
                if not stored.is_marker:
                    return await self.originals.open(key, version=stored.version)
            raise

    async def _trail(self, tenant: TenantId, query: TrailQuery) -> AsyncIterator[dict[str, Any]]:
        async for sealed in self.trail.every(tenant, query):
            yield sealed_document(sealed)

    async def _record(self, tenant: Tenant) -> dict[str, Any]:
        async with self.catalog.tenant(tenant.id) as records:
            lists: dict[str, Sequence[Any]] = {
                "signing_keys": await records.accounts.signing_keys(),
                "issuers": await records.accounts.issuers.all(),
                "webhooks": await records.webhooks.all(),
            }
        opened: dict[str, Any] = _open(asdict(tenant) | {name: [asdict(one) for one in some] for name, some in lists.items()})
        return opened

    async def _usage(self, tenant: Tenant) -> list[dict[str, Any]]:
        async with self.catalog.ledger() as ledger:
            return [asdict(await ledger.usage(tenant.id, month)) for month in months(tenant.created_at, self.clock())]

    async def _accounts(self, tenant: TenantId) -> AsyncIterator[dict[str, Any]]:
        async with self.catalog.tenant(tenant) as records:
            users = await records.accounts.users()
        for user in users:
            yield await self._account(user)

    async def _account(self, user: User) -> dict[str, Any]:
        async with self.catalog.tenant(user.tenant) as records:
            account: dict[str, Any] = {"tenant": records.tenant.name, "user": asdict(user)}
            with suppress(Missing):
                account["sign_in"] = asdict(await records.people.credential(user.id))
            with suppress(Missing):
                account["authenticator_app"] = asdict(await records.factors.totp(user.id))
            account["api_keys"] = [asdict(key) for key in await records.accounts.api_keys.all(user.id)]
            account["sessions"] = [asdict(session) for session in await records.people.sessions(user.id)]
            account["passkeys"] = [asdict(passkey) for passkey in await records.factors.passkeys(user.id)]
        opened: dict[str, Any] = _open(account)
        return opened

    async def _albums(self, tenant: TenantId, owner: UserId | None) -> AsyncIterator[dict[str, Any]]:
        """With their images in order, and whom they are lent to."""
        after: AlbumId | None = None
        while True:
            async with self.catalog.tenant(tenant) as records:
                page = await records.albums.page(owner, after=after, limit=100)
            for album in page:
                async with self.catalog.tenant(tenant) as records:
                    grants, links = await records.albums.shares.grants(album.id), await records.albums.shares.links(album.id)
                query = ImageQuery(album=album.id, sort=Sort.POSITION, limit=200)
                yield asdict(album) | {
                    "images": [image.id async for image in self._walk(tenant, query)],
                    "grants": [asdict(grant) for grant in grants],
                    "links": [_open(asdict(link)) for link in links],
                }
            if not page:
                return
            after = page[-1].id

    async def _lent(self, user: User) -> AsyncIterator[dict[str, Any]]:
        """The albums of others that the user may see."""
        after: AlbumId | None = None
        while True:
            async with self.catalog.tenant(user.tenant) as records:
                page = await records.albums.shares.lent(user.id, self.clock(), after=after)
            for album, grant in page:
                yield asdict(grant) | {"title": album.title}
            if not page:
                return
            after = page[-1][0].id

    async def _images(self, tenant: TenantId, owner: UserId | None) -> AsyncIterator[Image]:
        for is_trashed in (False, True):
            query = ImageQuery(owner=owner, is_trashed=is_trashed, sort=Sort.CREATED, limit=100)
            async for image in self._walk(tenant, query):
                yield image

    async def _walk(self, tenant: TenantId, query: ImageQuery) -> AsyncIterator[Image]:
        while True:
            async with self.catalog.tenant(tenant) as records:
                page = await records.images.page(query)
            for image in page.images:
                yield image
            if page.next is None:
                return
            query = replace(query, cursor=page.next)


async def _lines(archive: _Zip, name: str, values: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    with archive.entry(name) as write:
        async for value in values:
            write(orjson.dumps(value, default=str) + b"\n")
            yield archive.taken()


class _Sink(io.RawIOBase):
    """Takes what a ZIP writes; cannot seek, so sizes follow their entries (APPNOTE.TXT 4.3.9)."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.held += data
        return len(data)


class _Zip:
    """A ZIP that is taken away while it grows."""

    def __init__(self, now: datetime) -> None:
        self._sink: Final = _Sink()
        self._zip: Final = zipfile.ZipFile(self._sink, "w")
        self._now: Final = now.timetuple()[:6]
        self.digests: Final[dict[str, str]] = {}

    def entry(self, name: str) -> _Entry:
        """`with archive.entry(name) as write`: stored as it is, since pictures are packed already."""
        info = zipfile.ZipInfo(name, self._now)
        info.external_attr = 0o600 << 16
        return _Entry(self._zip.open(info, "w", force_zip64=True), name, self.digests)

    def add(self, name: str, data: bytes) -> None:
        """A whole entry."""
        with self.entry(name) as write:
            write(data)

    def taken(self) -> bytes:
        """What has come since the last time."""
        data = bytes(self._sink.held)
        self._sink.held.clear()
        return data

    def ended(self) -> bytes:
        """The rest, with the directory."""
        self._zip.close()
        return self.taken()


class _Entry:
    def __init__(self, file: Any, name: str, digests: dict[str, str]) -> None:
        self._file: Final = file
        self._name: Final = name
        self._digests: Final = digests
        self._digest: Final = hashlib.sha256()

    def __enter__(self) -> Callable[[bytes], None]:
        return self._write

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._digests[self._name] = self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def _open(values: Any) -> Any:
    """The values without what recognizes secrets."""
    if isinstance(values, dict):
        return {name: _open(value) for name, value in values.items() if name not in _SECRETS}
    if isinstance(values, list | tuple | set | frozenset):
        return [_open(value) for value in values]
    return values


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str)


def _extension(media_type: str) -> str:
    return {"image/jpeg": "jpg", "image/svg+xml": "svg"}.get(media_type, media_type.rpartition("/")[2] or "bin")
