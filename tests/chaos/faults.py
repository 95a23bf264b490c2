"""The fault-maker: a plan that follows from the seed, and what each fault does to an installation.

Kinds are dealt like cards, so that every kind comes before one comes again; now and then two at once.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from tests.acceptance.conftest import until
from tests.chaos.corruption import Corrupter
from tests.chaos.installation import LARGEST_SKEW_S, Api, Installation, Worker, skewed, started
from tests.chaos.ledger import Ledger
from tests.servers.cuttable import Line


@dataclass(frozen=True)
class Fault:
    """What happens to which part, when, and for how long."""

    kind: str
    target: str
    at_s: float
    for_s: float
    number: int

    @property
    def stops_api(self) -> bool:
        """Whether a client may see a connection break, or wait, without that being anybody's fault."""
        return self.target.startswith("api") and self.kind in ("kill", "freeze", "restart", "terminate", "child", "skew")


LASTS_S = {"kill": (0.0, 2.0), "freeze": (0.5, 4.0), "restart": (0.0, 0.5), "terminate": (0.0, 0.5), "child": (0.0, 0.0), "skew": (0.0, 0.5), "full": (1.0, 5.0), "corrupt": (0.0, 0.0),
           "cut": (0.5, 4.0), "dead line": (0.5, 4.0), "no answers": (0.5, 3.0)}  # fmt: skip
AHEAD = 4
"""Faults under way or waiting for their part, so that on a slow machine the quick ones do not run away from the others."""
RESTS_S = 2.0
"""Between two faults of one part: on a slow machine it would never be up else."""
LINES = {"cut": Line.CUT, "dead line": Line.DEAD, "no answers": Line.NO_ANSWERS}


def planned(deck: list[tuple[str, str]], seed: str, minutes: float) -> list[Fault]:
    """All faults of a run, by the time at which they begin."""
    rng = random.Random(f"{seed}/faults")
    faults: list[Fault] = []
    at_s, end_s, hand = 3.0, minutes * 60 - 2.0, list[tuple[str, str]]()
    while at_s < end_s:
        for _ in range(2 if rng.random() < 0.2 else 1):
            if not hand:
                hand = rng.sample(deck, len(deck))
            kind, target = hand.pop()
            if any(fault.at_s == at_s and fault.target == target for fault in faults):
                continue  # not twice the same part at once
            faults.append(Fault(kind, target, at_s, round(rng.uniform(*LASTS_S[kind]), 2), len(faults)))
        at_s = round(at_s + rng.uniform(2.0, 5.0), 2)
    return faults


@dataclass
class FaultMaker:
    """Carries a plan out, late where the machine is."""

    installation: Installation
    ledger: Ledger
    seed: str
    faults: list[Fault]
    crash: BaseException | None = None

    def run(self, began: float, ends: float) -> None:
        """Until the last fault is over; none begins after the end, however late the machine has made the others."""
        latest: dict[str, threading.Thread] = {}
        room = threading.Semaphore(AHEAD)
        for fault in self.faults:
            time.sleep(max(0.0, min(began + fault.at_s, ends) - time.monotonic()))
            room.acquire()
            thread = threading.Thread(target=self._in_turn, args=(fault, latest.get(fault.target), ends, room), daemon=True)
            latest[fault.target] = thread
            thread.start()
        for thread in latest.values():
            thread.join()

    def _in_turn(self, fault: Fault, before: threading.Thread | None, ends: float, room: threading.Semaphore) -> None:
        """After the part's last fault: a server that takes a minute to start must not keep the other parts from theirs."""
        try:
            if before is not None:
                before.join()
                time.sleep(RESTS_S)
            if time.monotonic() < ends:
                self._make(fault)
        finally:
            room.release()

    def _make(self, fault: Fault) -> None:
        words = {"fault": fault.kind, "target": fault.target, "number": fault.number, "stops_api": fault.stops_api}
        self.ledger.note("fault began", **words)
        try:
            told = getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault)
        except BaseException as error:  # told by the driver: a fault that cannot be made is none
            self.crash = error
            raise
        self.ledger.note("fault ended", **words, told=told)

    def _kill(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.kill()
        time.sleep(fault.for_s)
        started(part)

    def _restart(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.stop()
        time.sleep(fault.for_s)
        started(part)

    def _terminate(self, fault: Fault) -> None:
        api = self.installation.parts[fault.target]
        assert isinstance(api, Api)
        api.terminate()
        time.sleep(fault.for_s)
        started(api)

    def _freeze(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.pause()
        time.sleep(fault.for_s)
        part.resume()

    def _skew(self, fault: Fault) -> str:
        """Another clock from now on, before or behind the others."""
        part, by_s = (
            self.installation.parts[fault.target],
            random.Random(f"{self.seed}/{fault.number}").randint(-LARGEST_SKEW_S, LARGEST_SKEW_S),
        )
        assert isinstance(part, Api | Worker)
        part.stop()
        part.environment |= skewed(by_s)
        started(part)
        return f"{by_s:+d} s"

    def _child(self, fault: Fault) -> str:
        api = self.installation.parts[fault.target]
        assert isinstance(api, Api)
        what = api.kill_child(random.Random(f"{self.seed}/{fault.number}"))
        until(self.installation.ready)
        return what

    def _cut(self, fault: Fault) -> None:
        line = self.installation.lines[fault.target]
        line.be(LINES[fault.kind])
        time.sleep(fault.for_s)
        line.be(Line.THROUGH)

    _dead_line = _cut
    _no_answers = _cut

    def _full(self, fault: Fault) -> str:
        disk = self.installation.fill(fault.target, random.Random(f"{self.seed}/{fault.number}"))
        time.sleep(fault.for_s)
        self.installation.make_room(disk)
        return disk

    def _corrupt(self, fault: Fault) -> str:
        """Bits flip: see `corruption`."""
        with Corrupter(self.installation, self.ledger, random.Random(f"{self.seed}/{fault.number}")) as corrupter:
            return corrupter.run()
