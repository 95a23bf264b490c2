"""Small tools for doing things once and not all at once. They know nothing of images; services and adapters use them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from operator import itemgetter
from typing import Generic, TypeVar

from safelight.errors import Busy, SafelightError

T = TypeVar("T")

_heard: ContextVar[Callable[[], None]] = ContextVar("beat", default=lambda: None)


class Pace:
    """At most so many units a second, over all who spend. What is not spent is not saved up.

    Args:
        per_s: Units; None for no bound.
        now: A clock of seconds.
        sleep: Waits for seconds.

    """

    def __init__(
        self,
        per_s: float | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._per_s = per_s
        self._now = now
        self._sleep = sleep
        self._paid_until = 0.0

    async def spend(self, units: float) -> None:
        """Go on when so many may have been spent."""
        if not self._per_s:
            return
        now = self._now()
        self._paid_until = max(self._paid_until, now) + units / self._per_s
        await self._sleep(self._paid_until - now)


def beat() -> None:
    """A sign of life from a step that takes long, told to whoever watches it; from the event loop. Without a watcher it is nothing."""
    _heard.get()()


@contextmanager
def heard_by(watcher: Callable[[], None]) -> Iterator[None]:
    """The watcher hears each `beat` of the block, and of the tasks that begin in it."""
    token = _heard.set(watcher)
    try:
        yield
    finally:
        _heard.reset(token)


async def for_each(found: Iterable[T] | AsyncIterator[T], work: Callable[[T], Awaitable[object]], at_once: int) -> None:
    """Do the work for each, so many at a time. The first failure ends the rest, and is raised when none is at work any more."""
    gate = asyncio.Semaphore(at_once)

    async def one(each: T) -> None:
        try:
            await work(each)
        finally:
            gate.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            async for each in found if isinstance(found, AsyncIterator) else _aiter(found):
                await gate.acquire()
                tasks.create_task(one(each))
    except BaseExceptionGroup as group:
        raise next((error for error in group.exceptions if isinstance(error, SafelightError)), group.exceptions[0]) from None


async def _aiter(values: Iterable[T]) -> AsyncIterator[T]:
    for value in values:
        yield value


@asynccontextmanager
async def beating(*, every_s: float = 10.0) -> AsyncIterator[None]:
    """Beat while the block waits for something that is watched elsewhere, or for its turn."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(every_s)
            beat()

    beat()
    task = asyncio.ensure_future(go_on())
    try:
        yield
    finally:
        task.cancel()
        beat()


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Many callers, one maker per key: whoever comes while the value is being made gets the same one, or the same error.

    `ends_with_callers` cancels the making once the last of them has gone away; else it goes on, for whoever comes next.
    """

    def __init__(self, *, ends_with_callers: bool = False) -> None:
        self._flights: dict[K, asyncio.Task[V]] = {}
        self._callers: Counter[asyncio.Task[V]] = Counter()
        self._ends_with_callers = ends_with_callers

    async def do(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """The value of `make` for this key. A caller that goes away does not stop the making for the others."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(_awaited(make))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        self._callers[flight] += 1
        try:
            return await asyncio.shield(flight)
        finally:
            self._callers[flight] -= 1
            if not self._callers[flight]:
                del self._callers[flight]
                if self._ends_with_callers and not flight.done():
                    self._land(key, flight)  # whoever comes now begins anew
                    flight.cancel()

    def _land(self, key: K, flight: asyncio.Task[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _awaited(make: Callable[[], Awaitable[V]]) -> V:
    return await make()


class Places(Generic[K]):
    """So many at once, and so many of each party; who finds no place is not kept waiting for one."""

    def __init__(self, most: int, *, per_party: int) -> None:
        self._most = most
        self._per_party = per_party
        self._taken: Counter[K] = Counter()

    @contextmanager
    def take(self, party: K) -> Iterator[bool]:
        """Whether there was a place, which is then held for the block."""
        has_place = self._taken.total() < self._most and self._taken[party] < self._per_party
        if not has_place:
            yield False
            return
        self._taken[party] += 1
        try:
            yield True
        finally:
            self._taken[party] -= 1
            if not self._taken[party]:
                del self._taken[party]


class Gate:
    """Admits work by weight: at most `capacity` and `most` pieces at once, at most `queue` waiting, the rest is turned away.

    Who waits is let in in turn, one of each party after the other, and no party has more than half of the queue while there are
    others: one that asks for a thousand things makes itself wait, not them. Nobody of a higher rank is let in before those of a
    lower one.
    """

    def __init__(self, *, capacity: int, queue: int, most: int = 1_000_000) -> None:
        self._capacity = capacity
        self._most = most
        self._inside = 0
        self._queue = queue
        self._used = 0
        self._waiting: OrderedDict[tuple[int, Hashable], deque[tuple[int, asyncio.Future[None]]]] = OrderedDict()

    @asynccontextmanager
    async def admit(self, weight: int, *, party: Hashable = None, rank: int = 0) -> AsyncIterator[None]:
        """Hold `weight` of the capacity for the block; a heavier one than the whole capacity goes in alone. Raises Busy."""
        weight = min(weight, self._capacity)
        if self._waiting or not self._fits(weight):
            await self._wait(weight, (rank, party))
        else:
            self._enter(weight)
        try:
            yield
        finally:
            self._leave(weight)

    async def _wait(self, weight: int, party: tuple[int, Hashable]) -> None:
        own = len(self._waiting.get(party, ()))
        others = sum(map(len, self._waiting.values())) - own
        if own + others >= self._queue or (others and own >= max(1, self._queue // 2)):
            raise Busy(retry_after_s=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append((weight, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(weight)
            else:
                self._waiting[party].remove((weight, turn))
                if not self._waiting[party]:
                    del self._waiting[party]
                self._let_in()
            raise

    def _fits(self, weight: int) -> bool:
        return self._inside < self._most and self._used + weight <= self._capacity

    def _enter(self, weight: int) -> None:
        self._inside += 1
        self._used += weight

    def _leave(self, weight: int) -> None:
        self._inside -= 1
        self._used -= weight
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            party = min(self._waiting, key=itemgetter(0))  # the first of them that have waited longest for their turn
            queue = self._waiting[party]
            weight, turn = queue[0]
            if not self._fits(weight):
                return  # not even by a lighter one behind it, or the heavy would wait for ever
            queue.popleft()
            if queue:
                self._waiting.move_to_end(party)
            else:
                del self._waiting[party]
            self._enter(weight)
            turn.set_result(None)


class Bell(Generic[K]):
    """Wakes those of this process who wait for a key; who waits for another process's work polls beside it."""

    def __init__(self, also: Callable[[K], None] = lambda _: None) -> None:
        self._also = also
        self._waiters: dict[K, set[asyncio.Event]] = {}

    def ring(self, key: K) -> None:
        """Tell `also`, then wake everybody who waits for the key."""
        self._also(key)
        for event in self._waiters.get(key, ()):
            event.set()

    @asynccontextmanager
    async def listen(self, key: K) -> AsyncIterator[asyncio.Event]:
        """An event that is set by every ring from now on; clear it before looking again."""
        event = asyncio.Event()
        self._waiters.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            listeners = self._waiters[key]
            listeners.discard(event)
            if not listeners:
                del self._waiters[key]


class AtHand(Generic[K]):
    """Open files that somebody in this process has anyway, by key, so that nobody else need fetch the same bytes from afar."""

    def __init__(self) -> None:
        self._fds: dict[K, int] = {}

    @contextmanager
    def lend(self, key: K, fd: int) -> Iterator[None]:
        """The file can be borrowed while the block runs; it stays the lender's, who must not change it."""
        self._fds[key] = fd
        try:
            yield
        finally:
            del self._fds[key]

    def borrow(self, key: K) -> int | None:
        """A descriptor of one's own, to be closed, which outlives the lender's; None when there is none to be had."""
        fd = self._fds.get(key)
        return None if fd is None else os.dup(fd)


class ByteLru(Generic[K]):
    """The most recently used byte strings, together at most `capacity_bytes`."""

    def __init__(self, capacity_bytes: int, *, largest_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._largest = largest_bytes
        self._size = 0
        self._items: OrderedDict[K, bytes] = OrderedDict()

    def get(self, key: K) -> bytes | None:
        """The bytes, now the most recent; None when they are not here."""
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: K, value: bytes) -> None:
        """Keep it, and let go of the oldest; what is larger than `largest_bytes` is not kept at all."""
        if len(value) > min(self._largest, self._capacity):
            return
        self.drop(key)
        self._items[key] = value
        self._size += len(value)
        while self._size > self._capacity:
            _, oldest = self._items.popitem(last=False)
            self._size -= len(oldest)

    def drop(self, key: K) -> None:
        """Let go of this one, if it is here."""
        dropped = self._items.pop(key, None)
        if dropped is not None:
            self._size -= len(dropped)


class Expiring(Generic[K, V]):
    """Values that are believed for `ttl_s` seconds, at most `size` of them; `drop` ends the belief at once."""

    def __init__(self, *, ttl_s: float, size: int, now: Callable[[], float]) -> None:
        self._ttl = ttl_s
        self._size = size
        self._now = now
        self._items: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value while it is believed."""
        found = self._items.get(key)
        if found is None:
            return None
        if found[0] < self._now():
            del self._items[key]
            return None
        return found[1]

    def put(self, key: K, value: V) -> None:
        """Believe this from now on."""
        now = self._now()
        self._items[key] = (now + self._ttl, value)
        self._items.move_to_end(key)
        # All are believed for as long, so the first are those that are not any more; nobody may ever ask for them again.
        while next(iter(self._items.values()))[0] < now:
            self._items.popitem(last=False)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def drop(self, key: K) -> None:
        """Believe it no more."""
        self._items.pop(key, None)

    def clear(self) -> None:
        """Believe nothing any more."""
        self._items.clear()


class Believed(Expiring[K, V]):
    """The same for what is read from elsewhere: once however many ask, and anew from half of its time on, while the old is still believed.

    So nobody waits for what is asked for all the time. Without that all who come while it is read would read it, too, and the more
    come the longer that takes.
    """

    def __init__(self, *, ttl_s: float, size: int, now: Callable[[], float]) -> None:
        super().__init__(ttl_s=ttl_s, size=size, now=now)
        self._readings: dict[K, asyncio.Task[V]] = {}

    def get(self, key: K) -> V | None:
        """The value while it is believed; None, too, for the first who comes when it is to be read anew, and does so by `read`."""
        found = self._items.get(key)
        if found is None:
            return None
        left = found[0] - self._now()
        if left < 0 or (left < self._ttl / 2 and key not in self._readings):
            return None
        return found[1]

    async def read(self, key: K, reader: Callable[[], Awaitable[V]]) -> V:
        """The value, by `reader` when there is none, whose errors are those of all who wait for it.

        One that is equal to what is believed is the same object again. When it turns out that there is none any more, no one
        believes the old one; where nobody can tell, it is believed to its end.
        """
        found = self.get(key)
        if found is not None:
            return found
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.ensure_future(self._read(key, reader))
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        found = super().get(key)
        return await asyncio.shield(reading) if found is None else found

    def drop(self, key: K) -> None:
        """Believe it no more, nor what is being read of it: that may be from before the change."""
        super().drop(key)
        self._readings.pop(key, None)

    def clear(self) -> None:
        """The same of all."""
        super().clear()
        self._readings.clear()

    async def _read(self, key: K, reader: Callable[[], Awaitable[V]]) -> V:
        me = asyncio.current_task()
        try:
            value = await reader()
        except BaseException as error:
            if self._readings.get(key) is me:
                del self._readings[key]
                if not (isinstance(error, SafelightError) and error.is_transient):
                    super().drop(key)
            raise
        if self._readings.get(key) is me:
            del self._readings[key]
            before = super().get(key)
            value = before if before is not None and before == value else value
            self.put(key, value)
        return value
