"""What this machine keeps: the data directory, the spool, keys, and the databases that are files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from safelight.cli import output
from safelight.cli.doctor.check import Check, Checks
from safelight.errors import SafelightError
from safelight.settings import Settings

LEAST_FREE_BYTES: Final = 1_000_000_000
FEW_FREE_BYTES: Final = 10_000_000_000
SLOW_FSYNC_S: Final = 0.05
"""An upload waits for several: on a disk this slow that is most of its time."""
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs"}
)


def has_files(chosen: Settings) -> bool:
    """Whether anything is kept in SQLite's files or the embedded store."""
    return not chosen.storage.url or "sqlite" in (
        chosen.catalog_url.partition(":")[0],
        chosen.search_url,
        chosen.workflows_url,
    )


def server(chosen: Settings) -> Checks:
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


def data_dir(chosen: Settings) -> Checks:
    """Whether it can be used; its disk too, where that keeps more than the first key."""
    folder = chosen.data_dir
    if not folder.exists():
        parent = _nearest(folder)
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
    if not has_files(chosen):
        return
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
        return Check("fsync", "warning", f"cannot be tried without unnamed files: {error.strerror}")
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


def spool(chosen: Settings) -> Checks:
    """Where every upload passes through, whatever keeps it then."""
    folder, largest = _nearest(chosen.spool_path), chosen.limits.max_bytes
    free = shutil.disk_usage(folder).free
    found = f"{chosen.spool_path}, {output.size(free)} are free"
    if not os.access(folder, os.W_OK | os.X_OK):
        mend = f"Let user {os.geteuid()} write there, or set SAFELIGHT_INGEST__SPOOL_PATH."
        yield Check("spool", "failed", f"{folder} cannot be written", mend)
    elif free < largest:
        mend = f"Free some space, or set SAFELIGHT_INGEST__SPOOL_PATH: one upload may have {output.size(largest)}."
        yield Check("spool", "failed", found, mend)
    elif (reason := _without_unnamed(folder)) is not None:
        mend = "Uploads use named ones, which is slower; put SAFELIGHT_INGEST__SPOOL_PATH on a local disk."
        yield Check("spool", "warning", f"{found}; the file system has no unnamed files: {reason}", mend)
    else:
        yield Check("spool", "ok", found)


def _nearest(folder: Path) -> Path:
    """It, or what is there of the way to it."""
    path = folder.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _without_unnamed(folder: Path) -> str | None:
    """Why a file without a name cannot be made there; None where it can."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.strerror
    return None


def keys(chosen: Settings) -> Checks:
    """Those that are files here; what a setting gives is only read."""
    catalog, objects = chosen.data_dir / "catalog.db", chosen.objects_path / "objects.db"
    has_data = (chosen.is_embedded and catalog.exists()) or (not chosen.storage.url and objects.exists())
    found = list(_secrets(chosen, has_data=has_data))
    if not chosen.storage.url:
        if chosen.storage.is_encrypted:
            found += _key("master key", chosen.key_file, is_needed=has_data)
        else:
            mend = "Unset SAFELIGHT_STORAGE__IS_ENCRYPTED to seal new ones."
            found.append(Check("master key", "warning", "objects are stored plain", mend))
    yield from found
    yield from _key("first API key", chosen.data_dir / "admin.key", is_needed=False)
    if has_files(chosen) and not has_data:
        yield Check("keys", "ok", "the first start makes what is missing")


def _secrets(chosen: Settings, *, has_data: bool) -> Checks:
    """What seals the secrets in the catalog, which every process of an installation has to have."""
    name, given = "catalog key", chosen.catalog.secret_key.get_secret_value()
    if given:
        from safelight.wiring import hex_keys

        try:
            hex_keys(given, "SAFELIGHT_CATALOG__SECRET_KEY")
        except SafelightError as error:
            yield Check(name, "failed", error.detail.rstrip("."), "Give every machine the key that the first one had.")
        else:
            yield Check(name, "ok", "given by SAFELIGHT_CATALOG__SECRET_KEY")
    elif chosen.is_embedded:
        yield from _key(name, chosen.secrets_file, is_needed=has_data)
    else:
        mend = "Set SAFELIGHT_CATALOG__SECRET_KEY, the same on every machine: one that has another cannot read the secrets."
        alone = Check(name, "warning", f"{chosen.secrets_file} is of this machine alone", mend)
        yield next((check for check in _key(name, chosen.secrets_file, is_needed=False) if check.state == "failed"), alone)


def _key(name: str, path: Path, *, is_needed: bool) -> Checks:
    try:
        found = path.stat()
    except FileNotFoundError:
        if is_needed:
            mend = "Bring it back from your backup; nothing it sealed can be read without it."
            yield Check(name, "failed", f"{path} is gone", mend)
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        yield Check(name, "failed", f"{path} can be read by others ({mode:o})", f"chmod 600 {path}")
    elif not os.access(path, os.R_OK):
        yield Check(name, "failed", f"{path} cannot be read by user {os.geteuid()}", f"chown {os.geteuid()} {path}")
    else:
        yield Check(name, "ok", f"{path}, for nobody else to read")


def databases(chosen: Settings) -> Checks:
    """Those that are files; `elsewhere` asks the others."""
    if chosen.catalog_url.startswith("sqlite:"):
        from safelight.adapters.catalog.migrations import HEAD

        path = Path(chosen.catalog_url.removeprefix("sqlite:///"))
        yield _database("catalog", path, "Restore it from your backup.", HEAD)
    if chosen.workflows_url == "sqlite":
        lost = "Stop the server and move the file away: runs in flight are lost, images are not."
        yield _database("workflows", chosen.data_dir / "workflows.db", lost)
    if chosen.search_url == "sqlite":
        anew = "Stop the server, remove the file, start, and run `safelight reindex`."
        yield _database("search", chosen.data_dir / "search.db", anew)
    elif chosen.search_url == "none":
        yield Check("search", "ok", "there is none: everything else works")
    if not chosen.storage.url:
        yield _database("objects", chosen.objects_path / "objects.db", "Restore it from your backup, together with its folder.")


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
