"""PostgresSearch: the search in a PostgreSQL database, by tsvector and GIN. Wiring makes one per process; all share the index.

Words are folded in Python (`words`) and become lexemes as they are: no dictionary of the server has a say, and nothing in a
question can be an operator. Every lexeme begins with the tenant's number, so the index itself keeps tenants apart; owner,
visibility, tags, type, year, month and day are lexemes too.

Of a question that more than COUNTED documents answer, the newest COUNTED are ranked and counted; behind them come the others,
newest first. `total` and the facets of such a question are of those COUNTED. How the newest are come by depends on how many match:
few are all fetched and sorted; a common word is a short walk along the dates; and what lies between, too many to fetch and too few
to walk past all the others, is asked for together with the newest years, months and days that should hold enough of it. The
index meets the two without a look at the rows. Where fewer are found than are counted, more days are asked.

Mending takes candidates that share a variant with the misspelt word (symmetric delete), not trigrams: `acb` and `cab` are one edit
apart and have no trigram in common. It also needs no extension of the server.

A generation is a set of tables; the one row of `state` says which is in use. A reader whose tables are dropped under it asks again.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from safelight.adapters import postgres
from safelight.adapters.search.words import (
    FACET_TAGS,
    FIELDS,
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

FORMAT: Final = 3
"""Of the tables and of the lexemes in them; an index of another format is dropped at `open` and waits to be made again."""

COUNTED: Final = 1_000
"""How many of the newest matches are ranked and counted."""

_COMMON: Final = 20_000
"""Beyond so many uses a beginning of a word is not looked up in the index beside a rarer one: collecting all its documents takes
longer than looking at the rarer one's. A million documents and a word in a quarter of them: 40 ms against 3."""

_MANY: Final = 3
"""From so many times COUNTED matches only the newest are fetched. A million documents and a word in ten thousand: 10 ms against 25."""

_SPARE: Final = 1.5
"""The newest days are to hold so many times COUNTED matches, since no word is spread evenly."""

_WIDER: Final = 4
"""Where the newest days did not hold enough, at least so many times as many are asked next."""

_MOST: Final = 0.6
"""Of a tenant's documents; asking for more of them by their days is no shorter than asking for all."""

_VISITS: Final = 2
"""Walking past a document takes about as long as finding so many in the index of words."""

_SEEN: Final = 1 / 3
"""What a reader who does not see all is taken to see of it. Most of them see less or next to all; either costs little."""

_ROUNDING: Final = 2
"""So many times as many are asked for, rather than a year be taken apart into months: the index tries each period on each match."""

_DEPTH: Final = 10_000
"""How far a reader may page, see SearchQuery."""

_CALL_S: Final = 20.0
"""No call takes longer, the wait for a free connection included."""

_LETTERS: Final = {"title": "A", "tags": "B", "description": "C", "file_name": "D", "camera": "D", "place": "D"}
_RANK: Final = "'{0.125, 0.25, 0.5, 1}'"  # D to A: the weights of `words`, of which the largest is 1 here
_LEXEME_BYTES: Final = 1_800
"""Of a lexeme; PostgreSQL has 2046. Words that are the same so far count as the same."""
_POSITIONS: Final = 16_000
"""Words of a document that are indexed; PostgreSQL has 16383 positions."""
_CANDIDATES: Final = 20
"""How many known words are tried for a misspelt one; the first that the reader may see is taken."""

