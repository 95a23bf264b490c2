"""Process: one zygote as the server sees it: started, told, heard, ended. Called by `client` only; never blocks the loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from safelight.errors import SandboxLost
from safelight.imaging.sandbox.zygote import MAX_MESSAGE
from safelight.imaging.spec import Limits

START_S: Final = 30.0
"""How long imports may take on a busy machine; 0.3 is usual."""
STOP_S: Final = 5.0

_INHERITED: Final = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)
"""All that the zygote learns of our environment: a child's memory must hold no key of ours."""
_SETTINGS: Final = {
    "VIPS_CONCURRENCY": "1",
    "VIPS_BLOCK_UNTRUSTED": "1",
    "VIPS_MAX_COORD": "10000000",  # an animation is one strip, its frames below each other
    "VIPS_DISC_THRESHOLD": "100g",  # what cannot be streamed is decoded to memory however large: a child can write no file
    # A child starts with a cold heap, and every page of it must be cleared: one arena for all threads, freed blocks kept, huge
    # pages asked for. Of 390 ms for a 12-megapixel photograph that saves 40: 20 of them by the one arena, and 10 MB beside.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_TOP_PAD_": "16777216",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended."""

    signal: int | None
    status: int
    timed_out: bool
    cpu_s: float
    """Seconds of all its threads together."""
    peak_bytes: int
    """The most memory that it held."""


class Process:
    """A running zygote. Lost for good once its socket ends; then everybody who waits gets SandboxLost."""

    def __init__(self, child: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._child = child
        self._control = control
        self._ends: dict[int, asyncio.Future[End]] = {}
        self._pongs: dict[int, asyncio.Future[None]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sending = asyncio.Lock()
        self.holding: tuple[str, ...] = ()
        self.missing: dict[str, str] = {}
        self.is_lost = False

    @classmethod
    async def start(cls, jobs: Mapping[str, str], limits: Limits) -> Process:
        """Ready for jobs. Raises SandboxLost."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _SETTINGS
        command = [sys.executable, "-m", "safelight.imaging.sandbox.zygote", str(theirs.fileno())]
        with theirs:
            child = await asyncio.to_thread(
                subprocess.Popen,
                command,
                env=environment,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        process = cls(child, ours)
        asyncio.get_running_loop().add_reader(ours.fileno(), process._hear)
        try:
            await process.tell({"jobs": dict(jobs), "limits": asdict(limits)})
            await asyncio.wait_for(asyncio.shield(process._ready), START_S)
        except TimeoutError:
            await process.stop()
            raise SandboxLost from None
        except BaseException:
            await process.stop()
            raise
        return process

    async def tell(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message and give these descriptors along. Raises SandboxLost, ValueError (too long)."""
        packet = json.dumps(message, separators=(",", ":")).encode()
        if len(packet) > MAX_MESSAGE:
            raise ValueError(f"A message to the sandbox has at most {MAX_MESSAGE} bytes.")
        async with self._sending:
            while not self.is_lost:
                try:
                    socket.send_fds(self._control, [packet], list(fds))
                except BlockingIOError:
                    await self._writable()
                except OSError:
                    self._lose()
                else:
                    return
        raise SandboxLost

    def expect(self, job: int) -> asyncio.Future[End]:
        """Told when the child of this job has ended; call before the job is told. Raises SandboxLost through the future."""
        self._ends[job] = future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting any more
        return future

    def kill(self, job: int) -> None:
        """End the child of this job, if it still runs. Sends at once, for the caller is being cancelled and cannot wait."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": job}).encode())

    async def ping(self, number: int) -> None:
        """The zygote answers. Raises SandboxLost."""
        self._pongs[number] = future = asyncio.get_running_loop().create_future()
        try:
            await self.tell({"ping": number})
            await future
        finally:
            self._pongs.pop(number, None)

    async def stop(self) -> None:
        """End it and its children; waits until it is gone."""
        self._lose()
        try:
            await asyncio.to_thread(self._child.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            await asyncio.to_thread(self._child.wait)

    async def destroy(self) -> None:
        """End it by force: it does not answer. Its children die with it."""
        self._child.kill()
        await self.stop()

    async def _writable(self) -> None:
        loop, fd = asyncio.get_running_loop(), self._control.fileno()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(fd, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_writer(fd)

    def _hear(self) -> None:
        while not self.is_lost:
            try:
                packet = self._control.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                self._lose()
                return
            self._understand(json.loads(packet))

    def _understand(self, message: Mapping[str, Any]) -> None:
        if "end" in message:
            future = self._ends.pop(message["end"], None)
            if future and not future.done():
                names = ("signal", "status", "timed_out", "cpu_s", "peak_bytes")
                future.set_result(End(**{name: message[name] for name in names}))
        elif "pong" in message:
            if pong := self._pongs.get(message["pong"]):
                _settle(pong)
        elif "ready" in message:
            self.holding, self.missing = tuple(message["holding"]), message["missing"]
            _settle(self._ready)

    def _lose(self) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        waiting: list[asyncio.Future[Any]] = [*self._ends.values(), *self._pongs.values(), self._ready]
        for future in waiting:
            if not future.done():
                future.set_exception(SandboxLost())
        self._ends.clear()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
