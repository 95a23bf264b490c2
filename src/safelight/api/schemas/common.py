"""What every shape on the wire begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from safelight.domain.images import MAX_CUSTOM_BYTES

ID: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": "^[0-7][0-9a-hjkmnp-tv-z]{25}$",
    "examples": ["01j9z3k4m5n6p7q8r9s0t1v2w3"],
}
Id = Annotated[str, WithJsonSchema(ID)]
"""Of a thing. The document says what one looks like; another text is answered as an id that nothing has, not as a mistake."""


_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _written(value: object) -> object:
    """Only text: a number would be taken for seconds or milliseconds since 1970, by its size."""
    if not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("not a date and time with its offset from UTC, as in 2026-06-01T12:00:00Z (RFC 3339)")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("not within the years 1 to 9999 in UTC") from None


Instant = Annotated[
    datetime, BeforeValidator(_written), AfterValidator(_in_utc), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A point in time that somebody names (RFC 3339, section 5.6)."""


def small_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same object, if it is small enough to be kept beside a record and plain enough to be stored."""
    try:
        size = len(orjson.dumps(value))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise ValueError("not plain JSON") from error
    if size > MAX_CUSTOM_BYTES:
        raise ValueError(f"at most {MAX_CUSTOM_BYTES} bytes of JSON")
    return value


class Out(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class In(BaseModel):
    """A request's body; what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class ProblemOut(Out):
    """RFC 9457 problem details, with a stable `code`."""

    type: str = Field(examples=["urn:safelight:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["There is nothing here."])


class FocalPoint(In):
    """A point as fractions of the upright picture, from its upper left corner; four decimals count."""

    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)


class Secretive(In):
    """Passwords are taken as they are typed, blanks and all."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)
