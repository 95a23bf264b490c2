"""The machine: versions, decoders and their sandbox, clock, limits."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
import resource
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safelight.cli import output
from safelight.cli.doctor.check import Check, Checks, State
from safelight.cli.doctor.here import has_files
from safelight.errors import SafelightError
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.imaging import Sandbox

FEW_FILES: Final = 4096
LEAST_FILES: Final = 512
LEAST_MEMORY: Final = 512 * 1024**2
NEWER_THAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Before this release was made nobody ran it."""
_STA_UNSYNC: Final = 0x40  # linux/timex.h
_PROTECTIONS: Final = ("rlimits", "no_new_privs", "landlock", "seccomp")
_LEAST_SQLITE: Final = (3, 35, 0)


def versions(chosen: Settings) -> Checks:
    """Of what runs here; SQLite's only where it keeps something."""
    import pyvips

    vips = ".".join(str(pyvips.version(part)) for part in range(3))
    yield Check(
        "versions", "ok", f"Safelight {metadata.version('safelight')}, Python {platform.python_version()}, libvips {vips}"
    )
    if not has_files(chosen):
        return
    name = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        yield Check("SQLite", "failed", f"{name} is too old", "Use a Python that is built with SQLite 3.35 or newer.")
        return
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.execute("create virtual table words using fts5(word, tokenize='trigram')")
    except sqlite3.Error as error:
        yield Check("SQLite", "failed", f"{name} has no full text search: {error}", "Use a Python whose SQLite has FTS5.")
    else:
        yield Check("SQLite", "ok", f"{name} with full text search")


def decoding(chosen: Settings) -> Checks:
    """Sandbox, decoders, fonts."""
    yield from asyncio.run(_decoded(chosen))


async def _decoded(chosen: Settings) -> list[Check]:
    """Every format, really decoded, in the sandbox that serves."""
    from safelight.imaging import Limits, Sandbox

    limits = Limits(wall_s=chosen.limits.decode_s, memory_bytes=chosen.limits.decode_memory_bytes)
    async with Sandbox(slots=1, limits=limits) as sandbox:
        return [_protections(sandbox), *await _formats(sandbox), await _fonts(sandbox)]


def _protections(sandbox: Sandbox) -> Check:
    holding = sandbox.protections()
    missing = [name for name in _PROTECTIONS if name not in holding]
    if not missing:
        return Check("sandbox", "ok", ", ".join(holding))
    mend = {
        "landlock": "Landlock wants Linux 5.13 with `landlock` among its security modules (`/sys/kernel/security/lsm`).",
        "seccomp": "seccomp wants a kernel with CONFIG_SECCOMP_FILTER and the library libseccomp.",
    }
    state: State = "failed" if "rlimits" in missing or ("seccomp" in missing and "landlock" in missing) else "warning"
    return Check("sandbox", state, f"without {', '.join(missing)}", " ".join(mend.get(name, "") for name in missing).strip())


async def _formats(sandbox: Sandbox) -> list[Check]:
    from safelight.cli.specimens import SPECIMENS

    refused: list[Check] = []
    for format, data in SPECIMENS.items():
        try:
            with _in_memory(data) as fd:
                await sandbox.develop(fd)
        except SafelightError as error:
            mend = "Install safelight[heic]." if format == "heic" else "Reinstall pyvips-binary, which brings the decoders."
            refused.append(Check(f"decoder {format}", "failed", f"{error.detail} [{error.code}]", mend))
    good = [format for format in SPECIMENS if f"decoder {format}" not in {check.name for check in refused}]
    return [*refused, Check("decoders", "ok" if good else "failed", ", ".join(good) or "none")]


async def _fonts(sandbox: Sandbox) -> Check:
    from safelight.cli.specimens import SPECIMENS, WORDS
    from safelight.imaging import Format

    pictures = []
    for data in (SPECIMENS[Format.SVG], WORDS):
        with _in_memory(data) as fd:
            pictures.append([file.data for file in (await sandbox.develop(fd)).files])
    if pictures[0] != pictures[1]:
        return Check("fonts", "ok", "text in drawings is drawn")
    return Check("fonts", "warning", "text in SVG drawings stays empty", "Install a font, such as the package fonts-dejavu-core.")


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("specimen")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