_S: Final = "safelight_search"
_MAKE: Final = (
    f"""CREATE TABLE {_S}.docs_{{n}} (
        tenant integer NOT NULL, image text COLLATE "C" NOT NULL, dated_at bigint NOT NULL, day text NOT NULL,
        media_type text NOT NULL, tags text[] NOT NULL, words text[] NOT NULL, lexemes tsvector NOT NULL, shown text NOT NULL,
        digest text NOT NULL,
        PRIMARY KEY (tenant, image))""",
    # fastupdate would leave what was written last in a list that every question reads through.
    f"CREATE INDEX ON {_S}.docs_{{n}} USING gin (lexemes) WITH (fastupdate = off)",
    f"CREATE INDEX ON {_S}.docs_{{n}} (tenant, dated_at DESC, image DESC)",
    f"""CREATE TABLE {_S}.words_{{n}} (
        tenant integer NOT NULL, word text COLLATE "C" NOT NULL, uses integer NOT NULL, variants text[] NOT NULL,
        PRIMARY KEY (tenant, word)) WITH (fillfactor = 80)""",
    f"CREATE INDEX ON {_S}.words_{{n}} USING gin (variants) WITH (fastupdate = off)",
    # How many documents are of the years (2026), months (2026-11) and days (2026-11-22); the unit is the length of such a name.
    f"""CREATE TABLE {_S}.periods_{{n}} (
        tenant integer NOT NULL, unit integer NOT NULL, period text COLLATE "C" NOT NULL, documents integer NOT NULL,
        PRIMARY KEY (tenant, unit, period)) WITH (fillfactor = 80)""",
    f'CREATE TABLE {_S}.touched_{{n}} (tenant integer, image text COLLATE "C", PRIMARY KEY (tenant, image))',
)
_UNITS: Final = (4, 7, 10)
"""Letters of a year, of a month and of a day."""
_TABLES: Final = ("words", "periods", "docs", "touched")
"""Dropped, and with that locked, in the order in which a question comes to them: no question and no drop wait for each other."""


@dataclass(frozen=True, slots=True)
class _Open:
    """What an open search holds."""

    readers: Engine
    writers: Engine
    reading: ThreadPoolExecutor
    writing: ThreadPoolExecutor


