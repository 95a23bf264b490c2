"""Audited: a catalog that writes the audit trail. Every change that goes through it leaves an entry in its own transaction.

What a method's call is to be called in the trail is said here, method by method, and nowhere else, so no service has to think of
it. A method of the ports that neither reads, nor is told, nor is in SILENT with its reason, fails a test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from safelight.domain.accounts import Tenant
from safelight.domain.audit import INSTALLATION, NOBODY, SYSTEM, Entry, pseudonym
from safelight.domain.events import Event, ImageEvent, ImageReady
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.images import Image, Status
from safelight.domain.people import OneTimeCode, Session
from safelight.domain.redevelopments import Redevelopment, RedevelopmentState
from safelight.domain.uploads import Upload
from safelight.ports.catalog import Directory, Records
from safelight.ports.trail import TrailRecords
from safelight.services.around import Around
from safelight.services.witness import AT_HAND


@dataclass(frozen=True, slots=True)
class Told:
    """What a call is in the trail. `by` is who did it where the request does not say: who signs in is nobody yet."""

    action: str
    object: str
    user: UserId | None = None
    """Set when the object is a person, who is named by pseudonym."""
    by: UserId | None = None


Rule = Callable[[Any], Told | None]
"""From what a call is about, its first argument."""


def _of_user(action: str, user: UserId, *, by: UserId | None = None) -> Told:
    return Told(action, "", user=user, by=by)


def _image_saved(image: Image) -> Told | None:
    action = {Status.REJECTED: "image.rejected", Status.FAILED: "image.failed"}.get(image.status, "image.changed")
    return Told(action, f"image/{image.id}")


def _tenant_saved(tenant: Tenant) -> Told:
    what = "erased" if tenant.erased_at else "erasing" if tenant.erasure else "changed"
    return Told(f"tenant.{what}", f"tenant/{tenant.id}")


def _upload_saved(upload: Upload) -> Told | None:
    return None if upload.is_open else Told(f"upload.{upload.state}", f"upload/{upload.id}", by=upload.owner)


def _code_put(code: OneTimeCode) -> Told:
    action = "code.used" if code.used_at else "code.refused" if code.tries else "code.made"
    return _of_user(action, code.user, by=code.user if code.used_at else None)


def _session_saved(session: Session) -> Told:
    return Told("session.ended" if session.ended_at else "session.refreshed", f"session/{session.id}", by=session.user)


def _redevelopment_saved(one: Redevelopment) -> Told | None:
    # How far it has come is a record of its own.
    is_moved = one.state in (RedevelopmentState.PAUSED, RedevelopmentState.CANCELLED)
    return Told(f"redevelopment.{one.state}", f"redevelopment/{one.id}") if is_moved else None


RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "images": {
        "add": lambda image: Told("image.added", f"image/{image.id}", by=image.owner),
        "save": _image_saved,
        "remove": lambda image_id: Told("image.removed", f"image/{image_id}"),
    },
    "albums": {
        "add": lambda album: Told("album.added", f"album/{album.id}"),
        "save": lambda album: Told("album.edited", f"album/{album.id}"),
        "remove": lambda album_id: Told("album.removed", f"album/{album_id}"),
        "insert": lambda album_id: Told("album.images_added", f"album/{album_id}"),
        "drop": lambda album_id: Told("album.images_removed", f"album/{album_id}"),
    },
    "albums.shares": {
        "put_grant": lambda grant: Told("album.shared", f"album/{grant.album}"),
        "drop_grant": lambda album_id: Told("album.unshared", f"album/{album_id}"),
        "add_link": lambda link: Told("album.link_added", f"album/{link.album}"),
        "drop_link": lambda album_id: Told("album.link_removed", f"album/{album_id}"),
    },
    "accounts": {
        "add_user": lambda user: _of_user("user.added", user.id),
        "save_user": lambda user: _of_user("user.disabled" if user.disabled_at else "user.changed", user.id),
        "remove_user": lambda user_id: _of_user("user.erased", user_id),
        "add_signing_key": lambda key: Told("signing_key.added", f"signing_key/{key.kid}"),
        "retire_signing_key": lambda kid: Told("signing_key.retired", f"signing_key/{kid}"),
    },
    "accounts.api_keys": {
        "add": lambda key: Told("api_key.added", f"api_key/{key.id}"),
        "save": lambda key: Told("api_key.revoked" if key.revoked_at else "api_key.changed", f"api_key/{key.id}"),
    },
    "accounts.issuers": {
        "add": lambda issuer: Told("issuer.added", f"issuer/{issuer.id}"),
        "save": lambda issuer: Told("issuer.changed", f"issuer/{issuer.id}"),
        "remove": lambda issuer_id: Told("issuer.removed", f"issuer/{issuer_id}"),
        "add_identity": lambda identity: _of_user("identity.added", identity.user, by=identity.user),
        "save_identity": lambda identity: _of_user("identity.changed", identity.user, by=identity.user),
    },
    "uploads": {
        "add": lambda upload: Told("upload.announced", f"upload/{upload.id}", by=upload.owner),
        "save": _upload_saved,
    },
    "people": {
        "add_credential": lambda credential: _of_user("credential.added", credential.user),
        "save_credential": lambda credential: _of_user("credential.changed", credential.user, by=credential.user),
        "put_code": _code_put,
        "add_session": lambda session: Told("session.begun", f"session/{session.id}", by=session.user),
        "save_session": _session_saved,
    },
    "factors": {
        "put_totp": lambda totp: _of_user("totp.changed" if totp.confirmed_at else "totp.begun", totp.user, by=totp.user),
        "drop_totp": lambda user: _of_user("totp.removed", user),
        "add_passkey": lambda passkey: Told("passkey.added", f"passkey/{passkey.id}", by=passkey.user),
        "save_passkey": lambda passkey: Told("passkey.changed", f"passkey/{passkey.id}", by=passkey.user),
        "remove_passkey": lambda passkey_id: Told("passkey.removed", f"passkey/{passkey_id}"),
    },
    "webhooks": {
        "add": lambda endpoint: Told("webhook.added", f"webhook/{endpoint.id}"),
        "save": lambda endpoint: Told(
            "webhook.disabled" if endpoint.disabled_at else "webhook.changed", f"webhook/{endpoint.id}"
        ),
        "remove": lambda endpoint_id: Told("webhook.removed", f"webhook/{endpoint_id}"),
    },
    "webhooks.deliveries": {},
    "redevelopments": {
        "add": lambda one: Told("redevelopment.asked", f"redevelopment/{one.id}", by=one.asked_by),
        "save": _redevelopment_saved,
    },
    "directory": {
        "add_tenant": lambda tenant: Told("tenant.added", f"tenant/{tenant.id}"),
        "save_tenant": _tenant_saved,
    },
    "directory.outbox": {},
    "directory.outbox.purges": {},
    "directory.people": {},
    "directory.people.trust": {
        "add_token_key": lambda key: Told("token_key.added", f"token_key/{key.kid}"),
        "retire_token_key": lambda kid: Told("token_key.retired", f"token_key/{kid}"),
    },
}
"""What a call of a port's method that changes something is in the trail; None for one that is not worth an entry."""
SILENT: Final[Mapping[str, Mapping[str, str]]] = {
    "uploads": {"remove": "the row of an upload that ended days ago; its end has an entry"},
    "factors": {"spend": "a mark that something was used; what it was used for has an entry"},
    "redevelopments": {"sweep": "what ended long ago"},
    "webhooks.deliveries": {
        "add": "what is told of has an entry, and deliveries are a record of their own",
        "save": "the same",
        "sweep": "what has been told long ago",
    },
    "directory.outbox": {"mark_told": "the outbox is ours, and what it told of has an entry"},
    "directory.outbox.purges": {
        "add": "the request that asks for it is told at the door, and others follow from what has an entry",
        "save": "how far it has come is a record of its own",
        "sweep": "what ended long ago",
    },
    "directory": {
        "strip_tenant": "what a tenant leaves that is being erased, which has an entry",
    },
    "directory.people": {
        "touch_key": "that a key is used is told by what it is used for",
        "count_failure": "the refused request has an entry",
        "forget_failures": "the request that succeeded has one",
        "sweep": "what expired was of no use any more",
    },
}
"""Methods that change something and leave no entry, with the reason."""


