"""Erasure: a user and everything of theirs removed for good, by a flow whose steps may run twice, and a certificate of it.

The request shuts the user out and tells the flow, in one transaction. What there is to remove is listed before anything is removed,
in an object beside the originals, so that a crash at any point leaves a list to go on with, and the certificate can name its hash. The
certificate is an object too: it outlives the user, and whoever knows its id may read it, since nothing in it is personal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, User
from safelight.domain.events import ErasureRequested, ImagePurged
from safelight.domain.ids import ErasureId, ImageId, TenantId, UserId, is_id, new_id
from safelight.domain.images import Image
from safelight.domain.queries import ImageQuery, Sort
from safelight.domain.uploads import Upload
from safelight.errors import Forbidden, Missing, SafelightError, WrongState
from safelight.ports.archive import Archive
from safelight.ports.catalog import Catalog, Records
from safelight.ports.incoming import Incoming
from safelight.ports.search import Search
from safelight.services.relay import Relay
from safelight.services.signin import end_others
from safelight.services.stepup import StepUp
from safelight.services.tokens import Tokens
from safelight.services.trail import Trail

log = structlog.get_logger()

FAR: Final = datetime(9000, 1, 1, tzinfo=UTC)
_JSON: Final = "application/json"
_UNTOLD: Final = 1000
_LOOK_EVERY_S: Final = 0.1
_LOOKS: Final = 100


@dataclass(frozen=True, slots=True)
class Erasure:
    """`shred` removes an image's bytes wherever they are kept; `forget` makes this process believe no token of before."""

    catalog: Catalog
    originals: Archive
    search: Search
    incoming: Incoming
    trail: Trail
    tokens: Tokens
    step_up: StepUp
    relay: Relay
    clock: Callable[[], datetime]
    shred: Callable[[Mapping[str, Any]], Awaitable[None]]
    forget: Callable[[], None]

    # What is asked of it

    async def request_own(self, actor: Actor) -> ErasureId:
        """Erase the actor. Raises Forbidden, StepUpRequired, WrongState for the last operator."""
        access.require(actor, "account.erase")
        await self.step_up.require(actor)
        return await self._request(actor.tenant, actor.user)

    async def request(self, actor: Actor, user_id: UserId) -> ErasureId:
        """Erase a user of the actor's tenant. Raises Missing, Forbidden, StepUpRequired, WrongState for the last operator."""
        access.require(actor, "users.manage")
        if actor.session is not None:
            await self.step_up.require(actor)
        async with self.catalog.tenant(actor.tenant) as records:
            user = await _user(records, user_id)
        if user.role is Role.OPERATOR and actor.role is not Role.OPERATOR:
            raise Forbidden
        return await self._request(actor.tenant, user_id)

    async def certificate(self, tenant: str, erasure: str) -> dict[str, Any] | None:
        """The certificate; None while the erasure is under way. Raises Missing."""
        if not (is_id(tenant) and is_id(erasure)):
            raise Missing
        place = place_of(tenant, erasure)
        try:
            found: dict[str, Any] = orjson.loads(await self.originals.get(f"{place}certificate"))
        except Missing:
            await self.originals.stat(f"{place}requested")
            return None
        return found

    async def _request(self, tenant: TenantId, user_id: UserId) -> ErasureId:
        now = self.clock()
        erasure = ErasureId(new_id(now.timestamp()))
        await self.originals.put(f"{place_of(tenant, erasure)}requested", b"{}", media_type=_JSON)
        async with self.catalog.tenant(tenant, writes=True) as records:
            users = await records.accounts.users()
            user = await _user(records, user_id)
            others = [one for one in users if one.id != user_id and one.role is Role.OPERATOR and one.disabled_at is None]
            if user.role is Role.OPERATOR and not others:
                raise WrongState("This is the last operator; make another one first.")
            await records.accounts.save_user(replace(user, disabled_at=user.disabled_at or now))
            for key in await records.accounts.api_keys.all(user_id):
                await records.accounts.api_keys.save(replace(key, revoked_at=key.revoked_at or now))
            await end_others(records, user_id, keep=None, now=now)
            await records.emit(ErasureRequested(tenant, user_id, erasure))
        self.forget()
        self.relay.nudge()
        log.info("erasure.requested", erasure=erasure)
        return erasure

    # The steps

    async def note(self, payload: Mapping[str, Any]) -> None:
        """Write down what there is, once."""
        tenant, user, place = _of(payload)
        with suppress(Missing):
            await self.originals.stat(f"{place}list")
            return
        images = [
            {"id": image.id, "sha256": image.sha256, "versions": len(image.versions), "bytes": image.stored_bytes}
            async for image in self._images(tenant, user)
        ]
        async with self.catalog.tenant(tenant) as records:
            albums, after = 0, None
            while page := await records.albums.page(user, after=after, limit=200):
                albums, after = albums + len(page), page[-1].id
            keys, passkeys = len(await records.accounts.api_keys.all(user)), len(await records.factors.passkeys(user))
        uploads = len(await self._uploads(tenant, user))
        listed = {"images": images, "albums": albums, "uploads": uploads, "api_keys": keys, "passkeys": passkeys}
        await self.originals.put(f"{place}list", orjson.dumps(listed, option=orjson.OPT_SORT_KEYS), media_type=_JSON)

    async def images(self, payload: Mapping[str, Any]) -> None:
        """Every image, wherever it is: search, bytes of every version, renditions, then the row, then bytes that came meanwhile."""
        tenant, user, place = _of(payload)
        listed = orjson.loads(await self.originals.get(f"{place}list"))
        for image in listed["images"]:
            await self._erase_image(tenant, ImageId(image["id"]))
        while found := [image async for image in self._images(tenant, user)]:  # accepted after the list was written
            for image in found:
                await self._erase_image(tenant, image.id)

    async def belongings(self, payload: Mapping[str, Any]) -> None:
        """Uploads with what has come of them, albums, and what the journal says of the images."""
        tenant, user, _ = _of(payload)
        for upload in await self._uploads(tenant, user):
            await self.incoming.discard(upload)
            with suppress(Missing):
                async with self.catalog.tenant(tenant, writes=True) as records:
                    await records.uploads.remove(upload.id)
        while True:
            async with self.catalog.tenant(tenant, writes=True) as records:
                albums = await records.albums.page(user, limit=1)
                if not albums:
                    break
                await records.albums.remove(albums[0].id)
        await self._forget_journal(tenant, user)

    async def account(self, payload: Mapping[str, Any]) -> None:
        """The user with all that signs them in; then where their requests came from, in the audit trail."""
        tenant, user, _ = _of(payload)
        with suppress(Missing):
            async with self.catalog.tenant(tenant, writes=True) as records:
                await records.accounts.remove_user(user)
        await self.trail.forget(tenant, user)

    async def certify(self, payload: Mapping[str, Any]) -> None:
        """Look once more that nothing is left, sign what was removed, and remove the list of it."""
        tenant, user, place = _of(payload)
        with suppress(Missing):
            await self.originals.get(f"{place}certificate")
            await self.originals.purge(f"{place}list")
            return
        listed = await self.originals.get(f"{place}list")
        await self._relayed(user)
        await self._forget_journal(tenant, user)  # a step that was under way may have told of itself
        await self._require_gone(tenant, user, orjson.loads(listed))
        removed, digest = _removed(orjson.loads(listed)), hashlib.sha256(listed).hexdigest()
        told = certificate_of(removed, digest, tenant=tenant, erasure=payload["erasure"], at=self.clock())
        signature = await self.tokens.certified(told, kind="erasure+jwt")
        document = told | {"signature": signature}
        await self.originals.put(f"{place}certificate", orjson.dumps(document), media_type=_JSON)
        await self.originals.purge(f"{place}list")
        log.info("erasure.certified", erasure=payload["erasure"], images=told["removed"]["images"])

    async def _erase_image(self, tenant: TenantId, image_id: ImageId) -> None:
        payload = {"tenant": tenant, "image": image_id}
        await self.search.remove(tenant, [image_id])
        await self.shred(payload)
        with suppress(Missing):
            async with self.catalog.tenant(tenant, writes=True) as records:
                image = await records.images.get(image_id)
                await records.images.remove(image_id)
                await records.emit(ImagePurged.of(replace(image, revision=image.revision + 1)))
        # A rendition may have been stored while the row was still there.
        await self.shred(payload)
        await self.search.remove(tenant, [image_id])

    async def _forget_journal(self, tenant: TenantId, user: UserId) -> None:
        while True:
            async with self.catalog.journal(tenant, writes=True) as journal:
                if await journal.forget(user, limit=40) < 40:
                    return

    async def _relayed(self, user: UserId) -> None:
        """Until what has been told of the user has left the outbox, too. Raises NotGone when that takes long."""
        for _ in range(_LOOKS):
            async with self.catalog.directory() as directory:
                untold = await directory.outbox.untold(limit=_UNTOLD)
            if len(untold) < _UNTOLD and not any(user in told.event.to_json().values() for told in untold):
                return
            self.relay.nudge()
            await asyncio.sleep(_LOOK_EVERY_S)
        raise NotGone

    async def _require_gone(self, tenant: TenantId, user: UserId, listed: Mapping[str, Any]) -> None:
        for image in listed["images"]:
            if await self.originals.piles(f"{tenant}/{image['id']}/", limit=1):
                raise NotGone
        async with self.catalog.tenant(tenant) as records:
            if any(one.id == user for one in await records.accounts.users()) or await records.albums.page(user, limit=1):
                raise NotGone
        if [image async for image in self._images(tenant, user)] or await self._uploads(tenant, user):
            raise NotGone

    async def _images(self, tenant: TenantId, user: UserId) -> AsyncIterator[Image]:
        for is_trashed in (False, True):
            query = ImageQuery(owner=user, is_trashed=is_trashed, sort=Sort.CREATED, limit=100)
            while True:
                async with self.catalog.tenant(tenant) as records:
                    page = await records.images.page(query)
                for image in page.images:
                    yield image
                if page.next is None:
                    break
                query = replace(query, cursor=page.next)
                await asyncio.sleep(0)

    async def _uploads(self, tenant: TenantId, user: UserId) -> list[Upload]:
        """The user's among all of the tenant's: rows live for days, so there are few."""
        limit = 1000
        while True:
            async with self.catalog.tenant(tenant) as records:
                found = await records.uploads.due(FAR, limit=limit)
            if len(found) < limit:
                return [upload for upload in found if upload.owner == user]
            limit *= 4


