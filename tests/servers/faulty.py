"""Faulty: an HTTP proxy before a real server that spoils the next requests as it is told. One request a connection.

async with Faulty(port) as proxy:
    proxy.spoil(Answer(503, after_s=0.2), times=2)
    proxy.spoil(CutAnswer(1000), method="GET")
    proxy.spoil(Answer(400, code="ThrottlingException"), method="TransactWriteItems")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """Answer with this status instead of asking the server, after a while."""

    status: int
    after_s: float = 0.0
    code: str = ""
    """AWS's, in the body; empty is the usual one."""
    causes: tuple[str, ...] = ()
    """Of a transaction of DynamoDB that is cancelled: one code for each of its first actions."""

    def body(self, *, is_json: bool) -> bytes:
        """As S3 tells of an error, or as DynamoDB does (AWS JSON 1.0 protocol)."""
        code = self.code or ("SlowDown" if self.status == 503 else "InternalServerError" if is_json else "InternalError")
        if not is_json:
            return b"<Error><Code>%s</Code></Error>" % code.encode()
        told = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "Spoilt."}
        return json.dumps(told | {"CancellationReasons": [{"Code": cause} for cause in self.causes]}).encode()


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
    _port: int = 0
    requests: list[str] = field(default_factory=list)
    """The first line of every request."""
    _plans: list[_Plan] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Faulty:
        await self.come_back()
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Every connection breaks, and nobody takes new ones: what a server that was stopped looks like from outside."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def come_back(self) -> None:
        """Take connections, on the port that it had before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])

    def spoil(self, fault: Fault, *, times: int = 1, method: str | None = None) -> None:
        """Do this to the next requests; after those that were planned before.

        Only to those of a method where one is given: HTTP's, or the operation of an API that has but one of those.
        """
        self._plans.append(_Plan(fault, times, method))

    def heal(self) -> None:
        """Spoil nothing more."""
        self._plans.clear()

    def _next(self, *methods: str) -> Fault | None:
        for plan in self._plans:
            if plan.times and plan.method in {None, *methods}:
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
        operation = headers.get(b"x-amz-target", b"").rpartition(b".")[2].decode()
        fault = self._next(method, operation)
        if isinstance(fault, Hang):
            await asyncio.Event().wait()
        if b"expect" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
        if isinstance(fault, Answer):
            await asyncio.sleep(fault.after_s)
            text = fault.body(is_json=bool(operation))
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
