"""Wire: records as bytes and back, for places that may lose them.

JSON by a dataclass's own annotations, so that a new field is no work and can never be left out. Nobody outside an installation
ever writes what is read here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

T = TypeVar("T")
_Reader = Callable[[Any], Any]


def dumped(record: Any) -> bytes:
    """The record as JSON."""
    return orjson.dumps(record, default=_plain)


def loaded(kind: type[T], data: bytes) -> T:
    """The same record again."""
    read: _Reader = _reader(kind)  # type: ignore[arg-type]  # mypy: a type is no Hashable (python/mypy#11469)
    record: T = read(orjson.loads(data))
    return record


@cache
def shape_of(kind: type) -> str:
    """Eight characters that differ when records of this kind are written differently."""
    return hashlib.sha256(_described(kind, set()).encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _described(kind: Any, seen: set[Any]) -> str:
    if dataclasses.is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        fields = (f"{name}:{_described(hint, seen)}" for name, hint in get_type_hints(kind).items())
        return f"{kind}({','.join(fields)})"
    return f"{kind}[{','.join(_described(each, seen) for each in get_args(kind))}]"


def _same(value: Any) -> Any:
    return value


@cache
def _reader(kind: Any) -> _Reader:
    """From JSON's types to this one."""
    supertype = getattr(kind, "__supertype__", None)  # a NewType is its base
    if supertype is not None:
        return _reader(supertype)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = [(field.name, _reader(hints[field.name])) for field in dataclasses.fields(kind) if field.init]
        converted = [(name, read) for name, read in readers if read is not _same]
        make: Any = kind

        def read_record(value: dict[str, Any]) -> Any:
            for name, read in converted:
                value[name] = read(value[name])
            return make(**value)

        return read_record
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (known,) = (each for each in inner if each is not types.NoneType) if types.NoneType in inner else (None,)
        read_known = _reader(known) if known is not None else _same
        return _same if read_known is _same else lambda value: None if value is None else read_known(value)
    if origin is tuple and inner[-1] is Ellipsis:
        read_each = _reader(inner[0])
        return tuple if read_each is _same else lambda values: tuple(read_each(value) for value in values)
    if kind is datetime:
        return datetime.fromisoformat
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return _same
