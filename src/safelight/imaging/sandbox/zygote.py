"""Zygote: imports everything once, decodes nothing ever, and forks a child for each job.

Run by `process`, with exec: `python -m safelight.imaging.sandbox.zygote <fd of the control socket>`.

It runs no pipeline because libvips' threads do not survive a fork: the children would hang for ever. It is not forked from the
server because the server may have run one. It holds no secrets (a clean environment) and leaves when the server does:
its control socket ends then. Control messages are JSON, one a packet:

    in   {"jobs": {name: "module:function"}, "limits": {...}}           once, first
         {"run": id, "job": name, "argument": ...} + [input fd, reply fd], and perhaps [a second input's fd]
         {"kill": id}   {"ping": id}
    out  {"ready": true, "holding": [layer], "missing": {layer: reason}}   once, first
         {"end": id, "signal": n | null, "status": n, "timed_out": bool, "cpu_s": s, "peak_bytes": n}   {"pong": id}
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn

from safelight.errors import DecodeBudgetExceeded, SafelightError
from safelight.imaging.sandbox import wire
from safelight.imaging.sandbox.lockdown import Lockdown, die_with_parent
from safelight.imaging.spec import Limits

MAX_MESSAGE: Final = 200_000
"""Bytes of a control message; a UNIX socket's usual buffer holds no more in one packet."""

Job = Callable[[Any, Any, Limits], wire.Reply]


@dataclass(frozen=True, slots=True)
class _Child:
    id: int
    pid: int
    handle: int
    """pidfd: readable once the child has ended."""
    deadline: float


