"""SVG guard: takes drawings, refuses programs. Reads the XML once, without building a tree; called by the probe.

Refuse or neutralise? Refuse. Cutting out scripts, references and entities means to understand SVG exactly as the
renderer does, for ever; every difference is a hole, and a picture with parts cut out is not what its owner sent. A refusal
is UnsupportedFormat and says what is not taken. What passes is rasterised from memory and never delivered as SVG.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from safelight.errors import CorruptImage, UnsupportedFormat

MAX_ELEMENTS: Final = 200_000
MAX_DEPTH: Final = 256
MAX_COPIES: Final = 20_000
"""Elements drawn through <use>, after all nesting: ten levels of ten uses make ten thousand million."""

_SVG: Final = "http://www.w3.org/2000/svg"
_REFUSED: Final = frozenset({"script", "foreignobject", "iframe", "object", "embed", "audio", "video", "handler", "include"})
_STYLE_URL: Final = re.compile(r"url\s*\(\s*['\"]?\s*([^'\")]*)", re.IGNORECASE)
_STYLE_IMPORT: Final = re.compile(r"@\s*import", re.IGNORECASE)
_CSS_ESCAPE: Final = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)", re.DOTALL)
_INSIDE: Final = re.compile(r"\s*(?:#|data:image/(?:png|jpeg|jpg|gif|webp)[;,]|$)", re.IGNORECASE)


def check_svg(data: bytes) -> None:
    """A well-formed drawing that asks for nothing outside of itself. Raises UnsupportedFormat, CorruptImage."""
    guard = _Guard()
    try:
        guard.read(data)
    except (expat.ExpatError, LookupError, OSError, ValueError) as error:
        # The last three: an encoding that is unknown, not loaded, or has several bytes to a character.
        raise CorruptImage("The SVG is not well-formed XML.") from error
    guard.count_copies()


def _refuse(what: str) -> NoReturn:
    raise UnsupportedFormat(f"SVG with {what} is not taken.")


@dataclass(slots=True)
class _Group:
    """An element with an id: what is drawn when it is. The document itself is the group ''."""

    elements: int = 0
    """Itself and what it holds, down to the next elements with an id."""
    draws: Counter[str] = field(default_factory=Counter)
    """Groups drawn with it, and how often: those inside of it, and those it copies by <use>."""


class _Guard:
    """One reading: the open elements, and who draws whom."""

    def __init__(self) -> None:
        self.elements = 0
        self.open: list[str] = []  # for each open element the group that it belongs to
        self.style: list[str] | None = None  # text of the open <style>
        self.groups: dict[str, _Group] = {"": _Group()}

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self.open_element
        parser.EndElementHandler = self.close_element
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self.doctype
        parser.EntityDeclHandler = self.entity
        parser.ProcessingInstructionHandler = self.instruction
        parser.Parse(data, True)

    def doctype(self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        # Editors write the public DOCTYPE of SVG 1.1; nobody fetches it. Declarations of one's own are entities, or worse.
        if has_internal_subset:
            _refuse("declarations in its DOCTYPE")

    def entity(self, *_declaration: object) -> None:
        _refuse("entities")

    def instruction(self, target: str, _text: str) -> None:
        if target.lower() == "xml-stylesheet":
            _refuse("an external style sheet")

    def open_element(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS or len(self.open) >= MAX_DEPTH:
            _refuse("so many elements")
        namespace, _, local = name.rpartition(" ")
        if not self.open and (local != "svg" or namespace not in {_SVG, ""}):
            raise UnsupportedFormat
        if local.lower() in _REFUSED or namespace == "http://www.w3.org/1999/xhtml":
            _refuse("scripts or foreign content")
        self.open.append(self.group_of(attributes.get("id", "")))
        self.groups[self.open[-1]].elements += 1
        if local == "style":
            self.style = []
        for key, value in attributes.items():
            self.attribute(local, key.rpartition(" ")[2].lower(), value)

    def group_of(self, element_id: str) -> str:
        around = self.open[-1] if self.open else ""
        if element_id in self.groups:  # none, or not the first of that id and thus not the one that <use> means
            return around
        self.groups[element_id] = _Group()
        self.groups[around].draws[element_id] += 1
        return element_id

    def attribute(self, element: str, name: str, value: str) -> None:
        if name.startswith("on"):
            _refuse("scripts or foreign content")
        if name in {"href", "src", "base"}:
            # A link is never followed when drawing, so where it leads is of no interest.
            if element != "a" and not _INSIDE.match(value):
                _refuse("external references")
            if element == "use" and value.strip().startswith("#"):
                self.groups[self.open[-1]].draws[value.strip()[1:]] += 1
        elif name != "id":
            self.check_style(value)

    def text(self, text: str) -> None:
        if self.style is not None:
            self.style.append(text)

    def close_element(self, name: str) -> None:
        self.open.pop()
        if self.style is not None and name.rpartition(" ")[2] == "style":
            self.check_style("".join(self.style))
            self.style = None

    @staticmethod
    def check_style(css: str) -> None:
        if "url" not in css.lower() and "\\" not in css and "@" not in css:
            return
        css = _CSS_ESCAPE.sub(_unescaped, css)
        if _STYLE_IMPORT.search(css) or any(not _INSIDE.match(url) for url in _STYLE_URL.findall(css)):
            _refuse("external references")

    def count_copies(self) -> None:
        """Raises UnsupportedFormat when <use> draws more than MAX_COPIES elements, or itself."""
        known: dict[str, int] = {}
        above: set[str] = set()

        def drawn(name: str) -> int:
            if name in above or len(above) > MAX_DEPTH:
                _refuse("elements that copy themselves")
            if name not in known:
                above.add(name)
                group = self.groups.get(name, _Group())
                known[name] = group.elements + sum(times * drawn(other) for other, times in group.draws.items())
                above.discard(name)
            return known[name]

        if drawn("") - self.elements > MAX_COPIES:
            _refuse("so many copies of elements")


def _unescaped(match: re.Match[str]) -> str:
    code, plain = match.groups()
    if code is None:
        return plain or ""
    return chr(int(code, 16)) if 0 < int(code, 16) < 0x110000 else ""
