"""Listings: what another service says that an account holds, read as it comes: never more than an entry of it in memory.

A file is a stranger's. Whatever is wrong with an entry is told with the number of its line, and reading goes on behind it.
What the fields of a service become is in `cli.accounts`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

MAX_ENTRY: Final = 1024 * 1024
"""Bytes of one entry, or one line."""
MAX_DEPTH: Final = 64
CHUNK: Final = 64 * 1024
_MARKS: Final = re.compile(rb'["{}\[\]]')
_IN_TEXT: Final = re.compile(rb'["\\]')
_CLOSES: Final = {ord("}"): ord("{"), ord("]"): ord("[")}
_KEY_BYTES: Final = 64
_DELIMITERS: Final = ",;\t|"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of the account, and the line on which it begins."""

    line: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broken:
    """Something on that line which is no entry, and why."""

    line: int
    reason: str


def entries(path: Path, *, pages: frozenset[str]) -> Iterator[Entry | Broken]:
    """What the file lists, in its order: CSV with a header, or JSON.

    JSON may be an array, an entry a line, or answers of an API one behind the other, which have their entries in an array of one
    of the names in `pages`. Raises OSError.
    """
    with path.open("rb") as file:
        is_table = path.suffix.lower() in (".csv", ".tsv") or (
            not path.suffix.lower().startswith((".json", ".ndjson")) and _beginning(file) not in (b"[", b"{")
        )
        if is_table:
            yield from _rows(file)
        elif _is_an_entry_a_line(file, pages):
            yield from _lines_of_json(file)
        else:
            yield from _Scan(pages).of(file)


def _beginning(file: BinaryIO) -> bytes:
    head = file.read(CHUNK)
    file.seek(0)
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _is_an_entry_a_line(file: BinaryIO, pages: frozenset[str]) -> bool:
    line = b""
    while (line := file.readline(MAX_ENTRY)) and not line.strip():
        pass
    file.seek(0)
    try:
        first = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return False
    return isinstance(first, dict) and not pages & first.keys()


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers; None for one that is too long."""
    number = 0
    while line := file.readline(MAX_ENTRY):
        number += 1
        is_whole = line.endswith(b"\n") or len(line) < MAX_ENTRY
        yield number, line if is_whole else None
        while not is_whole and (rest := file.readline(MAX_ENTRY)):
            is_whole = rest.endswith(b"\n")


def _lines_of_json(file: BinaryIO) -> Iterator[Entry | Broken]:
    for number, line in _whole_lines(file):
        if line is None:
            yield Broken(number, f"longer than {MAX_ENTRY} bytes")
        elif line.strip():
            yield _read(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)


def _read(line: int, text: bytes) -> Entry | Broken:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Broken(line, f"not JSON: {error.msg}")
    return Entry(line, fields) if isinstance(fields, dict) else Broken(line, "not an object")


class _Text:
    """Lines of a table as text; what is wrong with one is noted, and an empty line stands for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _whole_lines(file)
        self.fault = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if line is None:
            self.fault = f"longer than {MAX_ENTRY} bytes"
            return "\n"
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            self.fault = "not UTF-8"
            return "\n"


def _rows(file: BinaryIO) -> Iterator[Entry | Broken]:
    """Rows of a table as objects, by the names in its header: small letters, words joined by `_`."""
    head = file.readline(MAX_ENTRY)
    file.seek(0)
    delimiter = max(_DELIMITERS, key=lambda each: head.count(each.encode()))
    text = _Text(file)
    table = csv.reader(text, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        begins, text.fault = table.line_num + 1, ""
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(begins, str(error))
            continue
        if text.fault:
            yield Broken(begins, text.fault)
        elif not any(cell.strip() for cell in row):
            continue
        elif names is None:
            names = ["_".join(re.findall(r"[a-z0-9]+", cell.casefold())) for cell in row]
        elif len(row) > len(names):
            yield Broken(begins, f"{len(row)} columns, and the header has {len(names)}")
        else:
            yield Entry(begins, dict(zip(names, row, strict=False)))


class _Scan:
    """Finds the objects of a JSON document, or of several one behind the other, by their brackets, and has each read for itself."""

    def __init__(self, pages: frozenset[str]) -> None:
        self._pages = {name.encode() for name in pages}
        self._open = bytearray()
        """The brackets that are open."""
        self._is_text = self._is_escaped = False
        self._word: bytearray | None = None
        """The text that has just ended, or is under way, in an object that may be a page: the name of what follows."""
        self._is_in_page = False
        self._entry: bytearray | None = None
        self._depth = 0
        """How many brackets were open where the entry began."""
        self._is_too_long = False
        self._line = self._begins = 1

    def of(self, file: BinaryIO) -> Iterator[Entry | Broken]:
        """Every entry of the file."""
        while chunk := file.read(CHUNK):
            at = 0
            while at < len(chunk):
                end = self._next(chunk, at)
                self._line += chunk.count(b"\n", at, end)
                yield from self._piece(chunk, at, end)
                if len(self._open) > MAX_DEPTH:
                    yield Broken(self._line, "nested too deeply; what follows is not read")
                    return
                at = end
        if self._open or self._is_text:
            yield Broken(self._begins, "begins an entry that does not end")

    def _next(self, chunk: bytes, at: int) -> int:
        """Behind the next byte that means something."""
        if self._is_escaped:
            return at + 1
        found = (_IN_TEXT if self._is_text else _MARKS).search(chunk, at)
        return found.end() if found else len(chunk)

    def _piece(self, chunk: bytes, at: int, end: int) -> Iterator[Entry | Broken]:
        """Take in bytes of which only the last may mean something."""
        mark = chunk[end - 1]
        if self._is_text or self._is_escaped:
            self._keep(chunk[at:end])
            if self._word is not None and len(self._word) < _KEY_BYTES:
                self._word += chunk[at:end]
            if self._is_escaped:
                self._is_escaped = False
            elif mark == ord("\\"):
                self._is_escaped = True
            elif mark == ord('"'):
                self._is_text = False
            return
        if mark == ord("{") and self._entry is None and self._may_begin():
            self._entry, self._is_too_long = bytearray(), False
            self._depth, self._begins = len(self._open), self._line
            at = end - 1
        self._keep(chunk[at:end])
        if mark == ord('"'):
            self._is_text = True
            self._word = bytearray() if bytes(self._open) == b"{" else None
        elif mark in b"{[":
            if mark == ord("[") and bytes(self._open) == b"{" and bytes(self._word or b"").rstrip(b'"') in self._pages:
                self._is_in_page, self._entry = True, None
            self._open.append(mark)
        elif mark in _CLOSES:
            if not self._open or self._open[-1] != _CLOSES[mark]:
                yield Broken(self._line, "a bracket that closes nothing")
                self._open.clear()
                self._entry, self._is_in_page = None, False
                return
            self._open.pop()
            if self._entry is not None and len(self._open) == self._depth:
                yield self._ended(self._entry)
                self._entry = None
            if len(self._open) < 2:
                self._is_in_page = False

    def _ended(self, entry: bytearray) -> Entry | Broken:
        return Broken(self._begins, f"longer than {MAX_ENTRY} bytes") if self._is_too_long else _read(self._begins, bytes(entry))

    def _may_begin(self) -> bool:
        return bytes(self._open) in (b"", b"[") or (self._is_in_page and bytes(self._open) == b"{[")

    def _keep(self, piece: bytes) -> None:
        if self._entry is None:
            return
        if len(self._entry) + len(piece) > MAX_ENTRY:
            self._is_too_long = True
            self._entry = bytearray()
        elif not self._is_too_long:
            self._entry += piece
