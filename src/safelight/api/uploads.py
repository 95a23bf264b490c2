"""multipart/form-data (RFC 7578), streamed: the file goes to an unlinked spool file as it arrives, hashed on the way.

Neither the framework's form parser nor its temporary files are used: they would write the file twice and hold the handler back
until the body is complete. An unlinked file is gone when its descriptor is, whatever kills the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from safelight.errors import BadField, BadRequest, EmptyFile, TooManyBytes, Unsupported
from safelight.services.spool import nameless, write_all

FLUSH_BYTES: Final = 512 * 1024
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_PARTS: Final = 200
ROOM_FOR_FIELDS: Final = 1024 * 1024


@dataclass(slots=True)
class Received:
    """A form that has arrived: the file's descriptor, size and hash, and the text fields in order of arrival."""

    fd: int
    size_bytes: int = 0
    sha256: str = ""
    file_name: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)


class _Form:
    """Collects what the push parser calls out; raises the refusal itself, so that it reaches the client as such."""

    def __init__(self, boundary: bytes, max_bytes: int, fits: Callable[[int], None]) -> None:
        self.pending = bytearray()
        self.received_bytes = 0
        self.file_name: str | None = None
        self.fields: list[tuple[str, str]] = []
        self.is_complete = False
        self._max_bytes = max_bytes
        self._fits = fits
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._value = bytearray()
        self._is_file = False
        self._parts = 0
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._field_value,
                "on_header_end": self._field_end,
                "on_headers_finished": self._headers_done,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadRequest("The form has too many parts.")
        self._headers = {}
        self._header_bytes = 0
        self._value = bytearray()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise BadRequest("A part of the form has too long headers.")

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _field_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _field_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_done(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise BadRequest("A part of the form has no name.")
        self._name = _text(options[b"name"], "name")
        self._is_file = self._name == "file"
        if self._is_file:
            if self.file_name is not None:
                raise BadField("Send one file per request.", field="file")
            self.file_name = _file_name(options)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.received_bytes += end - start
            if self.received_bytes > self._max_bytes:
                raise TooManyBytes(f"The file has more than {self._max_bytes} bytes.", limit=self._max_bytes)
            self._fits(self.received_bytes)
            self.pending += memoryview(data)[start:end]
        else:
            if len(self._value) + end - start > MAX_FIELD_BYTES:
                raise BadField(f"{self._name[:100]} is too long.", field=self._name[:100])
            self._value += data[start:end]

    def _end(self) -> None:
        if not self._is_file:
            self.fields.append((self._name, _text(bytes(self._value), self._name)))

    def _all(self) -> None:
        self.is_complete = True


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadField(f"{name[:100]} is not UTF-8.", field=name[:100]) from None


def _file_name(options: Mapping[bytes, bytes]) -> str:
    extended = options.get(b"filename*")
    if extended is not None:  # RFC 8187: UTF-8''na%C3%AFve.jpg
        charset, _, rest = extended.partition(b"'")
        if charset.lower() == b"utf-8":
            return _text(unquote_to_bytes(rest.partition(b"'")[2]), "file name")
    return _text(options.get(b"filename", b""), "file name")


async def body(request: Request, *, idle_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises BadRequest when it is broken off, or when nothing comes for that long."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise BadRequest("The upload stalled.") from None
        except ClientDisconnect:
            raise BadRequest("The upload was broken off.") from None
        if chunk is None:
            return
        yield chunk


@asynccontextmanager
async def received(
    request: Request, *, folder: Path, max_bytes: int, idle_s: float, fits: Callable[[int], None] = lambda _: None
) -> AsyncIterator[Received]:
    """The request's form, its file readable from `fd` until the block ends.

    Raises Unsupported for another body, BadRequest for a broken one, BadField for names that are not UTF-8, TooManyBytes as soon
    as the limit is passed, EmptyFile, and whatever `fits` raises for as many bytes as are announced or have come.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise Unsupported("Send the file as multipart/form-data, in a field named file.")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes + ROOM_FOR_FIELDS:
        raise TooManyBytes(f"The file has more than {max_bytes} bytes.", limit=max_bytes)
    # The form round the file is not counted: a body may be larger than its file by that much, and no more.
    fits(max(1, int(declared[:20]) - ROOM_FOR_FIELDS) if declared.isascii() and declared.isdigit() else 1)
    fd = nameless(folder)
    try:
        form = _Form(boundary, max_bytes, fits)
        digest = hashlib.sha256()

        def keep(data: bytearray) -> None:
            digest.update(data)
            write_all(fd, data)

        total = 0
        async for chunk in body(request, idle_s=idle_s):
            total += len(chunk)
            if total > max_bytes + ROOM_FOR_FIELDS:
                raise TooManyBytes(f"The file has more than {max_bytes} bytes.", limit=max_bytes)
            try:
                form.parser.write(chunk)
            except MultipartParseError as error:
                raise BadRequest("The form is not well formed.") from error
            if len(form.pending) >= FLUSH_BYTES:
                data, form.pending = form.pending, bytearray()
                await asyncio.to_thread(keep, data)
        if not form.is_complete:
            raise BadRequest("The form is not complete.")
        if form.file_name is None:
            raise BadField("The form has no field named file.", field="file")
        if form.received_bytes == 0:
            raise EmptyFile
        if form.pending:
            await asyncio.to_thread(keep, form.pending)
        yield Received(fd, form.received_bytes, digest.hexdigest(), form.file_name, form.fields)
    finally:
        os.close(fd)
