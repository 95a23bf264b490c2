"""Wire: how a result leaves a child and what the server believes of it.

A frame is four bytes of length (network order), so many bytes of JSON, then the blobs whose sizes the JSON tells. The child
has met a stranger's bytes and may be his by now, so the server checks every value against what an honest child could
say: types, ranges, lengths, and that each picture really begins like one. Knows no sockets; called by both sides.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NoReturn

from safelight.errors import SafelightError, by_code
from safelight.imaging.formats import Format, sniff
from safelight.imaging.spec import Developed, Facts, File, Header, Location
from safelight.imaging.transform import pyramid
from safelight.imaging.transform.plan import Size

MAX_HEAD: Final = 4_000_000
MAX_BLOBS: Final = 128
MAX_REPLY: Final = 256_000_000
"""Bytes of all blobs together."""

_LENGTH: Final = struct.Struct("!I")
LENGTH_BYTES: Final = _LENGTH.size

_DELIVERED: Final = frozenset({Format.JPEG, Format.WEBP, Format.AVIF})
_TRANSFORMED: Final = _DELIVERED | {Format.PNG, Format.GIF}
_CODES: Final = frozenset(
    {
        "bad_option",
        "corrupt_image",
        "decode_budget_exceeded",
        "empty_file",
        "internal",
        "over_max_bytes",
        "too_many_bytes",
        "too_many_frames",
        "too_many_pixels",
        "unsupported_format",
    }
)
"""What a child may complain of."""

_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_COLOR: Final = re.compile(r"(?:#[0-9a-f]{6})?")
_UNTEXT: Final = re.compile("[\x00\ud800-\udfff]")
_HASH: Final = re.compile(r"(?:[0-9a-f]{16})?")


class Malformed(Exception):
    """No honest child says this."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a job gives back: something that JSON can hold, and bytes."""

    value: Any
    blobs: Sequence[bytes] = ()


def packed(reply: Reply) -> Iterator[bytes]:
    """The frame of a result, piece by piece."""
    yield from _framed({"ok": reply.value, "blobs": [len(blob) for blob in reply.blobs]})
    yield from reply.blobs


def packed_error(error: SafelightError) -> Iterator[bytes]:
    """The frame of a refusal."""
    extra = {name: value for name, value in error.extra.items() if isinstance(value, int | float | str)}
    yield from _framed({"error": {"code": error.code, "detail": error.detail, "extra": extra}, "blobs": []})


def _framed(head: Mapping[str, Any]) -> Iterator[bytes]:
    body = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    yield _LENGTH.pack(len(body))
    yield body


def head_size(length: bytes) -> int:
    """How many bytes of JSON follow. Raises Malformed."""
    size: int = _LENGTH.unpack(length)[0]
    if not 0 < size <= MAX_HEAD:
        raise Malformed("head too long")
    return size


@dataclass(frozen=True, slots=True)
class Head:
    """A frame's JSON, its blobs still to come."""

    value: Any
    error: SafelightError | None
    sizes: tuple[int, ...]


def read_head(body: bytes) -> Head:
    """Raises Malformed."""
    try:
        head = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error
    sizes = _list(_dict(head).get("blobs"), MAX_BLOBS)
    if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > MAX_REPLY:
        raise Malformed("blob sizes")
    if (refusal := head.get("error")) is not None:
        return Head(None, _error(_dict(refusal)), tuple(sizes))
    return Head(head.get("ok"), None, tuple(sizes))


def _no_constant(name: str) -> Any:
    raise Malformed(name)


def _error(refusal: dict[str, Any]) -> SafelightError:
    code = _text(refusal.get("code"), 64)
    if code not in _CODES:
        raise Malformed("error code")
    given = _dict(refusal.get("extra", {}))
    extra: dict[str, Any] = {key: value for key, value in given.items() if key == "limit" and type(value) is int}
    if "option" in given:
        extra["option"] = _matching(given["option"], _NAME)
    return by_code(code, _text(refusal.get("detail"), 500), **extra)


# What the known jobs send, there and back.


def header_value(header: Header) -> dict[str, Any]:
    """For `read_header`."""
    return asdict(header)


def read_header(value: Any) -> Header:
    """Raises Malformed."""
    fields = _dict(value)
    return Header(
        format=_format(fields.get("format")),
        width=_int(fields.get("width"), 1, 1_000_000_000),
        height=_int(fields.get("height"), 1, 1_000_000_000),
        frames=_int(fields.get("frames"), 1, 1_000_000),
        has_alpha=_bool(fields.get("has_alpha")),
        orientation=_int(fields.get("orientation"), 1, 8),
        is_buffered=_bool(fields.get("is_buffered")),
    )


def developed_reply(developed: Developed) -> Reply:
    """For `read_developed`. Files that share their bytes send them once."""
    blobs = list({id(file.data): file.data for file in developed.files}.values())
    places = {id(blob): index for index, blob in enumerate(blobs)}
    value = {
        "header": header_value(developed.header),
        "files": [
            {"preset": f.preset, "format": f.format, "width": f.width, "height": f.height, "blob": places[id(f.data)]}
            for f in developed.files
        ],
        "facts": asdict(developed.facts),
        "thumbhash": developed.thumbhash.hex(),
        "dominant_color": developed.dominant_color,
        "phash": developed.phash,
    }
    return Reply(value, blobs)