@dataclass(slots=True)
class _Notes:
    """What one transaction has done, by object: an image that was saved and told of is one change."""

    told: list[Told] = field(default_factory=list)
    images: dict[str, Told | None] = field(default_factory=dict)

    def add(self, told: Told | None) -> None:
        if told is None:
            return
        if not told.object.startswith("image/"):
            if told not in self.told:
                self.told.append(told)
        elif told.object not in self.images or told.action in ("image.added", "image.removed"):
            self.images[told.object] = told

    def tell(self, event: Event) -> None:
        """The event's name says better what has become of the image."""
        if isinstance(event, ImageReady):  # the developing of what has an entry
            self.images[f"image/{event.image}"] = None
        elif isinstance(event, ImageEvent):
            before = self.images.get(f"image/{event.image}")
            self.images[f"image/{event.image}"] = Told(event.name, f"image/{event.image}", by=before.by if before else None)

    def __iter__(self) -> Any:
        yield from self.told
        yield from (told for told in self.images.values() if told is not None)


class _Watched:
    """Stands for what a transaction gives, and for its parts: calls go through, and those with a rule are noted once they are done."""

    def __init__(self, inner: Any, part: str, notes: _Notes) -> None:
        self._inner: Final = inner
        self._part: Final = part
        self._notes: Final = notes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        part = f"{self._part}.{name}" if self._part else name
        if part in RULES:
            return _Watched(method, part, self._notes)
        rule = RULES.get(self._part, {}).get(name)
        if rule is None:
            return method

        async def noted(subject: Any, *args: Any, **kwargs: Any) -> Any:
            result = await method(subject, *args, **kwargs)
            self._notes.add(rule(subject))
            return result

        return noted


