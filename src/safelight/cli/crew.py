"""Work on many files at the same time: threads that share one list, an orderly end at Ctrl-C, and patience with a busy server.

Used by `import` and `export`. What is done with a file, and what is told of it, is theirs.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from safelight.errors import SafelightError, TooMany, Unavailable

T = TypeVar("T")


class Stop:
    """Whether to begin nothing more. The first Ctrl-C asks for it and lets finish what is in flight, the second ends at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.is_interrupted = False
        self.failure: BaseException | None = None

    def __bool__(self) -> bool:
        return self._asked.is_set()

    def ask(self, failure: BaseException | None = None) -> None:
        """Begin nothing more; with the failure that makes going on pointless. The first one is kept."""
        if failure is not None and self.failure is None:
            self.failure = failure
        self._asked.set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until it is asked for; whether it has been."""
        return self._asked.wait(seconds)

    @contextmanager
    def at_interrupt(self, told: Callable[[], object]) -> Iterator[None]:
        """Within the block SIGINT and SIGTERM ask for the end, once; the next one does what it always does."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def interrupted(number: int, frame: FrameType | None) -> None:
            for each, handler in before.items():
                signal.signal(each, handler)
            self.is_interrupted = True
            self.ask()
            told()

        for number in before:
            signal.signal(number, interrupted)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def share(items: Iterable[T], work: Callable[[T], object], *, among: int, stop: Stop) -> None:
    """Call `work` for every item in `among` threads, in order of their turn, until there is none left or `stop`.

    What `work` raises stops everybody and is kept in `stop.failure`. The threads are daemons: a second Ctrl-C need not wait
    for a server that does not answer.
    """
    waiting, lock = iter(items), threading.Lock()

    def run() -> None:
        while not stop:
            try:
                with lock:
                    item = next(waiting)
                work(item)
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001 (handed to the caller)
                stop.ask(error)

    threads = [threading.Thread(target=run, daemon=True, name=f"crew-{number}") for number in range(among)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def patiently(
    call: Callable[[], T],
    *,
    patience_s: float,
    stop: Stop,
    told: Callable[[SafelightError], object] = lambda _: None,
    hopeless: tuple[type[SafelightError], ...] = (),
) -> T:
    """What `call` returns, trying again while the server is busy, away or asks for a pause, for `patience_s` altogether.

    Raises what the last try raised, a `hopeless` refusal at once.
    """
    deadline, wait_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            return call()
        except hopeless:
            raise
        except (Unavailable, TooMany) as error:
            asked = error.extra.get("retry_after_s")
            pause = max(wait_s, float(asked)) if asked is not None else wait_s
            wait_s = min(10.0, wait_s * 2)
            if time.monotonic() + pause > deadline:
                raise
            told(error)
            if stop.wait(pause):
                raise


class Turns:
    """One at a time for each key, so that equal files in a folder do not both find that the server has neither."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Within the block nobody else has this key."""
        with self._lock:
            mine, count = self._taken.get(key, (threading.Lock(), 0))
            self._taken[key] = (mine, count + 1)
        try:
            with mine:
                yield
        finally:
            with self._lock:
                _, count = self._taken[key]
                if count == 1:
                    del self._taken[key]
                else:
                    self._taken[key] = (mine, count - 1)
