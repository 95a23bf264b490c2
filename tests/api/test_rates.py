"""Who asks too often is told so, when to come back, and how much is left; and nobody else notices."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.pictures import jpeg

from safelight.adapters.cache.memory import MemoryCache
from safelight.api.app import Front
from safelight.domain.rates import Rate
from safelight.services.limiter import Limiter, Policy, per_minute, per_second

SLOW = 0.01
"""A request in a hundred seconds, so that no test sees a bucket fill; the bucket holds one."""


def client_at(running, address, **headers):
    front = Front(running.safelight)
    transport = httpx.ASGITransport(front, client=(address, 1), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


async def test_every_answer_says_what_is_left(run):
    async with run({"rate": {"user_per_s": 10}}) as running:
        answers = [await running.client.get("/images") for _ in range(3)]

        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"user";q=10;w=1'}
        assert all(answer.headers["ratelimit"].startswith('"user";r=') for answer in answers)


async def test_a_user_who_asks_too_often_is_refused_and_told_when_to_come_back(run):
    async with run({"rate": {"user_per_s": SLOW}}) as running:
        assert (await running.client.get("/images")).status_code == 200
        refused = await running.client.get("/images")

        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["content-type"] == "application/problem+json"
        assert 90 <= int(refused.headers["retry-after"]) == refused.json()["retry_after_s"] <= 100
        assert refused.headers["ratelimit"] == f'"user";r=0;t={refused.headers["retry-after"]}'
        assert (await running.client.get("/health/ready")).status_code == 200
        metrics = (await running.client.get("/metrics")).text
        assert 'safelight_refusals_total{code="too_many_requests"} 1.0' in metrics


async def test_a_refused_request_does_nothing(run):
    async with run({"rate": {"user_per_s": SLOW}}) as running:
        await running.client.get("/images")
        assert (await running.client.post("/images", files={"file": jpeg()})).status_code == 429
        async with running.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
            assert await directory.outbox.untold() == []
        async with running.safelight.catalog.tenant(tenant.id) as records:
            assert await records.images.tags() == []


async def test_addresses_are_counted_apart_and_before_anybody_is_known(run):
    async with run({"rate": {"address_per_s": SLOW}}) as running:
        async with client_at(running, "198.51.100.1") as one, client_at(running, "198.51.100.2") as other:
            assert (await one.get("/images")).status_code == 401
            assert (await one.get("/images")).status_code == 429
            assert (await one.get("/nowhere")).status_code == 429
            assert (await one.get("/health/live")).status_code == 200
            assert (await other.get("/images")).status_code == 401


async def test_what_lies_below_auth_has_a_stricter_bucket_of_its_own(run):
    async with run({"rate": {"auth_per_minute": 2}}) as running, client_at(running, "198.51.100.1") as client:
        answers = [await client.post("/auth/anything") for _ in range(3)]

        assert [answer.status_code for answer in answers][-1] == 429
        assert 429 not in [answer.status_code for answer in answers[:2]]
        assert answers[0].headers["ratelimit-policy"] == '"auth";q=2;w=60'
        assert (await client.get("/images")).status_code == 401


async def test_a_client_cannot_choose_its_address_but_a_known_proxy_can_tell_it(run):
    spoofed = [{"x-forwarded-for": f"203.0.113.{n}"} for n in range(3)]
    async with run({"rate": {"address_per_s": SLOW}, "server": {"trusted_proxies": "10.0.0.0/8"}}) as running:
        async with client_at(running, "198.51.100.1") as stranger, client_at(running, "10.1.2.3") as proxy:
            assert [(await stranger.get("/images", headers=header)).status_code for header in spoofed] == [401, 429, 429]
            assert [(await proxy.get("/images", headers=header)).status_code for header in spoofed] == [401, 401, 401]
            assert (await proxy.get("/images", headers=spoofed[0])).status_code == 429


async def test_deliveries_are_counted_where_the_setting_says_so(run):
    async with run({"rate": {"delivery_per_s": SLOW}}) as running:
        async with client_at(running, "198.51.100.1") as client, client_at(running, "198.51.100.2") as other:
            path = f"/i/{'0' * 26}/large.webp"
            answers = [await client.get(path) for _ in range(2)]

            assert [answer.status_code for answer in answers] == [404, 429]
            assert int(answers[1].headers["retry-after"]) > 0
            assert (await other.get(path)).status_code == 404


async def test_zero_is_any_number(run):
    async with run({"rate": {"user_per_s": 0, "address_per_s": 0}}) as running:
        answer = await running.client.get("/images")

        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


@pytest.mark.parametrize("rate", [per_second(1_000), per_second(3), per_minute(60), Rate(0.001, 100)])
async def test_two_servers_over_one_cache_give_no_more_than_the_bucket_holds(rate):
    cache = MemoryCache(now=lambda: 1_000.0)
    servers = [Limiter(cache, now=lambda: 1_000.0) for _ in range(2)]
    policy = Policy("p", rate)

    grants = await asyncio.gather(*(servers[n % 2].ask(policy, "me") for n in range(2 * rate.burst + 100)))
    granted = sum(grant.is_granted for grant in grants)
    assert 0.9 * rate.burst <= granted <= rate.burst, "what one took home and did not spend may be lost, never more be given"
    assert (await servers[0].ask(policy, "another")).is_granted


async def test_a_busy_client_costs_the_cache_a_trip_now_and_then():
    class Counting(MemoryCache):
        trips = 0

        async def take(self, *args, **options):
            self.trips += 1
            return await super().take(*args, **options)

    cache = Counting()
    limiter = Limiter(cache, now=lambda: 1_000.0)
    for _ in range(500):
        assert (await limiter.ask(Policy("user", Rate(1_000, 1_000)), "me")).is_granted

    assert cache.trips == 25
