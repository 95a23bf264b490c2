"""SqliteSearch: the search in one SQLite file of its own, by FTS5. Wiring makes one per process; processes may share it.

Words are folded in Python (`words`) and written to FTS5 as plain ASCII, so its tokenizer, whose Unicode tables are years
old, has nothing to decide, and nothing in a question can be an operator. Who may see a document and what it is filtered by
are tokens of its `scope` column: tenant and filters are part of the MATCH itself, never a sieve behind it.

A generation is a set of tables; the one row of `state` says which is in use. Readers find it in the same transaction as
the tables, so a new one is there at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import structlog

from safelight.adapters.search.words import (
    FACET_TAGS,
    FIELDS,
    WEIGHTS,
    Wanted,
    distance,
    edits_allowed,
    fields_of,
    is_known_word,
    marked,
    mended,
    tidy,
    tokens_of,
    variants,
    wanted_of,
)
from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.queries import Document, Hit, SearchQuery, SearchResult, micros
from safelight.errors import BackendUnavailable, Missing

log = structlog.get_logger()
T = TypeVar("T")

FORMAT: Final = 2
"""Of the tables and of the words in them; an index of another format is dropped at `open` and waits to be made again."""

_COLUMNS: Final = ("scope", *FIELDS)
_RANK: Final = ", ".join(["0.0", *(str(WEIGHTS[name]) for name in FIELDS)])
_ANY_FIELD: Final = "{" + " ".join(FIELDS) + "}"
_CANDIDATES: Final = 20
"""How many known words are tried for a misspelt one; the first that the reader may see is taken."""

_MAKE: Final = (
    """CREATE TABLE docs_{n} (
        doc INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, image TEXT NOT NULL, dated_at INTEGER NOT NULL,
        year INTEGER NOT NULL, media_type TEXT NOT NULL, digest TEXT NOT NULL, UNIQUE (tenant, image))""",
    f"CREATE TABLE texts_{{n}} (doc INTEGER PRIMARY KEY, {', '.join(_COLUMNS)}, shown TEXT NOT NULL)",
    "CREATE TABLE tags_{n} (doc INTEGER, tag TEXT, PRIMARY KEY (doc, tag)) WITHOUT ROWID",
    f"""CREATE VIRTUAL TABLE match_{{n}} USING fts5(
        {", ".join(_COLUMNS)}, content='texts_{{n}}', content_rowid='doc', prefix='2 3 4', tokenize="ascii tokenchars '_'")""",
    """CREATE TABLE words_{n} (
        word INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, text TEXT NOT NULL, uses INTEGER NOT NULL, UNIQUE (tenant, text))""",
    "CREATE TABLE variants_{n} (tenant INTEGER, variant TEXT, word INTEGER, PRIMARY KEY (tenant, variant, word)) WITHOUT ROWID",
    "CREATE TABLE touched_{n} (tenant INTEGER, image TEXT, PRIMARY KEY (tenant, image)) WITHOUT ROWID",
)
_DROP: Final = tuple(f"DROP TABLE {name}_{{n}}" for name in ("match", "docs", "texts", "tags", "words", "variants", "touched"))


@dataclass(frozen=True, slots=True)
class _Open:
    """What an open search holds."""

    writer: ThreadPoolExecutor
    readers: ThreadPoolExecutor
    local: threading.local
    connections: list[sqlite3.Connection]


class SqliteSearch:
    """Keeps Search in the file at `path`."""

    def __init__(self, path: Path, *, readers: int = 2, busy_timeout_s: float = 5.0) -> None:
        self._path: Final = Path(path)
        self._readers: Final = readers
        self._busy_timeout_s: Final = busy_timeout_s
        self._open: _Open | None = None

    async def open(self) -> None:
        """Folder (0700), file (0600) and an empty index, where they are not there yet."""
        if self._open is None:
            self._open = await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        """Running questions end first."""
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.to_thread(_disconnect, opened)

    async def ping(self) -> None:
        """Read which generation is in use."""
        await self._read(_state)

    async def put(self, tenant: TenantId, documents: Sequence[Document], *, generation: int | None = None) -> None:
        """In one transaction.

        What is put or removed while a generation is being built goes into both and is noted there: the builder, who may
        have read the catalog before, does not write over it.
        """
        opened = self._opened()

        def write() -> None:
            prepared = [_Prepared.of(tenant, document) for document in documents]  # before the right to write is taken
            self._writing(opened, lambda connection: _put(connection, tenant, prepared, generation))

        await _in_thread(opened.writer, write)

    async def remove(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        """In one transaction."""
        await self._write(lambda connection: _remove(connection, tenant, image_ids))

    async def digests(self, tenant: TenantId, *, after: str = "", limit: int = 1000) -> dict[ImageId, str]:
        """Along the unique index of tenant and image."""
        return await self._read(lambda connection: _digests(connection, tenant, after, limit))

    async def begin(self) -> int:
        """New tables; those of an abandoned generation are dropped."""
        return await self._write(_begin)

    async def publish(self, generation: int) -> None:
        """The pointer and the old tables change in one transaction; publishing what is in use changes nothing."""
        await self._write(lambda connection: _publish(connection, generation))

    async def search(self, tenant: TenantId, query: SearchQuery) -> SearchResult:
        """One statement finds, counts and orders; only when it finds nothing are the words looked at one by one."""
        return await self._read(lambda connection: _search(connection, tenant, query))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._opened()
        return await _in_thread(opened.readers, lambda: self._reading(opened, work))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._opened()
        return await _in_thread(opened.writer, lambda: self._writing(opened, work))

    def _opened(self) -> _Open:
        if self._open is None:
            raise BackendUnavailable("The search is not open.")
        return self._open

    def _reading(self, opened: _Open, work: Callable[[sqlite3.Connection], T]) -> T:
        with _told_as_ours():
            connection = self._mine(opened, "ro")
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

    def _writing(self, opened: _Open, work: Callable[[sqlite3.Connection], T]) -> T:
        with _told_as_ours():
            return _committed(self._mine(opened, "rw"), work)

    def _mine(self, opened: _Open, mode: str) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(opened.local, "connection", None)
        if connection is None:
            connection = opened.local.connection = self._connection(mode)
            opened.connections.append(connection)
        return connection

    def _connection(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode={mode}",
            uri=True,
            isolation_level=None,  # the driver would begin transactions of its own
            timeout=self._busy_timeout_s,
            check_same_thread=False,  # closed by another thread than the one that uses it
        )
        try:
            for pragma in ("synchronous=FULL", "cache_size=-4096", "mmap_size=0", "temp_store=MEMORY"):  # as the catalog's
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> _Open:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise BackendUnavailable("The search index cannot be opened.") from error
        with _told_as_ours():
            connection = self._connection("rw")
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA journal_size_limit=67108864")
                _committed(connection, _prepare)
            finally:
                connection.close()
        return _Open(
            ThreadPoolExecutor(1, thread_name_prefix="search-writer"),
            ThreadPoolExecutor(self._readers, thread_name_prefix="search"),
            threading.local(),
            [],
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document as it is written."""

    image: ImageId
    dated_at: int
    year: int
    media_type: str
    tags: tuple[str, ...]
    columns: tuple[str, ...]
    words: frozenset[str]
    shown: str
    digest: str

    @classmethod
    def of(cls, tenant: TenantId, document: Document) -> _Prepared:
        texts = fields_of(document)
        tokens = {name: [token.text for token in tokens_of(texts[name])] for name in FIELDS}
        year = document.dated_at.astimezone(UTC).year
        scope = [_code("t", tenant), _code("o", document.owner), _code("m", document.media_type), f"y{year}"]
        scope += ["p"] * document.is_public + [_code("g", tag) for tag in document.tags]
        return cls(
            image=document.image,
            dated_at=micros(document.dated_at),
            year=year,
            media_type=_storable(document.media_type),
            tags=tuple(dict.fromkeys(map(_storable, document.tags))),
            columns=(" ".join(scope), *(" ".join(map(_ascii, tokens[name])) for name in FIELDS)),
            words=frozenset(word for name in FIELDS for word in tokens[name] if is_known_word(word)),
            shown=json.dumps(texts),
            digest=document.digest,
        )


