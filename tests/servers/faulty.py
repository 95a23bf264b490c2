"""Faulty: an HTTP proxy before a real server that spoils the next requests as it is told. One request a connection.

async with Faulty(port) as proxy:
    proxy.spoil(Answer(503, after_s=0.2), times=2)
    proxy.spoil(CutAnswer(1000), method="GET")
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """Answer with this status instead of asking the server, after a while."""

    status: int
    after_s: float = 0.0
    code: str = ""
    """AWS's, in the body; empty is the usual one."""


@dataclass(frozen=True)
class CutRequest:
    """Let so many bytes of the request's body through, then hang up on both sides."""

    after_bytes: int = 0


@dataclass(frozen=True)
class CutAnswer:
    """Let the server do its work and so many bytes of its answer through, then hang up. None is a lost answer."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Hang:
    """Take the request and never answer."""


@dataclass(frozen=True)
class Late:
    """Take the request and bring it to the server after a while, whether or not somebody still waits for the answer."""

    after_s: float


Fault = Answer | CutRequest | CutAnswer | Hang | Late


@dataclass
class _Plan:
    fault: Fault
    times: int
    method: str | None


@dataclass
class Faulty:
    """A proxy on a port of its own to `upstream`, a port on this machine."""

    upstream: int
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """The first line of every request."""
    _plans: list[_Plan] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Faulty:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def spoil(self, fault: Fault, *, times: int = 1, method: str | None = None) -> None:
        """Do this to the next requests, of this method when one is given; after those that were planned before."""
        self._plans.append(_Plan(fault, times, method))

    def heal(self) -> None:
        """Spoil nothing more."""
        self._plans.clear()

    def _next(self, method: str) -> Fault | None:
        for plan in self._plans:
            if plan.times and plan.method in {None, method}:
                plan.times -= 1
                return plan.fault
        return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
        headers = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in lines[1:]}
        method = lines[0].split(b" ")[0].decode()
        self.requests.append(lines[0].decode())
        fault = self._next(method)
        if isinstance(fault, Hang):
            await asyncio.Event().wait()
        if b"expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        if isinstance(fault, Answer):
            await asyncio.sleep(fault.after_s)
            code = fault.code or ("SlowDown" if fault.status == 503 else "InternalError")
            text = b"<Error><Code>%s</Code></Error>" % code.encode()
            writer.write(
                b"HTTP/1.1 %d Spoilt\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                % (fault.status, len(text), b"" if method == "HEAD" else text)
            )
            await writer.drain()
            return
        if isinstance(fault, Late):
            await asyncio.sleep(fault.after_s)
        kept = [line for line in lines[1:] if line.partition(b":")[0].lower() not in {b"connection", b"expect"}]
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            upstream_writer.write(b"\r\n".join([lines[0], *kept, b"Connection: close", b"", b""]))
            if isinstance(fault, CutRequest):
                upstream_writer.write(body[: fault.after_bytes])
                await upstream_writer.drain()
                return
            upstream_writer.write(body)
            await upstream_writer.drain()
            left = fault.after_bytes if isinstance(fault, CutAnswer) else None
            while data := await upstream_reader.read(65_536):
                if left is not None:
                    data, left = data[:left], left - len(data)
                with contextlib.suppress(OSError) if isinstance(fault, Late) else contextlib.nullcontext():
                    writer.write(data)
                    await writer.drain()
                if left is not None and left <= 0:
                    await asyncio.sleep(0.05)  # so that what was let through arrives before the abort
                    return
        finally:
            upstream_writer.transport.abort()
