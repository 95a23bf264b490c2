"""Index: which versions every object has, as rows in SQLite. A version exists when its row is committed, not before.

Versions and delete markers are rows in the order of their sequence numbers; the highest of a key is on top. Writers of one
process share one connection and, when they come at once, one transaction and one fsync; readers have a connection each and in
WAL mode wait for nobody. Other processes may do the same on the same file at the same time.

Everything here blocks and runs in `local`'s threads; sqlite3.Error goes up as it is. Knows nothing of files and keys to them.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from safelight.adapters.storage._blobs import Blob
from safelight.errors import AlreadyExists, Missing, WrongState
from safelight.ports.archive import Layer, Pile
from safelight.ports.storage import Stored

T = TypeVar("T")

SCHEMA: Final = 1
BUSY_MS: Final = 10_000
"""How long a writer waits for writers of other processes; with two of them hammering the longest wait seen was 1 s."""

# Keys sort by their UTF-8 bytes, SQLite's default, which is the order of Python's strings and of S3.
_CREATE: Final = """
create table if not exists versions (
    seq         integer primary key autoincrement,
    bucket      text not null,
    key         text not null,
    version     text not null unique,
    is_marker   integer not null,
    size_bytes  integer not null,
    etag        text not null,
    media_type  text not null,
    metadata    text not null,
    modified_us integer not null,
    blob        text,
    is_sealed   integer not null
);
create index if not exists piles on versions (bucket, key, seq);
create index if not exists blobs on versions (blob) where blob is not null;
create table if not exists master_keys (id blob primary key) without rowid;
"""
_COLUMNS: Final = "bucket, key, version, is_marker, size_bytes, etag, media_type, metadata, modified_us, blob, is_sealed"
_TOP: Final = "(select max(seq) from versions as t where t.bucket = v.bucket and t.key = v.key)"
_SELECT: Final = f"select {_COLUMNS}, seq = {_TOP} from versions as v"  # noqa: S608
_INSERT: Final = f"insert into versions ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """A version and, unless it is a marker, the blob with its bytes."""

    stored: Stored
    blob: Blob | None


class CommitUnsure(sqlite3.OperationalError):
    """COMMIT failed, and nobody knows whether the rows reached the disk; any other failure means that they did not."""


class _Job(Generic[T]):
    """One change waiting for its turn in a transaction."""

    __slots__ = ("change", "error", "is_done", "is_durable", "result")

    def __init__(self, change: Callable[[sqlite3.Connection], T], *, is_durable: bool) -> None:
        self.change = change
        self.is_durable = is_durable
        self.is_done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Index:
    """The rows of all buckets of one root."""

    def __init__(self, path: Path) -> None:
        """Raises WrongState for a file that a later Safelight wrote."""
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = threading.Lock()
        self._waiting: deque[_Job[Any]] = deque()
        self._synchronous = "full"
        self._writer = self._connect()
        try:
            self._writer.execute("pragma journal_mode = wal")
            self._writer.execute("pragma journal_size_limit = 67108864")
            self._writer.execute("pragma synchronous = full")
            (schema,) = self._writer.execute("pragma user_version").fetchone()
            if schema > SCHEMA:
                raise WrongState(f"{path} was written by a later version of Safelight (schema {schema}, known is {SCHEMA}).")
            self._writer.executescript(f"begin immediate; {_CREATE} pragma user_version = {SCHEMA}; commit;")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections; no thread may be at work any more."""
        while self._connections:
            self._connections.pop().close()

    # Reading

    def find(self, bucket: str, key: str, version: str | None = None) -> Row | None:
        """The version, or what is on top; markers too."""
        if version is None:
            found = self._reader().execute(
                f"{_SELECT} where bucket = ? and key = ? order by seq desc limit 1", (bucket, _text(key))
            )
        else:
            found = self._reader().execute(
                f"{_SELECT} where bucket = ? and key = ? and version = ?", (bucket, _text(key), _text(version))
            )
        row = found.fetchone()
        return None if row is None else _row(row)

    def history(self, bucket: str, key: str) -> list[Stored]:
        """All versions and markers of a key, newest first."""
        found = self._reader().execute(f"{_SELECT} where bucket = ? and key = ? order by seq desc", (bucket, _text(key)))
        return [_row(row).stored for row in found]

    def scan(self, bucket: str, prefix: str, after: str, limit: int) -> list[Stored]:
        """The tops of the keys with the prefix that are no markers, by key, from behind `after`."""
        found = self._reader().execute(
            f"{_SELECT} where bucket = ? and key >= ? and key < ? and key > ? and is_marker = 0 and seq = {_TOP}"
            " order by key limit ?",
            (bucket, *_range(prefix), _text(after), max(0, limit)),
        )
        return [_row(row).stored for row in found]

    def piles(self, bucket: str, prefix: str, after: str, limit: int) -> list[Pile]:
        """Keys with all their rows, oldest first, by key, from behind `after`."""
        found = self._reader().execute(
            "select key, version, size_bytes, modified_us, is_marker from versions where bucket = ? and key in ("
            "select distinct key from versions where bucket = ? and key >= ? and key < ? and key > ? order by key limit ?"
            ") order by key, seq",
            (bucket, bucket, *_range(prefix), _text(after), max(0, limit)),
        )
        return [
            Pile(
                key,
                tuple(
                    Layer(version=version, size_bytes=size_bytes, modified_at=_moment(modified_us), is_marker=bool(is_marker))
                    for _, version, size_bytes, modified_us, is_marker in rows
                ),
            )
            for key, rows in groupby(found, key=itemgetter(0))
        ]

    def known(self, blobs: Sequence[str]) -> set[str]:
        """Those of the blobs that a row names."""
        found = self._reader().execute(
            "select distinct blob from versions where blob in (select value from json_each(?))", (json.dumps(list(blobs)),)
        )
        return {blob for (blob,) in found}

    def is_empty(self) -> bool:
        """Whether there is no row at all."""
        return self._reader().execute("select 1 from versions limit 1").fetchone() is None

    def master_keys(self) -> set[bytes]:
        """Ids of all master keys that ever sealed a blob here."""
        return {id for (id,) in self._reader().execute("select id from master_keys")}

    # Writing

    def add(self, versions: Sequence[tuple[str, Stored, Blob]], *, if_absent: bool, is_durable: bool) -> None:
        """Versions on top of their keys in their buckets, in one transaction.

        Raises AlreadyExists when one must be the only readable version of its key and is not; then none is added.
        """

        def change(rows: sqlite3.Connection) -> None:
            if if_absent and any(_is_readable(_top(rows, bucket, stored.key)) for bucket, stored, _ in versions):
                raise AlreadyExists("An object with this key already exists.")
            for bucket, stored, blob in versions:
                _insert(rows, bucket, stored, blob)

        self._write(change, is_durable=is_durable)

    def mark(self, bucket: str, marker: Stored) -> None:
        """A delete marker on top, unless the key is hidden already or was never there: repeated deletes are one delete."""

        def change(rows: sqlite3.Connection) -> None:
            if _is_readable(_top(rows, bucket, marker.key)):
                _insert(rows, bucket, marker, None)

        self._write(change)

    def lay(self, bucket: str, marker: Stored) -> None:
        """A delete marker on top, whatever lies below."""

        def change(rows: sqlite3.Connection) -> None:
            _insert(rows, bucket, marker, None)

        self._write(change)

    def remove(self, bucket: str, key: str, version: str) -> list[str]:
        """Take one version or marker out; the blobs that no row names any more."""

        def change(rows: sqlite3.Connection) -> list[str]:
            where = (bucket, _text(key), _text(version))
            blobs = rows.execute("select blob from versions where bucket = ? and key = ? and version = ?", where).fetchall()
            rows.execute("delete from versions where bucket = ? and key = ? and version = ?", where)
            return _unnamed(rows, blobs)

        return self._write(change)

    def unhide(self, bucket: str, key: str) -> Stored:
        """Take out the markers above the newest readable version. Raises Missing when there is none below."""

        def change(rows: sqlite3.Connection) -> Stored:
            where = (bucket, _text(key))
            (seq,) = rows.execute(
                "select max(seq) from versions where bucket = ? and key = ? and is_marker = 0", where
            ).fetchone()
            if seq is None:
                raise Missing
            rows.execute("delete from versions where bucket = ? and key = ? and seq > ?", (*where, seq))
            return _row(rows.execute(f"{_SELECT} where seq = ?", (seq,)).fetchone()).stored

        return self._write(change)

    def copy(self, bucket: str, key: str, version: str, *, new_version: str, now: datetime) -> Stored:
        """A second row for the same blob, on top. Raises Missing when the version is not there or a marker."""

        def change(rows: sqlite3.Connection) -> Stored:
            cursor = rows.execute(
                f"insert into versions ({_COLUMNS}) select bucket, key, ?, 0, size_bytes, etag, media_type, metadata, ?, blob,"  # noqa: S608
                " is_sealed from versions where bucket = ? and key = ? and version = ? and is_marker = 0",
                (_text(new_version), _microseconds(now), bucket, _text(key), _text(version)),
            )
            if cursor.rowcount != 1:
                raise Missing
            return _row(rows.execute(f"{_SELECT} where seq = ?", (cursor.lastrowid,)).fetchone()).stored

        return self._write(change)

    def purge(self, bucket: str, prefix: str) -> tuple[int, list[str]]:
        """Take out all rows under the prefix: how many, and the blobs that no row names any more."""

        def change(rows: sqlite3.Connection) -> tuple[int, list[str]]:
            where = (bucket, *_range(prefix))
            blobs = rows.execute(
                "select distinct blob from versions where bucket = ? and key >= ? and key < ? and blob is not null", where
            ).fetchall()
            count = rows.execute("delete from versions where bucket = ? and key >= ? and key < ?", where).rowcount
            return count, _unnamed(rows, blobs)

        return self._write(change)

    def record_master_key(self, id: bytes) -> None:
        """Remember that blobs here are sealed with this key."""

        def change(rows: sqlite3.Connection) -> None:
            rows.execute("insert or ignore into master_keys values (?)", (id,))

        self._write(change)

    # Connections and transactions

    def _write(self, change: Callable[[sqlite3.Connection], T], *, is_durable: bool = True) -> T:
        """Do the change in a transaction and return once that is committed.

        Group commit: whoever gets the lock commits for all who queue behind it. A change that raises must do so before its
        first write, since its neighbours are committed all the same.
        """
        job = _Job(change, is_durable=is_durable)
        self._waiting.append(job)
        with self._writing:
            if not job.is_done:
                jobs = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    self._commit(jobs)
                finally:
                    for each in jobs:
                        each.is_done = True
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # None only where T is

    def _commit(self, jobs: Sequence[_Job[Any]]) -> None:
        try:
            self._set_synchronous("full" if any(job.is_durable for job in jobs) else "normal")
            self._writer.execute("begin immediate")
            for job in jobs:
                try:
                    job.result = job.change(self._writer)
                except sqlite3.Error:
                    raise
                except Exception as refusal:  # noqa: BLE001  # the business of the one who asked, not of its neighbours
                    job.error = refusal
            try:
                self._writer.execute("commit")
            except sqlite3.Error as error:
                raise CommitUnsure(str(error)) from error
        except BaseException as error:  # noqa: BLE001  # raised again by everyone who waits
            if self._writer.in_transaction:
                self._writer.execute("rollback")
            for job in jobs:
                job.error = error

    def _set_synchronous(self, level: str) -> None:
        if level != self._synchronous:
            self._writer.execute(f"pragma synchronous = {level}")
            self._synchronous = level

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("pragma query_only = on")
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        return connection


