"""The parent process of `serve` when it is told to stop more than once."""

from __future__ import annotations

import threading

from safelight.cli.parent import Parent


class AtTheWorstMoment(threading.Event):
    """An event during whose `set` the signal comes again."""

    def set(self) -> None:
        with self._cond:
            self._flag = True
            parent.signal_handler_interrupt()
            self._cond.notify_all()


parent: Parent


def test_a_second_signal_during_the_first_ones_handler_does_not_hold_the_parent_up():
    global parent
    parent = Parent("safelight")
    parent.main_loop_interrupt = AtTheWorstMoment()
    handler = threading.Thread(target=parent.signal_handler_interrupt, daemon=True)
    handler.start()
    handler.join(30)

    assert not handler.is_alive()
    assert parent.interrupt_signal
    assert parent.main_loop_interrupt.is_set()
