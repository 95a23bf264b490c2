"""One works, the others wait; and whoever fails, dies or hangs keeps nobody for good."""

from __future__ import annotations

import asyncio
import time

import pytest

from safelight.adapters.cache.memory import MemoryCache
from safelight.services.turns import LEASE_S, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def two(clock) -> tuple[Turns, Turns]:
    cache = MemoryCache(now=clock)
    return Turns(cache), Turns(cache)


def turn(turns: Turns, name: str = "a", *, since_s: float | None = None, patience_s: float = 60.0):
    return turns.turn(name, since_s=time.monotonic() if since_s is None else since_s, patience_s=patience_s)


async def test_one_has_the_turn_and_another_has_it_afterwards(two):
    one, other = two
    async with turn(one) as is_ours, turn(other) as is_theirs, turn(other, "b") as is_free:
        assert (is_ours, is_theirs, is_free) == (True, False, True)
    async with turn(other) as is_theirs:
        assert is_theirs


async def test_who_fails_in_it_has_let_go_of_it(two):
    one, other = two
    with pytest.raises(RuntimeError):
        async with turn(one):
            raise RuntimeError
    async with turn(other) as is_theirs:
        assert is_theirs


async def test_who_dies_in_it_has_it_for_the_lease_and_no_longer(two, clock):
    one, other = two
    assert await one.cache.lease("a", one.holder, ttl_s=LEASE_S)
    async with turn(other) as is_theirs:
        assert not is_theirs
    clock.now += LEASE_S
    async with turn(other) as is_theirs:
        assert is_theirs


async def test_who_works_for_long_keeps_it(two, clock, monkeypatch):
    one, other = two
    monkeypatch.setattr("safelight.services.turns._EXTEND_S", 0)
    async with turn(one):
        for _ in range(5):
            clock.now += 0.9 * LEASE_S
            for _ in range(10):
                await asyncio.sleep(0)
            async with turn(other) as is_theirs:
                assert not is_theirs


async def test_who_has_waited_for_longer_than_any_work_may_take_waits_no_more(two):
    one, other = two
    async with turn(one), turn(other, since_s=time.monotonic() - 61) as is_theirs:
        assert is_theirs


async def test_without_a_shared_cache_everybody_has_it_and_looks_once():
    looks = []

    async def look():
        looks.append(1)

    alone = Turns(None)
    async with turn(alone) as is_ours, turn(Turns(None)) as is_theirs:
        assert is_ours
        assert is_theirs
    assert await alone.late_look(look) is None
    assert looks == []
