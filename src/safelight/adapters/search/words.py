"""Words: how text becomes what is compared, for documents and questions alike. Pure; both searches use it.

Letters lose case and diacritics, marks and invisible characters vanish, everything that is neither letter, digit nor
pictograph parts words. Scripts that are written without spaces, and pictographs, give one token per character; a run of
those in a question is a phrase, so that any part of such a text is found.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from safelight.domain.queries import Document

FIELDS: Final = ("title", "description", "tags", "file_name", "camera", "place")
WEIGHTS: Final[Mapping[str, float]] = {
    "title": 8.0,
    "tags": 4.0,
    "description": 2.0,
    "file_name": 1.0,
    "camera": 1.0,
    "place": 1.0,
}
FACET_TAGS: Final = 100
"""How many tags a facet holds, the most used ones first."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9]+")
_LONE: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Han, Hiragana, Katakana."""


@dataclass(frozen=True, slots=True)
class Token:
    """A folded word, or one character of a script without spaces, and where it stands in the (NFC) text."""

    text: str
    start: int
    end: int
    is_lone: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing a question asks for: the beginning of a word, or a phrase of lone characters."""

    tokens: tuple[str, ...]
    start: int
    end: int
    is_phrase: bool

    @property
    def can_be_mended(self) -> bool:
        """A misspelt word. A number is no misspelling of another, and of two letters one edit leaves nothing."""
        return not self.is_phrase and is_known_word(self.tokens[0])


def tidy(text: str) -> str:
    """Composed, and without lone surrogates: what token positions count in."""
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def tokens_of(text: str) -> list[Token]:
    """The tokens of a tidy text, in order."""
    if text.isascii():
        return [Token(found[0].lower(), found.start(), found.end()) for found in _PLAIN.finditer(text)]
    return list(_walk(text))


def _walk(text: str) -> Iterator[Token]:
    word, start, end = "", 0, 0
    for at, character in enumerate(text):
        folded, is_lone = _folded(character)
        if folded == "":  # a mark or something invisible: part of what it follows
            continue
        if (folded is None or is_lone) and word:
            yield Token(word, start, end)
            word = ""
        if folded is None:
            continue
        if is_lone:
            yield Token(folded, at, at + 1, is_lone=True)
            continue
        start = start if word else at
        word, end = word + folded, at + 1
    if word:
        yield Token(word, start, end)


@lru_cache(maxsize=8192)
def _folded(character: str) -> tuple[str | None, bool]:
    """What a character is compared as (None: it parts words), and whether it stands alone."""
    opened = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    seen = [one for one in opened if unicodedata.category(one)[0] != "M" and unicodedata.category(one) != "Cf"]
    if not seen:
        return "", False
    kept = [one for one in seen if unicodedata.category(one)[0] in "LN" or unicodedata.category(one) in ("So", "Co")]
    if not kept:
        return None, False
    folded = unicodedata.normalize("NFC", "".join(kept))
    return folded, unicodedata.category(kept[0]) == "So" or _LONE.match(folded) is not None


def wanted_of(text: str) -> list[Wanted]:
    """What a tidy question asks for, each once, in order."""
    found: list[Wanted] = []
    for token in tokens_of(text):
        last = found[-1] if found else None
        if token.is_lone and last is not None and last.is_phrase and last.end == token.start:
            found[-1] = Wanted((*last.tokens, token.text), last.start, token.end, is_phrase=True)
        else:
            found.append(Wanted((token.text,), token.start, token.end, is_phrase=token.is_lone))
    return list({(one.tokens, one.is_phrase): one for one in reversed(found)}.values())[::-1]


def fields_of(document: Document) -> dict[str, str]:
    """The document's searchable text by field, tidy; tags are parted by commas."""
    texts = {name: getattr(document, name) for name in FIELDS if name != "tags"} | {"tags": ", ".join(document.tags)}
    return {name: tidy(texts[name]) for name in FIELDS}


def marked(text: str, wanted: Sequence[Wanted]) -> str | None:
    """The text as HTML with <mark> round what was asked for; None when nothing of it is there.

    Every part is escaped by itself and the marks are put between, so no text can bring a tag of its own.
    """
    tokens = tokens_of(text)
    hits = [False] * len(tokens)
    for one in wanted:
        for at, token in enumerate(tokens):
            if one.is_phrase:
                if tuple(other.text for other in tokens[at : at + len(one.tokens)]) == one.tokens:
                    hits[at : at + len(one.tokens)] = [True] * len(one.tokens)
            elif token.text.startswith(one.tokens[0]):
                hits[at] = True
    if not any(hits):
        return None
    parts, done = [], 0
    for start, end in _joined((token.start, token.end) for token, hit in zip(tokens, hits, strict=True) if hit):
        parts += [html.escape(text[done:start]), "<mark>", html.escape(text[start:end]), "</mark>"]
        done = end
    return "".join([*parts, html.escape(text[done:])])


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch become one."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def is_known_word(word: str) -> bool:
    """Whether a token takes part in mending: three letters or more, no digit among them."""
    return 3 <= len(word) <= 40 and not any(map(str.isnumeric, word))


def edits_allowed(word: str) -> int:
    """One edit up to five letters, two beyond."""
    return 1 if len(word) <= 5 else 2


def distance(a: str, b: str, limit: int) -> int:
    """Damerau-Levenshtein distance, optimal string alignment; anything above `limit` is told as limit + 1.

    Boytsov, Indexing methods for approximate dictionary searching (2011), section 2.1.
    """
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before_last: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit and min(last) > limit:
            return limit + 1
        before_last, last = last, row
    return min(last[-1], limit + 1)


VARIANT_PREFIX: Final = 7
"""Deletions are taken from so many first letters: two words within two edits still share a variant, and long words do not
bring hundreds of them (Garbe's symmetric delete algorithm, SymSpell)."""


@lru_cache(maxsize=512)  # 4 KB each: for words that come often, while every file may bring new ones
def variants(word: str, deletions: int) -> frozenset[str]:
    """The beginning of the word with up to so many letters left out."""
    found = level = {word[:VARIANT_PREFIX]}
    for _ in range(deletions):
        level = {one[:at] + one[at + 1 :] for one in level for at in range(len(one))}
        found = found | level
    return frozenset(found)


def mended(text: str, replaced: Sequence[tuple[Wanted, str]]) -> str:
    """The tidy text with other words in the place of those."""
    for one, word in sorted(replaced, key=lambda pair: -pair[0].start):
        text = text[: one.start] + word + text[one.end :]
    return text
