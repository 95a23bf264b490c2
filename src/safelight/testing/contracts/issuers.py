"""What every catalog must do for outside issuers, sentence by sentence of IssuerRecords and TrustDirectory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from safelight.domain.accounts import Role, Scope, Tenant
from safelight.domain.ids import IssuerId, new_id
from safelight.domain.issuers import Terms
from safelight.errors import AlreadyExists, BadField, Busy, Forbidden, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_identity, make_issuer, make_tenant, make_user

HOUR = timedelta(hours=1)


class IssuersContract:
    """Needs the fixtures `catalog` and `tenant`."""

    async def test_every_term_of_an_issuer_comes_back(self, catalog: Catalog, tenant: Tenant) -> None:
        plain = make_issuer(tenant.id, created_at=NOON + HOUR)
        whole = make_issuer(
            tenant.id,
            terms=Terms(
                audiences=("a", "b"),
                jwks_url="https://keys.example.org/jwks",
                algorithms=("ES256", "EdDSA"),
                authorized_parties=("app",),
                token_use=("access",),
                skew_s=7,
                name_claims=("nickname",),
                role_claim="cognito:groups",
                roles={"boss": Role.ADMIN, "staff": Role.USER},
                default_role=None,
                scope_claim="scp",
                scopes={"pictures.read": Scope.READ},
            ),
        )
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.add(plain)
            await records.accounts.issuers.add(whole)

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.issuers.all() == [whole, plain]
        async with catalog.directory() as directory:
            assert await directory.people.trust.issuers(whole.issuer) == [whole]
            assert await directory.people.trust.issuers("https://nobody.example.org") == []

    async def test_terms_are_replaced_by_who_knows_the_revision_before(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        issuer = make_issuer(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.add(issuer)
        after = replace(issuer, terms=Terms(audiences=("b",), default_role=None, skew_s=9), revision=2)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.save(after)

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.issuers.all() == [after]
        async with catalog.directory() as directory:
            assert await directory.people.trust.issuers(issuer.issuer) == [after]
        for wrong, error in (
            (after, Stale),
            (make_issuer(tenant.id, revision=2), Missing),
            (replace(after, tenant=other.id), Forbidden),
        ):
            with pytest.raises(error):
                async with catalog.tenant(tenant.id, writes=True) as records:
                    await records.accounts.issuers.save(wrong)
        with pytest.raises(Missing):
            async with catalog.tenant(other.id, writes=True) as records:
                await records.accounts.issuers.save(replace(after, tenant=other.id, revision=3))

    async def test_an_issuer_is_trusted_once_by_a_tenant_and_by_any_number_of_tenants(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        mine = make_issuer(tenant.id, created_at=NOON + HOUR)
        theirs = make_issuer(other.id, issuer=mine.issuer, terms=Terms(audiences=("theirs",)))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.add(mine)
            for again in (mine, make_issuer(tenant.id, issuer=mine.issuer), make_issuer(tenant.id, id=mine.id)):
                with pytest.raises(AlreadyExists):
                    await records.accounts.issuers.add(again)
            with pytest.raises(Forbidden):
                await records.accounts.issuers.add(theirs)
            with pytest.raises(Forbidden):
                await records.accounts.issuers.add(replace(make_issuer(tenant.id), tenant=None))
        async with catalog.tenant(other.id, writes=True) as records:
            await records.accounts.issuers.add(theirs)
            assert await records.accounts.issuers.all() == [theirs]
            with pytest.raises(Missing):
                await records.accounts.issuers.remove(mine.id)

        async with catalog.directory() as directory:
            assert await directory.people.trust.issuers(mine.issuer) == [theirs, mine]

    async def test_of_tenants_that_name_an_issuer_for_one_audience_at_once_one_has_it(self, catalog: Catalog) -> None:
        url, tenants = f"https://{new_id()}.example.org", [make_tenant() for _ in range(4)]
        async with catalog.directory(writes=True) as directory:
            for each in tenants:
                await directory.add_tenant(each)

        async def name_it(each: Tenant) -> None:
            issuer = make_issuer(each.id, issuer=url, terms=Terms(audiences=(f"of {each.id}", "everybody's")))
            async with catalog.tenant(each.id, writes=True) as records:
                await records.accounts.issuers.add(issuer)

        outcomes = await asyncio.gather(*map(name_it, tenants), return_exceptions=True)

        assert outcomes.count(None) == 1, outcomes
        assert all(isinstance(one, AlreadyExists | Busy) for one in outcomes if one is not None), outcomes
        async with catalog.directory() as directory:
            assert len(await directory.people.trust.issuers(url)) == 1

    async def test_of_tenants_that_widen_their_terms_to_one_audience_at_once_one_does(self, catalog: Catalog) -> None:
        url, tenants = f"https://{new_id()}.example.org", [make_tenant() for _ in range(4)]
        own = {each.id: make_issuer(each.id, issuer=url, terms=Terms(audiences=(f"of {each.id}",))) for each in tenants}
        async with catalog.directory(writes=True) as directory:
            for each in tenants:
                await directory.add_tenant(each)
        for each in tenants:
            async with catalog.tenant(each.id, writes=True) as records:
                await records.accounts.issuers.add(own[each.id])

        async def widen(each: Tenant) -> None:
            before = own[each.id]
            wider = replace(before, terms=Terms(audiences=(*before.terms.audiences, "everybody's")), revision=2)
            async with catalog.tenant(each.id, writes=True) as records:
                await records.accounts.issuers.save(wider)

        outcomes = await asyncio.gather(*map(widen, tenants), return_exceptions=True)

        assert outcomes.count(None) == 1, outcomes
        assert all(isinstance(one, AlreadyExists | Busy) for one in outcomes if one is not None), outcomes
        first = tenants[outcomes.index(None)]
        async with catalog.tenant(first.id, writes=True) as records:
            await records.accounts.issuers.remove(own[first.id].id)
        last = next(each for each in tenants if each is not first)
        await widen(last)
        async with catalog.directory() as directory:
            trusted = await directory.people.trust.issuers(url)
        assert [one.tenant for one in trusted if one.wants(("everybody's",))] == [last.id]

    async def test_a_removed_issuer_is_gone_and_can_be_added_again(self, catalog: Catalog, tenant: Tenant) -> None:
        issuer = make_issuer(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.add(issuer)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.remove(issuer.id)
            with pytest.raises(Missing):
                await records.accounts.issuers.remove(IssuerId(new_id()))
        async with catalog.directory() as directory:
            assert await directory.people.trust.issuers(issuer.issuer) == []
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.add(again := make_issuer(tenant.id, issuer=issuer.issuer))

            assert await records.accounts.issuers.all() == [again]

    async def test_an_identity_leads_to_its_user_in_its_tenant_alone(self, catalog: Catalog, tenant: Tenant) -> None:
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        user = make_user(tenant.id, disabled_at=NOON)
        identity = make_identity(user, subject="auth0|7")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.issuers.add_identity(identity)
            for again in (identity, make_identity(user, issuer=identity.issuer, subject="auth0|7")):
                with pytest.raises(AlreadyExists):
                    await records.accounts.issuers.add_identity(again)
            with pytest.raises(Missing):
                await records.accounts.issuers.add_identity(make_identity(make_user(tenant.id)))
            with pytest.raises(Forbidden):
                await records.accounts.issuers.add_identity(replace(identity, tenant=other.id))
            await records.accounts.issuers.add_identity(make_identity(user, issuer=identity.issuer, subject="AUTH0|7"))

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.issuers.identity(identity.issuer, "auth0|7") == (identity, user)
            for issuer, subject in ((identity.issuer, "auth0|"), (identity.issuer + "a", "uth0|7"), ("", "auth0|7")):
                with pytest.raises(Missing):
                    await records.accounts.issuers.identity(issuer, subject)
        async with catalog.tenant(other.id) as records:
            with pytest.raises(Missing):
                await records.accounts.issuers.identity(identity.issuer, "auth0|7")

    async def test_an_identity_is_replaced(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id)
        identity = make_identity(user)
        later = replace(identity, role_at=NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            await records.accounts.issuers.add_identity(identity)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.issuers.save_identity(later)
            with pytest.raises(Missing):
                await records.accounts.issuers.save_identity(make_identity(user))

        async with catalog.tenant(tenant.id) as records:
            assert await records.accounts.issuers.identity(identity.issuer, identity.subject) == (later, user)

    async def test_what_no_row_can_hold_is_a_bad_field(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.accounts.add_user(user)
            for adding in (
                records.accounts.issuers.add(make_issuer(tenant.id, issuer="https://a\x00.example")),
                records.accounts.issuers.add_identity(make_identity(user, subject="\x00")),
            ):
                with pytest.raises(BadField):
                    await adding

    async def test_trust_is_not_written_in_a_reading_transaction(self, catalog: Catalog, tenant: Tenant) -> None:
        user = make_user(tenant.id)
        async with catalog.tenant(tenant.id) as records:
            for writing in (
                records.accounts.issuers.add(make_issuer(tenant.id)),
                records.accounts.issuers.remove(IssuerId(new_id())),
                records.accounts.issuers.add_identity(make_identity(user)),
                records.accounts.issuers.save_identity(make_identity(user)),
            ):
                with pytest.raises(WrongState):
                    await writing
