"""What every catalog must do with webhook endpoints and their deliveries. Part of CatalogContract."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from safelight.domain.accounts import Tenant
from safelight.domain.ids import DeliveryId, EndpointId, new_id
from safelight.domain.webhooks import Attempt, Delivery, DeliveryState, DisabledFor, Endpoint
from safelight.errors import AlreadyExists, BadField, Forbidden, Missing, Stale, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_delivery, make_endpoint, make_tenant

HOUR = timedelta(hours=1)


async def endpoint_in(catalog: Catalog, tenant: Tenant, *deliveries: Delivery, endpoint: Endpoint | None = None) -> Endpoint:
    endpoint = endpoint or make_endpoint(tenant.id)
    async with catalog.tenant(tenant.id, writes=True) as records:
        await records.webhooks.add(endpoint)
        for delivery in deliveries:
            await records.webhooks.deliveries.add(delivery)
    return endpoint


async def lined_up(catalog: Catalog, endpoint: Endpoint, at: datetime) -> bool:
    """Whether the outbox says that somebody has to look after this endpoint."""
    async with catalog.directory() as directory:
        return (endpoint.tenant, endpoint.id) in await directory.outbox.due(at)


class WebhooksContract:
    async def test_an_endpoint_comes_back_as_it_was(self, catalog: Catalog, tenant: Tenant) -> None:
        plain = make_endpoint(tenant.id)
        full = make_endpoint(
            tenant.id,
            created_at=NOON + HOUR,
            url="https://ünï.example/héok?x=1",
            description="Größe",
            events=("album.*", "image.ready"),
            secret=bytes(range(32)),
            previous_secret=bytes(reversed(range(32))),
            previous_until=NOON + timedelta(days=1, microseconds=7),
            disabled_at=NOON,
            disabled_for=DisabledFor.FAILING,
            failing_since=NOON - HOUR,
        )
        await endpoint_in(catalog, tenant, endpoint=plain)
        await endpoint_in(catalog, tenant, endpoint=full)

        async with catalog.tenant(tenant.id) as records:
            assert await records.webhooks.get(plain.id) == plain
            assert await records.webhooks.all() == [full, plain]

    async def test_an_endpoint_is_added_once(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = await endpoint_in(catalog, tenant)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(AlreadyExists):
                await records.webhooks.add(endpoint)

    async def test_an_endpoint_is_saved_over_the_revision_before(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = await endpoint_in(catalog, tenant, endpoint=make_endpoint(tenant.id, previous_secret=b"p" * 32))
        after = replace(endpoint.rotated(b"n" * 32, at=NOON + HOUR, grace=timedelta(0)), url="https://other.example/")
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.save(after)
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.webhooks.get(endpoint.id) == after
            with pytest.raises(Stale):
                await records.webhooks.save(after)
            with pytest.raises(Missing):
                await records.webhooks.save(make_endpoint(tenant.id))

    async def test_text_that_no_catalog_can_keep_is_refused(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = await endpoint_in(catalog, tenant)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(BadField):
                await records.webhooks.add(make_endpoint(tenant.id, description="\x00"))
            with pytest.raises(BadField):
                await records.webhooks.deliveries.add(make_delivery(endpoint, body="\ud800"))

    async def test_another_tenants_endpoints_and_deliveries_are_missing(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        delivery = make_delivery(endpoint)
        await endpoint_in(catalog, tenant, delivery, endpoint=endpoint)
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)

        async with catalog.tenant(other.id, writes=True) as records:
            deliveries = records.webhooks.deliveries
            assert await records.webhooks.all() == []
            assert await deliveries.page(endpoint.id) == []
            assert await deliveries.due(endpoint.id, NOON + HOUR) == []
            assert await deliveries.sweep(endpoint.id, NOON + timedelta(days=99)) == 0
            for missing in (
                records.webhooks.get(endpoint.id),
                records.webhooks.remove(endpoint.id),
                records.webhooks.save(replace(endpoint, tenant=other.id, revision=2)),
                deliveries.get(endpoint.id, delivery.id),
                deliveries.add(replace(delivery, tenant=other.id)),
                deliveries.save(replace(delivery, tenant=other.id, revision=2)),
            ):
                with pytest.raises(Missing):
                    await missing
            for forbidden in (
                records.webhooks.add(make_endpoint(tenant.id)),
                records.webhooks.save(replace(endpoint, revision=2)),
                deliveries.add(make_delivery(endpoint)),
                deliveries.save(replace(delivery, revision=2)),
            ):
                with pytest.raises(Forbidden):
                    await forbidden
        async with catalog.tenant(tenant.id) as records:
            assert await records.webhooks.all() == [endpoint]
            assert await records.webhooks.deliveries.page(endpoint.id) == [delivery]

    async def test_a_delivery_comes_back_as_it_was(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        waiting = make_delivery(endpoint, body='{"é": "日本"}', due_at=NOON + timedelta(microseconds=3))
        attempts = (
            Attempt(at=NOON, duration_ms=1200, error="source_unavailable"),
            Attempt(at=NOON + HOUR, duration_ms=7, status=500, excerpt="Größe"),
        )
        ended = make_delivery(endpoint, state=DeliveryState.FAILED, due_at=None, tries=2, attempts=attempts, revision=5)
        await endpoint_in(catalog, tenant, waiting, ended, endpoint=endpoint)

        async with catalog.tenant(tenant.id) as records:
            assert await records.webhooks.deliveries.get(endpoint.id, waiting.id) == waiting
            assert await records.webhooks.deliveries.get(endpoint.id, ended.id) == ended

    async def test_a_message_is_added_once_for_each_endpoint(self, catalog: Catalog, tenant: Tenant) -> None:
        one, other = make_endpoint(tenant.id), make_endpoint(tenant.id)
        delivery = make_delivery(one)
        await endpoint_in(catalog, tenant, delivery, endpoint=one)
        await endpoint_in(catalog, tenant, replace(delivery, endpoint=other.id), endpoint=other)
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(AlreadyExists):
                await records.webhooks.deliveries.add(delivery)
            await records.webhooks.deliveries.add(make_delivery(one))  # the transaction goes on
        async with catalog.tenant(tenant.id) as records:
            assert len(await records.webhooks.deliveries.page(one.id)) == 2

    async def test_a_delivery_needs_its_endpoint(self, catalog: Catalog, tenant: Tenant) -> None:
        async with catalog.tenant(tenant.id, writes=True) as records:
            with pytest.raises(Missing):
                await records.webhooks.deliveries.add(make_delivery(make_endpoint(tenant.id)))
            with pytest.raises(Missing):
                await records.webhooks.deliveries.get(EndpointId(new_id()), DeliveryId(new_id()))

    async def test_a_delivery_is_saved_over_the_revision_before(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        delivery = make_delivery(endpoint)
        await endpoint_in(catalog, tenant, delivery, endpoint=endpoint)
        claimed = delivery.claimed(until=NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.deliveries.save(claimed)
        async with catalog.tenant(tenant.id, writes=True) as records:
            deliveries = records.webhooks.deliveries
            assert await deliveries.get(endpoint.id, delivery.id) == claimed
            with pytest.raises(Stale):
                await deliveries.save(claimed)
            with pytest.raises(Missing):
                await deliveries.save(make_delivery(endpoint))

    async def test_what_is_due_comes_in_the_order_of_being_due_and_only_for_its_endpoint(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        endpoint, other = make_endpoint(tenant.id), make_endpoint(tenant.id)
        late, early, future = (make_delivery(endpoint, due_at=NOON + n * HOUR) for n in (2, 1, 3))
        ended = make_delivery(endpoint, state=DeliveryState.DELIVERED, due_at=None)
        await endpoint_in(catalog, tenant, late, early, future, ended, endpoint=endpoint)
        await endpoint_in(catalog, tenant, make_delivery(other, due_at=NOON), endpoint=other)

        async with catalog.tenant(tenant.id) as records:
            deliveries = records.webhooks.deliveries
            assert await deliveries.due(endpoint.id, NOON + 2 * HOUR) == [early, late]
            assert await deliveries.due(endpoint.id, NOON + 2 * HOUR, limit=1) == [early]
            assert await deliveries.due(endpoint.id, NOON) == []

    async def test_what_was_put_off_or_has_ended_is_not_due(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        one, other = make_delivery(endpoint), make_delivery(endpoint)
        await endpoint_in(catalog, tenant, one, other, endpoint=endpoint)
        attempt = Attempt(at=NOON, duration_ms=1, status=204)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.deliveries.save(one.claimed(until=NOON + HOUR))
            await records.webhooks.deliveries.save(other.tried(attempt, wait=HOUR))

        async with catalog.tenant(tenant.id) as records:
            assert await records.webhooks.deliveries.due(endpoint.id, NOON) == []
            assert [due.id for due in await records.webhooks.deliveries.due(endpoint.id, NOON + HOUR)] == [one.id]

    async def test_the_outbox_tells_which_endpoints_are_due(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint, off = make_endpoint(tenant.id), make_endpoint(tenant.id, disabled_at=NOON, disabled_for=DisabledFor.ASKED)
        delivery = make_delivery(endpoint, due_at=NOON + HOUR)
        await endpoint_in(catalog, tenant, delivery, endpoint=endpoint)
        await endpoint_in(catalog, tenant, make_delivery(off), endpoint=off)

        assert not await lined_up(catalog, endpoint, NOON)
        assert await lined_up(catalog, endpoint, NOON + HOUR)
        assert not await lined_up(catalog, off, NOON + HOUR)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.save(off.enabled(at=NOON))
            await records.webhooks.save(endpoint.disabled(DisabledFor.ASKED, at=NOON))
        assert await lined_up(catalog, off, NOON + HOUR)
        assert not await lined_up(catalog, endpoint, NOON + HOUR)

    async def test_the_log_comes_newest_first_and_page_by_page(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        made = [
            make_delivery(endpoint, created_at=NOON + n * HOUR, state=list(DeliveryState)[n % 3], due_at=None) for n in range(8)
        ]
        await endpoint_in(catalog, tenant, *made, endpoint=endpoint)
        newest = made[::-1]

        async with catalog.tenant(tenant.id) as records:
            deliveries = records.webhooks.deliveries
            assert await deliveries.page(endpoint.id) == newest
            assert await deliveries.page(endpoint.id, limit=3) == newest[:3]
            assert await deliveries.page(endpoint.id, before=newest[2].id, limit=3) == newest[3:6]
            assert await deliveries.page(endpoint.id, before=newest[-1].id) == []
            for state in DeliveryState:
                wanted = [one for one in newest if one.state is state]
                assert await deliveries.page(endpoint.id, state=state) == wanted
                assert await deliveries.page(endpoint.id, state=state, limit=1) == wanted[:1]
                assert await deliveries.page(endpoint.id, state=state, before=wanted[0].id, limit=1) == wanted[1:2]

    async def test_what_is_old_is_swept_in_portions_and_what_was_replayed_stays(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        old = [make_delivery(endpoint, created_at=NOON + n * HOUR, forget_at=NOON + n * HOUR) for n in range(3)]
        young = make_delivery(endpoint, created_at=NOON + 3 * HOUR, forget_at=NOON + 50 * HOUR)
        await endpoint_in(catalog, tenant, *old, young, endpoint=endpoint)
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.webhooks.deliveries.sweep(endpoint.id, NOON + 10 * HOUR, limit=2) == 2
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.webhooks.deliveries.sweep(endpoint.id, NOON + 10 * HOUR, limit=2) == 1
        async with catalog.tenant(tenant.id, writes=True) as records:
            assert await records.webhooks.deliveries.sweep(endpoint.id, NOON + 10 * HOUR, limit=2) == 0
            assert await records.webhooks.deliveries.page(endpoint.id) == [young]
            assert await records.webhooks.deliveries.due(endpoint.id, NOON + 99 * HOUR) == [young]

    async def test_an_endpoint_goes_with_its_deliveries(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        delivery = make_delivery(endpoint)
        await endpoint_in(catalog, tenant, delivery, endpoint=endpoint)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.webhooks.remove(endpoint.id)

        async with catalog.tenant(tenant.id, writes=True) as records:
            deliveries = records.webhooks.deliveries
            assert await records.webhooks.all() == []
            assert await deliveries.page(endpoint.id) == []
            assert await deliveries.due(endpoint.id, NOON + HOUR) == []
            for missing in (
                records.webhooks.get(endpoint.id),
                records.webhooks.remove(endpoint.id),
                deliveries.get(endpoint.id, delivery.id),
                deliveries.save(delivery.claimed(until=NOON)),
            ):
                with pytest.raises(Missing):
                    await missing
        assert not await lined_up(catalog, endpoint, NOON + HOUR)

    async def test_a_reading_transaction_changes_no_webhook(self, catalog: Catalog, tenant: Tenant) -> None:
        endpoint = make_endpoint(tenant.id)
        delivery = make_delivery(endpoint)
        await endpoint_in(catalog, tenant, delivery, endpoint=endpoint)
        async with catalog.tenant(tenant.id) as records:
            for writing in (
                records.webhooks.add(make_endpoint(tenant.id)),
                records.webhooks.save(endpoint.enabled(at=NOON)),
                records.webhooks.remove(endpoint.id),
                records.webhooks.deliveries.add(make_delivery(endpoint)),
                records.webhooks.deliveries.save(delivery.claimed(until=NOON)),
                records.webhooks.deliveries.sweep(endpoint.id, NOON),
            ):
                with pytest.raises(WrongState):
                    await writing