def _storable(text: str) -> str:
    """As it is, but for lone surrogates, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode()


def _code(kind: str, value: str) -> str:
    """A whole value as one token, of which no other value is a beginning: whole tokens are compared in the scope."""
    return kind + value.encode("utf-8", "replace").hex()


def _ascii(token: str) -> str:
    """The token in letters that FTS5 has no opinion on; the beginning of a token stays the beginning of its code."""
    if token.isascii():
        return token
    return "".join(one if one.isascii() else f"_{ord(one):06x}" for one in token)


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return await asyncio.wrap_future(threads.submit(work))
    except RuntimeError as error:  # the threads are gone
        raise BackendUnavailable("The search is closed.") from error


def _disconnect(opened: _Open) -> None:
    opened.readers.shutdown(wait=True)
    opened.writer.shutdown(wait=True)
    for connection in opened.connections:
        connection.close()


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackendUnavailable("The search index does not answer.") from error


def _committed(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


# Generations


def _prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == FORMAT:
        return
    if version != 0:
        log.warning("search.index_reset", found=version, needed=FORMAT)
        # Virtual tables first: dropping one takes its shadow tables with it.
        for kind in ("sql LIKE 'CREATE VIRTUAL%'", "TRUE"):
            rows = connection.execute(f"SELECT name FROM sqlite_schema WHERE type = 'table' AND {kind}").fetchall()  # noqa: S608
            for (name,) in rows:
                connection.execute(f'DROP TABLE "{name}"')
    connection.execute("CREATE TABLE tenants (tenant INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
    connection.execute("CREATE TABLE state (live INTEGER NOT NULL, building INTEGER, last INTEGER NOT NULL)")
    connection.execute("INSERT INTO state VALUES (1, NULL, 1)")
    _each(connection, _MAKE, 1)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _state(connection: sqlite3.Connection) -> tuple[int, int | None, int]:
    """The generation in use, the one being built, the last number given."""
    live, building, last = connection.execute("SELECT live, building, last FROM state").fetchone()
    return live, building, last


def _each(connection: sqlite3.Connection, statements: Iterable[str], n: int) -> None:
    for statement in statements:
        connection.execute(statement.format(n=n))


def _digests(connection: sqlite3.Connection, tenant: TenantId, after: str, limit: int) -> dict[ImageId, str]:
    live, _, _ = _state(connection)
    rows = connection.execute(
        f"SELECT image, digest FROM docs_{int(live)} WHERE tenant = (SELECT tenant FROM tenants WHERE name = ?)"  # noqa: S608
        " AND image > ? ORDER BY image LIMIT ?",
        (tenant, after, limit),
    )
    return {ImageId(image): digest for image, digest in rows}


def _begin(connection: sqlite3.Connection) -> int:
    _, building, last = _state(connection)
    if building is not None:
        _each(connection, _DROP, building)
    connection.execute("UPDATE state SET building = ?, last = ?", (last + 1, last + 1))
    _each(connection, _MAKE, last + 1)
    return last + 1


def _publish(connection: sqlite3.Connection, generation: int) -> None:
    live, building, _ = _state(connection)
    if generation == live:
        return
    if generation != building:
        raise Missing
    connection.execute("UPDATE state SET live = ?, building = NULL", (generation,))
    connection.execute(f"DELETE FROM touched_{int(generation)}")  # noqa: S608  # a number
    _each(connection, _DROP, live)


# Writing. Table names end with the number of a generation, which came out of `state`: nothing else is formatted into SQL.


def _put(connection: sqlite3.Connection, tenant: TenantId, documents: list[_Prepared], generation: int | None) -> None:
    live, building, _ = _state(connection)
    if generation not in (None, live, building):
        raise Missing
    number = _tenant(connection, tenant)
    is_build = generation is not None and generation == building
    for document in documents:
        if is_build:
            assert building is not None
            if not _is_touched(connection, building, number, document.image):
                _replace(connection, building, number, document)
            continue
        _replace(connection, live, number, document)
        if building is not None:
            _touch(connection, building, number, document.image)
            _replace(connection, building, number, document)


def _remove(connection: sqlite3.Connection, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
    live, building, _ = _state(connection)
    number = _tenant(connection, tenant)
    for image_id in image_ids:
        _forget(connection, live, number, image_id)
        if building is not None:
            _touch(connection, building, number, image_id)
            _forget(connection, building, number, image_id)


def _tenant(connection: sqlite3.Connection, tenant: TenantId) -> int:
    connection.execute("INSERT INTO tenants (name) VALUES (?) ON CONFLICT DO NOTHING", (tenant,))
    number: int = connection.execute("SELECT tenant FROM tenants WHERE name = ?", (tenant,)).fetchone()[0]
    return number


def _touch(connection: sqlite3.Connection, n: int, tenant: int, image: ImageId) -> None:
    connection.execute(f"INSERT INTO touched_{n} VALUES (?, ?) ON CONFLICT DO NOTHING", (tenant, image))  # noqa: S608


def _is_touched(connection: sqlite3.Connection, n: int, tenant: int, image: ImageId) -> bool:
    row = connection.execute(f"SELECT 1 FROM touched_{n} WHERE tenant = ? AND image = ?", (tenant, image))  # noqa: S608
    return row.fetchone() is not None


def _replace(connection: sqlite3.Connection, n: int, tenant: int, document: _Prepared) -> None:
    _forget(connection, n, tenant, document.image)
    doc = connection.execute(
        f"INSERT INTO docs_{n} (tenant, image, dated_at, year, media_type, digest) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        (tenant, document.image, document.dated_at, document.year, document.media_type, document.digest),
    ).lastrowid
    holes = ", ".join("?" * len(_COLUMNS))
    connection.execute(f"INSERT INTO texts_{n} VALUES (?, {holes}, ?)", (doc, *document.columns, document.shown))  # noqa: S608
    connection.execute(f"INSERT INTO match_{n} (rowid, {', '.join(_COLUMNS)}) VALUES (?, {holes})", (doc, *document.columns))  # noqa: S608
    connection.executemany(f"INSERT INTO tags_{n} VALUES (?, ?)", [(doc, tag) for tag in document.tags])  # noqa: S608
    for word in document.words:
        number, uses = connection.execute(
            f"INSERT INTO words_{n} (tenant, text, uses) VALUES (?, ?, 1)"  # noqa: S608
            " ON CONFLICT (tenant, text) DO UPDATE SET uses = uses + 1 RETURNING word, uses",
            (tenant, word),
        ).fetchone()
        if uses == 1:
            rows = [(tenant, variant, number) for variant in variants(word, 2)]
            connection.executemany(f"INSERT INTO variants_{n} VALUES (?, ?, ?)", rows)  # noqa: S608


def _forget(connection: sqlite3.Connection, n: int, tenant: int, image: ImageId) -> None:
    found = connection.execute(f"SELECT doc FROM docs_{n} WHERE tenant = ? AND image = ?", (tenant, image)).fetchone()  # noqa: S608
    if found is None:
        return
    (doc,) = found
    *columns, shown = connection.execute(
        f"SELECT {', '.join(_COLUMNS)}, shown FROM texts_{n} WHERE doc = ?",  # noqa: S608
        (doc,),
    ).fetchone()
    # FTS5 keeps no text of its own here: it is told which words to take out.
    connection.execute(
        f"INSERT INTO match_{n} (match_{n}, rowid, {', '.join(_COLUMNS)}) VALUES ('delete', ?, {', '.join('?' * len(columns))})",  # noqa: S608
        (doc, *columns),
    )
    for table in ("docs", "texts", "tags"):
        connection.execute(f"DELETE FROM {table}_{n} WHERE doc = ?", (doc,))  # noqa: S608
    for word in {token.text for text in json.loads(shown).values() for token in tokens_of(text)}:
        row = connection.execute(
            f"UPDATE words_{n} SET uses = uses - 1 WHERE tenant = ? AND text = ? RETURNING word, uses",  # noqa: S608
            (tenant, word),
        ).fetchall()
        for number, uses in row:
            if uses <= 0:
                connection.execute(f"DELETE FROM words_{n} WHERE word = ?", (number,))  # noqa: S608
                gone = [(tenant, variant, number) for variant in variants(word, 2)]
                connection.executemany(f"DELETE FROM variants_{n} WHERE tenant = ? AND variant = ? AND word = ?", gone)  # noqa: S608


# Reading


def _search(connection: sqlite3.Connection, tenant: TenantId, query: SearchQuery) -> SearchResult:
    live, _, _ = _state(connection)
    text, corrected = tidy(query.text), None
    wanted = wanted_of(text)
    found = _find(connection, live, tenant, query, wanted)
    if not found.total and wanted and (better := _mend(connection, live, tenant, query.visible_to, text, wanted)) is not None:
        corrected, wanted = better, wanted_of(better)
        found = _find(connection, live, tenant, query, wanted)
    behind = query.offset + len(found.page)
    return SearchResult(
        hits=_hits(connection, live, found.page, wanted),
        total=found.total,
        facets={"tag": found.tags, "type": found.types, "year": found.years},
        corrected=corrected,
        next_offset=behind if found.page and behind < found.total and behind <= 10_000 else None,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    page: list[tuple[int, ImageId, float]]
    total: int
    tags: dict[str, int]
    types: dict[str, int]
    years: dict[str, int]


def _find(connection: sqlite3.Connection, n: int, tenant: TenantId, query: SearchQuery, wanted: Sequence[Wanted]) -> _Found:
    """Everything that matches is found and ranked once; the page and the counts are taken from that."""
    rank = f"round(bm25(match_{n}, {_RANK}), 9)" if wanted else "0.0"
    rows = connection.execute(
        f"""
        WITH hits AS MATERIALIZED (SELECT rowid AS doc, {rank} AS rank FROM match_{n} WHERE match_{n} MATCH :match)
        SELECT 'page', doc, image, rank FROM (
            SELECT doc, image, rank FROM hits JOIN docs_{n} USING (doc)
            ORDER BY rank, dated_at DESC, image DESC LIMIT :limit OFFSET :offset)
        UNION ALL
        SELECT 'kind', year, media_type, count(*) FROM hits JOIN docs_{n} USING (doc) GROUP BY year, media_type
        UNION ALL
        SELECT 'tag', 0, tag, uses FROM (
            SELECT tag, count(*) AS uses FROM hits JOIN tags_{n} USING (doc)
            GROUP BY tag ORDER BY uses DESC, tag LIMIT {FACET_TAGS})
        """,  # noqa: S608
        {"match": _match(tenant, query, wanted), "limit": query.limit, "offset": query.offset},
    )
    page: list[tuple[int, ImageId, float]] = []
    tags: dict[str, int] = {}
    types: Counter[str] = Counter()
    years: Counter[str] = Counter()
    for what, first, second, third in rows:
        if what == "page":
            page.append((first, second, -third))
        elif what == "tag":
            tags[second] = third
        else:
            types[second] += third
            years[str(first)] += third
    total = years.total()
    types.pop("", None)
    return _Found(page, total, tags, dict(types), dict(years))


def _match(tenant: TenantId, query: SearchQuery, wanted: Sequence[Wanted]) -> str:
    """The question to FTS5: tokens of our own making in quotes, nothing of the text as it was typed."""
    scope = [*_visible(tenant, query.visible_to), *([_code("g", tag)] for tag in dict.fromkeys(query.tags))]
    if query.media_type is not None:
        scope.append([_code("m", query.media_type)])
    if query.year is not None:
        scope.append([f"y{query.year}"])
    return _question(scope, wanted)


def _visible(tenant: TenantId, reader: UserId | None) -> list[list[str]]:
    """Tokens that the scope must have: of each list, one."""
    return [[_code("t", tenant)], *([["p", _code("o", reader)]] if reader is not None else [])]


def _question(scope: list[list[str]], wanted: Sequence[Wanted], *, is_whole: bool = False) -> str:
    """`is_whole` asks for whole words instead of their beginnings."""
    parts = [f"scope : ({' OR '.join(some)})" for some in scope]
    for one in wanted:
        phrase = " ".join(map(_ascii, one.tokens))
        parts.append(f'{_ANY_FIELD} : "{phrase}"' + ("" if one.is_phrase or is_whole else " *"))
    return " AND ".join(parts)


def _mend(
    connection: sqlite3.Connection, n: int, tenant: TenantId, reader: UserId | None, text: str, wanted: Sequence[Wanted]
) -> str | None:
    """The text with known words for those that match nothing; None when no word is replaced, or one cannot be.

    A word is only known to whom may see a document that has it: nobody learns from a correction what others have written.
    """
    scope = _visible(tenant, reader)

    def is_there(question: str) -> bool:
        row = connection.execute(f"SELECT 1 FROM match_{n} WHERE match_{n} MATCH ? LIMIT 1", (question,))  # noqa: S608
        return row.fetchone() is not None

    replaced: list[tuple[Wanted, str]] = []
    for one in wanted:
        if is_there(_question(scope, [one])):
            continue
        if not one.can_be_mended:
            return None
        for word in _near(connection, n, tenant, one.tokens[0]):
            if is_there(_question(scope, [replace(one, tokens=(word,))], is_whole=True)):
                replaced.append((one, word))
                break
        else:
            return None
    return mended(text, replaced) if replaced else None


def _near(connection: sqlite3.Connection, n: int, tenant: TenantId, word: str) -> list[str]:
    """The tenant's words within the edits allowed: nearest, then most used, then by letter."""
    limit = edits_allowed(word)
    shared = variants(word, limit)
    rows = connection.execute(
        f"SELECT DISTINCT text, uses FROM variants_{n} JOIN words_{n} USING (word)"  # noqa: S608
        f" WHERE variants_{n}.tenant = (SELECT tenant FROM tenants WHERE name = ?)"
        f" AND variant IN ({', '.join('?' * len(shared))})",
        (tenant, *shared),
    )
    near = sorted((away, -uses, text) for text, uses in rows if (away := distance(word, text, limit)) <= limit)
    return [text for _, _, text in near[:_CANDIDATES]]


def _hits(
    connection: sqlite3.Connection, n: int, page: list[tuple[int, ImageId, float]], wanted: Sequence[Wanted]
) -> tuple[Hit, ...]:
    shown: dict[int, dict[str, str]] = {}
    if wanted and page:
        rows = connection.execute(
            f"SELECT doc, shown FROM texts_{n} WHERE doc IN ({', '.join('?' * len(page))})",  # noqa: S608
            [doc for doc, _, _ in page],
        )
        shown = {doc: json.loads(texts) for doc, texts in rows}
    return tuple(
        Hit(
            image,
            score,
            {name: text for name, raw in shown.get(doc, {}).items() if (text := marked(raw, wanted)) is not None},
        )
        for doc, image, score in page
    )
