import asyncio
import contextlib
import itertools
import sqlite3
import stat
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safelight.adapters.search.memory import MemorySearch
from safelight.adapters.search.sqlite import SqliteSearch
from safelight.adapters.search.words import distance, edits_allowed, marked, tidy, tokens_of, variants, wanted_of
from safelight.domain.ids import ImageId, TenantId, new_id
from safelight.domain.queries import SearchQuery
from safelight.errors import BackendUnavailable
from safelight.testing.contracts.search import SearchContract, ask, documents, found, queries
from safelight.testing.factories import make_document

TENANT = TenantId(new_id())


class TestMemorySearch(SearchContract):
    @pytest.fixture
    async def search(self):
        search = MemorySearch()
        await search.open()
        yield search
        await search.close()


class TestSqliteSearch(SearchContract):
    @pytest.fixture
    async def search(self, tmp_path):
        search = SqliteSearch(tmp_path / "data" / "search.db")
        await search.open()
        yield search
        await search.close()


@pytest.fixture
async def search(tmp_path):
    search = SqliteSearch(tmp_path / "data" / "search.db", busy_timeout_s=0.2)
    await search.open()
    yield search
    await search.close()


class TestBothAgree:
    @given(put=st.lists(documents, max_size=10), removed=st.integers(0, 5), asked=st.lists(queries, min_size=1, max_size=8))
    @settings(max_examples=60, deadline=None)
    async def test_they_find_count_mark_and_mend_the_same(self, tmp_path_factory, put, removed, asked):
        one, other = SqliteSearch(tmp_path_factory.mktemp("search") / "search.db"), MemorySearch()
        for search in (one, other):
            await search.open()
            for document in put:
                await search.put(TENANT, [document])
            await search.remove(TENANT, [ImageId(new_id(removed))] + [d.image for d in put[:1]] * (removed == 0))
        for query in asked:
            a, b = await one.search(TENANT, query), await other.search(TENANT, query)

            assert {hit.image: hit.highlights for hit in a.hits} == {hit.image: hit.highlights for hit in b.hits}
            assert (a.total, a.facets, a.corrected, a.next_offset) == (b.total, b.facets, b.corrected, b.next_offset)
        for search in (one, other):
            await search.close()


class TestFile:
    async def test_folder_and_files_are_the_owners_alone(self, search, tmp_path):
        await search.put(TENANT, [make_document()])

        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()} == {0o600}

    async def test_two_open_searches_share_one_index(self, search, tmp_path):
        other = SqliteSearch(tmp_path / "data" / "search.db")
        await other.open()
        document = make_document(title="Harbour")
        await search.put(TENANT, [document])
        assert await found(other, TENANT, "harbour") == [document.image]
        generation = await other.begin()
        await other.put(TENANT, [document], generation=generation)
        await search.publish(generation)

        assert await found(other, TENANT, "harbour") == [document.image]
        await other.close()

    async def test_an_index_of_another_format_is_made_anew(self, search, tmp_path):
        await search.put(TENANT, [make_document(title="Harbour")])
        await search.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "search.db")) as connection:
            connection.execute("PRAGMA user_version = 99")
        await search.open()

        assert await found(search, TENANT) == []
        await search.put(TENANT, [document := make_document(title="Harbour")])
        assert await found(search, TENANT, "harbour") == [document.image]

    async def test_the_index_stays_sound_through_replacing_and_removing(self, search, tmp_path):
        for n in range(30):
            await search.put(TENANT, [make_document(image=ImageId(new_id(n % 7)), title=f"word{n} Harbour 海", tags=(f"t{n}",))])
            await search.remove(TENANT, [ImageId(new_id(n % 3))])
        await search.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "search.db")) as connection:
            connection.execute("INSERT INTO match_1 (match_1, rank) VALUES ('integrity-check', 1)")

            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    async def test_nothing_of_a_dropped_generation_is_left(self, search, tmp_path):
        for _ in range(3):
            await search.publish(await search.begin())
            await search.begin()
        await search.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "search.db")) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]

        assert {name.split("_")[1] for name in names if "_" in name and not name.startswith("sqlite")} == {"6", "7"}

    async def test_an_index_is_used_from_two_event_loops_at_once(self, search):
        async def write():
            for _ in range(10):
                await search.put(TENANT, [make_document(title="Harbour")])
                await ask(search, TENANT, "harbour")

        await asyncio.gather(write(), asyncio.to_thread(lambda: asyncio.run(write())))

        assert (await ask(search, TENANT, "harbour")).total == 20