class Zygote:
    """The loop between the control socket and the children."""

    def __init__(self, control: socket.socket, jobs: Mapping[str, Job], lockdown: Lockdown) -> None:
        self.control = control
        self.jobs = jobs
        self.lockdown = lockdown
        self.pid = os.getpid()
        self.nowhere = os.open(os.devnull, os.O_RDWR)
        self.children: dict[int, _Child] = {}  # by handle
        self.killed: set[int] = set()  # ids whose time was up

    def serve(self) -> None:
        """Until the server closes its end."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        try:
            while True:
                for handle, _event in poll.poll(self._patience_ms()):
                    if handle == self.control.fileno():
                        if not self._hear(poll):
                            return
                    elif handle in self.children:
                        poll.unregister(handle)
                        self._bury(self.children.pop(handle))
                self._enforce()
        finally:
            for child in self.children.values():
                _kill(child)

    def _patience_ms(self) -> int | None:
        if not self.children:
            return None
        first = min(child.deadline for child in self.children.values())
        return max(0, int((first - time.monotonic()) * 1000) + 1)

    def _hear(self, poll: select.poll) -> bool:
        try:
            packet, fds, _flags, _address = socket.recv_fds(self.control, MAX_MESSAGE, 3)
        except ConnectionError:
            return False
        if not packet:
            return False
        try:
            message = json.loads(packet)
            if "run" in message:
                child = self._fork(message, fds)
                self.children[child.handle] = child
                poll.register(child.handle, select.POLLIN)
            elif "kill" in message:
                for child in self.children.values():
                    if child.id == message["kill"]:
                        _kill(child)
            elif "ping" in message:
                self._tell({"pong": message["ping"]})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _fork(self, message: Mapping[str, Any], fds: list[int]) -> _Child:
        deadline = time.monotonic() + self.lockdown.limits.wall_s
        pid = os.fork()
        if pid == 0:
            self._be_child(message, *fds)
        return _Child(message["run"], pid, os.pidfd_open(pid), deadline)

    def _be_child(self, message: Mapping[str, Any], source: int, reply: int, beside: int | None = None) -> NoReturn:
        status = 1
        try:
            die_with_parent(self.pid)
            # Neither the control socket nor another job's descriptors may be left where a stranger's code could reach them.
            self.control.close()
            for handle in self.children:
                os.close(handle)
            for standard in (0, 1, 2):
                os.dup2(self.nowhere, standard)
            _make_read_only(source)
            data = _mapped(source)  # before the doors close: Python duplicates the descriptor
            argument: Any = message.get("argument")
            if beside is not None:
                _make_read_only(beside)
                argument = {**argument, "beside": bytes(_mapped(beside))}
            self.lockdown.apply()
            _write(reply, _work(self.jobs[message["job"]], data, argument, self.lockdown.limits))
            status = 0
        finally:
            # No destructors, no exit handlers: libvips' threads may crash on those, and nothing here needs tidying.
            os._exit(status)

    def _enforce(self) -> None:
        now = time.monotonic()
        for child in self.children.values():
            if child.deadline <= now and child.id not in self.killed:
                self.killed.add(child.id)
                _kill(child)

    def _bury(self, child: _Child) -> None:
        _pid, status, used = os.wait4(child.pid, 0)
        os.close(child.handle)
        is_signal = os.WIFSIGNALED(status)
        self._tell(
            {
                "end": child.id,
                "signal": os.WTERMSIG(status) if is_signal else None,
                "status": -1 if is_signal else os.WEXITSTATUS(status),
                "timed_out": child.id in self.killed,
                "cpu_s": used.ru_utime + used.ru_stime,
                "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            }
        )
        self.killed.discard(child.id)

    def _tell(self, message: Mapping[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())


def _kill(child: _Child) -> None:
    try:
        signal.pidfd_send_signal(child.handle, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended by itself and waits to be buried


def _work(job: Job, data: mmap.mmap | bytes, argument: Any, limits: Limits) -> Iterable[bytes]:
    try:
        return list(wire.packed(job(data, argument, limits)))
    except SafelightError as error:
        return wire.packed_error(error)
    except MemoryError:
        return wire.packed_error(DecodeBudgetExceeded())
    except Exception as error:  # noqa: BLE001 (a fault of ours; the server logs it, the child has nowhere to)
        return wire.packed_error(SafelightError(f"{type(error).__name__}: {error}"[:500]))


def _make_read_only(source: int) -> None:
    # The server may hold it open for writing, and has yet to store it: what was hashed and probed is what must be stored. No limit
    # on the size of files keeps anybody from writing through a mapping.
    readable = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(readable, source)
    os.close(readable)


def _mapped(source: int) -> mmap.mmap | bytes:
    # What is mapped is shared with the server's page cache: no copy, however large the file.
    return mmap.mmap(source, 0, prot=mmap.PROT_READ) if os.fstat(source).st_size else b""


def _write(reply: int, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(reply, view) :]


def _holding(lockdown: Lockdown) -> tuple[list[str], dict[str, str]]:
    """What really holds on this machine, tried out in a child that does nothing else."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            holding = lockdown.apply()
            os.write(theirs, json.dumps([holding, lockdown.missing]).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    holding, missing = json.loads(said or b"[[], {}]")
    lockdown.missing.update(missing)
    return holding, missing


def _prefer_under_memory_pressure() -> None:
    # When the machine runs out of memory, let it take a child rather than the server; children inherit this.
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 (no need to import pathlib here)
            file.write("500")
    except OSError:
        return


def _find(path: str) -> Job:
    module, _, name = path.partition(":")
    job: Job = getattr(import_module(module), name)
    return job


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes the socket
    with socket.socket(fileno=int(sys.argv[1])) as control:
        packet = control.recv(MAX_MESSAGE)
        if not packet:
            return
        config = json.loads(packet)
        jobs = {name: _find(path) for name, path in config["jobs"].items()}
        lockdown = Lockdown.prepare(Limits(**config["limits"]))
        _prefer_under_memory_pressure()
        holding, missing = _holding(lockdown)
        # Children share these pages until they write to them; the collector would write to all.
        gc.collect()
        gc.freeze()
        gc.disable()
        control.send(json.dumps({"ready": True, "holding": holding, "missing": missing}).encode())
        Zygote(control, jobs, lockdown).serve()


if __name__ == "__main__":
    main()
