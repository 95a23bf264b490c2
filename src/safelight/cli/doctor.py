"""`doctor`: whether this machine and a data directory can serve, and what to do where they cannot. Needs no server.

Nothing that is kept is changed: databases are opened for reading only, and what must be tried on the disk is tried with a
file that has no name. A check that itself fails is a finding, never a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from safelight.cli import EXIT_REFUSED, output
from safelight.cli.connection import Json
from safelight.cli.server import DataDir, settings
from safelight.errors import SafelightError
from safelight.settings import PREFIX, Settings, unknown_names

if TYPE_CHECKING:
    from safelight.imaging import Sandbox

State = Literal["ok", "warning", "failed"]

LEAST_FREE_BYTES: Final = 1_000_000_000
FEW_FREE_BYTES: Final = 10_000_000_000
SLOW_FSYNC_S: Final = 0.05
"""An upload waits for several: on a disk this slow that is most of its time."""
FEW_FILES: Final = 4096
LEAST_FILES: Final = 512
LEAST_MEMORY: Final = 512 * 1024**2
NEWER_THAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Before this release was made nobody ran it."""
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs"}
)
_STA_UNSYNC: Final = 0x40  # linux/timex.h
_PROTECTIONS: Final = ("rlimits", "no_new_privs", "landlock", "seccomp")
_LEAST_SQLITE: Final = (3, 35, 0)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` says what to do, where there is something to do."""

    name: str
    state: State
    found: str
    mend: str = ""


Checks = Iterator[Check]


def doctor(*, data_dir: DataDir = None, json: Json = False) -> int:
    """Look whether this machine and a data directory can serve. Changes nothing.

    Leaves with 1 when something has failed; warnings do not count.
    """
    checks = list(examined(data_dir))
    if json:
        states = {state: sum(check.state == state for check in checks) for state in ("ok", "warning", "failed")}
        output.say_json({"checks": [asdict(check) for check in checks], **states})
    else:
        _show(checks)
    return EXIT_REFUSED if any(check.state == "failed" for check in checks) else 0


def examined(data_dir: Path | None, *, only: str = "") -> Checks:
    """Every finding, in the order in which they are best read; `only` looks at one part, by its name in PARTS."""
    chosen, findings = _settings(data_dir)
    if not only:
        yield from findings
    for name, look in PARTS.items():
        if only not in ("", name):
            continue
        try:
            yield from look(chosen)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the operator has to know)
            yield Check(name, "failed", f"could not be examined: {type(error).__name__}: {error}")


def _settings(data_dir: Path | None) -> tuple[Settings, list[Check]]:
    """The settings, or the defaults where the environment is no good; with what is wrong with it."""
    findings = [
        Check("settings", "failed", f"{name} is not a setting", f"Did you mean {near}?" if near else f"Unset {name}.")
        for name, near in unknown_names(os.environ).items()
    ]
    if not findings:
        try:
            chosen = settings(data_dir=data_dir)
        except SafelightError as error:
            findings.append(
                Check("settings", "failed", error.detail, "Correct or unset it; docs/reference/settings.md has them all.")
            )
        else:
            given = sum(name.upper().startswith(PREFIX) for name in os.environ)
            return chosen, [Check("settings", "ok", f"{output.many(given, 'variable')} in the environment, all understood")]
    folder = data_dir or Path(os.environ.get("SAFELIGHT_DATA_DIR") or "safelight-data")
    return Settings.model_construct(data_dir=folder), findings


def _versions(_: Settings) -> Checks:
    import pyvips

    vips = ".".join(str(pyvips.version(part)) for part in range(3))
    yield Check(
        "versions", "ok", f"Safelight {metadata.version('safelight')}, Python {platform.python_version()}, libvips {vips}"
    )
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


def _decoding(chosen: Settings) -> Checks:
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


def _server(chosen: Settings) -> Checks:
    """Whether somebody serves from the data directory, else whether the port is free."""
    holder = _holder(chosen.data_dir / "server.lock")
    if holder is not None:
        yield Check("server", "ok", f"runs as process {holder} and holds {chosen.data_dir}; it is left alone")
        return
    address = (chosen.server.host, chosen.server.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        mend = "Give Safelight another port by --port, or end what listens there."
        yield Check("server", "warning", f"none runs, and {address[0]}:{address[1]} cannot be had: {error.strerror}", mend)
    else:
        yield Check("server", "ok", f"none runs; {address[0]}:{address[1]} is free")


def _holder(lock: Path) -> str | None:
    """The process that holds the data directory, as text; None when nobody does."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
    else:
        return None
    finally:
        os.close(fd)


def _data_dir(chosen: Settings) -> Checks:
    folder = chosen.data_dir
    if not folder.exists():
        parent = next(each for each in folder.absolute().parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield Check("data directory", "ok", f"{folder} does not exist yet; the first `safelight serve` makes it")
        else:
            yield Check("data directory", "failed", f"{folder} cannot be made", f"Make it, or let this user write to {parent}.")
            return
        folder = parent
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Check(
            "data directory",
            "failed",
            f"{folder} cannot be read and written by user {os.geteuid()}",
            f"chown -R {os.geteuid()} {folder}",
        )
        return
    else:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o007:
            yield Check("data directory", "warning", f"{folder} is open to every user ({mode:o})", f"chmod 700 {folder}")
        else:
            yield Check("data directory", "ok", str(folder.resolve()))
    kind = _file_system(folder)
    if kind in _NETWORK:
        yield Check(
            "file system", "warning", f"{kind}: SQLite's locks and shared memory do not hold over a network", "Use a local disk."
        )
    yield _disk(folder)
    yield _fsync(folder)


def _disk(folder: Path) -> Check:
    usage = shutil.disk_usage(folder)
    found = f"{output.size(usage.free)} of {output.size(usage.total)} are free"
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < 1000:
        return Check(
            "disk", "failed", f"only {inodes.f_favail} more files fit", "Free some, or make a file system with more inodes."
        )
    if usage.free < LEAST_FREE_BYTES:
        return Check("disk", "failed", found, "Free some space: uploads are refused when the disk is full.")
    return Check(
        "disk",
        "warning" if usage.free < FEW_FREE_BYTES else "ok",
        found,
        "Think of more space." if usage.free < FEW_FREE_BYTES else "",
    )


def _fsync(folder: Path) -> Check:
    """The median of five, on a file without a name."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return Check(
            "fsync",
            "warning",
            f"the file system has no unnamed files: {error.strerror}",
            "Uploads use named ones then; that is slower.",
        )
    try:
        times = []
        for _ in range(5):
            os.write(fd, bytes(4096))
            began = time.perf_counter()
            os.fsync(fd)
            times.append(time.perf_counter() - began)
    except OSError as error:
        return Check("fsync", "failed", f"the disk does not take it: {error.strerror}", "Look at the disk and the kernel's log.")
    finally:
        os.close(fd)
    median = sorted(times)[2]
    if median > SLOW_FSYNC_S:
        return Check("fsync", "warning", f"takes {median * 1000:.0f} ms", "A faster disk makes uploads faster.")
    return Check("fsync", "ok", f"takes {median * 1000:.1f} ms")


def _file_system(folder: Path) -> str:
    """The type of the file system that the folder is on, by the longest mount point above it (proc(5), mountinfo)."""
    best, kind = "", "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return kind
    path = f"{folder.resolve()}/"
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape").rstrip("/") + "/"
        if path.startswith(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _keys(chosen: Settings) -> Checks:
    files = {
        "master key": chosen.key_file if chosen.storage.is_encrypted else None,
        "catalog key": chosen.data_dir / "keys" / "catalog.key",
        "first API key": chosen.data_dir / "admin.key",
    }
    has_data = (chosen.data_dir / "catalog.db").exists() or (chosen.objects_path / "objects.db").exists()
    for name, path in files.items():
        if path is None:
            yield Check(name, "warning", "objects are stored plain", "Unset SAFELIGHT_STORAGE__IS_ENCRYPTED to seal new ones.")
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            if has_data and path.name != "admin.key":
                yield Check(
                    name, "failed", f"{path} is gone", "Bring it back from your backup; nothing it sealed can be read without it."
                )
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            yield Check(name, "failed", f"{path} can be read by others ({mode:o})", f"chmod 600 {path}")
        elif not os.access(path, os.R_OK):
            yield Check(name, "failed", f"{path} cannot be read by user {os.geteuid()}", f"chown {os.geteuid()} {path}")
        else:
            yield Check(name, "ok", f"{path}, for nobody else to read")
    if not has_data:
        yield Check("keys", "ok", "the first start makes what is missing")


def _databases(chosen: Settings) -> Checks:
    from safelight.adapters.catalog.migrations import HEAD

    if chosen.catalog.url and not chosen.catalog.url.startswith("sqlite"):
        yield Check("catalog", "warning", "is elsewhere and was not examined", "Ask `safelight migrate --check`.")
    else:
        path = Path(chosen.catalog_url.removeprefix("sqlite:///"))
        yield _database("catalog", path, "Restore it from your backup.", HEAD)
    if chosen.is_on_temporal:
        yield _temporal(chosen)
    else:
        lost = "Stop the server and move the file away: runs in flight are lost, images are not."
        yield _database("workflows", chosen.data_dir / "workflows.db", lost)
    yield _database(
        "search", chosen.data_dir / "search.db", "Stop the server, remove the file, start, and run `safelight reindex`."
    )
    yield _database("objects", chosen.objects_path / "objects.db", "Restore it from your backup, together with its folder.")


def _temporal(chosen: Settings) -> Check:
    """Ask the server; nothing is changed there."""
    from safelight.adapters.workflows.temporal import KEEP, look_at
    from safelight.wiring.backends import temporal_options

    options = temporal_options(chosen)
    try:
        namespace = asyncio.run(look_at(options))
    except SafelightError as error:
        return Check("workflows", "failed", error.detail, "Correct SAFELIGHT_WORKFLOWS__URL, or start the server.")
    found = f"Temporal at {options.address} keeps runs for {namespace.retention.days} days after their end"
    if namespace.retention < KEEP:
        mend = f"temporal operator namespace update --namespace {options.namespace} --retention {KEEP.days}d"
        return Check("workflows", "warning", found, mend)
    return Check("workflows", "ok", found + ("" if namespace.is_prepared else "; the first start prepares the namespace"))


def _database(name: str, path: Path, mend: str, head: str | None = None) -> Check:
    """Open for reading, check its pages, and the revision of its schema where one is kept."""
    if not path.exists():
        return Check(name, "ok", "does not exist yet")
    # Without a log nobody writes: immutable keeps SQLite from making its shared memory file beside the database.
    is_idle = not path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if is_idle else ''}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as database:
            faults = [row[0] for row in database.execute("pragma quick_check(3)")]
            revision = database.execute("select version_num from alembic_version").fetchone() if head else None
    except sqlite3.Error as error:
        return Check(name, "failed", f"{path} cannot be read: {error}", mend)
    if faults != ["ok"]:
        return Check(name, "failed", f"{path} is damaged: {'; '.join(faults)}", mend)
    if head and (revision is None or revision[0] != head):
        found = f"its schema is {revision[0] if revision else 'unknown'}, this release wants {head}"
        return Check(name, "failed", found, "Run `safelight migrate`, or the release that made it.")
    return Check(
        name, "ok", f"{output.size(path.stat().st_size)}, its pages are sound" + (", its schema is current" if head else "")
    )


def _clock(chosen: Settings) -> Checks:
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


def _limits(chosen: Settings) -> Checks:
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


def _show(checks: list[Check]) -> None:
    rows = output.table("check", "", "found", "mend")
    styles: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for check in checks:
        rows.add_row(check.name, output.text(check.state, styles[check.state]), output.text(check.found), output.text(check.mend))
    console = output.out()
    console.print(rows)
    failed, warned = (sum(check.state == state for check in checks) for state in ("failed", "warning"))
    if failed or warned:
        console.print(f"{output.many(failed, 'check')} failed, {output.many(warned, 'warning')}.")
    else:
        console.print("Everything is in order.")


PARTS: Final[dict[str, Callable[[Settings], Checks]]] = {
    "versions": _versions,
    "decoding": _decoding,
    "server": _server,
    "data directory": _data_dir,
    "keys": _keys,
    "databases": _databases,
    "clock": _clock,
    "limits": _limits,
}
