"""Questions to the search on PostgreSQL: `python -m bench.servers_search [documents] [--keep] [--at URL]`, a million unless said.

Words are drawn by Zipf's law from 50 000, and the photographs are of twenty-five years. The rows are written by the database itself,
as PostgresSearch would write them; the questions are whole calls. `--keep` leaves server and rows and tells their URL, which `--at`
takes instead of filling another. Target: p99 below 50 ms at a million on an otherwise idle machine. Run it from the root of the
repository.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from bench.meter import Meter
from tests.servers.postgres import PostgresServer, make_cluster

from safelight.adapters.search.postgres import PostgresSearch
from safelight.adapters.search.words import variants
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.queries import SearchQuery, micros
from safelight.testing.factories import make_document

VOCABULARY, CHUNK, ROUNDS = 50_000, 50_000, 150
FIRST, SPAN = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=25 * 365)


def spelt(n: int) -> str:
    """The nth word: letters only, and words of neighbouring numbers are no misspellings of each other."""
    n, word = n * 2_654_435_761 % 2**32, ""
    while n:
        n, letter = divmod(n, 20)
        word += "bcdfghjklmnprstvwxza"[letter]
    return word


WORDS = [spelt(n + 1) for n in range(VOCABULARY)]


def drawn() -> int:
    """A rank, the small ones often (density about 1/rank)."""
    return min(VOCABULARY - 1, int(VOCABULARY ** random.random()) - 1)


def fill(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        (index,) = (
            row[0] for row in connection.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'docs_1_lexemes%'")
        )
        (made,) = connection.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", (index,)).fetchone()
        connection.execute(f"DROP INDEX safelight_search.{index}")
        uses: Counter[int] = Counter()
        periods: Counter[str] = Counter()
        for first in range(0, count, CHUNK):
            with connection.cursor().copy(
                "COPY safelight_search.docs_1 (tenant, image, dated_at, day, media_type, tags, words, lexemes, shown, digest) FROM STDIN"
            ) as copy:
                for n in range(first, min(first + CHUNK, count)):
                    title, text, tags = (
                        [drawn() for _ in range(4)],
                        [drawn() for _ in range(8)],
                        [drawn() % 500 for _ in range(3)],
                    )
                    places: dict[str, list[str]] = {}
                    for at, (word, letter) in enumerate(
                        [(w, "A") for w in title] + [(w, "C") for w in text] + [(w, "B") for w in tags]
                    ):
                        places.setdefault(WORDS[word], []).append(f"{at + 1}{letter}")
                    uses.update(set(title + text + tags))
                    dated_at = FIRST + SPAN * (n / count)
                    day = dated_at.date().isoformat()
                    dates = (day[:4], day[:7], day)
                    periods.update(dates)
                    scope = [f"1oowner{n % 50}", "1mimage/jpeg", *(f"1d{date}" for date in dates)]
                    scope += [f"1g{WORDS[tag]}" for tag in set(tags)]
                    scope += ["1p"] * (n % 4 == 0)
                    lexemes = " ".join([f"'{one}'" for one in scope] + [f"'1w{w}':{','.join(at)}" for w, at in places.items()])
                    shown = json.dumps(
                        {"title": " ".join(WORDS[w] for w in title), "description": " ".join(WORDS[w] for w in text)}
                    )
                    tag_array = "{" + ",".join(WORDS[tag] for tag in set(tags)) + "}"
                    words_array = "{" + ",".join(places) + "}"
                    copy.write_row(
                        (
                            1,
                            f"{n:026x}",
                            micros(dated_at),
                            day,
                            "image/jpeg",
                            tag_array,
                            words_array,
                            lexemes,
                            shown,
                            f"{n:064x}",
                        )
                    )
        with connection.cursor().copy("COPY safelight_search.words_1 (tenant, word, uses, variants) FROM STDIN") as copy:
            for word, by in uses.items():
                copy.write_row((1, WORDS[word], by, [f"1:{one}" for one in variants(WORDS[word], 2)]))
        with connection.cursor().copy("COPY safelight_search.periods_1 (tenant, unit, period, documents) FROM STDIN") as copy:
            for period, held in periods.items():
                copy.write_row((1, len(period), period, held))
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute(made)
        connection.execute("VACUUM ANALYZE")


def questions() -> dict[str, object]:
    common, mid, rare = lambda: WORDS[random.randrange(5)], lambda: WORDS[random.randrange(200, 2_000)], lambda: WORDS[drawn()]
    me = UserId("owner7")

    def misspelt() -> str:
        word = WORDS[random.randrange(500, 5_000)]
        at = random.randrange(1, len(word) - 1)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return {
        "a common word": lambda: SearchQuery(text=common()),
        "a word of middling frequency": lambda: SearchQuery(text=mid()),
        "a word as people use them": lambda: SearchQuery(text=rare()),
        "a common and a middling word": lambda: SearchQuery(text=f"{common()} {mid()}"),
        "two middling words": lambda: SearchQuery(text=f"{mid()} {mid()}"),
        "the first three letters": lambda: SearchQuery(text=mid()[:3]),
        "the first letter": lambda: SearchQuery(text=mid()[:1]),
        "own and public, a common word": lambda: SearchQuery(text=common(), visible_to=me),
        "own and public, a middling word": lambda: SearchQuery(text=mid(), visible_to=me),
        "a word and a year": lambda: SearchQuery(text=mid(), year=2007),
        "no word": lambda: SearchQuery(text=""),
        "a misspelt word": lambda: SearchQuery(text=misspelt()),
        "a word that is nowhere": lambda: SearchQuery(text="qqqqeeeeqqqq"),
    }


async def run(count: int, *, at: str | None = None, keeps: bool = False) -> dict[str, object]:
    """Answer times by kind of question; of the documents at that URL, or of new ones that may be kept."""
    random.seed(7)
    if at is not None:
        with psycopg.connect(at) as connection:
            name, held = connection.execute(
                "SELECT name, (SELECT count(*) FROM safelight_search.docs_1) FROM safelight_search.tenants WHERE tenant = 1"
            ).fetchone()
        return {"documents": held, **await measured(at, TenantId(name))}
    with tempfile.TemporaryDirectory() as place:
        make_cluster(Path(place) / "cluster")
        server = PostgresServer(Path(place) / "cluster", shared_buffers="1GB", synchronous_commit="off", max_wal_size="8GB")
    try:
        url = server.start().database()
        tenant = await numbered_one(url)
        began = time.perf_counter()
        await asyncio.to_thread(fill, url, count)
        report: dict[str, object] = {"documents": count, "filled_s": round(time.perf_counter() - began, 1)}
        report |= await measured(url, tenant)
    finally:
        if keeps:
            print(f"kept: {url}, process {server.pid}, {server.folder}", file=sys.stderr)
        else:
            server.remove()
    return report


async def numbered_one(url: str) -> TenantId:
    """A tenant of an index without documents."""
    search = PostgresSearch(url)
    await search.open()
    tenant = TenantId(new_id())
    await search.put(tenant, [document := make_document()])
    await search.remove(tenant, [document.image])
    await search.close()
    return tenant


async def measured(url: str, tenant: TenantId) -> dict[str, object]:
    search = PostgresSearch(url)
    await search.open()
    await search.search(tenant, SearchQuery(text="a connection is open"))
    report: dict[str, object] = {}
    for name, make in questions().items():
        meter = Meter(url)
        for round_ in range(ROUNDS + 20):
            query = make()
            with meter.question(counts=round_ >= 20):
                await search.search(tenant, query)
        report[name] = meter.figures()
    meter = Meter(url)
    for _ in range(100):
        document = make_document(title=" ".join(WORDS[drawn()] for _ in range(4)))
        with meter.question():
            await search.put(tenant, [document])
    report["put one"] = meter.figures()
    await search.close()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the search on PostgreSQL.")
    parser.add_argument("documents", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--keep", action="store_true", help="leave the server and its documents, and tell their URL")
    parser.add_argument("--at", metavar="URL", help="ask what was kept, instead of filling another")
    chosen = parser.parse_args()
    print(json.dumps(asyncio.run(run(chosen.documents, at=chosen.at, keeps=chosen.keep)), indent=2))


if __name__ == "__main__":
    main()
