"""Pictures on their way in: sent, fetched by the server, or put into the store past it. A room of the client."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack, cast

import orjson

from safelight.client.documents import Image, Offer
from safelight.client.wire import CHUNK, Connection, Told, said, segment


class Words(TypedDict, total=False):
    """What may be said of a picture when it comes in."""

    title: str
    description: str
    tags: Sequence[str]
    album: str
    """Its id."""
    visibility: str
    """private, unlisted or public."""
    custom: Mapping[str, Any]
    """Fields of your own."""


class Uploads(Connection):
    """`/uploads`, `/imports`, and `POST /images`."""

    def upload(
        self,
        path: Path,
        *,
        name: str = "",
        wait_s: int | None = None,
        is_background: bool = False,
        told: Told = lambda _: None,
        **words: Unpack[Words],
    ) -> Image:
        """Send one file, read as it goes; the record, with URLs. `status` is "developing" when it takes longer than `wait_s`.

        Its name is the path's where none is given. One in the background is developed when no others wait.

        Is not repeated: a connection that breaks may have been too late, so ask `by_sha256` before another try.
        """
        form = _worded(**words)
        if "custom" in form:
            form["custom"] = orjson.dumps(form["custom"]).decode()
        headers = {} if wait_s is None else {"prefer": f"wait={wait_s}"}
        if is_background:
            headers["priority"] = "u=7"  # RFC 9218, section 4.1
        name = name or os.fsencode(path.name).decode("utf-8", "replace")
        with _Counted(io.FileIO(path), told) as file:
            files = {"file": (name, cast("BinaryIO", file), "application/octet-stream")}
            return cast("Image", self._ask("POST", "/images", data=form, files=files, headers=headers))

    def import_url(
        self, url: str, *, key: str = "", filename: str = "", wait_s: int | None = None, **words: Unpack[Words]
    ) -> Image | None:
        """Have the server fetch a picture, in the background; the record, or None when it takes longer than `wait_s`.

        Asked again with the same key it is the same import, so a request that broke off may be repeated. Raises what refused it.
        """
        body = said({"url": url, "filename": filename}) | _worded(**words)
        headers = {"priority": "u=7"} | ({"idempotency-key": key} if key else {})
        if wait_s is not None:
            headers["prefer"] = f"wait={wait_s}"
        answer = self._ask("POST", "/imports", json=body, headers=headers)
        return None if "state" in answer else cast("Image", answer)

    def announce(
        self, *, size: int, content_type: str = "", sha256: str = "", filename: str = "", **words: Unpack[Words]
    ) -> Offer:
        """The right to PUT a file of so many bytes into the store, past the server. Raises TooManyBytes, QuotaExceeded, Unsupported."""
        body = said({"method": "put", "size": size, "content_type": content_type, "sha256": sha256, "filename": filename})
        return cast("Offer", self._ask("POST", "/uploads", json=body | _worded(**words)))

    def complete_upload(self, upload_id: str) -> Image:
        """Say that an announced file is in the store; the image, as of `upload`. May be repeated. Raises NotArrived, Missing, WrongState."""
        return cast("Image", self._ask("POST", f"/uploads/{segment(upload_id)}/complete", headers={"priority": "u=7"}))

    def abandon_upload(self, upload_id: str) -> None:
        """Give an announced file up. Raises Missing, WrongState."""
        self._ask("DELETE", f"/uploads/{segment(upload_id)}")


def _worded(
    *,
    title: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    album: str = "",
    visibility: str = "",
    custom: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The words as requests carry them, without those that say nothing."""
    said = {
        "title": title,
        "description": description,
        "tags": list(tags),
        "album_id": album,
        "visibility": visibility,
        "custom": dict(custom or {}),
    }
    return {name: value for name, value in said.items() if value}


class _Counted(io.BufferedReader):
    """A file that tells how much of it has been read."""

    def __init__(self, raw: io.FileIO, told: Told) -> None:
        super().__init__(raw, CHUNK)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._told(len(data))
        return data