class PostgresSearch:
    """Keeps Search in the schema `safelight_search` of a database, postgresql://user:password@host:5432/database.

    Args:
        url: As libpq reads it.
        readers: Connections for questions.
        writers: Connections for writing.

    """

    def __init__(self, url: str, *, readers: int = 4, writers: int = 2, statement_s: float = postgres.STATEMENT_S) -> None:
        self._url: Final = postgres.checked(url)
        self._readers: Final = readers
        self._writers: Final = writers
        self._statement_s: Final = statement_s
        self._open: _Open | None = None

    async def open(self) -> None:
        """Schema and an empty index, where they are not there yet."""
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
        latest = {document.image: document for document in documents}
        await self._write(lambda connection: _put(connection, tenant, list(latest.values()), generation))

    async def remove(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        """In one transaction."""
        await self._write(lambda connection: _remove(connection, tenant, list(dict.fromkeys(image_ids))))

    async def digests(self, tenant: TenantId, *, after: str = "", limit: int = 1000) -> dict[ImageId, str]:
        """Along the primary key."""
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

    async def _read(self, work: Callable[[Connection], T]) -> T:
        opened = self._opened()

        def read() -> T:
            for _ in range(3):
                try:
                    with opened.readers.begin() as connection:
                        return work(connection)
                except DBAPIError as error:
                    # Undefined table: the generation was replaced between the look at `state` and the question.
                    if getattr(error.orig, "sqlstate", None) != "42P01":
                        raise
            raise BackendUnavailable("The search index is gone.")

        return await _in_thread(opened.reading, read)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        opened = self._opened()

        def write() -> T:
            with opened.writers.begin() as connection:
                return work(connection)

        return await _in_thread(opened.writing, write)

    def _opened(self) -> _Open:
        if self._open is None:
            raise BackendUnavailable("The search is not open.")
        return self._open

    def _connect(self) -> _Open:
        # Whatever the statistics say, no question reads the whole table.
        settings = " SET LOCAL enable_seqscan = off; SET LOCAL random_page_cost = 1.1;"
        mode = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
        read = postgres.beginning(mode, statement_s=self._statement_s, settings=settings)
        patience = postgres.Patience(self._statement_s)
        opened = _Open(
            postgres.engine(self._url, size=self._readers, begin=read, patience=patience),
            postgres.engine(self._url, size=self._writers, begin=postgres.beginning()),
            ThreadPoolExecutor(self._readers, thread_name_prefix="search"),
            ThreadPoolExecutor(self._writers, thread_name_prefix="search-writer"),
        )
        try:
            with postgres.starting(self._url, "SAFELIGHT_SEARCH__URL"), _told_as_ours(), opened.writers.begin() as connection:
                _prepare(connection)
        except BaseException:
            _disconnect(opened)
            raise
        return opened


def look_at(url: str) -> int | None:
    """The format of the index that is there, None without one; nothing is changed. Raises BackendUnavailable."""
    engine = postgres.engine(postgres.checked(url), size=0, begin=postgres.beginning("READ ONLY"))
    with _told_as_ours(), engine.begin() as connection:
        return _format(connection)


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    def told() -> T:
        with _told_as_ours():
            return work()

    try:
        async with asyncio.timeout(_CALL_S):
            return await asyncio.wrap_future(threads.submit(told))
    except TimeoutError:
        raise BackendUnavailable("The search index does not answer.") from None
    except RuntimeError as error:  # the threads are gone
        raise BackendUnavailable("The search is closed.") from error


def _disconnect(opened: _Open) -> None:
    opened.reading.shutdown(wait=True)
    opened.writing.shutdown(wait=True)
    opened.readers.dispose()
    opened.writers.dispose()


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise BackendUnavailable("The search index does not answer.") from error


# Generations


def _prepare(connection: Connection) -> None:
    if _format(connection) == FORMAT:
        return
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({postgres.Lock.SEARCH.value}, 1)")
    found = _format(connection)
    if found == FORMAT:  # another process was faster
        return
    if found is not None:
        log.warning("search.index_reset", found=found, needed=FORMAT)
        tables = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = %s", (_S,)).scalars().all()
        for table in tables:
            connection.exec_driver_sql(f'DROP TABLE {_S}."{table}"')
    # Made only where it is missing: whoever has it made for them may not be allowed to make one.
    if connection.exec_driver_sql("SELECT 1 FROM pg_namespace WHERE nspname = %s", (_S,)).first() is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {_S}")
    connection.exec_driver_sql(
        f'CREATE TABLE {_S}.tenants (tenant integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" UNIQUE NOT NULL)'
    )
    connection.exec_driver_sql(f"CREATE TABLE {_S}.state (format integer, live integer NOT NULL, building integer, last integer)")
    connection.exec_driver_sql(f"INSERT INTO {_S}.state VALUES ({FORMAT}, 1, NULL, 1)")  # noqa: S608
    _make(connection, 1)


def _format(connection: Connection) -> int | None:
    """What format the index has; None without one."""
    # Asked of the catalog's rows: to_regclass may answer from a cache of the session that does not know the latest yet.
    asked = "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'state'"
    if connection.exec_driver_sql(asked, (_S,)).first() is None:
        return None
    found: int = connection.exec_driver_sql(f"SELECT format FROM {_S}.state").scalar_one()  # noqa: S608  constants, here and below
    return found


def _state(connection: Connection, lock: str = "") -> tuple[int, int | None, int]:
    """The generation in use, the one being built, the last number given."""
    live, building, last = connection.exec_driver_sql(f"SELECT live, building, last FROM {_S}.state {lock}").one()  # noqa: S608
    return live, building, last


def _make(connection: Connection, n: int) -> None:
    for statement in _MAKE:
        connection.exec_driver_sql(statement.format(n=n))


def _drop(connection: Connection, n: int) -> None:
    connection.exec_driver_sql("DROP TABLE " + ", ".join(f"{_S}.{table}_{n}" for table in _TABLES))


def _digests(connection: Connection, tenant: TenantId, after: str, limit: int) -> dict[ImageId, str]:
    live, _, _ = _state(connection)
    rows = connection.exec_driver_sql(
        f"SELECT image, digest FROM {_S}.docs_{int(live)} WHERE tenant = (SELECT tenant FROM {_S}.tenants WHERE name = %s)"  # noqa: S608
        " AND image > %s ORDER BY image LIMIT %s",
        (tenant, after, limit),
    )
    return {ImageId(image): digest for image, digest in rows}


def _begin(connection: Connection) -> int:
    _, building, last = _state(connection, "FOR UPDATE")
    if building is not None:
        _drop(connection, building)
    connection.exec_driver_sql(f"UPDATE {_S}.state SET building = %s, last = %s", (last + 1, last + 1))  # noqa: S608
    _make(connection, last + 1)
    return last + 1


def _publish(connection: Connection, generation: int) -> None:
    live, building, _ = _state(connection, "FOR UPDATE")
    if generation == live:
        return
    if generation != building:
        raise Missing
    # The planner has seen nothing of it yet, and what it knows decides between a walk and a look-up.
    connection.exec_driver_sql(f"ANALYZE {_S}.docs_{int(generation)}")
    connection.exec_driver_sql(f"UPDATE {_S}.state SET live = %s, building = NULL", (generation,))  # noqa: S608
    connection.exec_driver_sql(f"DELETE FROM {_S}.touched_{int(generation)}")  # noqa: S608
    _drop(connection, live)


# Writing. Table names end with the number of a generation, which came out of `state`: nothing else is formatted into SQL.


def _put(connection: Connection, tenant: TenantId, documents: list[Document], generation: int | None) -> None:
    live, building, _ = _state(connection, "FOR SHARE")
    if generation not in (None, live, building):
        raise Missing
    number = _tenant(connection, tenant)
    prepared = [_Prepared.of(number, document) for document in documents]
    if generation is not None and generation == building:
        images = [document.image for document in prepared]
        rows = connection.exec_driver_sql(
            f"SELECT image FROM {_S}.touched_{building} WHERE tenant = %s AND image = ANY(%s)",  # noqa: S608
            (number, images),
        )
        newer = set(rows.scalars())
        _replace(connection, generation, number, [document for document in prepared if document.image not in newer])
        return
    _replace(connection, live, number, prepared)
    if building is not None:
        _touch(connection, building, number, [document.image for document in prepared])
        _replace(connection, building, number, prepared)


def _remove(connection: Connection, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
    live, building, _ = _state(connection, "FOR SHARE")
    number = _tenant(connection, tenant)
    _count(connection, live, number, _forget(connection, live, number, image_ids))
    if building is not None:
        _touch(connection, building, number, image_ids)
        _count(connection, building, number, _forget(connection, building, number, image_ids))


def _tenant(connection: Connection, tenant: TenantId) -> int:
    """The tenant's number, locked: its writers take turns, so that no two count the same words at once."""
    found = f"SELECT tenant FROM {_S}.tenants WHERE name = %s FOR UPDATE"  # noqa: S608
    number: int | None = connection.exec_driver_sql(found, (tenant,)).scalar()
    if number is None:
        connection.exec_driver_sql(f"INSERT INTO {_S}.tenants (name) VALUES (%s) ON CONFLICT DO NOTHING", (tenant,))  # noqa: S608
        number = connection.exec_driver_sql(found, (tenant,)).scalar_one()
    return number


def _touch(connection: Connection, n: int, tenant: int, images: Sequence[str]) -> None:
    connection.exec_driver_sql(
        f"INSERT INTO {_S}.touched_{n} SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
        (tenant, list(images)),
    )


def _replace(connection: Connection, n: int, tenant: int, documents: Sequence[_Prepared]) -> None:
    if not documents:
        return
    change = _forget(connection, n, tenant, [document.image for document in documents])
    for document in documents:
        change.add(document.words, document.day, 1)
    connection.exec_driver_sql(
        f"INSERT INTO {_S}.docs_{n} (tenant, image, dated_at, day, media_type, tags, words, lexemes, shown, digest)"  # noqa: S608
        " VALUES (%(tenant)s, %(image)s, %(dated_at)s, %(day)s, %(media_type)s, %(tags)s, %(words)s, %(lexemes)s, %(shown)s,"
        " %(digest)s)",
        [{name: getattr(document, name) for name in _Prepared.__slots__} for document in documents],
    )
    _count(connection, n, tenant, change)


@dataclass(frozen=True, slots=True)
class _Change:
    """By how much the documents of a word and of a period become more."""

    words: Counter[str] = field(default_factory=Counter)
    periods: Counter[str] = field(default_factory=Counter)

    def add(self, words: Iterable[str], day: str, by: int) -> None:
        for word in words:
            self.words[word] += by
        for unit in _UNITS:
            self.periods[day[:unit]] += by


def _forget(connection: Connection, n: int, tenant: int, images: Sequence[str]) -> _Change:
    """The rows gone; what that changes."""
    rows = connection.exec_driver_sql(
        f"DELETE FROM {_S}.docs_{n} WHERE tenant = %s AND image = ANY(%s) RETURNING words, day",  # noqa: S608
        (tenant, list(images)),
    )
    change = _Change()
    for words, day in rows:
        change.add(words, day, -1)
    return change


def _count(connection: Connection, n: int, tenant: int, change: _Change) -> None:
    _count_words(connection, n, tenant, change.words)
    if by := {period: by for period, by in change.periods.items() if by}:
        connection.exec_driver_sql(
            f"INSERT INTO {_S}.periods_{n} AS known"  # noqa: S608
            " SELECT %s, length(period), period, by FROM unnest(%s::text[], %s::integer[]) AS change (period, by)"
            " ON CONFLICT (tenant, unit, period) DO UPDATE SET documents = known.documents + excluded.documents",
            (tenant, list(by), list(by.values())),
        )


def _count_words(connection: Connection, n: int, tenant: int, change: Mapping[str, int]) -> None:
    more = {word: by for word, by in change.items() if by > 0}
    fewer = {word: by for word, by in change.items() if by < 0}
    if more:
        connection.exec_driver_sql(
            f"INSERT INTO {_S}.words_{n} AS known (tenant, word, uses, variants)"  # noqa: S608
            " VALUES (%(tenant)s, %(word)s, %(by)s, %(variants)s)"
            " ON CONFLICT (tenant, word) DO UPDATE SET uses = known.uses + excluded.uses",
            [
                {"tenant": tenant, "word": word, "by": by, "variants": [f"{tenant}:{one}" for one in variants(word, 2)]}
                for word, by in more.items()
            ],
        )
    if fewer:
        values = (tenant, list(fewer), list(fewer.values()))
        connection.exec_driver_sql(
            f"UPDATE {_S}.words_{n} known SET uses = known.uses + change.by"  # noqa: S608
            " FROM (SELECT %s::integer AS tenant, unnest(%s::text[]) AS word, unnest(%s::integer[]) AS by) change"
            " WHERE known.tenant = change.tenant AND known.word = change.word",
            values,
        )
        connection.exec_driver_sql(
            f"DELETE FROM {_S}.words_{n} WHERE tenant = %s AND word = ANY(%s) AND uses <= 0",  # noqa: S608
            values[:2],
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document as it is written: the columns of its row."""

    tenant: int
    image: str
    dated_at: int
    day: str
    media_type: str
    tags: list[str]
    words: list[str]
    lexemes: str
    shown: str
    digest: str

    @classmethod
    def of(cls, tenant: int, document: Document) -> _Prepared:
        texts = fields_of(document)
        tokens = {name: [token.text for token in tokens_of(texts[name])] for name in FIELDS}
        day = document.dated_at.astimezone(UTC).date().isoformat()
        scope = [("o", document.owner), ("m", document.media_type), *(("g", tag) for tag in document.tags)]
        scope += [("d", day[:unit]) for unit in _UNITS]
        scope += [("p", "")] * document.is_public
        places: defaultdict[str, list[str]] = defaultdict(list)
        at = 0
        for name in FIELDS:
            for token in tokens[name][: _POSITIONS - at]:
                at += 1
                places[_lexeme(tenant, "w", token)].append(f"{at}{_LETTERS[name]}")
            at = min(at + 1, _POSITIONS)  # a gap, so that no phrase goes from one field to the next
        parts = [_quoted(_lexeme(tenant, kind, value)) for kind, value in scope]
        parts += [f"{_quoted(lexeme)}:{','.join(where[:255])}" for lexeme, where in places.items()]
        return cls(
            tenant=tenant,
            image=document.image,
            dated_at=micros(document.dated_at),
            day=day,
            media_type=_storable(document.media_type),
            tags=list(dict.fromkeys(map(_storable, document.tags))),
            words=sorted({word for name in FIELDS for word in tokens[name] if is_known_word(word)}),
            lexemes=" ".join(parts),
            shown=json.dumps(texts),
            digest=document.digest,
        )


def _storable(text: str) -> str:
    """As it is, but for what has no place in PostgreSQL's text: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _lexeme(tenant: int, kind: str, value: str) -> str:
    return f"{tenant}{kind}" + _storable(value).encode()[:_LEXEME_BYTES].decode("utf-8", "ignore")


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


# Reading


def _search(connection: Connection, tenant: TenantId, query: SearchQuery) -> SearchResult:
    live, _, _ = _state(connection)
    text, corrected = tidy(query.text), None
    wanted = wanted_of(text)
    number = connection.exec_driver_sql(f"SELECT tenant FROM {_S}.tenants WHERE name = %s", (tenant,)).scalar()  # noqa: S608
    if number is None:
        return SearchResult(hits=(), total=0, facets={"tag": {}, "type": {}, "year": {}})
    found = _find(connection, live, number, query, wanted)
    if not found.total and wanted and (better := _mend(connection, live, number, query.visible_to, text, wanted)) is not None:
        corrected, wanted = better, wanted_of(better)
        found = _find(connection, live, number, query, wanted)
    behind = query.offset + len(found.page)
    has_more = behind < found.total or (found.total == COUNTED and len(found.page) == query.limit)
    return SearchResult(
        hits=tuple(_hit(row, wanted) for row in _shown(connection, live, number, found.page, wanted)),
        total=found.total,
        is_total_exact=found.total < COUNTED,
        facets={"tag": found.tags, "type": found.types, "year": found.years},
        corrected=corrected,
        next_offset=behind if found.page and has_more and behind <= _DEPTH else None,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    page: list[tuple[str, float]]
    total: int
    tags: dict[str, int]
    types: dict[str, int]
    years: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Asking:
    """A question to one generation.

    What matches has the lexemes of `scope` and `wanted`; the index is asked for those of `scope` and `sought`, and each row that
    it names for the others.
    """

    connection: Connection
    n: int
    tenant: int
    scope: list[list[str]]
    wanted: Sequence[Wanted]
    sought: Sequence[Wanted]

    def ranked(self, query: SearchQuery, periods: Sequence[str] = ()) -> _Found:
        """The page of the newest COUNTED, of these periods alone where there are any; and their number and facets."""
        rank = f"round(ts_rank({_RANK}, lexemes, %(words)s::tsquery)::numeric, 6)::float8" if self.wanted else "0::float8"
        rows = self.connection.exec_driver_sql(
            # Ranked outside: a rank is dear, and beside the order by date it would be worked out for all that match.
            f"""
            WITH hits AS MATERIALIZED (
                SELECT image, dated_at, day, media_type, tags, {rank} AS rank
                FROM (SELECT image, dated_at, day, media_type, tags, lexemes {self._newest} LIMIT {COUNTED}) newest)
            SELECT 'page', image, rank, 0::bigint FROM (
                SELECT image, rank FROM hits ORDER BY rank DESC, dated_at DESC, image DESC LIMIT %(limit)s OFFSET %(offset)s) page
            UNION ALL
            SELECT 'type', media_type, 0, count(*) FROM hits GROUP BY media_type
            UNION ALL
            SELECT 'year', left(day, 4)::integer::text AS year, 0, count(*) FROM hits GROUP BY year
            UNION ALL
            SELECT 'tag', tag, 0, uses FROM (
                SELECT tag COLLATE "C" AS tag, count(*) AS uses FROM hits, unnest(tags) tag
                GROUP BY 1 ORDER BY uses DESC, 1 LIMIT {FACET_TAGS}) tags
            """,  # noqa: S608
            self._values(periods)
            | {"words": _question(self.tenant, [], self.wanted), "limit": query.limit, "offset": query.offset},
        ).all()
        page: list[tuple[str, float]] = [(what, score) for kind, what, score, _ in rows if kind == "page"]
        counted: dict[str, dict[str, int]] = {"type": {}, "year": {}, "tag": {}}
        for kind, what, _, uses in rows:
            if kind != "page":
                counted[kind][what] = uses
        counted["type"].pop("", None)
        return _Found(page, sum(counted["year"].values()), counted["tag"], counted["type"], counted["year"])

    def behind(self, limit: int, offset: int) -> list[tuple[str, float]]:
        """Newest first, unranked."""
        rows = self.connection.exec_driver_sql(
            f"SELECT image {self._newest} LIMIT %(limit)s OFFSET %(offset)s",
            self._values() | {"limit": limit, "offset": offset},
        )
        return [(image, 0.0) for (image,) in rows]

    @property
    def _newest(self) -> str:
        matches = f"FROM {_S}.docs_{self.n} WHERE tenant = %(tenant)s"
        if self.scope or self.wanted:
            matches += " AND lexemes @@ %(sought)s::tsquery"
        if len(self.sought) < len(self.wanted):
            # IS TRUE keeps the whole question from the index.
            matches += " AND (lexemes @@ %(question)s::tsquery) IS TRUE"
        return f"{matches} ORDER BY dated_at DESC, image DESC"

    def _values(self, periods: Sequence[str] = ()) -> dict[str, object]:
        within = [[_lexeme(self.tenant, "d", period) for period in periods]] if periods else []
        return {
            "tenant": self.tenant,
            "sought": _question(self.tenant, self.scope + within, self.sought),
            "question": _question(self.tenant, self.scope, self.wanted),
        }


def _find(connection: Connection, n: int, tenant: int, query: SearchQuery, wanted: Sequence[Wanted]) -> _Found:
    scope = _visible(tenant, query.visible_to) + [[_lexeme(tenant, "g", tag)] for tag in dict.fromkeys(query.tags)]
    if query.media_type is not None:
        scope.append([_lexeme(tenant, "m", query.media_type)])
    if query.year is not None:
        scope.append([_lexeme(tenant, "d", f"{query.year:04}")])
    uses = _uses(connection, n, tenant, wanted)
    sought = wanted
    if len(wanted) > 1:  # without the common ones, unless all of them are
        sought = [one for one in wanted if uses.get(one, 0) <= _COMMON] or wanted
    asking = _Asking(connection, n, tenant, scope, wanted, sought)
    reach = _reach(connection, n, tenant, query, [uses.get(one) for one in wanted], [uses.get(one) for one in sought])
    found = None
    while (found is None or found.total < COUNTED) and (periods := _newest(connection, n, tenant, reach)):
        found = asking.ranked(query, periods)
        reach *= max(_WIDER, _SPARE * COUNTED / max(found.total, 1))
    if found is None or found.total < COUNTED:
        found = asking.ranked(query)
    missing = query.limit - len(found.page)
    if found.total == COUNTED and missing:  # behind those that were ranked
        found.page.extend(asking.behind(missing, max(query.offset, COUNTED)))
    return found


def _uses(connection: Connection, n: int, tenant: int, wanted: Sequence[Wanted]) -> dict[Wanted, float]:
    """How often words with these beginnings are used, where that is counted: not of numbers, nor of phrases."""
    beginnings = {one.tokens[0]: one for one in wanted if len(one.tokens) == 1 and not one.is_phrase}
    if not beginnings:
        return {}
    rows = connection.exec_driver_sql(
        f"""
        SELECT beginning, count(*), coalesce(sum(uses), 0) FROM unnest(%s::text[]) beginning, LATERAL (
            SELECT uses FROM {_S}.words_{n} WHERE tenant = %s AND word >= beginning AND word < beginning || U&'\\+10FFFF'
            LIMIT 1000) known
        GROUP BY beginning
        """,  # noqa: S608
        (list(beginnings), tenant),
    )
    # A beginning with so many words that they are not all counted is common, whatever their uses.
    return {beginnings[beginning]: math.inf if words == 1000 else float(uses) for beginning, words, uses in rows}


def _reach(
    connection: Connection,
    n: int,
    tenant: int,
    query: SearchQuery,
    wanted: Sequence[float | None],
    sought: Sequence[float | None],
) -> float:
    """How many of the tenant's newest documents should hold what is counted; inf where it does not pay to ask for fewer than all.

    `wanted` and `sought` are the uses of those words, as if no word knew of another; of a word whose uses are not counted, and of
    what tags and years leave, nothing is known.
    """
    words, rarer = [one for one in wanted if one], [one for one in sought if one]
    if not wanted or len(words) < len(wanted) or max(rarer) < _MANY * COUNTED or query.tags or query.year is not None:
        return math.inf
    documents = max(1, sum(held for _, held in _held(connection, n, tenant, _UNITS[0])))
    seen = 1.0 if query.visible_to is None else _SEEN
    met = documents * seen * math.prod(min(1.0, uses / documents) for uses in rarer)
    walked = COUNTED / seen / math.prod(min(1.0, uses / documents) for uses in words)
    return _SPARE * walked if _MANY * COUNTED <= met <= _VISITS * walked else math.inf


def _newest(connection: Connection, n: int, tenant: int, documents: float) -> list[str]:
    """The years, months and days of so many of the newest documents, or of some more; none where that is most of all."""
    taken: list[str] = []
    within, total, holding = "", 0, 0
    for unit in _UNITS if math.isfinite(documents) else ():
        periods = _held(connection, n, tenant, unit, within)
        total = total or sum(held for _, held in periods)
        for period, held in periods:
            if holding + held > _ROUNDING * documents and unit < _UNITS[-1]:
                within = period  # not all of it
                break
            taken.append(period)
            holding += held
            if holding >= documents:
                return taken if holding <= _MOST * total else []
    return []


def _held(connection: Connection, n: int, tenant: int, unit: int, within: str = "") -> Sequence[tuple[str, int]]:
    """Years, months or days of a year or month, newest first, and how many documents each has."""
    rows = connection.exec_driver_sql(
        f"SELECT period, documents FROM {_S}.periods_{n} WHERE tenant = %s AND unit = %s AND period >= %s AND period < %s"  # noqa: S608
        " AND documents > 0 ORDER BY period DESC",
        (tenant, unit, within, within + "~"),
    )
    return [(period, documents) for period, documents in rows]


def _shown(
    connection: Connection, n: int, tenant: int, page: list[tuple[str, float]], wanted: Sequence[Wanted]
) -> list[tuple[ImageId, float, str]]:
    texts: dict[str, str] = {}
    if wanted and page:
        rows = connection.exec_driver_sql(
            f"SELECT image, shown FROM {_S}.docs_{n} WHERE tenant = %s AND image = ANY(%s)",  # noqa: S608
            (tenant, [image for image, _ in page]),
        )
        texts = {row.image: row.shown for row in rows}
    return [(ImageId(image), float(score), texts.get(image, "{}")) for image, score in page]


def _hit(row: tuple[ImageId, float, str], wanted: Sequence[Wanted]) -> Hit:
    image, score, shown = row
    marks = {name: text for name, raw in json.loads(shown).items() if (text := marked(raw, wanted)) is not None}
    return Hit(image, score, marks)


def _visible(tenant: int, reader: UserId | None) -> list[list[str]]:
    """Lexemes that a document must have: of each list, one."""
    return [] if reader is None else [[_lexeme(tenant, "p", ""), _lexeme(tenant, "o", reader)]]


def _question(tenant: int, scope: Iterable[Sequence[str]], wanted: Sequence[Wanted], *, is_whole: bool = False) -> str:
    """A tsquery of quoted lexemes of our own making; `is_whole` asks for whole words instead of their beginnings."""
    parts = ["(" + " | ".join(map(_quoted, some)) + ")" for some in scope]
    for one in wanted:
        phrase = " <-> ".join(_quoted(_lexeme(tenant, "w", token)) for token in one.tokens)
        parts.append(f"({phrase})" if one.is_phrase or is_whole else f"{phrase}:*")
    return " & ".join(parts)


def _mend(connection: Connection, n: int, tenant: int, reader: UserId | None, text: str, wanted: Sequence[Wanted]) -> str | None:
    """The text with known words for those that match nothing; None when no word is replaced, or one cannot be.

    A word is only known to whom may see a document that has it: nobody learns from a correction what others have written.
    """
    scope = _visible(tenant, reader)

    def is_there(question: str) -> bool:
        # Without an order there is nothing to walk along: the answer comes from the index of words, whether there is one or not.
        row = connection.exec_driver_sql(
            f"SELECT 1 FROM {_S}.docs_{n} WHERE lexemes @@ %s::tsquery LIMIT 1",  # noqa: S608
            (question,),
        )
        return row.first() is not None

    replaced: list[tuple[Wanted, str]] = []
    for one in wanted:
        if is_there(_question(tenant, scope, [one])):
            continue
        if not one.can_be_mended:
            return None
        for word in _near(connection, n, tenant, one.tokens[0]):
            if is_there(_question(tenant, scope, [replace(one, tokens=(word,))], is_whole=True)):
                replaced.append((one, word))
                break
        else:
            return None
    return mended(text, replaced) if replaced else None


def _near(connection: Connection, n: int, tenant: int, word: str) -> list[str]:
    """The tenant's words within the edits allowed: nearest, then most used, then by letter."""
    limit = edits_allowed(word)
    shared = [f"{tenant}:{one}" for one in variants(word, limit)]
    rows: Iterable[Any] = connection.exec_driver_sql(
        f"SELECT word, uses FROM {_S}.words_{n} WHERE variants && %s::text[]",  # noqa: S608
        (shared,),
    )
    near = sorted((away, -uses, known) for known, uses in rows if (away := distance(word, known, limit)) <= limit)
    return [known for _, _, known in near[:_CANDIDATES]]