def clock(chosen: Settings) -> Checks:
    """Whether it can be believed."""
    now = datetime.now(UTC)
    mend = "Set the clock, and keep it right with NTP: signed URLs and keys expire by it."
    newest = max((path.stat().st_mtime for path in chosen.data_dir.glob("*.db*")), default=0.0)
    if now < NEWER_THAN:
        yield Check("clock", "failed", f"it is said to be {now:%Y-%m-%d}", mend)
    elif newest > now.timestamp() + 60:
        ahead = datetime.fromtimestamp(newest, UTC)
        yield Check(
            "clock", "failed", f"{now:%Y-%m-%d %H:%M} UTC is before the last write to the data, {ahead:%Y-%m-%d %H:%M}", mend
        )
    elif _is_unsynchronised():
        yield Check("clock", "warning", f"{now:%Y-%m-%d %H:%M} UTC; the kernel says that nobody keeps it right", mend)
    else:
        yield Check("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC")


def _is_unsynchronised() -> bool:
    """Whether the kernel's clock is steered by nobody (adjtimex(2)); False where that cannot be asked."""
    if sys.platform != "linux":
        return False
    timex = ctypes.create_string_buffer(256)  # struct timex with modes 0: read only
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return False
    longs = ctypes.sizeof(ctypes.c_long)
    status = int.from_bytes(timex.raw[5 * longs : 5 * longs + 4], sys.byteorder)  # behind modes, offset, freq, maxerror, esterror
    return bool(status & _STA_UNSYNC)


def limits(chosen: Settings) -> Checks:
    """Open files, memory and processors, as far as this process may have them."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    files = sys.maxsize if files == resource.RLIM_INFINITY else files
    found = "unlimited" if files == sys.maxsize else str(files)
    if files < FEW_FILES:
        yield Check(
            "open files",
            "failed" if files < LEAST_FILES else "warning",
            found,
            f"ulimit -n {FEW_FILES}, or LimitNOFILE= of the unit.",
        )
    else:
        yield Check("open files", "ok", found)
    yield _memory(chosen)
    quota = _cgroup("cpu.max")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = float(cores)
    if quota and not quota.startswith("max"):
        allowed, period = (int(part) for part in quota.split()[:2])
        share = min(share, allowed / period)
    slots = chosen.develop.slots
    if slots > max(1.0, share) * 1.5:
        mend = f"Set SAFELIGHT_DEVELOP__SLOTS={max(1, round(share))}."
        yield Check("processors", "warning", f"{share:g} for {slots} images at the same time", mend)
    else:
        yield Check("processors", "ok", f"{share:g} for {output.many(slots, 'image')} at the same time")


def _memory(chosen: Settings) -> Check:
    free = next(
        (int(line.split()[1]) * 1024 for line in _text(Path("/proc/meminfo")).splitlines() if line.startswith("MemAvailable")),
        None,
    )
    limit = _cgroup("memory.max")
    used = _cgroup("memory.current")
    if limit and limit != "max":
        left = int(limit) - int(used or 0)
        free = left if free is None else min(free, left)
    if free is None:
        return Check("memory", "warning", "how much is free cannot be told")
    found = f"{output.size(free)} to be had"
    if free < LEAST_MEMORY:
        return Check("memory", "failed", found, "Give it more: one decoding process alone may need hundreds of megabytes.")
    if free < min(chosen.limits.decode_memory_bytes, 1024**3):
        return Check(
            "memory", "warning", found, "Large images may be given up; lower SAFELIGHT_LIMITS__MAX_PIXELS or give it more."
        )
    return Check("memory", "ok", found)


def _cgroup(name: str) -> str | None:
    """A value of the control group that this process is in (version 2), without its line end; None where there is none."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            return _text(Path("/sys/fs/cgroup") / line[3:].strip().lstrip("/") / name).strip() or None
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
