"""Many files at a time, an orderly end, patience."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from safelight.cli.crew import Stop, Turns, patiently, share
from safelight.errors import BackendUnavailable, Busy, CorruptImage, TooMany


def test_every_item_is_worked_on_once_by_so_many_threads() -> None:
    done: list[int] = []
    names: set[str] = set()
    together = threading.Barrier(4, timeout=60)

    def work(item: int) -> None:
        if item < 4:
            together.wait()
        names.add(threading.current_thread().name)
        done.append(item)

    share(range(100), work, among=4, stop=Stop())

    assert sorted(done) == list(range(100))
    assert len(names) == 4


def test_what_an_item_raises_stops_everybody_and_is_kept() -> None:
    stop, done = Stop(), []

    def work(item: int) -> None:
        done.append(item)
        if item == 3:
            raise BackendUnavailable("gone")

    share(range(1000), work, among=1, stop=stop)

    assert done == [0, 1, 2, 3]
    assert isinstance(stop.failure, BackendUnavailable)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What Python does by itself at SIGINT, also where this run is a background job, which is started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_first_interrupt_finishes_what_is_in_flight_and_the_second_does_what_it_always_does() -> None:
    stop, finished = Stop(), []

    def work(item: int) -> None:
        if item == 1:
            os.kill(os.getpid(), signal.SIGINT)
            stop.wait(10)
        finished.append(item)

    with stop.at_interrupt(lambda: None):
        share(range(10), work, among=1, stop=stop)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert stop.is_interrupted
    assert finished == [0, 1]


@pytest.mark.parametrize("error", (Busy(retry_after_s=0), TooMany(retry_after_s=0), BackendUnavailable(retry_after_s=0)))
def test_a_server_that_is_busy_or_away_is_asked_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, answers = Stop(), [error, "done"]
    monkeypatch.setattr(stop, "wait", lambda seconds: False)

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(call, patience_s=60, stop=stop) == "done"


def test_a_refusal_is_not_asked_again() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise CorruptImage

    with pytest.raises(CorruptImage):
        patiently(call, patience_s=60, stop=Stop())

    assert len(calls) == 1


def test_patience_ends() -> None:
    began = time.monotonic()
    with pytest.raises(Busy):
        patiently(_busy, patience_s=0.1, stop=Stop())

    assert time.monotonic() - began < 60


def test_nobody_waits_once_the_end_is_asked_for() -> None:
    stop = Stop()
    threading.Timer(0.1, stop.ask).start()
    began = time.monotonic()
    with pytest.raises(Busy):
        patiently(_busy, patience_s=600, stop=stop)

    assert time.monotonic() - began < 60


def _busy() -> None:
    raise Busy(retry_after_s=300)


def test_equal_keys_take_turns_and_leave_nothing_behind() -> None:
    turns, inside, most = Turns(), 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with turns.of("same"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1

    share(range(20), work, among=4, stop=Stop())

    assert most == 1
    assert turns._taken == {}
