"""Tenant erasure: a suspended tenant and everything of it removed for good, by a flow whose steps may run twice, and a certificate of it.

That it is wanted stands in the tenant's record before anything is removed: from then on nobody resumes it, and the clock begins what a
crash has kept from beginning. What there is to remove is listed first, a line for each image, in an object beside the originals. The
record stays, without its name and all that was said in it, since the audit trail hangs on it. Certificates are read in `erasure`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import orjson
import structlog

from safelight.domain import access
from safelight.domain.accounts import Actor, Tenant
from safelight.domain.ids import ErasureId, ImageId, PurgeId, TenantId, UserId, new_id
from safelight.domain.purges import SETTLE, Purge, PurgeOf, PurgeState
from safelight.domain.queries import ImageQuery, Sort
from safelight.domain.redevelopments import RedevelopmentState
from safelight.errors import AlreadyExists, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog, Records
from safelight.ports.incoming import Incoming
from safelight.ports.search import Search
from safelight.ports.shelf import Shelf
from safelight.ports.workflows import Workflows
from safelight.services.development import Buckets
from safelight.services.erasure import FAR, NotGone, certificate_of, place_of
from safelight.services.stepup import StepUp
from safelight.services.tenants import Tenants
from safelight.services.tokens import Tokens
from safelight.services.trail import Trail
from safelight.services.warmings import Warmings

log = structlog.get_logger()

T = TypeVar("T")

FLOW: Final = "erase_tenant"
_JSON: Final = "application/json"
_MANY: Final = 1_000_000
"""Uploads that are counted: their rows live for days."""
_LAG_S: Final = 1.0
"""Before another look at a list that still names what is gone: an index of DynamoDB lags behind its table."""


@dataclass(frozen=True, slots=True)
class TenantErasure:
    """`forget` makes this process believe no token of before. `has_cdn`: whether there is anybody to tell that something is gone."""

    catalog: Catalog
    buckets: Buckets
    shelf: Shelf | None
    search: Search
    incoming: Incoming
    trail: Trail
    tokens: Tokens
    step_up: StepUp
    tenants: Tenants
    warmings: Warmings
    workflows: Workflows
    clock: Callable[[], datetime]
    has_cdn: bool
    forget: Callable[[], None]

    # What is asked of it

    async def request(self, actor: Actor, tenant_id: TenantId) -> ErasureId:
        """Erase a tenant; to ask again is to ask for the same. Raises Missing, Forbidden, StepUpRequired, WrongState unless suspended."""
        access.require(actor, "tenant.manage")
        if actor.session is not None:
            await self.step_up.require(actor)
        erasure = ErasureId(new_id(self.clock().timestamp()))

        def marked(tenant: Tenant) -> Tenant:
            if tenant.suspended_at is None:
                raise WrongState("Suspend the tenant first: what is to be erased must not be in use.")
            return tenant if tenant.erasure else replace(tenant, erasure=erasure)

        tenant = await self.tenants.rewrite(tenant_id, marked)
        erasure = ErasureId(tenant.erasure or erasure)
        await self._told_of(place_of(tenant_id, erasure))
        if tenant.erased_at is None:
            await self._start(tenant)
        self.forget()
        log.info("tenant_erasure.requested", tenant=tenant_id, erasure=erasure)
        return erasure

    async def go_on(self) -> int:
        """Begin what is wanted and has not begun; how many are not done yet. Called by the clock."""
        async with self.catalog.directory() as directory:
            wanted = [tenant for tenant in await directory.tenants() if tenant.erasure and tenant.erased_at is None]
        for tenant in wanted:
            await self._start(tenant)
        return len(wanted)

    async def _told_of(self, place: str) -> None:
        """From now on the certificate's address answers."""
        with suppress(AlreadyExists):
            await self.buckets.originals.put(f"{place}requested", b"{}", media_type=_JSON, if_absent=True)

    async def _start(self, tenant: Tenant) -> None:
        payload = {"tenant": tenant.id, "erasure": tenant.erasure}
        await self.workflows.start(FLOW, f"{FLOW}:{tenant.erasure}", payload, party=tenant.id)

    # The steps

    async def note(self, payload: Mapping[str, Any]) -> None:
        """Write down what there is, once."""
        tenant, place = _of(payload)
        await self._told_of(place)
        with suppress(Missing):
            await self.buckets.originals.stat(f"{place}list")
            return
        await self.buckets.originals.put(f"{place}list", self._listed(tenant), media_type="application/x-ndjson")

    async def images(self, payload: Mapping[str, Any]) -> None:
        """Bytes of every version with all that was made of them, what the search knows, then the rows; then bytes that came meanwhile."""
        tenant, _ = _of(payload)
        await self._purge(tenant)
        before: list[ImageId] = []
        while found := await self._images(tenant):
            await self.search.remove(tenant, found)
            for image_id in found:
                async with self._changing(tenant) as records:
                    await records.images.remove(image_id)
            await self.search.remove(tenant, found)  # a step that was under way may have put them back
            if found == before:
                await asyncio.sleep(_LAG_S)
            before = found
        await self._purge(tenant)

    async def belongings(self, payload: Mapping[str, Any]) -> None:
        """Uploads with what has come of them, albums with their grants and links, webhooks, redevelopments, the journal."""
        tenant, _ = _of(payload)
        while uploads := await self._read(tenant, lambda records: records.uploads.due(FAR)):
            for upload in uploads:
                await self.incoming.discard(upload)
                async with self._changing(tenant) as records:
                    await records.uploads.remove(upload.id)
        while albums := await self._read(tenant, lambda records: records.albums.page(None)):
            for album in albums:
                async with self._changing(tenant) as records:
                    await records.albums.remove(album.id)
        for endpoint in await self._read(tenant, lambda records: records.webhooks.all()):
            async with self._changing(tenant) as records:
                await records.webhooks.remove(endpoint.id)
        while redevelopments := await self._read(tenant, lambda records: records.redevelopments.page()):
            for one in redevelopments:
                if one.is_at_work or not one.has_ended:
                    over = replace(one, state=RedevelopmentState.CANCELLED, under_way=(), revision=one.revision + 1)
                    async with self._changing(tenant) as records:
                        await records.redevelopments.save(over)
            async with self._changing(tenant) as records:
                await records.redevelopments.sweep(FAR)
        swept = 1
        while swept:
            async with self.catalog.journal(tenant, writes=True) as journal:
                swept = await journal.sweep(FAR)

    async def people(self, payload: Mapping[str, Any]) -> None:
        """Users with all that signs them in, where their requests came from in the audit trail, and whose tokens were believed."""
        tenant, place = _of(payload)
        left = await self._read(tenant, lambda records: records.accounts.users())
        # Those of the list too: a crash may have come between a user and their part of the trail.
        for user in sorted({*(await self._totals(place))["users"], *(user.id for user in left)}):
            async with self._changing(tenant) as records:
                await records.accounts.remove_user(UserId(user))
            await self.trail.forget(tenant, UserId(user))
        for issuer in await self._read(tenant, lambda records: records.accounts.issuers.all()):
            async with self._changing(tenant) as records:
                await records.accounts.issuers.remove(issuer.id)

    async def caches(self, payload: Mapping[str, Any]) -> None:
        """Whatever CDNs hold of the tenant. Raises NotGone until every one of them has said that it is gone."""
        tenant, _ = _of(payload)
        if not self.has_cdn:
            return
        now, purge_id = self.clock(), PurgeId(payload["erasure"])
        async with self.catalog.directory(writes=True) as directory:
            purges = directory.outbox.purges
            try:
                purge = await purges.get(tenant, purge_id)
            except Missing:
                purge = Purge(
                    id=purge_id, tenant=tenant, what=PurgeOf.TENANT, created_at=now, updated_at=now, due_at=now + SETTLE
                )
                await purges.add(purge)
            if purge.state is PurgeState.FAILED:
                await purges.save(replace(purge, state=PurgeState.WAITING, due_at=now, attempts=0, revision=purge.revision + 1))
        if purge.state is not PurgeState.DONE:
            raise NotGone

    async def record(self, payload: Mapping[str, Any]) -> None:
        """Purges, keys of URLs and what was used; then the record says nothing any more but that there was a tenant."""
        tenant, _ = _of(payload)
        while found := await self._purges(tenant):
            with suppress(Stale):  # whoever goes on with it: it is looked for again
                async with self.catalog.directory(writes=True) as directory:
                    for purge in found:
                        if not purge.has_ended:  # that of the whole tenant has told what it would tell
                            over = replace(purge, state=PurgeState.DONE, due_at=None, revision=purge.revision + 1)
                            await directory.outbox.purges.save(over)
            async with self.catalog.directory(writes=True) as directory:
                await directory.outbox.purges.sweep(tenant, FAR)
        async with self.catalog.directory(writes=True) as directory:
            await directory.strip_tenant(tenant)
        now = self.clock()

        def emptied(tenant: Tenant) -> Tenant:
            # No other tenant can be called that: `~` is no letter of a name.
            return Tenant(
                id=tenant.id,
                name=f"~{tenant.id}",
                created_at=tenant.created_at,
                revision=tenant.revision,
                suspended_at=tenant.suspended_at,
                erasure=tenant.erasure,
                erased_at=tenant.erased_at or now,
                stored=tenant.stored,
            )

        await self.tenants.rewrite(tenant, emptied)

    async def certify(self, payload: Mapping[str, Any]) -> None:
        """Remove what has come meanwhile, look that nothing is left, sign what was removed, and remove the list of it."""
        tenant, place = _of(payload)
        originals = self.buckets.originals
        with suppress(Missing):
            await originals.stat(f"{place}certificate")
            await originals.purge(f"{place}list")
            return
        # What was under way when the tenant was suspended has ended by now, and may have left something.
        for step in (self.images, self.belongings, self.people, self.record):
            await step(payload)
        await self._require_gone(tenant)
        told = await self._certificate(tenant, payload["erasure"], place)
        document = told | {"signature": await self.tokens.certified(told, kind="erasure+jwt")}
        await originals.put(f"{place}certificate", orjson.dumps(document), media_type=_JSON)
        await originals.purge(f"{place}list")
        log.info("tenant_erasure.certified", tenant=tenant, erasure=payload["erasure"], images=told["removed"]["images"])

    async def _listed(self, tenant: TenantId) -> AsyncIterator[bytes]:
        """The list: who and how much else in its first line, then the images."""
        async with self.catalog.tenant(tenant) as records:
            users = await records.accounts.users()
            keys = await records.accounts.api_keys.all()
            passkeys = [await records.factors.passkeys(user.id) for user in users]
            uploads = len(await records.uploads.due(FAR, limit=_MANY))
        albums, after = 0, None
        while True:
            async with self.catalog.tenant(tenant) as records:
                found = await records.albums.page(None, after=after, limit=200)
            if not found:
                break
            albums, after = albums + len(found), found[-1].id
        totals = {
            "users": [user.id for user in users],
            "albums": albums,
            "uploads": uploads,
            "api_keys": len(keys),
            "passkeys": sum(map(len, passkeys)),
        }
        yield orjson.dumps(totals) + b"\n"
        for is_trashed in (False, True):
            query = ImageQuery(is_trashed=is_trashed, sort=Sort.CREATED, limit=100, skips_damaged=True)
            while True:
                async with self.catalog.tenant(tenant) as records:
                    page = await records.images.page(query)
                for image in page.images:
                    told = {"id": image.id, "sha256": image.sha256, "versions": len(image.versions), "bytes": image.stored_bytes}
                    yield orjson.dumps(told) + b"\n"
                for image_id in page.damaged:  # of which nobody can say more
                    yield orjson.dumps({"id": image_id, "sha256": "", "versions": 0, "bytes": 0}) + b"\n"
                if page.next is None:
                    break
                query = replace(query, cursor=page.next)

    async def _lines(self, place: str) -> AsyncGenerator[bytes, None]:
        rest = b""
        async for chunk in (await self.buckets.originals.open(f"{place}list")).chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line + b"\n"

    async def _totals(self, place: str) -> dict[str, Any]:
        async with aclosing(self._lines(place)) as lines:
            totals: dict[str, Any] = orjson.loads(await anext(lines))
        return totals

    async def _certificate(self, tenant: TenantId, erasure: str, place: str) -> dict[str, Any]:
        totals, digest = await self._totals(place), hashlib.sha256()
        images = versions = size = 0
        async with aclosing(self._lines(place)) as lines:
            async for line in lines:
                digest.update(line)
                told = orjson.loads(line)
                if "sha256" in told:
                    images, versions, size = images + 1, versions + told["versions"], size + told["bytes"]
        removed = {"images": images, "versions": versions, "bytes": size, "accounts": len(totals.pop("users")), **totals}
        return certificate_of(removed, digest.hexdigest(), tenant=tenant, erasure=erasure, at=self.clock())

    async def _purge(self, tenant: TenantId) -> None:
        originals, renditions = self.buckets.originals, self.buckets.renditions
        await asyncio.gather(originals.purge(f"{tenant}/"), renditions.purge(f"{tenant}/"), self.warmings.drop_all(tenant))
        if self.shelf is not None:
            await self.shelf.drop(f"{tenant}/")

    async def _images(self, tenant: TenantId) -> list[ImageId]:
        """Some that are left, in the trash or not."""
        for is_trashed in (False, True):
            query = ImageQuery(is_trashed=is_trashed, sort=Sort.CREATED, limit=100, skips_damaged=True)
            async with self.catalog.tenant(tenant) as records:
                page = await records.images.page(query)
            if found := [*(image.id for image in page.images), *page.damaged]:
                return found
        return []

    async def _require_gone(self, tenant: TenantId) -> None:
        for bucket in (self.buckets.originals, self.buckets.renditions):
            if await bucket.piles(f"{tenant}/", limit=1):
                raise NotGone
        async with self.catalog.tenant(tenant) as records:
            left = [
                await records.accounts.users(),
                await records.accounts.signing_keys(),
                await records.accounts.issuers.all(),
                await records.albums.page(None, limit=1),
                await records.uploads.due(FAR, limit=1),
                await records.webhooks.all(),
                await records.redevelopments.page(limit=1),
            ]
        if any(left) or await self._purges(tenant) or await self._images(tenant):
            raise NotGone

    async def _purges(self, tenant: TenantId) -> list[Purge]:
        async with self.catalog.directory() as directory:
            return await directory.outbox.purges.page(tenant, limit=20)

    async def _read(self, tenant: TenantId, read: Callable[[Records], Awaitable[T]]) -> T:
        async with self.catalog.tenant(tenant) as records:
            return await read(records)

    @asynccontextmanager
    async def _changing(self, tenant: TenantId) -> AsyncIterator[Records]:
        """What is gone already, or was changed a moment ago, is nothing to fail for: whatever is left is looked for again."""
        with suppress(Missing, Stale):
            async with self.catalog.tenant(tenant, writes=True) as records:
                yield records


def _of(payload: Mapping[str, Any]) -> tuple[TenantId, str]:
    return TenantId(payload["tenant"]), place_of(payload["tenant"], payload["erasure"])
