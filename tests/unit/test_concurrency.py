import asyncio
import gc
import os
import weakref

import pytest

from safelight.concurrency import (
    AtHand,
    Believed,
    Bell,
    ByteLru,
    Expiring,
    Gate,
    Pace,
    Places,
    SingleFlight,
    beat,
    beating,
    for_each,
    heard_by,
)
from safelight.errors import BackendUnavailable, Busy, Missing


async def test_many_callers_of_one_key_make_it_once():
    made = 0
    flights: SingleFlight[str, int] = SingleFlight()

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        return made

    values = await asyncio.gather(*(flights.do("a", make) for _ in range(100)))

    assert set(values) == {1}


async def test_everybody_gets_the_makers_error_and_the_next_caller_makes_it_anew():
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError

    results = await asyncio.gather(*(flights.do("a", fail) for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [ValueError] * 3
    assert await flights.do("a", lambda: asyncio.sleep(0, 7)) == 7


async def test_a_caller_who_goes_away_does_not_stop_the_making():
    flights: SingleFlight[str, int] = SingleFlight()
    first = asyncio.create_task(flights.do("a", lambda: asyncio.sleep(0.02, 5)))
    await asyncio.sleep(0)
    second = asyncio.create_task(flights.do("a", lambda: asyncio.sleep(0, 6)))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == 5


async def test_a_gate_admits_by_weight_and_in_turn():
    gate = Gate(capacity=10, queue=5)
    inside: list[str] = []
    peak = 0

    async def visit(name: str, weight: int) -> None:
        nonlocal peak
        async with gate.admit(weight):
            inside.append(name)
            peak = max(peak, len(inside))
            await asyncio.sleep(0.005)
            inside.remove(name)

    await asyncio.gather(*(visit(f"v{n}", 5) for n in range(7)))

    assert peak == 2


async def test_a_full_house_turns_away_at_once():
    gate = Gate(capacity=1, queue=0)
    async with gate.admit(1):
        with pytest.raises(Busy):
            async with gate.admit(1):
                pass
    async with gate.admit(1):
        pass


async def test_a_waiter_who_is_cancelled_gives_up_its_place():
    gate = Gate(capacity=1, queue=2)
    async with gate.admit(1):
        waiting = asyncio.create_task(_enter(gate))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(30), gate.admit(1):
        pass


async def _enter(gate: Gate) -> None:
    async with gate.admit(1):
        pass


async def test_something_heavier_than_the_whole_goes_in_alone():
    gate = Gate(capacity=2, queue=1)
    async with asyncio.timeout(30), gate.admit(100):
        pass


async def test_so_many_at_a_time_are_worked_on_until_there_are_none():
    at_work, most, done = 0, 0, []

    async def work(number):
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        done.append(number)

    await for_each(range(10), work, 3)

    assert (most, at_work, sorted(done)) == (3, 0, list(range(10)))


async def test_the_first_failure_ends_the_others_before_it_is_told():
    begun, ended, for_ever = [], [], asyncio.Event()

    async def work(number):
        begun.append(number)
        try:
            if number == 2:
                raise BackendUnavailable("away")
            await for_ever.wait()
        finally:
            ended.append(number)

    with pytest.raises(BackendUnavailable, match="away"):
        await for_each(range(10), work, 3)

    assert begun == [0, 1, 2]
    assert sorted(ended) == begun


async def test_a_bell_wakes_those_who_listen_for_its_key_only():
    bell: Bell[str] = Bell()
    async with bell.listen("a") as a, bell.listen("b") as b:
        bell.ring("a")

        assert a.is_set()
        assert not b.is_set()


def test_a_file_is_at_hand_while_it_is_lent_and_a_borrower_keeps_it_longer(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes")
    at_hand: AtHand[str] = AtHand()
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    with at_hand.lend("a", fd):
        borrowed = at_hand.borrow("a")
        assert at_hand.borrow("b") is None
    os.close(fd)

    assert at_hand.borrow("a") is None
    assert borrowed is not None
    assert os.pread(borrowed, 100, 0) == b"bytes"
    os.close(borrowed)


def test_an_lru_lets_go_of_the_least_recently_used():
    lru: ByteLru[str] = ByteLru(10, largest_bytes=10)
    lru.put("a", b"1234")
    lru.put("b", b"1234")
    lru.get("a")
    lru.put("c", b"1234")

    assert lru.get("b") is None
    assert lru.get("a") == b"1234"


def test_an_lru_keeps_nothing_that_is_too_large():
    lru: ByteLru[str] = ByteLru(10, largest_bytes=3)
    lru.put("a", b"1234")

    assert lru.get("a") is None


def test_a_belief_ends_after_its_time_or_when_dropped():
    now = 0.0
    beliefs: Expiring[str, int] = Expiring(ttl_s=2, size=2, now=lambda: now)
    beliefs.put("a", 1)
    beliefs.put("b", 2)
    beliefs.drop("b")

    assert (beliefs.get("a"), beliefs.get("b")) == (1, None)
    now = 2.5
    assert beliefs.get("a") is None


def test_what_is_not_believed_any_more_is_let_go_of_though_nobody_asks_for_it_again():
    class Record:
        pass

    now = 0.0
    beliefs: Expiring[str, Record] = Expiring(ttl_s=2, size=1000, now=lambda: now)
    old = Record()
    seen = weakref.ref(old)
    beliefs.put("old", old)
    del old
    now = 1.0
    beliefs.put("young", young := Record())
    now = 2.5
    beliefs.put("new", Record())
    gc.collect()

    assert seen() is None
    assert beliefs.get("young") is young


class Source:
    """Answers when it is let, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked, self.may_answer, self.answer = 0, asyncio.Event(), "first"

    async def __call__(self):
        self.asked += 1
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_what_many_ask_for_is_read_once():
    source, beliefs = Source(), Believed(ttl_s=2, size=10, now=lambda: 0.0)
    asking = [asyncio.create_task(beliefs.read("a", source)) for _ in range(100)]
    await asyncio.sleep(0)
    source.may_answer.set()

    assert await asyncio.gather(*asking) == ["first"] * 100
    assert source.asked == 1


async def test_an_error_of_the_one_who_reads_is_everybodys_and_not_remembered():
    source, beliefs = Source(), Believed(ttl_s=2, size=10, now=lambda: 0.0)
    source.answer = Missing()
    source.may_answer.set()
    found = await asyncio.gather(*(beliefs.read("a", source) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [Missing] * 3

    source.answer = "there"
    assert await beliefs.read("a", source) == "there"
    assert source.asked == 2


async def test_nobody_waits_for_what_is_asked_for_all_the_time():
    now, source = 0.0, Source()
    beliefs = Believed(ttl_s=2, size=10, now=lambda: now)
    source.may_answer.set()
    await beliefs.read("a", source)
    source.may_answer.clear()

    now, source.answer = 1.5, "second"
    assert beliefs.get("a") is None  # the first who comes is to read it,
    assert [await beliefs.read("a", source) for _ in range(3)] == ["first"] * 3  # and is not kept waiting
    assert beliefs.get("a") == "first"
    source.may_answer.set()
    await asyncio.sleep(0.01)
    assert beliefs.get("a") == await beliefs.read("a", source) == "second"
    assert source.asked == 2
    now = 3.4
    assert beliefs.get("a") is None
    assert await beliefs.read("a", source) == "second"


async def test_what_has_not_changed_is_the_same_object_when_it_was_read_anew():
    now = 0.0
    beliefs = Believed(ttl_s=2, size=10, now=lambda: now)

    async def reader():
        return ["equal"]

    first = await beliefs.read("a", reader)
    now = 1.5
    assert await beliefs.read("a", reader) is first
    await asyncio.sleep(0.01)
    now = 3.0

    assert await beliefs.read("a", reader) is first


@pytest.mark.parametrize(
    ("error", "is_believed"), [(Missing(), False), (BackendUnavailable(), True)], ids=["there is none now", "nobody can tell"]
)
async def test_what_cannot_be_read_anew(error, is_believed):
    now, source = 0.0, Source()
    beliefs = Believed(ttl_s=2, size=10, now=lambda: now)
    source.may_answer.set()
    await beliefs.read("a", source)
    now, source.answer = 1.5, error
    await beliefs.read("a", source)
    await asyncio.sleep(0.01)
    source.answer = "again"

    assert await beliefs.read("a", source) == ("first" if is_believed else "again")
    now = 2.1
    assert await beliefs.read("a", source) == "again"


@pytest.mark.parametrize("forgotten", ["drop", "clear"])
async def test_what_was_read_before_a_change_is_not_believed_behind_it(forgotten):
    source, beliefs = Source(), Believed(ttl_s=2, size=10, now=lambda: 0.0)
    early = asyncio.create_task(beliefs.read("a", source))
    await asyncio.sleep(0)
    beliefs.drop("a") if forgotten == "drop" else beliefs.clear()
    changed = Source()
    changed.answer = "changed"
    late = asyncio.create_task(beliefs.read("a", changed))
    await asyncio.sleep(0)
    changed.may_answer.set()
    source.may_answer.set()

    assert await asyncio.gather(early, late) == ["first", "changed"]
    assert beliefs.get("a") == "changed"


async def test_a_reader_goes_on_for_the_others_when_the_one_who_began_has_gone():
    source, beliefs = Source(), Believed(ttl_s=2, size=10, now=lambda: 0.0)
    first, second = [asyncio.create_task(beliefs.read("a", source)) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    source.may_answer.set()

    assert await second == "first"


def test_who_finds_no_place_goes_without_and_no_party_takes_them_all():
    places: Places[str] = Places(3, per_party=2)
    with places.take("a") as first, places.take("a") as second, places.take("a") as third:
        assert (first, second, third) == (True, True, False)
        with places.take("b") as fourth, places.take("b") as fifth:
            assert (fourth, fifth) == (True, False)
    with places.take("a") as again, places.take("a") as twice:
        assert (again, twice) == (True, True)


async def test_the_last_caller_who_goes_away_ends_the_making_where_that_is_wanted():
    flights: SingleFlight[str, int] = SingleFlight(ends_with_callers=True)
    ended: list[str] = []

    async def make() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return 1

    first, second = (asyncio.create_task(flights.do("a", make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.sleep(0)
    assert not ended
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert await flights.do("a", lambda: asyncio.sleep(0, 7)) == 7
    assert ended == ["cancelled"]


async def test_waiting_parties_are_let_in_in_turn():
    gate = Gate(capacity=1, queue=20)
    order: list[str] = []

    async def visit(party: str) -> None:
        async with gate.admit(1, party=party):
            order.append(party)

    async with gate.admit(1):
        tasks = [asyncio.create_task(visit("greedy")) for _ in range(5)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(visit("modest")) for _ in range(2)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    assert order == ["greedy", "modest", "greedy", "modest", "greedy", "greedy", "greedy"]


async def test_no_party_has_more_than_half_of_the_queue_while_others_wait():
    gate = Gate(capacity=1, queue=4)

    async def visit(party: str) -> str:
        async with gate.admit(1, party=party):
            return party

    async with gate.admit(1):
        tasks = [asyncio.create_task(visit("modest"))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(visit("greedy")) for _ in range(5)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[0] == "modest"
    assert [type(result) for result in results[1:]] == [str, str, Busy, Busy, Busy]


async def test_a_heavy_piece_is_not_overtaken_by_light_ones():
    gate = Gate(capacity=10, queue=20)
    order: list[str] = []

    async def visit(name: str, weight: int) -> None:
        async with gate.admit(weight, party=name):
            order.append(name)

    async with gate.admit(5):
        tasks = [asyncio.create_task(visit("heavy", 10))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(visit("light", 1))]
        await asyncio.sleep(0)
        assert not order
    await asyncio.gather(*tasks)

    assert order == ["heavy", "light"]


async def test_what_somebody_waits_for_is_let_in_before_the_rest_and_parties_by_turns():
    gate = Gate(capacity=1, queue=20)
    order = []

    async def enter(name, party, rank):
        async with gate.admit(1, party=party, rank=rank):
            order.append(name)

    async with gate.admit(1):
        waiting = [
            asyncio.create_task(enter(name, party, rank))
            for name, party, rank in [
                ("a1", "a", 1),
                ("a2", "a", 1),
                ("b1", "b", 1),
                ("a3", "a", 0),
                ("a4", "a", 0),
                ("b2", "b", 0),
            ]
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)

    assert order == ["a3", "b2", "a4", "a1", "b1", "a2"]


async def test_a_beat_is_heard_by_the_watcher_of_its_block_and_by_nobody_elses():
    heard = []
    beat()
    with heard_by(lambda: heard.append("outer")):
        beat()
        await asyncio.create_task(_beats())
        with heard_by(lambda: heard.append("inner")):
            beat()
    beat()

    assert heard == ["outer", "outer", "inner"]


async def test_waiting_beats_until_it_ends():
    heard, enough = [], asyncio.Event()

    def hear():
        heard.append(1)
        if len(heard) == 5:
            enough.set()

    with heard_by(hear):
        async with beating(every_s=0.001):
            await asyncio.wait_for(enough.wait(), 30)
        count = len(heard)
        await asyncio.sleep(0.05)

    assert len(heard) == count


async def _beats():
    beat()


async def test_a_pace_lets_so_many_units_a_second_through_and_saves_nothing_up():
    now, slept = 100.0, []

    async def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(10, now=lambda: now, sleep=sleep)
    await pace.spend(5)
    await pace.spend(20)
    now += 60
    await pace.spend(10)

    assert slept == [0.5, 2.0, 1.0]


async def test_a_pace_without_a_bound_waits_for_nothing():
    async def sleep(_):
        raise AssertionError

    await Pace(None, sleep=sleep).spend(10**12)
