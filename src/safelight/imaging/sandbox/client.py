"""Sandbox: the server's way to have a stranger's bytes decoded. Called by services; speaks through `process`.

Every job runs in a child of its own, so a crash, a hang or a bomb costs that job and nothing else. What comes back is
checked by `wire`. Nothing here blocks the event loop and nothing here decodes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from safelight.errors import CorruptImage, DecodeBudgetExceeded, SafelightError, SandboxLost
from safelight.imaging import jpeg_header
from safelight.imaging.sandbox import wire
from safelight.imaging.sandbox.process import End, Process
from safelight.imaging.spec import Developed, File, Header, Limits, Recipe
from safelight.imaging.transform.plan import Size
from safelight.imaging.transform.spec import Spec

JOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "probe": "safelight.imaging.sandbox.jobs:probe_file",
        "develop": "safelight.imaging.sandbox.jobs:develop_file",
        "transform": "safelight.imaging.sandbox.jobs:transform_file",
        "tile": "safelight.imaging.sandbox.jobs:tile_file",
    }
)
PROBE_SLOTS: Final = 4
"""Probes take milliseconds and somebody waits for the answer; they never queue behind developments."""
GRACE_S: Final = 5.0
"""The zygote ends jobs in time; when it has not by then, it is the zygote that hangs."""

# Out of CPU seconds; GLib's way to end when it cannot allocate.
_OVERDRAWN: Final = frozenset({signal.SIGXCPU, signal.SIGTRAP})
# What others send: a machine that is short of memory, a service manager that ends everything of ours at once.
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
_LARGE: Final = 0.25
"""Of the memory that is allowed: who holds less is not to blame when the kernel runs out of it."""
_UNSAFE: Final = "The image could not be decoded safely."

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Sandbox:
    """Jobs on files, each in a locked-down process. Open it before use; belongs to the event loop that opened it."""

    def __init__(self, *, slots: int, limits: Limits | None = None, jobs: Mapping[str, str] = JOBS) -> None:
        """`slots` developments at once (one per core is right), further ones wait in line. `jobs`: name -> 'module:function'."""
        self._limits = limits or Limits()
        self._jobs = dict(jobs)
        self._slots = asyncio.Semaphore(slots)
        asked_for = asyncio.Semaphore(slots)
        self._waits = {"probe": asyncio.Semaphore(PROBE_SLOTS), "transform": asked_for, "tile": asked_for}
        self._ids = itertools.count(1)
        self._process: Process | None = None
        self._starting = asyncio.Lock()
        self._is_open = False

    async def open(self) -> None:
        """Start the zygote. Raises SandboxLost when it does not come up."""
        self._is_open = True
        await self._running()

    async def close(self) -> None:
        """End everything; jobs under way raise SandboxLost."""
        self._is_open = False
        async with self._starting:
            process, self._process = self._process, None
            if process:
                await process.stop()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def ping(self) -> None:
        """The zygote is up (it is started again if it was lost) and answers. Raises SandboxLost."""
        await (await self._running()).ping(next(self._ids))

    def protections(self) -> tuple[str, ...]:
        """Which layers hold on this machine: 'rlimits', 'no_new_privs', 'landlock', 'seccomp'. Empty before `open`."""
        return self._process.holding if self._process else ()

    async def probe(self, fd: int) -> Header:
        """What the file says of itself. Raises what `imaging.probe.probe` does, and SandboxLost."""
        plain = await asyncio.to_thread(jpeg_header.read, fd, self._limits)
        if plain is not None:
            return plain
        reply = await self.run("probe", fd)
        return _believed(lambda: wire.read_header(reply.value))

    async def develop(self, fd: int, recipe: Recipe | None = None, *, mark: bytes = b"") -> Developed:
        """The file developed, `mark` being the PNG of the recipe's watermark. Raises what `imaging.pipeline.develop` does, and SandboxLost."""
        reply = await self._run_beside("develop", fd, asdict(recipe or Recipe()), mark)
        return _believed(lambda: wire.read_developed(reply.value, reply.blobs))

    async def transform(self, fd: int, spec: Spec, *, xmp: bytes = b"", mark: bytes = b"") -> File:
        """One transform of an original; `spec` is settled and names its format, `mark` is the PNG of its watermark.

        Never waits behind developments. Raises what `transform.from_original` does, and SandboxLost.
        """
        reply = await self._run_beside("transform", fd, {"spec": spec.text, "xmp": xmp.decode()}, mark)
        file = _believed(lambda: wire.read_transformed(reply.value, reply.blobs))
        if file.format is not spec.format:
            raise CorruptImage(_UNSAFE)
        return file

    async def tile(self, fd: int, size: Size) -> bytes:
        """The pyramid of an original, which is of that upright size (`transform.pyramid`). Never waits behind developments.

        Raises what `imaging.tiles.tiled` does, and SandboxLost.
        """
        reply = await self.run("tile", fd)
        return _believed(lambda: wire.read_tiled(reply.blobs, size))

    async def run(self, job: str, fd: int, argument: Any = None, *, beside: int | None = None) -> wire.Reply:
        """Any job on any file.

        `fd` can be read and mapped into memory (a memfd, O_TMPFILE); it is taken whole, wherever it stands, shared with the
        child rather than copied, and must not change meanwhile. `argument` is anything that JSON can hold; where there is a second file `beside`, a
        dictionary, in which the job finds its bytes under that name. A caller who is cancelled ends the child and frees its slot at once.

        Raises:
            CorruptImage: the job ended in a crash, or talks nonsense.
            DecodeBudgetExceeded: it took too much time or memory.
            SandboxLost: the zygote is gone, or somebody else has ended the process; the next job has a new one.
            SafelightError: whatever the job raised.

        """
        async with self._waits.get(job, self._slots):
            process = await self._running()
            return await self._run(process, job, (fd,) if beside is None else (fd, beside), argument)

    async def _run_beside(self, job: str, fd: int, argument: Mapping[str, Any], data: bytes) -> wire.Reply:
        if not data:
            return await self.run(job, fd, argument)
        with _file_of(data) as beside:
            return await self.run(job, fd, argument, beside=beside)

    async def _running(self) -> Process:
        async with self._starting:
            if not self._is_open:
                raise SandboxLost("The sandbox is closed.")
            if self._process is None or self._process.is_lost:
                lost, self._process = self._process, None
                if lost:
                    _log.warning("sandbox.zygote_lost")
                    await lost.stop()
                self._process = await Process.start(self._jobs, self._limits)
                for layer, reason in self._process.missing.items():
                    _log.warning("sandbox.protection_missing", extra={"protection": layer, "reason": reason})
            return self._process

    async def _run(self, process: Process, job: str, fds: Sequence[int], argument: Any) -> wire.Reply:
        number = next(self._ids)
        end = process.expect(number)
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            try:
                with theirs:
                    await process.tell({"run": number, "job": job, "argument": argument}, [fds[0], theirs.fileno(), *fds[1:]])
                async with asyncio.timeout(self._limits.wall_s + GRACE_S):
                    return await _receive(ours)
            except EOFError:
                ended = await self._ended(process, end)
                raise _reason(ended, self._limits) from None
            except wire.Malformed as error:
                process.kill(number)
                _log.warning("sandbox.reply_malformed", extra={"job": job, "reason": str(error)})
                raise CorruptImage(_UNSAFE) from error
            except TimeoutError:
                await process.destroy()
                raise SandboxLost from None
            except asyncio.CancelledError:
                process.kill(number)
                raise

    async def _ended(self, process: Process, end: asyncio.Future[End]) -> End:
        """How the child ended: it has closed its socket, so it is about to. Raises SandboxLost."""
        try:
            async with asyncio.timeout(GRACE_S):
                return await end
        except TimeoutError:
            await process.destroy()
            raise SandboxLost from None


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """Bytes as a file in memory, gone with the block."""
    fd = os.memfd_create("beside", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield fd
    finally:
        os.close(fd)


def _believed(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except wire.Malformed as error:
        _log.warning("sandbox.reply_malformed", extra={"reason": str(error)})
        raise CorruptImage(_UNSAFE) from error


def _reason(end: End, limits: Limits) -> SafelightError:
    if end.timed_out:
        return DecodeBudgetExceeded(f"Decoding the image takes more than {limits.wall_s:g} seconds.")
    if end.signal == signal.SIGPROF:
        return DecodeBudgetExceeded("Decoding the image takes far more time than one of its size should.")
    if end.signal in _OVERDRAWN:
        return DecodeBudgetExceeded()
    if end.signal in _FROM_OUTSIDE:
        # SIGKILL is the kernel's at the hard limit of CPU seconds too, and for memory. Any other picture must not be refused for
        # what happened to its process: it is tried again.
        is_large = end.peak_bytes >= _LARGE * limits.memory_bytes
        is_overdrawn = end.signal == signal.SIGKILL and (is_large or end.cpu_s >= limits.cpu_s)
        return DecodeBudgetExceeded() if is_overdrawn else SandboxLost("The decoding process was ended from outside.")
    return CorruptImage(_UNSAFE)


async def _receive(reply: socket.socket) -> wire.Reply:
    """A whole frame. Raises EOFError, wire.Malformed, or the job's own error."""
    size = wire.head_size(await _exactly(reply, wire.LENGTH_BYTES))
    head = wire.read_head(await _exactly(reply, size))
    if head.error:
        raise head.error
    return wire.Reply(head.value, [await _exactly(reply, size) for size in head.sizes])


async def _exactly(reply: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    buffer = bytearray(size)
    view, at = memoryview(buffer), 0
    while at < size:
        try:
            got = await loop.sock_recv_into(reply, view[at:])
        except ConnectionError:
            raise EOFError from None
        if not got:
            raise EOFError
        at += got
    return bytes(buffer)
