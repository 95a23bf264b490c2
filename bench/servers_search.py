"""Questions to the search on PostgreSQL: `python -m bench.servers_search [documents]`, a million unless said.

Words are drawn by Zipf's law from 50 000. The rows are written by the database itself, as PostgresSearch would write them; the
questions are whole calls. Target: p99 below 50 ms at a million on an otherwise idle machine. Run it from the root of the repository.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from tests.servers.postgres import PostgresServer, make_cluster

from safelight.adapters.search.postgres import PostgresSearch
from safelight.adapters.search.words import variants
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.queries import SearchQuery
from safelight.testing.factories import make_document

VOCABULARY, CHUNK, ROUNDS = 50_000, 50_000, 150


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
        uses: dict[int, int] = {}
        for first in range(0, count, CHUNK):
            with connection.cursor().copy(
                "COPY safelight_search.docs_1 (tenant, image, dated_at, year, media_type, tags, words, lexemes, shown, digest) FROM STDIN"
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
                    for word in set(title + text + tags):
                        uses[word] = uses.get(word, 0) + 1
                    year = 2000 + n % 25
                    scope = [f"1oowner{n % 50}", "1mimage/jpeg", f"1y{year}", *(f"1g{WORDS[tag]}" for tag in set(tags))]
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
                            10**15 + n * 10**6,
                            year,
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


async def run(count: int) -> dict[str, object]:
    random.seed(7)
    with tempfile.TemporaryDirectory() as place:
        make_cluster(Path(place) / "cluster")
        server = PostgresServer(
            Path(place) / "cluster", shared_buffers="1GB", synchronous_commit="off", max_wal_size="8GB"
        ).start()
        try:
            url = server.database()
            search = PostgresSearch(url)
            await search.open()
            tenant = TenantId(new_id())
            await search.put(tenant, [document := make_document(title="the tenant has number one")])
            await search.remove(tenant, [document.image])
            began = time.perf_counter()
            await asyncio.to_thread(fill, url, count)
            report: dict[str, object] = {"documents": count, "filled_s": round(time.perf_counter() - began, 1)}
            for name, make in questions().items():
                took = []
                for round_ in range(ROUNDS + 20):
                    query = make()
                    began = time.perf_counter()
                    await search.search(tenant, query)
                    if round_ >= 20:
                        took.append((time.perf_counter() - began) * 1000)
                took.sort()
                report[name] = {"p50_ms": round(statistics.median(took), 1), "p99_ms": round(took[int(len(took) * 0.99)], 1)}
            put = []
            for _ in range(100):
                document = make_document(title=" ".join(WORDS[drawn()] for _ in range(4)))
                began = time.perf_counter()
                await search.put(tenant, [document])
                put.append((time.perf_counter() - began) * 1000)
            report["put one"] = {"p50_ms": round(statistics.median(put), 1), "p99_ms": round(sorted(put)[98], 1)}
            await search.close()
            return report
        finally:
            server.remove()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)), indent=2))
