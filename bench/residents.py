"""Residents: the clients of `soak.py`, in a process of their own. They do all there is to do, and take out as much as they bring in.

    $ echo '{"minutes": 30, "houses": […], …}' | python bench/residents.py

They are the clients of `make chaos`, but for their photographs, which are real, and their pace, which leaves the server time to rest.
Every request and its answer stand in the ledger.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from crowd import numbered
from tests.chaos.ledger import Ledger
from tests.chaos.load import Client, Gallery, House

KEEPS = 40
"""Pictures of each client that are there at a time."""
ALBUMS = 5


class Resident(Client):
    """One whose installation does not grow."""

    photographs: list[bytes]

    def picture(self) -> bytes:
        self.seeds += 1
        return b"".join(numbered(self.rng.choice(self.photographs), self.seeds))

    def next(self) -> str:
        kind = super().next()
        if len(self.mine) > KEEPS:
            return (
                "purge"
                if any(one.is_trashed for one in self.mine)
                else "trash"
                if any(one.is_ready for one in self.mine)
                else "get"
            )
        return "collect" if kind == "album" and len(self.albums) >= ALBUMS else kind


def main() -> None:
    order: dict[str, Any] = json.load(sys.stdin)
    gallery, ledger, is_over = Gallery(order["gallery"]), Ledger(Path(order["ledger"])), threading.Event()
    Resident.photographs = [Path(path).read_bytes() for path in order["photographs"]]
    Resident.rest_s = order["rest_s"]
    houses = [House(one["tenant"], one["policy"], one["token"], lambda: [order["url"]]) for one in order["houses"]]
    clients = [
        Resident(f"{h.policy}-{n}", h, ledger, gallery, order["seed"], is_over) for h in houses for n in range(order["clients"])
    ]
    for client in clients:
        client.start()
    time.sleep(order["minutes"] * 60)
    is_over.set()
    for client in clients:
        client.join(180)
    ledger.close()
    gallery.shutdown()
    gallery.server_close()
    if crashed := [repr(client.crash) for client in clients if client.crash] + [
        client.name for client in clients if client.is_alive()
    ]:
        sys.exit(f"the clients themselves failed: {crashed}")
    print("{}")


if __name__ == "__main__":
    main()