def read_developed(value: Any, blobs: Sequence[bytes]) -> Developed:
    """Raises Malformed."""
    fields = _dict(value)
    return Developed(
        header=read_header(fields.get("header")),
        files=tuple(_file(_dict(item), blobs) for item in _list(fields.get("files"), MAX_BLOBS)),
        facts=_facts(_dict(fields.get("facts"))),
        thumbhash=bytes.fromhex(_matching(fields.get("thumbhash"), re.compile(r"(?:(?:[0-9a-f]{2}){5,40})?"))),
        dominant_color=_matching(fields.get("dominant_color"), _COLOR),
        phash=_matching(fields.get("phash"), _HASH),
    )


def transformed_reply(file: File) -> Reply:
    """For `read_transformed`."""
    return Reply({"format": file.format, "width": file.width, "height": file.height}, [file.data])


def read_transformed(value: Any, blobs: Sequence[bytes]) -> File:
    """Raises Malformed."""
    if len(blobs) != 1:
        raise Malformed("not one file")
    return _file({**_dict(value), "blob": 0, "preset": "transform"}, blobs, formats=_TRANSFORMED)


def read_tiled(blobs: Sequence[bytes], size: Size) -> bytes:
    """The pyramid's file. Raises Malformed."""
    if len(blobs) != 1:
        raise Malformed("not one file")
    try:
        pyramid.check(blobs[0], size)
    except ValueError as error:
        raise Malformed("no pyramid") from error
    return blobs[0]


def _file(fields: dict[str, Any], blobs: Sequence[bytes], formats: frozenset[Format] = _DELIVERED) -> File:
    format = _format(fields.get("format"))
    data = blobs[_int(fields.get("blob"), 0, len(blobs) - 1)]
    if format not in formats or sniff(data) is not format:
        raise Malformed("not a picture")
    return File(
        preset=_matching(fields.get("preset"), _NAME),
        format=format,
        width=_int(fields.get("width"), 1, 65_535),
        height=_int(fields.get("height"), 1, 65_535),
        data=data,
    )


def _facts(fields: dict[str, Any]) -> Facts:
    taken_at, location = fields.get("taken_at"), fields.get("location")
    words = ("camera", "lens", "place", "title", "description", "creator", "copyright", "icc")
    return Facts(
        taken_at=None
        if taken_at is None
        else _matching(taken_at, re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[+-]\d\d:\d\d(?::\d\d)?)?")),
        keywords=tuple(_text(word, 200) for word in _list(fields.get("keywords"), 500)),
        location=None if location is None else _location(_dict(location)),
        metadata={name: _dict(_plain(block)) for name, block in _dict(fields.get("metadata")).items()},
        private=_dict(_plain(fields.get("private"))),
        **{word: _text(fields.get(word), 100_000) for word in words},
    )


def _location(fields: dict[str, Any]) -> Location:
    altitude = fields.get("altitude")
    return Location(
        latitude=_float(fields.get("latitude"), 90),
        longitude=_float(fields.get("longitude"), 180),
        altitude=None if altitude is None else _float(altitude, 1_000_000),
    )


def _plain(value: Any, depth: int = 0) -> Any:
    """Metadata as it may be stored: nested at most three deep, nothing but text, numbers and lists of them."""
    if depth > 3:
        raise Malformed("too deep")
    match value:
        case str():
            return _text(value, 10_000)
        case bool() | int() | float():
            return value if -(2**63) <= value < 2**63 else _malformed("number")
        case list():
            return [_plain(item, depth + 1) for item in _list(value, 1000)]
        case dict():
            if len(value) > 2000:
                raise Malformed("too many values")
            return {_text(key, 200): _plain(item, depth + 1) for key, item in value.items()}
        case _:
            return _malformed("type")


def _malformed(what: str) -> NoReturn:
    raise Malformed(what)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _malformed("not an object")


def _list(value: Any, most: int) -> list[Any]:
    return value if isinstance(value, list) and len(value) <= most else _malformed("not a list")


def _int(value: Any, least: int, most: int) -> int:
    return value if type(value) is int and least <= value <= most else _malformed("not a number")


def _float(value: Any, most: float) -> float:
    is_number = type(value) in {int, float} and math.isfinite(value) and abs(value) <= most
    return float(value) if is_number else _malformed("not a number")


def _bool(value: Any) -> bool:
    return value if isinstance(value, bool) else _malformed("not a boolean")


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or _UNTEXT.search(value):
        raise Malformed("not a text")
    return value


def _matching(value: Any, pattern: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else _malformed("not as expected")


def _format(value: Any) -> Format:
    return Format(value) if isinstance(value, str) and value in set(Format) else _malformed("not a format")
