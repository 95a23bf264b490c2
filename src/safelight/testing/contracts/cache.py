"""What every cache must do, sentence by sentence of ports.cache. Inherit and give a `cache` fixture: open and empty.

A cache may forget at any time, so a look that finds nothing proves nothing alone: where a test wants a value gone, it has seen
it there before.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from safelight.domain.rates import Rate
from safelight.ports.cache import Cache

SLOW = Rate(per_s=0.001, burst=5)
"""Refills in hours: whatever is granted comes from the burst."""
PATIENCE_S = 60.0


def fresh(what: str = "k") -> str:
    return f"{what}/{uuid4().hex}"


async def keep(cache: Cache, key: str, value: bytes, *tags: str, ttl_s: float = 60.0) -> None:
    found = await cache.get(key, tags=tags)
    await cache.put(key, value, tags=tags, stamp=found.stamp, ttl_s=ttl_s)


async def value_of(cache: Cache, key: str, *tags: str) -> bytes | None:
    return (await cache.get(key, tags=tags)).value


class CacheContract:
    # Values

    async def test_a_key_that_was_never_put_holds_nothing(self, cache: Cache) -> None:
        assert await value_of(cache, fresh(), fresh("tag")) is None

    @pytest.mark.parametrize("value", [b"", b"\x00\xff" * 50, b"x" * 200_000])
    async def test_what_was_put_is_found_byte_for_byte(self, cache: Cache, value: bytes) -> None:
        key, tag = fresh(), fresh("tag")
        await keep(cache, key, value, tag)

        assert await value_of(cache, key, tag) == value

    async def test_a_second_put_replaces_the_first(self, cache: Cache) -> None:
        key, tag = fresh(), fresh("tag")
        await keep(cache, key, b"one", tag)
        await keep(cache, key, b"two", tag)

        assert await value_of(cache, key, tag) == b"two"

    async def test_a_value_ends_with_its_time(self, cache: Cache) -> None:
        key, tag = fresh(), fresh("tag")
        await keep(cache, key, b"short", tag, ttl_s=0.3)
        async with asyncio.timeout(PATIENCE_S):
            while await value_of(cache, key, tag) is not None:  # noqa: ASYNC110 (a server's time passes without telling us)
                await asyncio.sleep(0.02)

    async def test_the_order_of_tags_means_nothing(self, cache: Cache) -> None:
        key, one, two = fresh(), fresh("tag"), fresh("tag")
        await keep(cache, key, b"v", one, two)

        assert await value_of(cache, key, two, one) == b"v"

    # Forgetting

    async def test_forgetting_a_tag_forgets_all_that_carry_it_and_nothing_else(self, cache: Cache) -> None:
        shared, other = fresh("tag"), fresh("tag")
        keys = [fresh() for _ in range(3)]
        await keep(cache, keys[0], b"0", shared)
        await keep(cache, keys[1], b"1", other, shared)
        await keep(cache, keys[2], b"2", other)
        assert await value_of(cache, keys[0], shared) == b"0"
        await cache.forget([shared])

        assert await value_of(cache, keys[0], shared) is None
        assert await value_of(cache, keys[1], other, shared) is None
        assert await value_of(cache, keys[2], other) == b"2"

    async def test_several_tags_are_forgotten_at_once_unknown_ones_and_none_too(self, cache: Cache) -> None:
        tags = [fresh("tag") for _ in range(3)]
        keys = [fresh() for _ in tags]
        for key, tag in zip(keys, tags, strict=True):
            await keep(cache, key, b"v", tag)
        await cache.forget([*tags[:2], fresh("unknown")])
        await cache.forget([])

        assert [await value_of(cache, key, tag) for key, tag in zip(keys, tags, strict=True)] == [None, None, b"v"]

    async def test_what_was_read_before_a_forget_and_put_after_it_is_not_believed(self, cache: Cache) -> None:
        key, tag = fresh(), fresh("tag")
        stale = await cache.get(key, tags=[tag])
        await cache.forget([tag])
        await cache.put(key, b"stale", tags=[tag], stamp=stale.stamp, ttl_s=60)

        assert await value_of(cache, key, tag) is None
        await keep(cache, key, b"new", tag)
        await cache.put(key, b"stale", tags=[tag], stamp=stale.stamp, ttl_s=60)
        assert await value_of(cache, key, tag) in {None, b"new"}

    async def test_forgetting_twice_between_reading_and_putting_is_no_way_round(self, cache: Cache) -> None:
        key, one, two = fresh(), fresh("tag"), fresh("tag")
        stale = await cache.get(key, tags=[one, two])
        await cache.forget([one])
        await cache.forget([one, two])
        await cache.put(key, b"stale", tags=[one, two], stamp=stale.stamp, ttl_s=60)

        assert await value_of(cache, key, one, two) is None

    async def test_nobody_reads_what_was_true_before_a_change_that_had_been_told(self, cache: Cache) -> None:
        key, tag = fresh(), fresh("tag")
        truth = 0

        async def read() -> int:
            found = await cache.get(key, tags=[tag])
            if found.value is not None:
                return int(found.value)
            read = truth
            await asyncio.sleep(0)  # the catalog takes its time, and is overtaken
            await cache.put(key, str(read).encode(), tags=[tag], stamp=found.stamp, ttl_s=60)
            return read

        async def keep_reading() -> None:
            while truth < 200:
                told = settled
                assert await read() >= told
                await asyncio.sleep(0)

        settled = 0
        readers = [asyncio.create_task(keep_reading()) for _ in range(5)]
        for _ in range(200):
            truth += 1
            await cache.forget([tag])
            settled = truth
            assert await read() == truth
        await asyncio.gather(*readers)

    # Buckets

    async def test_a_bucket_gives_its_burst_and_then_says_when_to_come_back(self, cache: Cache) -> None:
        bucket = fresh("bucket")
        grants = [await cache.take(bucket, SLOW) for _ in range(6)]

        assert [grant.is_granted for grant in grants] == [True] * 5 + [False]
        assert [grant.remaining for grant in grants] == [4, 3, 2, 1, 0, 0]
        assert grants[0].retry_after_s == 0
        assert 0 < grants[5].retry_after_s <= 1_000

    async def test_a_refusal_costs_nothing_and_a_grant_what_was_asked(self, cache: Cache) -> None:
        bucket = fresh("bucket")
        assert (await cache.take(bucket, SLOW, cost=4)).remaining == 1
        refused = await cache.take(bucket, SLOW, cost=2)

        assert (refused.is_granted, refused.remaining) == (False, 1)
        assert (await cache.take(bucket, SLOW, cost=1)).is_granted

    async def test_more_than_the_burst_is_a_mistake(self, cache: Cache) -> None:
        with pytest.raises(ValueError, match="tokens"):
            await cache.take(fresh("bucket"), SLOW, cost=6)

    async def test_buckets_know_nothing_of_each_other(self, cache: Cache) -> None:
        full, other = fresh("bucket"), fresh("bucket")
        await cache.take(full, SLOW, cost=5)

        assert (await cache.take(other, SLOW, cost=5)).is_granted

    async def test_an_empty_bucket_fills_again(self, cache: Cache) -> None:
        bucket, rate = fresh("bucket"), Rate(per_s=20, burst=2)
        async with asyncio.timeout(PATIENCE_S):
            while (await cache.take(bucket, rate, cost=2)).is_granted:
                pass
            while not (grant := await cache.take(bucket, rate, cost=2)).is_granted:
                assert grant.retry_after_s <= rate.window_s
                await asyncio.sleep(grant.retry_after_s)

    async def test_of_many_who_take_at_once_as_many_succeed_as_there_are_tokens(self, cache: Cache) -> None:
        bucket = fresh("bucket")
        grants = await asyncio.gather(*(cache.take(bucket, SLOW) for _ in range(40)))

        assert sum(grant.is_granted for grant in grants) == 5

    # Leases

    async def test_one_holds_a_lease_and_may_ask_again(self, cache: Cache) -> None:
        name = fresh("lease")
        assert await cache.lease(name, "a", ttl_s=60)
        assert await cache.lease(name, "a", ttl_s=60)

        assert not await cache.lease(name, "b", ttl_s=60)
        assert await cache.lease(fresh("lease"), "b", ttl_s=60)

    async def test_a_lease_that_was_let_go_can_be_had(self, cache: Cache) -> None:
        name = fresh("lease")
        await cache.lease(name, "a", ttl_s=60)
        await cache.release(name, "b")
        assert not await cache.lease(name, "b", ttl_s=60)
        await cache.release(name, "a")
        await cache.release(name, "a")

        assert await cache.lease(name, "b", ttl_s=60)

    async def test_a_lease_ends_with_its_time_unless_it_is_extended(self, cache: Cache) -> None:
        lost, extended = fresh("lease"), fresh("lease")
        await cache.lease(lost, "a", ttl_s=0.3)
        await cache.lease(extended, "a", ttl_s=0.3)
        assert await cache.lease(extended, "a", ttl_s=60)
        async with asyncio.timeout(PATIENCE_S):
            while not await cache.lease(lost, "b", ttl_s=60):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        assert not await cache.lease(extended, "b", ttl_s=60)

    async def test_of_many_who_ask_at_once_one_gets_it(self, cache: Cache) -> None:
        name = fresh("lease")
        answers = await asyncio.gather(*(cache.lease(name, f"holder {n}", ttl_s=60) for n in range(40)))

        assert sum(answers) == 1

    # Being there

    async def test_it_answers_a_ping(self, cache: Cache) -> None:
        await cache.ping()

    async def test_keys_tags_buckets_and_leases_of_one_name_are_four_things(self, cache: Cache) -> None:
        name = fresh("same")
        await keep(cache, name, b"v", name)
        assert (await cache.take(name, SLOW, cost=5)).is_granted
        assert await cache.lease(name, "a", ttl_s=60)

        assert await value_of(cache, name, name) == b"v"
