"""What every catalog must do for second factors and passkeys, sentence by sentence of FactorRecords. CatalogContract inherits it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.ids import PasskeyId, UserId, new_id
from safelight.errors import AlreadyExists, Busy, Forbidden, Missing, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.contracts.people import user_in
from safelight.testing.factories import NOON, make_passkey, make_tenant, make_totp, make_user

HOUR = timedelta(hours=1)


class FactorContract:
    """Needs the fixtures `catalog` and `tenant`."""

    async def test_an_authenticator_app_comes_back_and_can_be_replaced_and_dropped(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        user = await user_in(catalog, tenant)
        first = make_totp(user, secret=b"\x00\xff" * 10, confirmed_at=None)
        second = make_totp(user, last_step=59_000_000, recovery=(b"a" * 32, b"\x00" * 32), created_at=NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.factors.totp(user.id)
            await records.factors.put_totp(first)
            assert await records.factors.totp(user.id) == first
            with pytest.raises(Missing):
                await records.factors.put_totp(make_totp(make_user(tenant.id)))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.put_totp(second)
        async with catalog.tenant(tenant.id) as records:
            assert await records.factors.totp(user.id) == second
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.drop_totp(user.id)
            await records.factors.drop_totp(UserId(new_id()))

        async with catalog.tenant(tenant.id) as records:
            with pytest.raises(Missing):
                await records.factors.totp(user.id)

    async def test_however_many_bring_one_code_at_once_it_is_taken_once(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        macs = (b"a" * 32, b"b" * 32)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.put_totp(make_totp(user, recovery=macs))

        async def bring(step: int, mac: bytes | None) -> bool:
            try:
                async with catalog.tenant(tenant.id, writes=True) as records:
                    totp = await records.factors.totp(user.id)
                    await asyncio.sleep(0)
                    if mac is not None:
                        if mac not in totp.recovery:
                            return False
                        await records.factors.put_totp(totp.without(mac))
                    else:
                        if totp.last_step >= step:
                            return False
                        await records.factors.put_totp(totp.used(step))
            except Busy:
                return False
            return True

        assert sum(await asyncio.gather(*(bring(7, None) for _ in range(6)))) == 1
        assert sum(await asyncio.gather(*(bring(0, macs[0]) for _ in range(6)))) == 1
        async with catalog.tenant(tenant.id) as records:
            totp = await records.factors.totp(user.id)
        assert (totp.last_step, totp.recovery) == (7, macs[1:])

    async def test_a_passkey_comes_back_and_can_be_replaced_and_removed(self, catalog: Catalog, tenant: Tenant) -> None:
        user, other = await user_in(catalog, tenant), await user_in(catalog, tenant)
        late = make_passkey(user, created_at=NOON + HOUR, credential=b"\x00\xff" * 500, transports=("usb", "hybrid"))
        early, others = make_passkey(user, sign_count=2**32 - 1, is_synced=True, aaguid="a-b"), make_passkey(other)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for passkey in (late, early, others):
                await records.factors.add_passkey(passkey)
            with pytest.raises(Missing):
                await records.factors.add_passkey(make_passkey(make_user(tenant.id)))
            with pytest.raises(Missing):
                await records.factors.save_passkey(make_passkey(user))
            with pytest.raises(Missing):
                await records.factors.remove_passkey(PasskeyId("0" * 32))
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.factors.passkeys(user.id) == [early, late]
            used = replace(late.used(7, at=NOON + 2 * HOUR, is_synced=True), name="naïve 鍵")
            await records.factors.save_passkey(used)
            await records.factors.remove_passkey(early.id)

        async with catalog.tenant(tenant.id) as records:
            assert await records.factors.passkey(used.id) == used
            assert await records.factors.passkeys(user.id) == [used]
            assert await records.factors.passkeys(other.id) == [others]
            with pytest.raises(Missing):
                await records.factors.passkey(early.id)

    async def test_a_passkey_is_one_users_of_one_tenant(self, catalog: Catalog, tenant: Tenant) -> None:
        ada, zoe = await user_in(catalog, tenant), await user_in(catalog, tenant)
        elsewhere = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(elsewhere)
        bob = await user_in(catalog, elsewhere)
        passkey = make_passkey(ada)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.add_passkey(passkey)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(AlreadyExists):
                await records.factors.add_passkey(replace(passkey, user=zoe.id))
        async with catalog.tenant(elsewhere.id, writes=True) as records:
            with pytest.raises(AlreadyExists):
                await records.factors.add_passkey(replace(passkey, tenant=elsewhere.id, user=bob.id))
            for reaching in (
                records.factors.passkey(passkey.id),
                records.factors.remove_passkey(passkey.id),
                records.factors.save_passkey(replace(passkey, tenant=elsewhere.id)),
                records.factors.totp(ada.id),
                records.factors.put_totp(replace(make_totp(ada), tenant=elsewhere.id)),
            ):
                with pytest.raises(Missing):
                    await reaching
            for smuggling in (
                records.factors.put_totp(make_totp(ada)),
                records.factors.add_passkey(make_passkey(ada)),
                records.factors.save_passkey(passkey),
            ):
                with pytest.raises(Forbidden):
                    await smuggling
            assert await records.factors.passkeys(ada.id) == []
        async with catalog.tenant(tenant.id) as records:
            assert await records.factors.passkey(passkey.id) == passkey

    async def test_another_tenant_drops_nobodys_app(self, catalog: Catalog, tenant: Tenant) -> None:
        ada, elsewhere = await user_in(catalog, tenant), make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(elsewhere)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.put_totp(totp := make_totp(ada))
        async with catalog.tenant(elsewhere.id, writes=True) as records:
            await records.factors.drop_totp(ada.id)

        async with catalog.tenant(tenant.id) as records:
            assert await records.factors.totp(ada.id) == totp

    async def test_a_mark_is_spent_once_by_whoever_comes_first(self, catalog: Catalog, tenant: Tenant) -> None:
        elsewhere, mark = make_tenant(), new_id()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(elsewhere)

        async def spend(where: Tenant) -> bool:
            try:
                async with catalog.tenant(where.id, writes=True) as records:
                    await records.factors.spend(mark, NOON + HOUR)
            except (AlreadyExists, Busy):
                return False
            return True

        assert sum(await asyncio.gather(*(spend(where) for where in (tenant, elsewhere) * 3))) == 1
        assert not await spend(tenant)

    async def test_a_spent_mark_is_swept_when_it_has_expired(self, catalog: Catalog, tenant: Tenant) -> None:
        ago = NOON - timedelta(days=20_000)
        old, live = new_id(), new_id()
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.spend(old, ago)
            await records.factors.spend(live, NOON)
        async with catalog.directory(writes=True) as directory:
            await directory.people.sweep(ago + HOUR)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.factors.spend(old, NOON)
            with pytest.raises(AlreadyExists):
                await records.factors.spend(live, NOON)

    async def test_a_reading_transaction_changes_no_factor(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        async with catalog.tenant(tenant.id) as records:
            for writing in (
                records.factors.put_totp(make_totp(user)),
                records.factors.drop_totp(user.id),
                records.factors.add_passkey(make_passkey(user)),
                records.factors.save_passkey(make_passkey(user)),
                records.factors.remove_passkey(PasskeyId("0" * 32)),
                records.factors.spend(new_id(), NOON),
            ):
                with pytest.raises(WrongState):
                    await writing
