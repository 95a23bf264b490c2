"""Lockdown: what is taken from a process before it touches a stranger's bytes. Called by the zygote.

Four layers, each sufficient against something the others miss; where the kernel lacks one, the rest holds and the lack
is reported once. Prepared before the fork, so that a child applies them in well under a millisecond.

rlimits        memory, CPU seconds, no file may grow, few descriptors, no core dump
no_new_privs   nothing executed could gain rights (and the kernel asks for it before the next two)
landlock       no path can be opened, no TCP, no signal to another process, whatever the system call
seccomp        only the calls that decoding needs: no open, no socket, no exec, no new process (threads are allowed)
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import tempfile
from dataclasses import dataclass, field
from typing import Final

from safelight.imaging.spec import Limits

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SIGKILL: Final = 9

# Landlock's system calls have the same numbers everywhere (they are newer than the common table).
_LANDLOCK_CREATE: Final = 444
_LANDLOCK_RESTRICT: Final = 446
_LANDLOCK_VERSION: Final = 1

_CLONE_THREAD: Final = 0x00010000

_ALLOWED_CALLS: Final = (
    # memory
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise",
    # the descriptors that are open: input, reply, nothing else; fstat and lseek are how Python and libvips look at them
    "read", "write", "writev", "pread64", "close", "fstat", "newfstatat", "lseek", "poll", "ppoll",
    # threads and their locks
    "futex", "set_robust_list", "rseq", "membarrier", "sched_yield", "sched_getaffinity", "gettid", "getpid", "exit",
    # time and chance
    "clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom",
    # signals to oneself: abort() must be able to end the process
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    # what runtime libraries ask of themselves
    "exit_group", "sysinfo", "getrusage", "uname",
)  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog: a filter in BPF."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


@dataclass(slots=True)
class Lockdown:
    """The layers made ready, and why those that are not are not. `missing` maps a layer to a reason."""

    limits: Limits
    missing: dict[str, str] = field(default_factory=dict)
    _ruleset: int | None = None
    _filter: bytes | None = None

    @classmethod
    def prepare(cls, limits: Limits) -> Lockdown:
        """Everything that can be made beforehand. Never raises."""
        lockdown = cls(limits)
        try:
            lockdown._ruleset = _landlock_ruleset()
        except OSError as error:
            lockdown.missing["landlock"] = f"the kernel refuses it: {error.strerror}"
        try:
            lockdown._filter = _seccomp_filter()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            lockdown.missing["seccomp"] = str(error) or type(error).__name__
        return lockdown

    def apply(self) -> tuple[str, ...]:
        """Give everything up, for good. The names of the layers that hold. Must run before any thread is started."""
        layers = {
            "rlimits": self._limit,
            "no_new_privs": _give_up_privileges,
            "landlock": self._restrict_paths,
            "seccomp": self._restrict_calls,  # last: it forbids the calls that the others are made of
        }
        holding = []
        for name, apply in layers.items():
            if name in self.missing:
                continue
            try:
                apply()
                holding.append(name)
            except (OSError, ValueError) as error:
                self.missing[name] = str(error)
        return tuple(holding)

    def _limit(self) -> None:
        wanted = {
            resource.RLIMIT_AS: (self.limits.memory_bytes, self.limits.memory_bytes),
            # At the soft limit SIGXCPU ends the process, and tells of it; the hard one is for whoever would ignore that.
            resource.RLIMIT_CPU: (self.limits.cpu_s, self.limits.cpu_s + 1),
            resource.RLIMIT_FSIZE: (0, 0),
            resource.RLIMIT_NOFILE: (32, 32),
            resource.RLIMIT_CORE: (0, 0),
        }
        for what, (soft, hard) in wanted.items():
            # An operator may have set less already; raising a hard limit is not ours to try.
            most = resource.getrlimit(what)[1]
            if most != resource.RLIM_INFINITY:
                soft, hard = min(soft, most), min(hard, most)  # noqa: PLW2901
            resource.setrlimit(what, (soft, hard))

    def _restrict_paths(self) -> None:
        if self._ruleset is None:
            raise OSError(errno.ENOSYS, "no ruleset")
        _check(_libc.syscall(_LANDLOCK_RESTRICT, self._ruleset, 0))

    def _restrict_calls(self) -> None:
        if self._filter is None:
            raise OSError(errno.ENOSYS, "no filter")
        instructions = ctypes.create_string_buffer(self._filter, len(self._filter))
        program = _Program(len(self._filter) // 8, ctypes.addressof(instructions))
        _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent process (which must be single-threaded) is gone; leave if it already is."""
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _give_up_privileges() -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _landlock_ruleset() -> int:
    """A ruleset that handles every right this kernel knows and grants none (linux/landlock.h)."""
    version = _check(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION))
    paths = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    attributes = struct.pack("Q", paths)
    if version >= 4:
        attributes += struct.pack("Q", 0b11)  # TCP: bind, connect
    if version >= 6:
        attributes += struct.pack("Q", 0b11)  # abstract UNIX sockets, signals
    return _check(_libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0))


def _seccomp_filter() -> bytes:
    """The allow-list as BPF for the machine we run on. All else fails with EPERM rather than kills: libraries try things."""
    import pyseccomp as seccomp

    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for call in _ALLOWED_CALLS:
        try:
            rules.add_rule(seccomp.ALLOW, call)
        except (OSError, ValueError):
            continue  # not known on this machine
    # clone makes threads and processes; only threads are wanted. Of clone3 a filter cannot see the flags:
    # ENOSYS makes the C library fall back to clone.
    rules.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    # The alarm for a file that takes more than its share. Whoever puts it off still has the limit of CPU seconds above.
    rules.add_rule(seccomp.ALLOW, "setitimer", seccomp.Arg(0, seccomp.EQ, signal.ITIMER_PROF))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
