"""XMP: titles, rights and keywords as RDF, flattened to plain values. Called by `facts`. Never raises.

Follows ISO 16684-1. The XML parser meets no DOCTYPE and thereby no entity: both end the reading. No tree is built, so depth
and size cost nothing but the counters that bound them.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Final
from xml.parsers import expat

from safelight.imaging.metadata.text import MAX_TEXT, clean

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 500
MAX_ITEMS: Final = 200

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PREFIXES: Final = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
}
"""Namespaces worth telling; editors' settings and histories in others are left out."""

_PRIVATE: Final = re.compile(r"gps|serial|uniqueid|ownername|documentid|instanceid", re.IGNORECASE)


def read_xmp(block: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """(public, private) values by 'prefix:name': text, or a list of texts. Empty where there is nothing."""
    reader = _Reader()
    if len(block) <= MAX_BYTES:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = reader.open_element
        parser.EndElementHandler = reader.close_element
        parser.CharacterDataHandler = reader.text
        parser.StartDoctypeDeclHandler = reader.doctype
        # What was read before a fault is as true as the rest.
        with contextlib.suppress(expat.ExpatError, _Enough, LookupError, OSError, ValueError):
            # Packets are padded for editing in place, with spaces or zeros behind the end.
            parser.Parse(block.strip(b"\x00 \r\n\t"), True)
    private = {name: value for name, value in reader.values.items() if _PRIVATE.search(name)}
    return {name: value for name, value in reader.values.items() if name not in private}, private


class _Enough(Exception):
    """Something that no honest packet has."""


class _Reader:
    """Properties of rdf:Description; their lists (rdf:Bag, Seq, Alt) item by item, structures below them not at all."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.path: list[str] = []
        self.property = ""  # the open one
        self.depth = 0  # at which it was opened
        self.pieces: list[str] = []
        self.length = 0

    def doctype(self, *_declaration: object) -> None:
        raise _Enough

    def open_element(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= MAX_DEPTH:
            raise _Enough
        parent = self.path[-1] if self.path else ""
        self.path.append(name)
        self.pieces, self.length = [], 0
        if name == f"{_RDF} Description" and not self.property:
            for key, value in attributes.items():
                self.keep(_short(key), value)
        elif parent == f"{_RDF} Description" and not self.property:
            self.property, self.depth = _short(name), len(self.path)

    def text(self, text: str) -> None:
        if self.length < MAX_TEXT:
            self.pieces.append(text)
            self.length += len(text)

    def close_element(self, name: str) -> None:
        text, self.pieces, self.length = "".join(self.pieces), [], 0
        if self.property:
            below = len(self.path) - self.depth
            if below == 2 and name == f"{_RDF} li":
                self.keep(self.property, text, is_item=True)
            elif below == 0:
                if self.property not in self.values:
                    self.keep(self.property, text)
                self.property = ""
        self.path.pop()

    def keep(self, name: str, value: str, *, is_item: bool = False) -> None:
        text = clean(value)
        if not name or not text:
            return
        if len(self.values) >= MAX_VALUES:
            raise _Enough
        if is_item:
            items = self.values.setdefault(name, [])
            if isinstance(items, list) and len(items) < MAX_ITEMS:
                items.append(text)
        else:
            self.values.setdefault(name, text)


def _short(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    prefix = _PREFIXES.get(namespace)
    return f"{prefix}:{local[:64]}" if prefix else ""