@dataclass(frozen=True, slots=True)
class Audited(Around):
    """Keeps Catalog: the one inside, with a trail of what is changed through it."""

    clock: Callable[[], datetime]
    pseudonym_key: bytes
    appended: Callable[[str], None]
    """Called with the chain after a commit that left entries in it."""

    def tenant(self, tenant: TenantId, *, writes: bool = False) -> AbstractAsyncContextManager[Records]:
        """What the block has changed is in the trail when it ends."""
        return self._tenant(tenant) if writes else self.inner.tenant(tenant)

    def directory(self, *, writes: bool = False) -> AbstractAsyncContextManager[Directory]:
        """The same, in the installation's trail."""
        return self._directory() if writes else self.inner.directory()

    @asynccontextmanager
    async def _tenant(self, tenant: TenantId) -> AsyncIterator[Records]:
        notes = _Notes()
        async with self.inner.tenant(tenant, writes=True) as records:
            yield cast("Records", _WatchedRecords(records, notes))
            written = await self._written(records.trail, tenant, notes)
        self._done(tenant, written)

    @asynccontextmanager
    async def _directory(self) -> AsyncIterator[Directory]:
        notes = _Notes()
        async with self.inner.directory(writes=True) as directory:
            yield cast("Directory", _Watched(directory, "directory", notes))
            written = await self._written(directory.trail, INSTALLATION, notes)
        self._done(INSTALLATION, written)

    async def _written(self, trail: TrailRecords, chain: str, notes: _Notes) -> int:
        witness, now, count = AT_HAND.get(), self.clock(), 0
        for told in notes:
            by = witness.actor if witness is not None else None
            entry = Entry(
                chain=chain,
                id=new_id(now.timestamp()),
                at=now,
                action=told.action,
                actor=self._pseudonym(by.tenant, by.user) if by else self._unknown(chain, told, is_asked=witness is not None),
                object=told.object if told.user is None else f"user/{self._pseudonym(TenantId(chain), told.user)}",
                origin=witness.origin() if witness is not None else None,
            )
            await trail.append(entry.committed())
            count += 1
        if witness is not None:
            witness.written += count
        return count

    def _done(self, chain: str, written: int) -> None:
        if written:
            self.appended(chain)

    def _unknown(self, chain: str, told: Told, *, is_asked: bool) -> str:
        if is_asked:
            return NOBODY if told.by is None else self._pseudonym(TenantId(chain), told.by)
        return SYSTEM

    def _pseudonym(self, tenant: TenantId, user: UserId) -> str:
        return pseudonym(self.pseudonym_key, tenant, user)


class _WatchedRecords(_Watched):
    """Keeps Records."""

    def __init__(self, inner: Records, notes: _Notes) -> None:
        super().__init__(inner, "", notes)

    async def emit(self, event: Event) -> None:
        await self._inner.emit(event)
        self._notes.tell(event)
