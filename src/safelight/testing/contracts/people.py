"""What every catalog must do for signing in, sentence by sentence of PeopleRecords and PeopleDirectory. CatalogContract inherits it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.accounts import Tenant, User
from safelight.domain.ids import CodeId, SessionId, UserId, new_id
from safelight.domain.people import Failures, Letter
from safelight.errors import AlreadyExists, Forbidden, Missing, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import (
    NOON,
    make_code,
    make_credential,
    make_identity,
    make_key,
    make_passkey,
    make_session,
    make_tenant,
    make_token_key,
    make_totp,
    make_user,
)

HOUR = timedelta(hours=1)


async def user_in(catalog: Catalog, tenant: Tenant) -> User:
    user = make_user(tenant.id)
    async with catalog.tenant(tenant.id, writes=True) as records:
        await records.accounts.add_user(user)
    return user


class PeopleContract:
    """Needs the fixtures `catalog` and `tenant`."""

    async def test_a_credential_comes_back_and_can_be_replaced(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        credential = make_credential(user)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_credential(credential)
            assert await records.people.credential(user.id) == credential
            changed = replace(credential, email="new@example.org", password_hash="hash", verified_at=NOON + HOUR, language="de")
            await records.people.save_credential(changed)

        async with catalog.tenant(tenant.id) as records:
            assert await records.people.credential(user.id) == changed
            with pytest.raises(Missing):
                await records.people.credential(UserId(new_id()))

    async def test_an_address_is_given_once_in_a_tenant_and_a_user_has_one(self, catalog: Catalog, tenant: Tenant) -> None:
        ada, zoe = await user_in(catalog, tenant), await user_in(catalog, tenant)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_credential(make_credential(ada, email="ada@example.org"))
            for adding in (
                records.people.add_credential(make_credential(zoe, email="ada@example.org")),
                records.people.add_credential(make_credential(ada, email="other@example.org")),
            ):
                with pytest.raises(AlreadyExists):
                    await adding
            await records.people.add_credential(make_credential(zoe, email="zoe@example.org"))
            with pytest.raises(AlreadyExists):
                await records.people.save_credential(make_credential(zoe, email="ada@example.org"))
            with pytest.raises(Missing):
                await records.people.add_credential(make_credential(make_user(tenant.id)))
            with pytest.raises(Missing):
                await records.people.save_credential(make_credential(make_user(tenant.id)))

    async def test_somebody_is_found_by_tenant_and_address(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        credential = make_credential(user, email="ada@example.org")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_credential(credential)

        async with catalog.directory() as directory:
            assert await directory.people.by_email(tenant.name, "ada@example.org") == (credential, user)
            for name, email in ((tenant.name, "Ada@example.org"), (tenant.name, ""), ("nobody", "ada@example.org")):
                with pytest.raises(Missing):
                    await directory.people.by_email(name, email)

    async def test_a_newer_code_takes_the_place_of_the_one_before(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        first, other = make_code(user), make_code(user, letter=Letter.RESET)
        second = make_code(user, created_at=NOON + HOUR, tries=2, used_at=NOON + 2 * HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for code in (first, other, second):
                await records.people.put_code(code)

        async with catalog.tenant(tenant.id) as records:
            assert await records.people.code(user.id, Letter.VERIFY) == second
            assert await records.people.code(user.id, Letter.RESET) == other
            with pytest.raises(Missing):
                await records.people.code(user.id, Letter.INVITE)

    async def test_a_session_comes_back_and_can_be_replaced(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        session = make_session(user, address="192.0.2.1", agent="curl/8", methods=("pwd", "otp"))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_session(session)
            with pytest.raises(AlreadyExists):
                await records.people.add_session(session)
            await records.people.save_session(session := session.rotated(b"next" * 8, at=NOON + HOUR, life=HOUR))
            assert await records.people.session(session.id) == session
            with pytest.raises(Missing):
                await records.people.save_session(make_session(user))
            with pytest.raises(Missing):
                await records.people.add_session(make_session(make_user(tenant.id)))

        async with catalog.directory() as directory:
            assert await directory.people.session(session.id) == (session, user)
            with pytest.raises(Missing):
                await directory.people.session(SessionId(new_id()))

    async def test_a_users_sessions_come_most_recently_used_first_without_ended_ones(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        user, other = await user_in(catalog, tenant), await user_in(catalog, tenant)
        early, late = make_session(user), make_session(user, used_at=NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for session in (early, late, make_session(user, ended_at=NOON), make_session(other)):
                await records.people.add_session(session)

            assert await records.people.sessions(user.id) == [late, early]

    async def test_people_of_another_tenant_are_out_of_reach(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        user = await user_in(catalog, tenant)
        credential, code, session = make_credential(user), make_code(user), make_session(user)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_credential(credential)
            await records.people.put_code(code)
            await records.people.add_session(session)

        async with catalog.tenant(other.id, writes=True) as records:
            assert await records.people.sessions(user.id) == []
            for reaching in (
                records.people.credential(user.id),
                records.people.code(user.id, code.letter),
                records.people.session(session.id),
                records.people.save_credential(replace(credential, tenant=other.id)),
                records.people.save_session(replace(session, tenant=other.id)),
                records.people.add_credential(replace(credential, tenant=other.id)),
                records.people.put_code(replace(code, tenant=other.id)),
                records.people.add_session(replace(session, tenant=other.id, id=SessionId(new_id()))),
            ):
                with pytest.raises(Missing):
                    await reaching
            for smuggling in (
                records.people.add_credential(credential),
                records.people.save_credential(credential),
                records.people.put_code(code),
                records.people.add_session(session),
                records.people.save_session(session),
            ):
                with pytest.raises(Forbidden):
                    await smuggling

    async def test_failures_are_counted_until_they_are_old_or_forgotten(self, catalog: Catalog) -> None:
        subject, quiet = new_id(), new_id()
        async with catalog.directory(writes=True) as directory:
            for minute in range(3):
                at = NOON + timedelta(minutes=minute)
                counted = await directory.people.count_failure(subject, at, since=NOON - HOUR)
                assert counted == Failures(subject=subject, count=minute + 1, last_at=at)
            assert await directory.people.failures([quiet, subject]) == [counted]
            again = await directory.people.count_failure(subject, NOON + 3 * HOUR, since=NOON + 2 * HOUR)
            assert again.count == 1
            await directory.people.forget_failures(subject)
            await directory.people.forget_failures(quiet)

            assert await directory.people.failures([quiet, subject]) == []

    async def test_however_many_count_at_once_none_is_lost(self, catalog: Catalog) -> None:
        subject = new_id()

        async def fail() -> None:
            async with catalog.directory(writes=True) as directory:
                await directory.people.count_failure(subject, NOON, since=NOON - HOUR)

        await asyncio.gather(*(fail() for _ in range(20)))

        async with catalog.directory() as directory:
            assert [one.count for one in await directory.people.failures([subject])] == [20]

    async def test_the_ring_of_token_keys_comes_back_newest_first(self, catalog: Catalog) -> None:
        old, new = make_token_key(), make_token_key(created_at=NOON + HOUR, algorithm="RS256", private=b"\x00\xff" * 600)
        async with catalog.directory(writes=True) as directory:
            await directory.people.trust.add_token_key(old)
            await directory.people.trust.add_token_key(new)
            await directory.people.trust.retire_token_key(old.kid, NOON)
            await directory.people.trust.retire_token_key(old.kid, NOON + HOUR)

            ours = [key for key in await directory.people.trust.token_keys() if key.kid in (old.kid, new.kid)]
            assert ours == [new, replace(old, retired_at=NOON + HOUR)]
            with pytest.raises(AlreadyExists):
                await directory.people.trust.add_token_key(old)
            with pytest.raises(Missing):
                await directory.people.trust.retire_token_key("nobody", NOON)

    async def test_what_has_expired_is_swept_and_nothing_else(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        # Long ago, since an adapter may keep one database for all tests.
        ago = NOON - timedelta(days=20_000)
        old, live = make_session(user, expires_at=ago), make_session(user)
        subject = new_id()
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.people.add_session(old)
            await records.people.add_session(live)
            await records.people.put_code(make_code(user, expires_at=ago))
            await records.people.put_code(make_code(user, letter=Letter.RESET))
        async with catalog.directory(writes=True) as directory:
            await directory.people.count_failure(subject, ago, since=ago)

            assert await directory.people.sweep(ago + HOUR) == 3
            assert await directory.people.sweep(ago + HOUR) == 0
        async with catalog.tenant(tenant.id) as records:
            assert await records.people.sessions(user.id) == [live]
            assert (await records.people.code(user.id, Letter.RESET)).id
            with pytest.raises(Missing):
                await records.people.code(user.id, Letter.VERIFY)

    async def test_a_reading_transaction_changes_nobody(self, catalog: Catalog, tenant: Tenant) -> None:
        user = await user_in(catalog, tenant)
        async with catalog.tenant(tenant.id) as records:
            for writing in (
                records.people.add_credential(make_credential(user)),
                records.people.save_credential(make_credential(user)),
                records.people.put_code(make_code(user, id=CodeId(new_id()))),
                records.people.add_session(make_session(user)),
                records.people.save_session(make_session(user)),
            ):
                with pytest.raises(WrongState):
                    await writing
        async with catalog.directory() as directory:
            for writing_here in (
                directory.people.count_failure("x", NOON, since=NOON),
                directory.people.forget_failures("x"),
                directory.people.trust.add_token_key(make_token_key()),
                directory.people.trust.retire_token_key("x", NOON),
                directory.people.sweep(NOON),
            ):
                with pytest.raises(WrongState):
                    await writing_here

    async def test_a_removed_user_takes_along_what_signs_them_in_and_nobody_elses(self, catalog: Catalog, tenant: Tenant) -> None:
        ada, zoe = await user_in(catalog, tenant), await user_in(catalog, tenant)
        kept = {}
        for user in (ada, zoe):
            kept[user.id] = make_key(user), make_session(user), make_passkey(user), make_identity(user)
            key, session, passkey, identity = kept[user.id]
            async with catalog.tenant(tenant.id, writes=True) as records:
                await records.accounts.api_keys.add(key)
                await records.accounts.issuers.add_identity(identity)
                await records.people.add_credential(make_credential(user))
                await records.people.put_code(make_code(user))
                await records.people.add_session(session)
                await records.factors.put_totp(make_totp(user))
                await records.factors.add_passkey(passkey)

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.remove_user(ada.id)

        async with catalog.tenant(tenant.id) as records:
            assert [user.id for user in await records.accounts.users() if user.id in kept] == [zoe.id]
            assert [key.id for key in await records.accounts.api_keys.all()] == [kept[zoe.id][0].id]
            assert not await records.people.sessions(ada.id)
            assert not await records.factors.passkeys(ada.id)
            identity = kept[ada.id][3]
            for gone in (
                records.people.credential(ada.id),
                records.people.code(ada.id, make_code(ada).letter),
                records.people.session(kept[ada.id][1].id),
                records.factors.totp(ada.id),
                records.factors.passkey(kept[ada.id][2].id),
                records.accounts.issuers.identity(identity.issuer, identity.subject),
            ):
                with pytest.raises(Missing):
                    await gone
            assert await records.people.credential(zoe.id) == make_credential(zoe)
            assert (await records.factors.totp(zoe.id)).user == zoe.id
            assert len(await records.people.sessions(zoe.id)) == len(await records.factors.passkeys(zoe.id)) == 1
        async with catalog.directory() as directory:
            with pytest.raises(Missing):
                await directory.key(kept[ada.id][0].id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.accounts.remove_user(ada.id)
            await records.accounts.add_user(replace(ada, id=UserId(new_id())))  # the name is free again

    async def test_another_tenants_user_is_not_removed(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        theirs = await user_in(catalog, other)

        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.accounts.remove_user(theirs.id)
