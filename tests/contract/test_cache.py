"""The cache in the process's memory: the whole contract, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.adapters.cache.memory import MemoryCache
from safelight.domain.rates import Rate, drawn
from safelight.testing.contracts.cache import CacheContract, keep, value_of


class TestMemoryCache(CacheContract):
    @pytest.fixture
    async def cache(self):
        cache = MemoryCache()
        await cache.open()
        yield cache
        await cache.close()


class TestBounds:
    async def test_values_together_stay_below_the_capacity_and_the_oldest_go(self):
        cache = MemoryCache(capacity_bytes=10_000)
        for n in range(100):
            await keep(cache, f"k{n}", b"x" * 100, "tag")
            await value_of(cache, "k0", "tag")

        kept = [n for n in range(100) if await value_of(cache, f"k{n}", "tag")]
        assert len(kept) == 20
        assert kept == [0, *range(81, 100)], "k0 was asked for all the time"

    async def test_a_value_of_more_than_a_sixteenth_is_not_kept(self):
        cache = MemoryCache(capacity_bytes=16_000)
        await keep(cache, "k", b"x" * 1_001, "tag")

        assert await value_of(cache, "k", "tag") is None

    async def test_a_tag_that_was_pushed_out_takes_its_values_with_it(self):
        cache = MemoryCache(most=10)
        await keep(cache, "k", b"v", "tag")
        for n in range(20):
            await cache.get(f"other{n}", tags=[f"tag{n}"])

        assert await value_of(cache, "k", "tag") is None

    async def test_a_flood_of_names_costs_so_many_places_and_no_more(self):
        cache = MemoryCache(most=10)
        for n in range(1_000):
            await cache.take(f"bucket{n}", Rate(1, 5))
            await cache.lease(f"lease{n}", "a", ttl_s=60)
            await cache.get(f"k{n}", tags=[f"tag{n}"])

        assert {len(kept) for kept in (cache._generations, cache._full_at, cache._leases)} == {10}


@given(
    rate=st.builds(Rate, per_s=st.floats(0.01, 5_000), burst=st.integers(1, 5_000)),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_no_sequence_of_takings_gets_more_than_the_burst_and_what_flowed_in(rate, steps):
    now, full_at, taken = 1_000.0, 0.0, 0
    for wait_s, share in steps:
        now += wait_s
        cost = max(1, int(rate.burst * share))
        full_at, grant = drawn(full_at, now, rate, cost)
        taken += cost * grant.is_granted
        assert taken <= rate.burst + (now - 1_000.0) * rate.per_s + 0.1
        assert 0 <= grant.remaining <= rate.burst
        if not grant.is_granted:
            _, again = drawn(full_at, now + grant.retry_after_s, rate, cost)
            assert again.is_granted, "who comes back when told is served"