class NotGone(SafelightError):
    """Something of what is erased is left; it is looked for again."""

    code = "erasure_incomplete"
    is_transient = True


def certificate_of(removed: Mapping[str, int], list_sha256: str, *, tenant: str, erasure: str, at: datetime) -> dict[str, Any]:
    """What is certified: counts, when, and the SHA-256 of the list of what was removed."""
    return {
        "erasure": erasure,
        "tenant": tenant,
        "certified_at": at.isoformat(),
        "removed": dict(removed),
        "list_sha256": list_sha256,
    }


def _removed(what: Mapping[str, Any]) -> dict[str, int]:
    images = what["images"]
    return {
        "images": len(images),
        "versions": sum(image["versions"] for image in images),
        "bytes": sum(image["bytes"] for image in images),
        "albums": what["albums"],
        "uploads": what["uploads"],
        "api_keys": what["api_keys"],
        "passkeys": what["passkeys"],
        "accounts": 1,
    }


async def _user(records: Records, user_id: UserId) -> User:
    user = next((one for one in await records.accounts.users() if one.id == user_id), None)
    if user is None:
        raise Missing
    return user


def _of(payload: Mapping[str, Any]) -> tuple[TenantId, UserId, str]:
    return TenantId(payload["tenant"]), UserId(payload["user"]), place_of(payload["tenant"], payload["erasure"])


def place_of(tenant: str, erasure: str) -> str:
    """Apart from the tenant's images, so that no sweep takes it for one."""
    return f"erasures/{tenant}/{erasure}/"
