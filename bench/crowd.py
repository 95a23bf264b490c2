"""Crowd: requests that come at a rate, whether or not the answers keep up. The load generator of `load.py`, in a process of its own.

    $ echo '{"url": …, "key": …, "seconds": 10, "rates": {"record": 200}, "asks": {"record": ["/images/…"]}}' | python bench/crowd.py

Arrivals are random (Poisson), as those of people who do not know each other; each takes a connection that is free, or opens one, as
long as there are no more than `connections`. Times run from when a request should have been sent, so that a generator or a server that
is late cannot hide it. One JSON object on standard output.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BOUNDARY = "safelight-bench-71d04e"
IDLE_S = 4.0
"""A connection that was idle for longer is not used again: the server may be closing it just now."""
ACCEPTED = frozenset({200, 201, 202})


@dataclass
class Tally:
    """What became of the requests of one kind."""

    arrived: int = 0
    kept_out: int = 0
    """Came when every connection was busy: never sent."""
    statuses: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[float, float]] = field(default_factory=list)
    """(when it was answered, how long that took), both in seconds; of the refused likewise."""
    refused: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that nobody may get: no answer, 5xx but 503, and refusals without a problem document or `Retry-After`."""


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Wire:
    """One kept connection. Reads while it writes: a refusal may come before the whole file has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.is_open = reader, writer, True
        self.used_at = time.perf_counter()

    async def ask(self, pieces: list[bytes]) -> Answer:
        """Raises OSError, EOFError where there is no answer."""
        for piece in pieces:
            self.writer.write(piece)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:] if line)}
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        self.used_at = time.perf_counter()
        # What is still to be sent of a file that was refused is not wanted any more.
        if headers.get(b"connection", b"").lower() == b"close" or self.writer.transport.get_write_buffer_size():
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        self.is_open = False
        self.writer.transport.abort()


class Crowd:
    """One order, carried out."""

    def __init__(self, order: dict[str, Any]) -> None:
        address = urlsplit(order["url"])
        self.host, self.port = address.hostname or "", address.port or 80
        self.key = order["key"]
        self.seconds: float = order["seconds"]
        self.most: int = order.get("connections", 1024)
        self.timeout_s: float = order.get("timeout_s", 30.0)
        self.asks: dict[str, list[str]] = order["asks"]
        self.rates: dict[str, float] = order["rates"]
        self.rng = random.Random(order.get("seed", 1))
        self.numbers = {kind: order.get("first", 0) for kind in self.rates}
        self.files: dict[str, bytes] = {}
        self.idle: list[Wire] = []
        self.opened = 0
        self.most_opened = 0
        self.tallies = {kind: Tally() for kind in self.rates}

    async def run(self) -> dict[str, Any]:
        for kind in self.rates:
            if kind == "upload":
                self.files = {path: Path(path).read_bytes() for path in self.asks[kind]}
        self.began = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        for at, kind in self.arrivals():
            while (ahead := self.began + at - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            task = asyncio.ensure_future(self.one(kind, at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            if len(under_way) % 16 == 0:
                await asyncio.sleep(0)  # behind its times: answers are read all the same
        if left := self.began + self.seconds - time.perf_counter():
            await asyncio.sleep(max(0.0, left))
        used = resource.getrusage(resource.RUSAGE_SELF)
        busy = (used.ru_utime + used.ru_stime) / (time.perf_counter() - self.began)
        if under_way:
            await asyncio.wait(under_way)
        for wire in self.idle:
            wire.close()
        return {
            "seconds": self.seconds,
            "generator_busy": round(busy, 2),
            "connections": self.most_opened,
            "kinds": {kind: self.told(tally) for kind, tally in self.tallies.items()},
        }

    def arrivals(self) -> Iterator[tuple[float, str]]:
        at, kinds, rates = 0.0, list(self.rates), list(self.rates.values())
        while (at := at + self.rng.expovariate(sum(rates))) < self.seconds:
            yield at, self.rng.choices(kinds, rates)[0]

    async def one(self, kind: str, at: float) -> None:
        tally = self.tallies[kind]
        tally.arrived += 1
        pieces = self.pieces(kind)
        try:
            async with asyncio.timeout(self.timeout_s):
                wire = await self.connected()
                if wire is None:
                    tally.kept_out += 1
                    return
                try:
                    answer = await wire.ask(pieces)
                except BaseException:
                    wire.close()
                    raise
                finally:
                    if wire.is_open:
                        self.idle.append(wire)
                    else:
                        self.opened -= 1
        except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError) as error:
            tally.statuses["no answer"] += 1
            tally.wrong.append(f"no answer: {error!r}")
            return
        now = time.perf_counter() - self.began
        tally.statuses[str(answer.status)] += 1
        if answer.status in ACCEPTED:
            tally.accepted.append((now, now - at))
        elif fault := _fault(answer):
            tally.wrong.append(fault)
        else:
            tally.refused.append((now, now - at))

    async def connected(self) -> Wire | None:
        while self.idle:
            wire = self.idle.pop()
            if not wire.reader.at_eof() and time.perf_counter() - wire.used_at < IDLE_S:
                return wire
            wire.close()
            self.opened -= 1
        if self.opened >= self.most:
            return None
        self.opened += 1
        self.most_opened = max(self.most_opened, self.opened)
        try:
            return Wire(*await asyncio.open_connection(self.host, self.port))
        except BaseException:
            self.opened -= 1
            raise

    def pieces(self, kind: str) -> list[bytes]:
        number = self.numbers[kind]
        self.numbers[kind] += 1
        said = self.asks[kind][number % len(self.asks[kind])]
        words = f"host: {self.host}:{self.port}\r\n"
        if kind in ("record", "upload"):
            words += f"authorization: Bearer {self.key}\r\n"
        if kind != "upload":
            return [f"GET {said} HTTP/1.1\r\n{words}\r\n".encode()]
        form = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{Path(said).name}"\r\ncontent-type: image/jpeg\r\n\r\n'
        body = [form.encode(), *numbered(self.files[said], number), f"\r\n--{BOUNDARY}--\r\n".encode()]
        words += f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {sum(map(len, body))}\r\n"
        return [f"POST /images HTTP/1.1\r\n{words}\r\n".encode(), *body]

    def told(self, tally: Tally) -> dict[str, Any]:
        # The first fifth fills the queues; what is answered after the end was not the throughput of the time.
        start = self.seconds / 5
        inside = [took for at, took in tally.accepted if start <= at <= self.seconds]
        refused = [took for _, took in tally.refused]
        return {
            "offered_per_s": tally.arrived / self.seconds,
            "accepted_per_s": len(inside) / (self.seconds - start),
            "refused_per_s": sum(start <= at <= self.seconds for at, _ in tally.refused) / (self.seconds - start),
            "arrived": tally.arrived,
            "accepted": len(tally.accepted),
            "kept_out": tally.kept_out,
            "statuses": dict(sorted(tally.statuses.items())),
            "accepted_ms": {
                name: quantile([took for _, took in tally.accepted], share) for name, share in (("p50", 0.5), ("p99", 0.99))
            },
            "refused_ms": {name: quantile(refused, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
            "wrong": tally.wrong[:5],
            "wrong_count": len(tally.wrong),
        }


def numbered(photograph: bytes, number: int) -> tuple[bytes, bytes, bytes]:
    """The same JPEG with other bytes: a comment behind its first marker (ITU-T T.81, B.2.4.5)."""
    text = f"{number} of {time.time_ns()}".encode()
    return photograph[:2], b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text, photograph[2:]


def _fault(answer: Answer) -> str:
    """What is wrong with a refusal; nothing when it is a 503 that says so properly."""
    is_problem = answer.headers.get(b"content-type") == b"application/problem+json"
    if (
        answer.status == 503
        and is_problem
        and answer.headers.get(b"retry-after", b"").isdigit()
        and json.loads(answer.body)["status"] == 503
    ):
        return ""
    return f"{answer.status}: {answer.body[:200]!r}"


def quantile(values: list[float], share: float) -> float:
    """In milliseconds; 0 of nothing."""
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 2) if values else 0.0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Crowd(json.load(sys.stdin)).run())))
