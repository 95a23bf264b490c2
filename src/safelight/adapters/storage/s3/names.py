"""Names: our keys as S3 keys and our metadata as S3 headers, there and back. Pure; called by bucket, listing and upload.

Nearly every key goes as it is. Escaped is only what some client or server would refuse, fold or lose: control characters (no HTTP
path has them, no XML listing can), a dot that begins a segment ('.' is a folder to itself), the backslash (SeaweedFS makes it
'/'), U+FFFE and U+FFFF (not in XML).
The escapes keep both order and prefixes, so that a server lists escaped keys in the order of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from safelight.adapters.storage._names import MAX_KEY_BYTES, check_key
from safelight.errors import BadRequest

# '!' leads all that sorts up to itself; '[', '~' and U+FFFD lead what sorts right behind them. Each lead is also escaped.
_ESCAPED: Final = re.compile("[\x00-\x20!\\[\\\\~\x7f\ufffd-\uffff]|(?:(?<=/)|^)\\.")
_UNESCAPED: Final = re.compile("!([0-9a-f]{2})|\\[(5[bc])|~(7[ef])|\ufffd([def])|((?:(?<=/)|^)\\.!)")


def to_s3(key: str) -> str:
    """The S3 key of one of our keys, or the S3 prefix of one of our prefixes."""
    return _ESCAPED.sub(_escape, key)


def from_s3(name: str) -> str | None:
    """Our key of an S3 key; None for an object that we cannot have put, so that we would look for it elsewhere."""
    key = _UNESCAPED.sub(_unescape, name)
    return key if to_s3(key) == name and is_key(key) else None


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char == ".":
        return ".!"
    if char >= "\ufffd":
        return "\ufffd" + "def"[ord(char) - 0xFFFD]
    return f"{'~' if char >= '~' else '[' if char >= '[' else '!'}{ord(char):02x}"


def _unescape(found: re.Match[str]) -> str:
    low, middle, high, last, dot = found.groups()
    if dot:
        return "."
    return chr(0xFFF0 + int(last, 16)) if last else chr(int(low or middle or high, 16))


def is_key(key: str) -> bool:
    """Whether something can be there under this key."""
    try:
        check_key(key)
    except BadRequest:
        return False
    return True


def is_prefix(prefix: str) -> bool:
    """Whether a key can begin so. A server that folds '//' would find what does not."""
    if not prefix:
        return True
    try:
        size_bytes = len(prefix.encode())
    except UnicodeEncodeError:
        return False
    return size_bytes <= MAX_KEY_BYTES and prefix[0] != "/" and not any(each in prefix for each in ("//", "..", "\0"))


def is_version(version: str) -> bool:
    """Whether a server can have given this version id; AWS answers 400 to some of the others."""
    return 0 < len(version) <= 1024 and version.isascii() and version.isprintable() and " " not in version


# Metadata. S3 keeps headers `x-amz-meta-*`: lower-case names, ASCII values, 2 KB together.

_SHA256: Final = "safelight-sha256"
_AT: Final = "safelight-at"
_PUT: Final = "safelight-put"
_OURS: Final = (_SHA256, _AT, _PUT)
_NAME_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_VALUE_SAFE: Final = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_NOTHING: Final = "%"
"""Stands for '', since proxies drop headers without a value; never the result of quoting."""
_MAX_METADATA_BYTES: Final = 2048
"""AWS: names and values of user metadata together."""


@dataclass(frozen=True, slots=True)
class Label:
    """What Safelight writes beside the bytes: their SHA-256 in hexadecimal, when and by which put they were written."""

    sha256: str
    at: datetime
    put: str
    metadata: Mapping[str, str]

    def headers(self) -> dict[str, str]:
        """As S3 user metadata. Raises BadRequest when it is more than S3 takes."""
        pairs = {_quoted_name(name): _quoted_value(value) for name, value in self.metadata.items()}
        pairs |= {_SHA256: self.sha256, _AT: self.at.isoformat(timespec="microseconds"), _PUT: self.put}
        if sum(len(name) + len(value) for name, value in pairs.items()) > _MAX_METADATA_BYTES:
            raise BadRequest(f"The metadata of an object must not have more than {_MAX_METADATA_BYTES} bytes.")
        return pairs

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> Label | None:
        """From S3 user metadata; None when somebody else put the object."""
        try:
            at = datetime.fromisoformat(headers[_AT]).astimezone(UTC)
            return cls(headers[_SHA256], at, headers[_PUT], metadata(headers))
        except (KeyError, ValueError):
            return None


def metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Our metadata in S3 user metadata, whoever put it."""
    return {unquote(name): "" if value == _NOTHING else unquote(value) for name, value in headers.items() if name not in _OURS}


def _quoted_name(name: str) -> str:
    # A name like one of ours gets its first letter escaped: `unquote` brings it back, and it is not taken for ours.
    escaped = (
        char if char in _NAME_SAFE and not (at == 0 and name.startswith("safelight-")) else _percent(char)
        for at, char in enumerate(name)
    )
    return "".join(escaped)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02x}" for byte in char.encode())  # lower case, because names lose theirs on the way


def _quoted_value(value: str) -> str:
    return quote(value, safe=_VALUE_SAFE) if value else _NOTHING
