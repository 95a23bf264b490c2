"""Cuttable: a TCP proxy before a real server whose line is cut, goes dead, or loses the answers. In a thread of its own.

    with Cuttable(port) as line:
        line.be(Line.CUT)
        line.be(Line.THROUGH)

Knows nothing of what is spoken; `faulty` is the one that knows HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum


class Line(StrEnum):
    """What becomes of bytes."""

    THROUGH = "through"
    CUT = "cut"
    """Every connection breaks, and new ones are hung up on."""
    DEAD = "dead"
    """Nothing breaks and nothing arrives; when the line is back, what was on the way arrives late."""
    NO_ANSWERS = "no answers"
    """What is asked arrives and is done; the answer is lost, and the connection breaks with it."""


class Cuttable:
    """A port on this machine that leads to `upstream`, another one."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self._line = Line.THROUGH
        self._breaks_after: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuttable", daemon=True)

    def __enter__(self) -> Cuttable:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def be(self, line: Line) -> None:
        """From now on."""
        self._run(self._be(line))

    def cut_after(self, size_bytes: int) -> None:
        """The line will be CUT when so many bytes more have gone upstream, and they arrive."""
        self._breaks_after = size_bytes

    @property
    def is_cut(self) -> bool:
        return self._line is Line.CUT

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._changed = asyncio.Event()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _be(self, line: Line) -> None:
        self._line = line
        self._changed.set()
        self._changed = asyncio.Event()
        if line is Line.CUT:
            for writer in self._writers:
                writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._be(Line.CUT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        mine = {writer}
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if self._line is Line.CUT:
                    return
                there, back = await asyncio.open_connection("127.0.0.1", self.upstream)
                mine.add(back)
                self._writers |= mine
                pumps = [
                    asyncio.create_task(self._pump(reader, back)),
                    asyncio.create_task(self._pump(there, writer, is_answer=True)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._writers -= mine
            for each in mine:
                each.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False) -> None:
        while data := await reader.read(65_536):
            if self._breaks_after is not None and not is_answer:
                self._breaks_after -= len(data)
                if self._breaks_after < 0:
                    self._breaks_after = None
                    writer.close()  # a reset would throw away what the other end has not read yet
                    await writer.wait_closed()
                    await self._be(Line.CUT)
            while self._line is Line.DEAD:
                await self._changed.wait()
            if self._line is Line.CUT or (is_answer and self._line is Line.NO_ANSWERS):
                return
            writer.write(data)
            await writer.drain()
        # The end of what one side says: what is under way to the other still arrives.
        await asyncio.sleep(0.05)
