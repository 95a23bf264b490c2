"""The search on a real PostgreSQL: the whole contract, agreement with the reference in memory, and what only it has."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from tests.contract.test_search import CALLS, TENANT
from tests.servers.postgres import name_of, postgres, postgres_cluster, postgres_url  # noqa: F401

from safelight.adapters.search import postgres as adapter
from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.search.postgres import PostgresSearch
from safelight.domain.ids import ImageId, TenantId, UserId, new_id
from safelight.errors import BackendUnavailable, BadField
from safelight.testing.contracts.search import SearchContract, ask, documents, found, queries
from safelight.testing.factories import NOON, make_document

ME, THEM = UserId(new_id()), UserId(new_id())
DATES = {
    "over years": lambda n: timedelta(days=11 * n),
    "over days": lambda n: timedelta(hours=5 * n),
    "of one day": lambda n: timedelta(seconds=n),
    "unevenly": lambda n: timedelta(days=40 * (n % 7) + n // 50, seconds=n),
}
"""How far the nth document lies back."""


@pytest.fixture(scope="module")
def prepared(postgres):
    url = postgres.database()

    async def prepare():
        search = PostgresSearch(url)
        await search.open()
        await search.close()

    asyncio.run(prepare())
    yield url
    postgres.drop(url)


@pytest.fixture
def url(postgres, prepared):
    url = postgres.database(template=prepared)
    yield url
    postgres.drop(url)


@pytest.fixture
async def search(url):
    search = PostgresSearch(url)
    await search.open()
    yield search
    await search.close()


class TestPostgresSearch(SearchContract):
    @pytest.fixture
    async def search(self, url):
        search = PostgresSearch(url)
        await search.open()
        yield search
        await search.close()


class TestBothAgree:
    @given(put=st.lists(documents, max_size=10), removed=st.integers(0, 5), asked=st.lists(queries, min_size=1, max_size=8))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_they_find_count_mark_and_mend_the_same(self, url, put, removed, asked):
        tenant = TenantId(new_id())  # one index for all examples
        one, other = PostgresSearch(url, readers=1, writers=1), MemorySearch()
        for search in (one, other):
            await search.open()
            for document in put:
                await search.put(tenant, [document])
            await search.remove(tenant, [ImageId(new_id(removed))] + [d.image for d in put[:1]] * (removed == 0))
        for query in asked:
            a, b = await one.search(tenant, query), await other.search(tenant, query)

            assert {hit.image: hit.highlights for hit in a.hits} == {hit.image: hit.highlights for hit in b.hits}
            assert (a.total, a.facets, a.corrected, a.next_offset) == (b.total, b.facets, b.corrected, b.next_offset)
        for search in (one, other):
            await search.close()


class TestIndex:
    async def test_it_keeps_to_its_schema_and_drops_what_it_has_replaced(self, search, postgres, url):
        for _ in range(3):
            await search.publish(await search.begin())
            await search.begin()
        rows = postgres.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
            name_of(url),
        )

        assert {schema for schema, _ in rows} == {"safelight_search"}
        assert {table.split("_")[1] for _, table in rows if "_" in table} == {"6", "7"}

    async def test_processes_that_open_an_empty_database_at_once_share_one_index(self, postgres_url):
        searches = [PostgresSearch(postgres_url) for _ in range(4)]
        await asyncio.gather(*(search.open() for search in searches))
        await searches[0].put(TENANT, [document := make_document(title="Harbour")])

        assert [await found(search, TENANT, "harbour") for search in searches] == [[document.image]] * 4
        for search in searches:
            await search.close()

    async def test_an_index_of_another_format_is_made_anew(self, search, postgres, url):
        await search.put(TENANT, [make_document(title="Harbour")])
        await search.close()
        postgres.execute("UPDATE safelight_search.state SET format = 99", name_of(url))
        await search.open()

        assert await found(search, TENANT) == []
        await search.put(TENANT, [document := make_document(title="Harbour")])
        assert await found(search, TENANT, "harbour") == [document.image]

    async def test_writers_of_the_same_words_do_not_stand_in_each_others_way(self, search, url):
        other = PostgresSearch(url)
        await other.open()
        texts = ["sea sun sand wind", "wind sand sun sea"]
        await asyncio.gather(
            *(one.put(TENANT, [make_document(title=texts[n % 2])]) for n in range(20) for one in (search, other))
        )
        await other.close()

        assert (await ask(search, TENANT, "sun")).total == 40

    async def test_more_matches_than_are_counted_can_be_paged_to_their_end_each_once(self, search, monkeypatch):
        monkeypatch.setattr(adapter, "COUNTED", 20)
        put = [
            make_document(title="Harbour" if n % 7 == 0 else "", description="harbour", dated_at=NOON - timedelta(hours=n))
            for n in range(50)
        ]
        await search.put(TENANT, put)
        seen, offset = [], 0
        while offset is not None:
            result = await ask(search, TENANT, "harbour", limit=7, offset=offset)
            seen += [hit.image for hit in result.hits]
            offset = result.next_offset

        ranked = sorted(put[:20], key=lambda document: (document.title, document.dated_at), reverse=True)
        assert seen == [document.image for document in ranked + put[20:]]
        assert (result.total, result.is_total_exact) == (20, False)
        few = await ask(search, TENANT, "", limit=1, year=1999)
        assert (few.total, few.is_total_exact) == (0, True)

    @pytest.mark.parametrize("common", (0, 3, 1000), ids=("every word is common", "some words are", "none is"))
    async def test_what_is_found_does_not_depend_on_which_words_are_common(self, search, monkeypatch, common):
        monkeypatch.setattr(adapter, "_COMMON", common)
        put = [
            make_document(
                title=f"harbour {'storm' if n % 5 == 0 else 'calm'}",
                description=f"pier{n % 3}",
                dated_at=NOON - timedelta(hours=n),
            )
            for n in range(30)
        ]
        await search.put(TENANT, put)

        for text, wanted in (
            ("harbour storm", put[::5]),
            ("har stor pier0", [put[0], put[15]]),
            ("harbour nowhere1", []),
            ('"harbour storm"', put[::5]),
            ("harbour-storm pier", put[::5]),
        ):
            result = await ask(search, TENANT, text)
            assert sorted(hit.image for hit in result.hits) == sorted(document.image for document in wanted), text
            assert result.total == len(wanted)

    @pytest.mark.parametrize("dates", DATES.values(), ids=DATES)
    async def test_what_is_found_does_not_depend_on_how_the_newest_are_come_by(self, search, url, monkeypatch, dates):
        monkeypatch.setattr(adapter, "COUNTED", 10)
        put = [
            make_document(
                title="harbour",
                description=f"{'pier' if n % 2 else 'quay'} {'old' if n >= 150 else 'late'}",
                owner=(ME, THEM)[n % 5 == 0],
                media_type=("image/jpeg", "image/png")[n % 30 == 0],
                tags=("sea",) if n % 3 else (),
                dated_at=NOON - dates(n),
            )
            for n in range(200)
        ]
        await search.put(TENANT, put)
        newest_first = sorted(put, key=lambda document: (document.dated_at, document.image), reverse=True)
        questions = [
            ("harbour", {}, lambda document: True),
            ("harbour pier", {}, lambda document: "pier" in document.description),
            ("ol", {}, lambda document: "old" in document.description),
            ("pier old", {}, lambda document: document.description == "pier old"),
            ("harbour", {"visible_to": THEM}, lambda document: document.owner == THEM),
            ("harbour", {"media_type": "image/png"}, lambda document: document.media_type == "image/png"),
            ("harbour", {"tags": ("sea",)}, lambda document: document.tags),
            ("harbour", {"year": 2025}, lambda document: document.dated_at.year == 2025),
        ]
        plans = planned(search)
        for text, fields, matches in questions:
            result = await ask(search, TENANT, text, limit=15, **fields)

            expected = [document.image for document in newest_first if matches(document)]
            assert [hit.image for hit in result.hits] == expected[:15], (text, fields)
            assert (result.total, result.is_total_exact) == (min(len(expected), 10), len(expected) < 10), (text, fields)
            assert result.next_offset == (15 if len(expected) > 15 else None), (text, fields)
        assert any("d2026" in asked for asked, _ in plans) == (dates is not DATES["of one day"])

    async def test_of_many_matches_only_the_newest_are_fetched(self, search, url, monkeypatch):
        monkeypatch.setattr(adapter, "COUNTED", 20)
        await search.put(TENANT, [make_document(title=f"harbour x{n}", dated_at=NOON - timedelta(days=n)) for n in range(1000)])
        await search.put(TENANT, [make_document(title="y", dated_at=NOON - timedelta(days=n)) for n in range(1000)] * 2)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        plans = planned(search, "EXPLAIN (ANALYZE, TIMING OFF)")
        result = await ask(search, TENANT, "harbour")

        assert result.total == 20
        (plan,) = (plan for _, plan in plans if "Sort" in plan)
        fetched = re.search(r"Scan [^\n]* on docs_\d+ .*actual rows=([\d.]+)", plan)
        assert float(fetched[1]) < 100, plan

    async def test_periods_are_counted_as_documents_come_change_and_go(self, search, postgres, url):
        put = [make_document(dated_at=NOON - timedelta(days=20 * n)) for n in range(40)]
        await search.put(TENANT, put)
        await search.put(TENANT, [replace(document, dated_at=document.dated_at - timedelta(days=400)) for document in put[:10]])
        await search.put(TENANT, [replace(document, title="harbour") for document in put[10:20]])
        await search.remove(TENANT, [document.image for document in put[5:15]])
        counted = postgres.execute(
            "SELECT period, documents FROM safelight_search.periods_1 WHERE documents <> 0 ORDER BY 1", name_of(url)
        )

        assert counted == postgres.execute(
            'SELECT period COLLATE "C", count(*) FROM safelight_search.docs_1,'
            " unnest(ARRAY[left(day, 4), left(day, 7), day]) period GROUP BY 1 ORDER BY 1",
            name_of(url),
        )
        assert sum(documents for period, documents in counted if len(period) == 4) == 30

    @pytest.mark.parametrize("text", ["common", "rare17", "rar", "common rare17", "", "nowhere"])
    async def test_no_question_reads_the_whole_table(self, search, url, text):
        await search.put(TENANT, [make_document(title=f"common rare{n}") for n in range(500)])
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        plans = planned(search)

        await ask(search, TENANT, text)

        assert plans
        assert not any(re.search(r"Seq Scan on docs", plan) for _, plan in plans), plans


def planned(search, explain="EXPLAIN"):
    """What the search asks of its documents from now on, with the words asked for, and how the server goes about it."""
    plans = []

    @event.listens_for(search._open.readers, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        if "docs_" in statement and not statement.startswith("EXPLAIN"):
            own = connection.connection.driver_connection
            plan = "\n".join(row[0] for row in own.execute(f"{explain} {statement}", parameters))
            plans.append((str(parameters), plan))

    return plans


class TestFailing:
    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_whose_tables_are_gone_is_unavailable(self, search, postgres, url, name):
        postgres.execute("DROP TABLE safelight_search.state", name_of(url))

        with pytest.raises(BackendUnavailable):
            await CALLS[name](search)

    async def test_a_database_that_cannot_be_reached_is_unavailable(self):
        with pytest.raises(BackendUnavailable):
            await PostgresSearch("postgresql://postgres@127.0.0.1:1/d").open()

    @pytest.mark.parametrize("bad", ["", "sqlite:///search.db", "postgresql://host"])
    def test_another_url_is_refused(self, bad):
        with pytest.raises(BadField):
            PostgresSearch(bad)