CALLS = {
    "ping": lambda search: search.ping(),
    "put": lambda search: search.put(TENANT, [make_document(title="Harbour")]),
    "remove": lambda search: search.remove(TENANT, [ImageId(new_id())]),
    "search": lambda search: search.search(TENANT, SearchQuery(text="harbour")),
    "begin": lambda search: search.begin(),
    "publish": lambda search: search.publish(7),
}


class TestFailing:
    @pytest.mark.parametrize("name", CALLS)
    async def test_a_call_whose_tables_are_gone_is_unavailable(self, search, tmp_path, name):
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "search.db")) as connection:
            connection.execute("DROP TABLE state")

        with pytest.raises(BackendUnavailable):
            await CALLS[name](search)

    @pytest.mark.parametrize("name", ["put", "remove", "begin", "publish"])
    async def test_a_writer_in_another_process_makes_ours_unavailable_after_a_while(self, search, tmp_path, name):
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "search.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(BackendUnavailable):
                await CALLS[name](search)
            await CALLS["search"](search)

    @pytest.mark.parametrize("bad", ["no database", "folder"])
    async def test_a_file_that_cannot_be_opened_is_unavailable(self, tmp_path, bad):
        path = tmp_path / "search.db"
        path.mkdir() if bad == "folder" else path.write_bytes(b"not a database" * 500)

        with pytest.raises(BackendUnavailable):
            await SqliteSearch(path).open()


class TestWords:
    @given(st.text(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_tokens_lie_in_the_text_in_order_and_folding_them_again_finds_them(self, text):
        text = tidy(text)
        tokens = tokens_of(text)

        assert all(a.end <= b.start for a, b in itertools.pairwise(tokens))
        assert all(0 <= token.start < token.end <= len(text) and token.text for token in tokens)
        for token in tokens:
            assert "".join(again.text for again in tokens_of(text[token.start : token.end])) == token.text

    @given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_plain_text_is_cut_as_any_other(self, text):
        assert [(t.text, t.start, t.end) for t in tokens_of(text)] == [
            (t.text, t.start, t.end) for t in tokens_of(text + " é") if t.text != "e" or t.end <= len(text)
        ]

    @given(st.text(max_size=80), st.text(max_size=10))
    @settings(max_examples=200, deadline=None)
    def test_a_highlight_without_its_marks_is_the_escaped_text(self, text, asked):
        import html

        text = tidy(text)
        found = marked(text, wanted_of(tidy(asked)))
        if found is not None:
            assert html.unescape(found.replace("<mark>", "").replace("</mark>", "")) == text
            assert "<" not in found.replace("<mark>", "").replace("</mark>", "")

    @given(st.text("abc", max_size=7), st.text("abc", max_size=7))
    @settings(max_examples=300, deadline=None)
    @example("ca", "abc")
    def test_the_distance_is_that_of_the_textbook(self, a, b):
        assert distance(a, b, 20) == textbook(a, b)
        assert distance(a, b, 1) == min(textbook(a, b), 2)

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_words_within_the_edits_allowed_share_a_variant(self, data):
        typed = data.draw(st.text("abcd", min_size=3, max_size=14))
        known = typed
        limit = edits_allowed(typed)
        for _ in range(limit):
            known = edited(data, known)
        if distance(typed, known, limit) <= limit:
            assert variants(typed, limit) & variants(known, 2)

    def test_accents_go_but_letters_stay(self):
        assert [token.text for token in tokens_of("Ærø Straße ﬁn Łódź")] == ["ærø", "strasse", "fin", "łodz"]
        assert unicodedata.is_normalized("NFC", tidy("e\u0301"))


def textbook(a, b):
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            cost = a[i - 1] != b[j - 1]
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + cost)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a), len(b)]


def edited(data, word):
    at = data.draw(st.integers(0, max(len(word) - 1, 0)))
    letter = data.draw(st.sampled_from("abcdx"))
    return data.draw(
        st.sampled_from(
            [word[:at] + word[at + 1 :], word[:at] + letter + word[at:], word[:at] + letter + word[at + 1 :]]
            + ([word[:at] + word[at + 1] + word[at] + word[at + 2 :]] if at + 1 < len(word) else [])
        )
    )
