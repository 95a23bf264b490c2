"""Jobs that do what an exploited decoder would. Imported by the zygote of the tests, by name."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import socket
import threading
import time
from typing import Any

from safelight.errors import CorruptImage
from safelight.imaging.sandbox.wire import Reply
from safelight.imaging.spec import Limits


def echo(data: Any, argument: Any, _limits: Limits) -> Reply:
    return Reply({"size": len(data), "argument": argument}, [bytes(data[:1000])])


def crash(_data: Any, how: str, _limits: Limits) -> Reply:
    if how == "segfault":
        ctypes.string_at(8)
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(0)
    if how == "exception":
        raise KeyError("a fault of ours")
    if how == "refusal":
        raise CorruptImage("It says so itself.")
    raise AssertionError(how)


def hang(_data: Any, how: str, _limits: Limits) -> Reply:
    if how == "asleep":
        time.sleep(600)
    while True:
        pass


def hoard(_data: Any, how: str, _limits: Limits) -> Reply:
    if how == "at once":
        return Reply(len(bytearray(10 << 30)))
    gc.collect()
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def attempt(_data: Any, what: str, _limits: Limits) -> Reply:
    """What the kernel says to it: the name of an errno, or 'done'."""
    libc = ctypes.CDLL(None, use_errno=True)
    attempts = {
        "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "write a file": lambda: os.open("/tmp/safelight-planted", os.O_WRONLY | os.O_CREAT),
        "list a folder": lambda: os.listdir("/"),
        "remove a file": lambda: os.unlink("/tmp/safelight-planted"),
        "open a socket": lambda: socket.socket(),
        "open a unix socket": lambda: socket.socket(socket.AF_UNIX),
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "kill the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "trace the parent": lambda: _checked(libc.ptrace(16, os.getppid(), 0, 0)),
        "read the parent's memory": lambda: _checked(libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)),
        "map a new kernel program": lambda: _checked(libc.syscall(321, 0, 0, 0)),
        "raise a limit": lambda: _checked(libc.setrlimit(7, (ctypes.c_ulong * 2)(1000, 1000))),
        "make a file in memory": lambda: os.memfd_create("x"),
        "take another identity": lambda: os.setuid(1),
        "change the input": _scribble,
    }
    try:
        attempts[what]()
    except OSError as error:
        return Reply(errno.errorcode[error.errno])
    return Reply("done")


def _scribble() -> None:
    """Through any descriptor that can be mapped for writing; Python's own mmap would duplicate it, which is refused anyway."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = (
        ctypes.c_ssize_t,
        [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t],
    )
    writable, shared = 3, 1
    for fd in range(32):
        address = libc.mmap(None, 1, writable, shared, fd, 0)
        if address != -1:
            ctypes.memset(address, 0, 1)
            return
        if ctypes.get_errno() not in (errno.EBADF, errno.ENODEV):
            raise OSError(ctypes.get_errno(), "refused")


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def thread(_data: Any, _argument: Any, _limits: Limits) -> Reply:
    """Allowed: decoders do it."""
    said: list[int] = []
    worker = threading.Thread(target=said.append, args=(7,))
    worker.start()
    worker.join()
    return Reply(said)


def secrets(_data: Any, _argument: Any, _limits: Limits) -> Reply:
    """All that can be learnt of the environment and the open descriptors."""
    handles = []
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError:
            continue
        handles.append(fd)
    return Reply({"environment": dict(os.environ), "handles": handles})


def babble(_data: Any, how: str, _limits: Limits) -> Reply:
    """Writes over the reply itself."""
    noise = {
        "noise": bytes(range(256)) * 100,
        "endless head": b"\xff" * 64,
        "many blobs": b"\0\0\0\x1c" + b'{"ok":1,"blobs":[4000000000]}'[:28],
        "half a head": b"\0\0\x10\0{",
    }[how]
    for fd in range(3, 32):
        try:
            os.write(fd, noise)
        except OSError:
            continue
    os._exit(0)


def lie(_data: Any, _argument: Any, _limits: Limits) -> Reply:
    """A development whose picture is a page."""
    header = {"format": "jpeg", "width": 1, "height": 1, "frames": 1, "has_alpha": False, "orientation": 1, "is_buffered": False}
    file = {"preset": "large", "format": "jpeg", "width": 1, "height": 1, "blob": 0}
    facts = {"keywords": [], "metadata": {}, "private": {}} | dict.fromkeys(
        ("camera", "lens", "place", "title", "description", "creator", "copyright", "icc"), ""
    )
    value = {
        "header": header,
        "files": [file],
        "facts": facts,
        "thumbhash": "00" * 20,
        "dominant_color": "#000000",
        "phash": "0" * 16,
    }
    return Reply(value, [b"<script>alert(1)</script>"])


def nap(_data: Any, argument: float, _limits: Limits) -> Reply:
    time.sleep(argument)
    return Reply(time.monotonic())
