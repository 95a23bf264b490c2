"""The parent process of `serve`: granian's, which starts the workers, watches over them and ends them."""

from __future__ import annotations

from typing import Any

from granian.server.mp import MPServer


class Parent(MPServer):
    """Granian, but for what a second signal to stop does."""

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """Stop, once. Whoever ends a service tends to say so more than once: to the process, to its group, to everything in it.

        Granian's handler sets a `threading.Event`, whose lock knows no re-entrance: a second signal during the first one's handler
        would wait for the first for ever, and the parent would neither end nor start its workers anew.
        """
        if not self.interrupt_signal:
            super().signal_handler_interrupt(*args, **kwargs)  # type: ignore[no-untyped-call]
