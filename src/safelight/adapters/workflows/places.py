"""Places: which of the runs that an engine has brought here begins next, and how many at once. On one event loop; no driver.

An engine whose server hands out work in an order of its own still owes the port this: so many runs in flight, one place kept free
of what nobody waits for, no party with more than its share, and a run that goes on before one that begins.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from safelight.adapters.workflows.patience import bulk_places, next_party

MOST_REMEMBERED = 10_000
"""Parties whose last turn is known; who is forgotten has a turn too many."""


@dataclass(eq=False, slots=True)
class Place:
    """One run's, from its first step here to its last."""

    run_id: str
    party: str
    rank: int
    """0 goes on, 1 somebody waits for it, 2 nobody does."""
    is_begun: bool = False
    timer: asyncio.TimerHandle | None = None
    given: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _Line:
    """Those of one rank that wait, by party."""

    waiting: dict[str, deque[Place]] = field(default_factory=dict)

    def add(self, place: Place) -> None:
        self.waiting.setdefault(place.party, deque()).append(place)

    def remove(self, place: Place) -> None:
        line = self.waiting.get(place.party)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self.waiting[place.party]


class Closed(Exception):
    """No place is given any more."""


class Places:
    """So many runs in flight. Its methods are called on one event loop.

    Args:
        concurrency: Runs in flight at once, at least 1.
        per_party: Those of one party.

    """

    def __init__(self, concurrency: int, per_party: int) -> None:
        self._concurrency = concurrency
        self._per_party = per_party
        self._held: set[Place] = set()
        self._kept: dict[str, Place] = {}
        self._lines = (_Line(), _Line(), _Line())
        self._served: dict[str, int] = {}
        self._turn = 0
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Nothing begins here any more."""
        return self._is_closed

    def has_begun(self, run_id: str) -> bool:
        """Whether it is in flight here, between two of its steps too."""
        return any(place.run_id == run_id and place.is_begun for place in self._held)

    def reserve(self, run_id: str, party: str, *, for_s: float) -> Place | None:
        """Keep a place for a run that somebody waits for and that is about to come; None when there is no room for it."""
        if self._is_closed or run_id in self._kept or len(self._held) >= self._concurrency:
            return None
        if any(line.waiting for line in self._lines[:2]) or self._places_of()[party] >= self._per_party:
            return None
        place = Place(run_id, party, 1)
        self._give(place)
        self.keep(place, for_s=for_s)
        return place

    async def take(self, run_id: str, party: str, rank: int) -> Place:
        """Its place: the one that was kept for it, or the next when its turn has come. Raises Closed."""
        if self._is_closed:
            raise Closed
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            if kept.timer is not None:
                kept.timer.cancel()
            kept.is_begun = True
            return kept
        place = Place(run_id, party, rank, given=asyncio.get_running_loop().create_future())
        self._lines[rank].add(place)
        self._fill()
        try:
            if place.given is not None:
                await place.given
        except BaseException:
            self._lines[rank].remove(place)
            self.free(place)
            raise
        place.is_begun = True
        return place

    def keep(self, place: Place, *, for_s: float) -> None:
        """Hold it for the run's next step, which comes within so many seconds or not at all."""
        self._kept[place.run_id] = place
        place.timer = asyncio.get_running_loop().call_later(for_s, self.free, place)

    def free(self, place: Place) -> None:
        """Somebody else may have it. Free already: nothing happens."""
        if place.timer is not None:
            place.timer.cancel()
        if self._kept.get(place.run_id) is place:
            del self._kept[place.run_id]
        self._held.discard(place)
        self._fill()

    def close(self) -> None:
        """Turn away those who wait; those who have a place go on."""
        self._is_closed = True
        for line in self._lines:
            for place in [place for waiting in line.waiting.values() for place in waiting]:
                if place.given is not None and not place.given.done():
                    place.given.set_exception(Closed())
            line.waiting.clear()
        for place in list(self._kept.values()):
            self.free(place)

    def _fill(self) -> None:
        while not self._is_closed and len(self._held) < self._concurrency:
            place = self._next(0) or self._next(1)
            if place is None and sum(held.rank == 2 for held in self._held) < bulk_places(self._concurrency):
                place = self._next(2)
            if place is None:
                return
            self._give(place)
            if place.given is not None and not place.given.done():
                place.given.set_result(None)

    def _next(self, rank: int) -> Place | None:
        line = self._lines[rank]
        party = next_party(line.waiting, self._places_of(), self._served, self._per_party)
        if party is None:
            return None
        place = line.waiting[party][0]
        line.remove(place)
        return place

    def _give(self, place: Place) -> None:
        if len(self._served) > MOST_REMEMBERED:
            self._served.clear()
        self._turn += 1
        self._served[place.party] = self._turn
        self._held.add(place)

    def _places_of(self) -> Counter[str]:
        return Counter(place.party for place in self._held)
