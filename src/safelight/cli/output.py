"""What commands say: JSON on standard output for machines, tables for people, progress on standard error.

Text that comes from a server is somebody's: control characters are taken out of it before it reaches a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import orjson

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

WIDE: Final = 2_000
"""Columns where there is no terminal: a pipe gets whole lines, whatever their length."""
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def say_json(document: Any) -> None:
    """One JSON document on a line of standard output."""
    sys.stdout.buffer.write(orjson.dumps(document, default=str) + b"\n")
    sys.stdout.buffer.flush()


def say(document: Any, sentence: str, *more: str | None, as_json: bool) -> None:
    """What has been done; what is to be copied, such as a secret that nobody is told again, has a line of its own."""
    if as_json:
        say_json(document)
        return
    for line in (sentence, *more):
        out().print(text(line))


def out() -> Console:
    """Standard output, for people."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDE)


def err() -> Console:
    """Standard error: progress, and what is not the result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else WIDE)


def table(*columns: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    """An empty table; columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    return made


def progress(*columns: Any, console: Console) -> Progress:
    """A progress display on this console that leaves nothing behind; silent where there is no terminal."""
    from rich.progress import Progress

    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def plain(text: str | None) -> str:
    """The text without control characters (C0, C1 and the bidirectional overrides), which a terminal would obey."""
    return "".join(
        " " if c in "\t\n\r" else "\N{REPLACEMENT CHARACTER}" if ord(c) < 32 or 127 <= ord(c) < 160 or c in _BIDI else c
        for c in text or ""
    )


_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text(value: str | None, style: str = "") -> Text:
    """Somebody's text, harmless."""
    from rich.text import Text

    return Text(plain(value), style=style)


def link(url: str, shown: str | None = None) -> Text:
    """Text that a terminal opens when it is clicked."""
    from rich.text import Text

    target = plain(url)
    return Text(plain(shown) if shown is not None else target, style=f"link {target}" if " " not in target else "")


def marked(html: str) -> Text:
    """A highlight of the search: HTML-escaped text with <mark> round what matched, as bold text."""
    from rich.text import Text

    result = Text()
    for number, part in enumerate(html.split("<mark>")):
        inside, mark, after = part.partition("</mark>") if number else ("", "", part)
        if number and not mark:
            inside, after = "", inside
        result.append(plain(unescape(inside)), style="bold reverse")
        result.append(plain(unescape(after)))
    return result


def size(count: float) -> str:
    """Bytes as people read them, in powers of ten."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 9.95 else f"{value:.1f} {_UNITS[unit]}"


def date(stamp: str | None) -> str:
    """The day of an RFC 3339 time, in UTC."""
    moment = when(stamp)
    return moment.strftime("%Y-%m-%d") if moment else ""


def minute(stamp: str | None) -> str:
    """An RFC 3339 time to the minute, in UTC."""
    moment = when(stamp)
    return moment.strftime("%Y-%m-%d %H:%M") if moment else ""


def when(stamp: str | None) -> datetime | None:
    """The time that an RFC 3339 text names, in UTC; None for none."""
    if not stamp:
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def life(end: str | None, future: str, past: str) -> str:
    """What a time of expiry or retirement means now: `live`, `expires` and when, or `expired`, in the words given."""
    moment = when(end)
    if moment is None:
        return "live"
    return past if moment <= datetime.now(UTC) else f"{future} {minute(end)}"


def many(count: int, noun: str, plural: str | None = None) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listing(rows: Sequence[Any], filled: Table, nothing: str) -> None:
    """Print a table, or what its absence means."""
    console = out()
    if rows:
        console.print(filled)
    else:
        console.print(nothing)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, in its place only when all of it has been written."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
