"""Text: bytes and strings of unknown honesty to short, printable text. Called by the readers beside it."""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT: Final = 2000
"""Characters of one value; a description longer than that is no caption."""

# Control characters, lone surrogates and the marks that turn text around (a file name may pretend another ending).
_UNWANTED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Without control characters and outer white space, at most `limit` characters."""
    return _UNWANTED.sub("", text[: 4 * limit].replace("\r\n", "\n").replace("\r", "\n")).strip()[:limit]


def decoded(raw: bytes, limit: int = MAX_TEXT) -> str:
    """UTF-8 if it is, else Latin-1: what cameras write where the standard allows only ASCII."""
    raw = raw[: 4 * limit].split(b"\x00", 1)[0]
    try:
        return clean(raw.decode("utf-8"), limit)
    except UnicodeDecodeError as error:
        # Cut within a character is no reason to take it all for Latin-1.
        if error.start >= len(raw) - 3 and len(raw) == 4 * limit:
            return clean(raw[: error.start].decode("utf-8", "ignore"), limit)
        return clean(raw.decode("latin-1"), limit)
