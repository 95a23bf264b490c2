"""What every search must do, sentence by sentence of ports.search. Inherit and give a `search` fixture: open and empty.

How matches are scored is the adapter's own; that a title counts for more than a description, and that ties come newest
first, is not.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safelight.domain.ids import ImageId, TenantId, UserId, new_id
from safelight.domain.queries import Document, SearchQuery, SearchResult
from safelight.errors import BackendUnavailable, Missing
from safelight.ports.search import Search
from safelight.testing.factories import NOON, make_document

DAY = timedelta(days=1)

_SHARED = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)


async def ask(search: Search, tenant: TenantId, text: str = "", **fields: Any) -> SearchResult:
    return await search.search(tenant, SearchQuery(text=text, **fields))


async def found(search: Search, tenant: TenantId, text: str = "", **fields: Any) -> list[ImageId]:
    return [hit.image for hit in (await ask(search, tenant, text, **fields)).hits]


class SearchContract:
    @pytest.fixture
    def tenant(self) -> TenantId:
        return TenantId(new_id())

    # The way in

    async def test_an_open_search_answers_a_ping(self, search: Search) -> None:
        await search.ping()

    async def test_a_closed_search_is_unavailable(self, search: Search, tenant: TenantId) -> None:
        await search.close()
        await search.close()

        for asking in (
            search.ping(),
            ask(search, tenant),
            search.put(tenant, [make_document()]),
            search.remove(tenant, [ImageId(new_id())]),
            search.digests(tenant),
            search.begin(),
            search.publish(1),
        ):
            with pytest.raises(BackendUnavailable):
                await asking

    async def test_what_was_put_is_there_after_closing_and_opening(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour")
        await search.put(tenant, [document])
        await search.close()
        await search.open()
        await search.open()

        assert await found(search, tenant, "harbour") == [document.image]

    async def test_an_empty_index_finds_nothing(self, search: Search, tenant: TenantId) -> None:
        result = await ask(search, tenant, "anything")

        assert result == SearchResult(hits=(), total=0, facets={"tag": {}, "type": {}, "year": {}})

    # Writing

    async def test_putting_again_replaces(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour", tags=("sea",))
        await search.put(tenant, [document])
        await search.put(tenant, [replace(document, title="Mountain", tags=("snow",))])
        await search.put(tenant, [replace(document, title="Mountain", tags=("snow",))])

        assert await found(search, tenant, "harbour") == []
        result = await ask(search, tenant, "mountain")
        assert result.total == 1
        assert result.facets["tag"] == {"snow": 1}

    async def test_the_last_of_two_documents_of_one_image_counts(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour")
        await search.put(tenant, [document, replace(document, title="Mountain")])

        assert await found(search, tenant, "harbour") == []
        assert await found(search, tenant, "mountain") == [document.image]

    async def test_what_was_removed_is_not_found(self, search: Search, tenant: TenantId) -> None:
        gone, stays = make_document(title="Harbour"), make_document(title="Harbour")
        await search.put(tenant, [gone, stays])

        await search.remove(tenant, [gone.image, ImageId(new_id())])

        assert await found(search, tenant, "harbour") == [stays.image]
        assert await found(search, tenant) == [stays.image]

    async def test_removing_what_is_unknown_is_fine(self, search: Search, tenant: TenantId) -> None:
        await search.remove(tenant, [ImageId(new_id())])

    async def test_digests_tell_what_is_held_and_whether_it_is_the_same(self, search: Search, tenant: TenantId) -> None:
        first, second, gone = (make_document(title="Harbour", tags=("sea", "ship")) for _ in range(3))
        await search.put(tenant, [gone, second, first])
        await search.put(TenantId(new_id()), [make_document()])
        await search.put(tenant, [changed := replace(second, description="At night")])
        await search.remove(tenant, [gone.image])
        order = sorted((first, changed), key=lambda document: document.image)

        assert await search.digests(tenant) == {document.image: document.digest for document in order}
        assert list(await search.digests(tenant, limit=1)) == [order[0].image]
        assert list(await search.digests(tenant, after=order[0].image)) == [order[1].image]
        assert changed.digest != second.digest
        assert await search.digests(TenantId(new_id())) == {}

    async def test_digests_are_those_of_the_index_in_use(self, search: Search, tenant: TenantId) -> None:
        old, new = make_document(title="Harbour"), make_document(title="Mountain")
        await search.put(tenant, [old])
        generation = await search.begin()
        await search.put(tenant, [new], generation=generation)

        assert list(await search.digests(tenant)) == [old.image]
        await search.publish(generation)
        assert list(await search.digests(tenant)) == [new.image]

    # Tenancy and visibility

    async def test_a_question_sees_only_its_own_tenant(self, search: Search, tenant: TenantId) -> None:
        mine = make_document(title="Harbour", is_public=True)
        theirs = make_document(title="Harbour lighthouse", tags=("sea",), is_public=True)
        other = TenantId(new_id())
        await search.put(tenant, [mine])
        await search.put(other, [theirs])

        result = await ask(search, tenant, "harbour")
        assert [hit.image for hit in result.hits] == [mine.image]
        assert (result.total, result.facets["tag"]) == (1, {})
        assert await found(search, tenant) == [mine.image]
        assert await found(search, tenant, tags=("sea",)) == []
        assert (await ask(search, tenant, "lighthuose")).corrected is None

    async def test_one_image_id_may_be_in_two_tenants(self, search: Search, tenant: TenantId) -> None:
        document, other = make_document(title="Harbour"), TenantId(new_id())
        await search.put(tenant, [document])
        await search.put(other, [document])
        await search.remove(other, [document.image])

        assert await found(search, tenant, "harbour") == [document.image]

    async def test_a_reader_sees_own_and_public_documents(self, search: Search, tenant: TenantId) -> None:
        me = UserId(new_id())
        own = make_document(title="Harbour", owner=me, dated_at=NOON)
        public = make_document(title="Harbour", is_public=True, dated_at=NOON - DAY)
        private = make_document(title="Harbour", tags=("secret",))
        await search.put(tenant, [own, public, private])

        for text in ("harbour", ""):
            result = await ask(search, tenant, text, visible_to=me)
            assert [hit.image for hit in result.hits] == [own.image, public.image]
            assert (result.total, result.facets["tag"]) == (2, {})
            assert (await ask(search, tenant, text)).total == 3

    async def test_a_correction_does_not_tell_what_others_have_written(self, search: Search, tenant: TenantId) -> None:
        me = UserId(new_id())
        await search.put(tenant, [make_document(title="Confidential"), make_document(title="Confidentiel", owner=me)])

        assert (await ask(search, tenant, "confidentail")).corrected == "confidential"
        assert (await ask(search, tenant, "confidentail", visible_to=me)).corrected == "confidentiel"
        assert (await ask(search, tenant, "confidentail", visible_to=UserId(new_id()))).corrected is None

    # Matching

    @pytest.mark.parametrize(
        "text",
        [
            "harbour",
            "HARBOUR",
            "harb",
            "h",
            "old harbour",
            "harbour, old!",
            "harb ol",
            "evening",
            "boats",
            "1234",
            "IMG_1234",
            "IMG_1234.jpg",
            "r5",
            "canon eos-r5",
            "île",
            "ile",
            "ILE DE RE",
            "Ré",
            "boats harbour 1234 canon ile",
        ],
    )
    async def test_words_are_found_by_their_beginnings_in_any_field(self, search: Search, tenant: TenantId, text: str) -> None:
        document = make_document(
            title="The Old Harbour",
            description="Boats come home in the evening.",
            tags=("sea", "golden hour"),
            file_name="IMG_1234.jpg",
            camera="Canon EOS R5",
            place="Île de Ré",
        )
        await search.put(tenant, [document])

        assert await found(search, tenant, text) == [document.image]

    @pytest.mark.parametrize("text", ["arbour", "234", "harbour mountain", "harbours", "mountain harbour boats"])
    async def test_every_word_must_match_and_from_its_beginning(self, search: Search, tenant: TenantId, text: str) -> None:
        await search.put(tenant, [make_document(title="The Old Harbour", file_name="IMG_1234.jpg", description="Boats")])
        await search.put(tenant, [make_document(title="Mountain")])

        result = await ask(search, tenant, text)
        assert result.total == 0 or result.corrected is not None

    @pytest.mark.parametrize(
        ("text", "matches"),
        [
            ("海", True),
            ("日本", True),
            ("日本の海", True),
            ("本日", False),
            ("山", False),
            ("カメラ", True),
            ("メラ", True),
            ("🌊", True),
            ("🌊 海", True),
            ("iphone", True),
            ("iPhoneで", True),
            ("москва", True),
            ("МОСК", True),  # noqa: RUF001  # meant to be Cyrillic
            ("किताब", True),
            ("서울", True),
        ],
    )
    async def test_other_scripts_are_found(self, search: Search, tenant: TenantId, text: str, matches: bool) -> None:  # noqa: FBT001
        title = "夏の日本の海 カメラ iPhoneで 🏖🌊 Москва किताब 서울특별시"
        document = make_document(title=title)
        await search.put(tenant, [document])

        assert await found(search, tenant, text) == ([document.image] if matches else [])

    async def test_a_decomposed_file_name_is_found_by_composed_words(self, search: Search, tenant: TenantId) -> None:
        document = make_document(file_name="Cafe\u0301 am See.jpg")
        await search.put(tenant, [document])

        for text in ("café", "cafe", "cafe\u0301"):
            result = await ask(search, tenant, text)
            assert [hit.image for hit in result.hits] == [document.image]
            assert result.hits[0].highlights == {"file_name": "<mark>Café</mark> am See.jpg"}

    @pytest.mark.parametrize(
        "text",
        [
            '"harbour',
            "harbour*",
            "harbour OR nothing",
            "title:harbour",
            "NOT harbour",
            "(harbour",
            "harbour)",
            "harbour -",
            "^harbour",
            "NEAR(harbour)",
            "{title} : harbour",
            "har\x00bour",
            "'; DROP TABLE docs; --",
            "+harbour",
            "harbour AND",
            "\\",
            "%",
            "_",
        ],
    )
    async def test_operators_and_quotes_are_plain_text(self, search: Search, tenant: TenantId, text: str) -> None:
        plain = make_document(title="A harbour")
        await search.put(tenant, [plain])

        words = "".join(c if c.isalnum() else " " for c in text)
        assert await found(search, tenant, text) == await found(search, tenant, words)
        assert await found(search, tenant, "harbour") == [plain.image]

    @given(text=st.text(max_size=500))
    @settings(_SHARED, max_examples=60)
    async def test_no_text_raises(self, search: Search, tenant: TenantId, text: str) -> None:
        await search.put(tenant, [make_document(title="Harbour"), make_document(title=text[:200], tags=(text[:60],))])

        result = await ask(search, tenant, text, visible_to=UserId(new_id()), tags=(text,), media_type=text)
        assert result.total >= 0
        await ask(search, tenant, text)

    @pytest.mark.parametrize(
        "text",
        [
            "\ud800 harbour",
            "海" * 500,
            "🌊" * 500,
            "x" * 500,
            "ж" * 500,
            " ".join(chr(0x4E00 + n) for n in range(250)),
            " ".join(f"w{n:02x}" for n in range(125)),
            '"' * 500,
            "\x00" * 500,
            " ".join("abcdefghij"[n % 10] for n in range(250)),
        ],
        ids=[
            "surrogate",
            "phrase",
            "pictographs",
            "one word",
            "one cyrillic word",
            "250 words",
            "125 words",
            "quotes",
            "nul",
            "repeats",
        ],
    )
    async def test_no_long_or_odd_text_raises(self, search: Search, tenant: TenantId, text: str) -> None:
        await search.put(tenant, [make_document(title="Harbour", description="海" * 600)])

        await ask(search, tenant, text)

    async def test_a_text_of_punctuation_alone_asks_for_nothing(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour")
        await search.put(tenant, [document])

        assert await found(search, tenant, " ?! ") == [document.image]

    # Order

    async def test_a_title_outweighs_tags_tags_a_description_and_that_the_rest(self, search: Search, tenant: TenantId) -> None:
        in_place = make_document(place="harbour", dated_at=NOON)
        in_description = make_document(description="harbour", dated_at=NOON - DAY)
        in_tags = make_document(tags=("harbour",), dated_at=NOON - 2 * DAY)
        in_title = make_document(title="harbour", dated_at=NOON - 3 * DAY)
        others = [make_document(title="mountain") for _ in range(8)]
        await search.put(tenant, [in_description, in_place, in_title, in_tags, *others])

        result = await ask(search, tenant, "harbour")
        assert [hit.image for hit in result.hits] == [one.image for one in (in_title, in_tags, in_description, in_place)]
        scores = [hit.score for hit in result.hits]
        assert scores == sorted(scores, reverse=True)

    async def test_ties_come_newest_first(self, search: Search, tenant: TenantId) -> None:
        documents = [make_document(title="Harbour", dated_at=NOON + n * DAY) for n in (2, 0, 3, 1)]
        await search.put(tenant, documents)

        expected = [one.image for one in sorted(documents, key=lambda one: one.dated_at, reverse=True)]
        assert await found(search, tenant, "harbour") == expected

    async def test_an_empty_text_finds_everything_newest_first(self, search: Search, tenant: TenantId) -> None:
        documents = [make_document(dated_at=NOON + n * DAY) for n in (2, 0, 3, 1)]
        await search.put(tenant, documents)

        result = await ask(search, tenant)
        assert [hit.image for hit in result.hits] == [one.image for one in sorted(documents, key=lambda one: one.dated_at)][::-1]
        assert all(hit.highlights == {} for hit in result.hits)
        assert (result.total, result.corrected) == (4, None)

    async def test_pages_follow_each_other(self, search: Search, tenant: TenantId) -> None:
        documents = [make_document(title="Harbour", dated_at=NOON + n * DAY) for n in range(5)]
        await search.put(tenant, documents)

        for text in ("harbour", ""):
            offset: int | None = 0
            seen: list[ImageId] = []
            while offset is not None:
                result = await ask(search, tenant, text, limit=2, offset=offset)
                assert (result.total, result.facets["year"]) == (5, {"2026": 5})
                seen += [hit.image for hit in result.hits]
                offset = result.next_offset
            assert seen == [one.image for one in documents[::-1]]
            behind = await ask(search, tenant, text, offset=9)
            assert (behind.hits, behind.total, behind.next_offset) == ((), 5, None)

    # Filters and facets

    async def test_filters_narrow_hits_total_and_facets(self, search: Search, tenant: TenantId) -> None:
        documents = [
            make_document(
                title="Harbour",
                tags=("sea", "golden hour"),
                media_type="image/png",
                dated_at=datetime(2024, 12, 31, 23, tzinfo=UTC),
            ),
            make_document(title="Harbour", tags=("sea",), dated_at=datetime(2025, 1, 1, tzinfo=UTC)),
            make_document(title="Mountain", tags=("snow",), dated_at=datetime(2025, 6, 1, tzinfo=UTC)),
        ]
        await search.put(tenant, documents)
        a, b, c = (one.image for one in documents)

        everything = await ask(search, tenant)
        assert everything.facets == {
            "tag": {"sea": 2, "golden hour": 1, "snow": 1},
            "type": {"image/png": 1, "image/jpeg": 2},
            "year": {"2024": 1, "2025": 2},
        }
        assert list(everything.facets["tag"]) == ["sea", "golden hour", "snow"]
        for fields, expected in (
            ({"tags": ("sea",)}, [b, a]),
            ({"tags": ("sea", "golden hour")}, [a]),
            ({"tags": ("golden",)}, []),
            ({"tags": ("sea", "snow")}, []),
            ({"media_type": "image/png"}, [a]),
            ({"media_type": "image"}, []),
            ({"year": 2025}, [c, b]),
            ({"year": 202}, []),
            ({"year": 2025, "tags": ("sea",)}, [b]),
        ):
            result = await ask(search, tenant, **fields)
            assert [hit.image for hit in result.hits] == expected
            assert result.total == len(expected) == sum(result.facets["year"].values())
        assert await found(search, tenant, "harb", year=2025) == [b]

    async def test_facets_count_all_that_matched_not_only_the_page(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="Harbour", tags=("sea",)) for _ in range(7)])

        result = await ask(search, tenant, "harbour", limit=2)
        assert (len(result.hits), result.total, result.facets["tag"]) == (2, 7, {"sea": 7})

    # Highlights

    async def test_the_words_that_matched_are_marked(self, search: Search, tenant: TenantId) -> None:
        await search.put(
            tenant,
            [make_document(title="Old Harbours of Crète", description="No word of it", tags=("harbour", "sea"), place="Crete")],
        )

        (hit,) = (await ask(search, tenant, "harb crete")).hits
        assert hit.highlights == {
            "title": "Old <mark>Harbours</mark> of <mark>Crète</mark>",
            "tags": "<mark>harbour</mark>, sea",
            "place": "<mark>Crete</mark>",
        }

    async def test_a_phrase_without_spaces_is_marked_as_one(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="夏の日本の海")])

        (hit,) = (await ask(search, tenant, "日本")).hits
        assert hit.highlights == {"title": "夏の<mark>日本</mark>の海"}

    async def test_no_text_can_bring_markup_into_a_highlight(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="<script>alert('x')</script> & <mark>boat</mark>")])

        (hit,) = (await ask(search, tenant, "script mark")).hits
        assert hit.highlights["title"] == (
            "&lt;<mark>script</mark>&gt;alert(&#x27;x&#x27;)&lt;/<mark>script</mark>&gt; &amp; "
            "&lt;<mark>mark</mark>&gt;boat&lt;/<mark>mark</mark>&gt;"
        )

    # Mending

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("habrour", "harbour"),  # two letters swapped
            ("harbor", "harbour"),
            ("harrbour", "harbour"),
            ("hxrbxur", "harbour"),
            ("arbour", "harbour"),
            ("baot", "boat"),
            ("botz", "boat"),
            ("Lake Habrour!", "Lake harbour!"),
            ("cofee", "coffee"),
        ],
    )
    async def test_a_misspelt_word_is_mended(self, search: Search, tenant: TenantId, typed: str, meant: str) -> None:
        document = make_document(title="Boat in the lake harbour", description="boat coffee")
        await search.put(tenant, [document])
        if typed == "botz":  # two edits of a short word are too many
            assert (await ask(search, tenant, typed)).corrected is None
            return

        result = await ask(search, tenant, typed)
        assert [hit.image for hit in result.hits] == [document.image]
        assert result.corrected == meant
        assert all("<mark>" in text for text in result.hits[0].highlights.values())
        assert result.hits[0].highlights

    @pytest.mark.parametrize("typed", ["hxxxour", "baxx", "1243", "IMG_4321", "海外", "zz"])
    async def test_what_is_too_far_away_is_left_alone(self, search: Search, tenant: TenantId, typed: str) -> None:
        await search.put(tenant, [make_document(title="Boat in the harbour 1234 海", file_name="IMG_1234.jpg")])

        result = await ask(search, tenant, typed)
        assert (result.total, result.corrected) == (0, None)

    async def test_the_nearest_then_the_most_used_word_is_taken(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="garden"), make_document(title="gardens"), make_document(title="warden")])
        await search.put(tenant, [make_document(title="warden")])

        assert (await ask(search, tenant, "jarden")).corrected == "warden"
        assert (await ask(search, tenant, "gqrdens")).corrected == "gardens"

    async def test_a_word_that_matches_is_not_mended_when_the_rest_does_not(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="harbour"), make_document(title="mountain")])

        result = await ask(search, tenant, "harbour mountain")
        assert (result.total, result.corrected) == (0, None)

    async def test_a_filter_that_leaves_nothing_mends_nothing(self, search: Search, tenant: TenantId) -> None:
        await search.put(tenant, [make_document(title="harbour"), make_document(title="harbours")])

        result = await ask(search, tenant, "harbour", year=1999)
        assert (result.total, result.corrected) == (0, None)

    async def test_a_word_that_is_gone_is_no_longer_offered(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="harbour")
        await search.put(tenant, [document])
        await search.put(tenant, [replace(document, title="mountain")])

        assert (await ask(search, tenant, "habrour")).corrected is None

    # Generations

    async def test_a_generation_being_built_is_not_seen(self, search: Search, tenant: TenantId) -> None:
        old, new = make_document(title="Harbour"), make_document(title="Harbour")
        await search.put(tenant, [old])
        generation = await search.begin()
        await search.put(tenant, [new], generation=generation)

        assert await found(search, tenant, "harbour") == [old.image]

    async def test_publishing_replaces_everything_at_once(self, search: Search, tenant: TenantId) -> None:
        old, new = make_document(title="Harbour"), make_document(title="Harbour", tags=("sea",))
        await search.put(tenant, [old])
        generation = await search.begin()
        await search.put(tenant, [new], generation=generation)
        await search.put(tenant, [new], generation=generation)

        await search.publish(generation)

        result = await ask(search, tenant, "harbour")
        assert [hit.image for hit in result.hits] == [new.image]
        assert result.facets["tag"] == {"sea": 1}

    async def test_what_is_put_while_one_is_built_is_in_both(self, search: Search, tenant: TenantId) -> None:
        generation = await search.begin()
        document = make_document(title="Harbour")
        await search.put(tenant, [document])
        assert await found(search, tenant, "harbour") == [document.image]

        await search.publish(generation)

        assert await found(search, tenant, "harbour") == [document.image]

    async def test_the_builder_does_not_write_over_newer_documents(self, search: Search, tenant: TenantId) -> None:
        read_before = make_document(title="Harbour")
        await search.put(tenant, [read_before])
        generation = await search.begin()
        await search.put(tenant, [replace(read_before, title="Mountain")])
        await search.put(tenant, [read_before], generation=generation)
        await search.publish(generation)

        assert await found(search, tenant, "mountain") == [read_before.image]
        assert await found(search, tenant, "harbour") == []

    async def test_what_is_removed_while_one_is_built_stays_away(self, search: Search, tenant: TenantId) -> None:
        built, late = make_document(title="Harbour"), make_document(title="Harbour")
        await search.put(tenant, [built, late])
        generation = await search.begin()
        await search.put(tenant, [built], generation=generation)
        await search.remove(tenant, [built.image, late.image])
        await search.put(tenant, [late], generation=generation)
        await search.publish(generation)

        assert await found(search, tenant) == []

    async def test_beginning_again_drops_what_was_abandoned(self, search: Search, tenant: TenantId) -> None:
        abandoned = await search.begin()
        await search.put(tenant, [make_document(title="Harbour")], generation=abandoned)
        generation = await search.begin()

        assert generation != abandoned
        with pytest.raises(Missing):
            await search.put(tenant, [make_document()], generation=abandoned)
        with pytest.raises(Missing):
            await search.publish(abandoned)
        await search.publish(generation)
        assert await found(search, tenant) == []

    async def test_an_unknown_generation_is_missing(self, search: Search, tenant: TenantId) -> None:
        with pytest.raises(Missing):
            await search.publish(4711)
        with pytest.raises(Missing):
            await search.put(tenant, [make_document()], generation=4711)

    async def test_publishing_twice_is_fine_and_the_index_goes_on(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour")
        generation = await search.begin()
        await search.publish(generation)
        await search.publish(generation)
        await search.put(tenant, [document], generation=generation)

        assert await found(search, tenant, "harbour") == [document.image]
        await search.remove(tenant, [document.image])
        assert await found(search, tenant) == []

    async def test_readers_meet_no_gap_while_generations_change(self, search: Search, tenant: TenantId) -> None:
        document = make_document(title="Harbour")
        await search.put(tenant, [document])
        is_done = False

        async def read() -> int:
            reads = 0
            while not is_done:
                assert await found(search, tenant, "harbour") == [document.image]
                reads += 1
                await asyncio.sleep(0)
            return reads

        reader = asyncio.create_task(read())
        for _ in range(5):
            generation = await search.begin()
            await search.put(tenant, [document], generation=generation)
            await search.publish(generation)
            await asyncio.sleep(0)
        is_done = True

        assert await reader > 0


_WORDS = ["harbour", "harbor", "boat", "boats", "Crète", "日本", "海", "IMG_12", "12", "sea-side", "🌊", "abc", "abd"]
_TEXTS = st.lists(st.sampled_from(_WORDS), max_size=3).map(" ".join)
_OWNERS = [UserId(new_id(0)), UserId(new_id(1))]
documents: st.SearchStrategy[Document] = st.builds(
    make_document,
    image=st.sampled_from([ImageId(new_id(n)) for n in range(6)]),
    owner=st.sampled_from(_OWNERS),
    is_public=st.booleans(),
    title=_TEXTS,
    description=_TEXTS,
    tags=st.lists(st.sampled_from(["sea", "golden hour", "harbour", "日本"]), unique=True, max_size=2).map(tuple),
    file_name=_TEXTS,
    media_type=st.sampled_from(["image/jpeg", "image/png"]),
    dated_at=st.sampled_from([NOON, NOON - 200 * DAY, NOON - 400 * DAY]),
)
"""Few words over few images, so that most questions find something and most documents replace another."""
queries: st.SearchStrategy[SearchQuery] = st.builds(
    SearchQuery,
    text=st.lists(st.sampled_from([*_WORDS, "harb", "habrour", "baot", "b", "abx", "crete", "本", "!"]), max_size=3).map(
        " ".join
    ),
    visible_to=st.none() | st.sampled_from(_OWNERS),
    tags=st.lists(st.sampled_from(["sea", "golden hour"]), max_size=2).map(tuple),
    media_type=st.none() | st.just("image/png"),
    year=st.none() | st.just(2025),
)