def _text(asked: str) -> str:
    """What may be bound: lone surrogates cannot be, and no key or version has them, nor the NUL that takes their place."""
    return asked if asked.isascii() else _SURROGATE.sub("\0", asked)


def _range(prefix: str) -> tuple[str, str | bytes]:
    """All keys with the prefix lie in [first, second)."""
    first = _text(prefix)
    stem = first.rstrip("\U0010ffff")
    if not stem:
        return first, b""  # SQLite sorts every blob behind every text
    following = ord(stem[-1]) + 1
    return first, stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _top(rows: sqlite3.Connection, bucket: str, key: str) -> tuple[int] | None:
    found: tuple[int] | None = rows.execute(
        "select is_marker from versions where bucket = ? and key = ? order by seq desc limit 1", (bucket, _text(key))
    ).fetchone()
    return found


def _is_readable(top: tuple[int] | None) -> bool:
    return top == (0,)


def _unnamed(rows: sqlite3.Connection, blobs: Sequence[tuple[str | None]]) -> list[str]:
    return [
        blob
        for (blob,) in blobs
        if blob is not None and rows.execute("select 1 from versions where blob = ? limit 1", (blob,)).fetchone() is None
    ]


def _insert(rows: sqlite3.Connection, bucket: str, stored: Stored, blob: Blob | None) -> None:
    rows.execute(
        _INSERT,
        (
            bucket,
            stored.key,
            stored.version,
            stored.is_marker,
            stored.size_bytes,
            stored.etag,
            stored.media_type,
            json.dumps(dict(stored.metadata)),
            _microseconds(stored.modified_at),
            None if blob is None else blob.name,
            blob is not None and blob.is_sealed,
        ),
    )


def _row(row: tuple[Any, ...]) -> Row:
    _, key, version, is_marker, size_bytes, etag, media_type, metadata, modified_us, blob, is_sealed, is_latest = row
    fields: Mapping[str, str] = json.loads(metadata)
    stored = Stored(
        key=key,
        version=version,
        size_bytes=size_bytes,
        etag=etag,
        media_type=media_type,
        modified_at=_moment(modified_us),
        metadata=fields,
        is_latest=bool(is_latest),
        is_marker=bool(is_marker),
    )
    return Row(stored, None if blob is None else Blob(blob, size_bytes, etag, bool(is_sealed)))
