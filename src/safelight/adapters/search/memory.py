"""MemorySearch: the search in dictionaries, for unit tests and as the slow reference of what matches. Ranks by weight alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from typing import Final

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
    wanted_of,
)
from safelight.domain.ids import ImageId, TenantId
from safelight.domain.queries import Document, Hit, SearchQuery, SearchResult
from safelight.errors import BackendUnavailable, Missing

_Index = dict[tuple[TenantId, ImageId], Document]


class MemorySearch:
    """Keeps Search."""

    def __init__(self) -> None:
        self._generations: Final[dict[int, _Index]] = {1: {}}
        self._touched: set[tuple[TenantId, ImageId]] = set()
        self._live = 1
        self._building: int | None = None
        self._last = 1
        self._is_open = False

    async def open(self) -> None:
        """There is nothing to connect to."""
        self._is_open = True

    async def close(self) -> None:
        """Further calls raise BackendUnavailable, as those of a real one do."""
        self._is_open = False

    async def ping(self) -> None:
        """Whether it is open."""
        if not self._is_open:
            raise BackendUnavailable("The search is not open.")

    async def put(self, tenant: TenantId, documents: Sequence[Document], *, generation: int | None = None) -> None:
        """What was put or removed while a generation is being built is newer than what its builder has read."""
        await self.ping()
        if generation is not None and generation not in (self._live, self._building):
            raise Missing
        for document in documents:
            key = (tenant, document.image)
            if generation is not None and generation == self._building:
                if key not in self._touched:
                    self._generations[generation][key] = document
                continue
            self._touched.add(key)
            for index in self._generations.values():
                index[key] = document

    async def remove(self, tenant: TenantId, image_ids: Sequence[ImageId]) -> None:
        """From every generation there is."""
        await self.ping()
        for image_id in image_ids:
            self._touched.add((tenant, image_id))
            for index in self._generations.values():
                index.pop((tenant, image_id), None)

    async def digests(self, tenant: TenantId, *, after: str = "", limit: int = 1000) -> dict[ImageId, str]:
        """Made when they are asked for."""
        await self.ping()
        index = self._generations[self._live]
        images = sorted(image for owner, image in index if owner == tenant and image > after)
        return {image: index[tenant, image].digest for image in images[:limit]}

    async def begin(self) -> int:
        """An empty one beside the one in use."""
        await self.ping()
        if self._building is not None:
            del self._generations[self._building]
        self._last += 1
        self._building = self._last
        self._generations[self._building] = {}
        self._touched = set()
        return self._building

    async def publish(self, generation: int) -> None:
        """Publishing what is in use already changes nothing."""
        await self.ping()
        if generation == self._live:
            return
        if generation != self._building:
            raise Missing
        del self._generations[self._live]
        self._live, self._building = generation, None

    async def search(self, tenant: TenantId, query: SearchQuery) -> SearchResult:
        """Every document of the tenant is looked at."""
        await self.ping()
        mine = [document for (owner, _), document in self._generations[self._live].items() if owner == tenant]
        seen = [document for document in mine if query.visible_to in (None, document.owner) or document.is_public]
        text, corrected = tidy(query.text), None
        wanted = wanted_of(text)
        if (better := _mended(text, wanted, mine, seen)) is not None:
            text = corrected = better
            wanted = wanted_of(text)
        found = [
            (score, document)
            for document in seen
            if _passes(document, query) and (score := _score(_tokens(document), wanted)) is not None
        ]
        found.sort(key=lambda one: (one[0], one[1].dated_at, one[1].image), reverse=True)
        shown = found[query.offset : query.offset + query.limit]
        behind = query.offset + len(shown)
        return SearchResult(
            hits=tuple(Hit(document.image, score, _highlights(document, wanted)) for score, document in shown),
            total=len(found),
            facets=_facets([document for _, document in found]),
            corrected=corrected,
            next_offset=behind if shown and behind < len(found) and behind <= 10_000 else None,
        )


def _tokens(document: Document) -> dict[str, list[str]]:
    return {name: [token.text for token in tokens_of(text)] for name, text in fields_of(document).items()}


def _passes(document: Document, query: SearchQuery) -> bool:
    return (
        set(query.tags) <= set(document.tags)
        and query.media_type in (None, document.media_type)
        and query.year in (None, document.dated_at.astimezone(UTC).year)
    )


def _score(tokens: dict[str, list[str]], wanted: Sequence[Wanted]) -> float | None:
    """The weight of the best field of each word, or None when one is nowhere."""
    score = 0.0
    for one in wanted:
        weights = [WEIGHTS[name] for name in FIELDS if _is_in(one, tokens[name])]
        if not weights:
            return None
        score += max(weights)
    return score


def _is_in(one: Wanted, tokens: list[str]) -> bool:
    if not one.is_phrase:
        return any(token.startswith(one.tokens[0]) for token in tokens)
    size = len(one.tokens)
    return any(tuple(tokens[at : at + size]) == one.tokens for at in range(len(tokens) - size + 1))


def _mended(text: str, wanted: Sequence[Wanted], mine: list[Document], seen: list[Document]) -> str | None:
    """The text with known words for those that match nothing; None when no word is replaced, or one cannot be."""
    visible = [_tokens(document) for document in seen]
    replaced: list[tuple[Wanted, str]] = []
    uses: Counter[str] | None = None
    for one in wanted:
        if any(_score(tokens, [one]) is not None for tokens in visible):
            continue
        if not one.can_be_mended:
            return None
        if uses is None:
            uses = Counter(word for document in mine for word in {word for field in _tokens(document).values() for word in field})
        word, limit = one.tokens[0], edits_allowed(one.tokens[0])
        near = [
            (away, -used, known)
            for known, used in uses.items()
            if is_known_word(known) and (away := distance(word, known, limit)) <= limit
        ]
        known_to_reader = [
            known for _, _, known in sorted(near) if any(known in field for tokens in visible for field in tokens.values())
        ]
        if not known_to_reader:
            return None
        replaced.append((one, known_to_reader[0]))
    return mended(text, replaced) if replaced else None


def _highlights(document: Document, wanted: Sequence[Wanted]) -> dict[str, str]:
    found = {name: marked(text, wanted) for name, text in fields_of(document).items()} if wanted else {}
    return {name: text for name, text in found.items() if text is not None}


def _facets(documents: list[Document]) -> dict[str, dict[str, int]]:
    tags = Counter(tag for document in documents for tag in set(document.tags))
    return {
        "tag": dict(sorted(tags.items(), key=lambda one: (-one[1], one[0]))[:FACET_TAGS]),
        "type": dict(Counter(document.media_type for document in documents if document.media_type)),
        "year": dict(Counter(str(document.dated_at.astimezone(UTC).year) for document in documents)),
    }
