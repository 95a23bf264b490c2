"""The pictures that are there: found, changed, trashed, and their originals. A room of the client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import httpx
import orjson

from safelight.client.documents import Image, SearchPage
from safelight.client.wire import CHUNK, PAGE, TRIES, Connection, Told, Unreachable, pause_s, refusal, said, segment
from safelight.errors import Unavailable


class Images(Connection):
    """`/images`."""

    def get(self, image_id: str, *, with_location: bool = False) -> Image:
        """One image. Raises Missing."""
        params = {"include": "location"} if with_location else {}
        return cast("Image", self._ask("GET", f"/images/{segment(image_id)}", params=params))

    def list(self, **filters: Any) -> Iterator[Image]:
        """Every image that passes the filters of `GET /images` (`tag=["a", "b"]`, `sort="created_at"`, …), page by page."""
        limit = filters.pop("limit", PAGE)
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/images", params=said(filters | {"limit": limit, "cursor": cursor}))
            yield from page["images"]
            cursor = page["next"]
            if cursor is None:
                return

    def by_sha256(self, sha256: str) -> Image | None:
        """Your image with exactly these bytes, if there is one outside of the trash."""
        images = self._ask("GET", "/images", params={"sha256": sha256})["images"]
        return cast("Image", images[0]) if images else None

    def search(
        self,
        text: str,
        *,
        tags: Sequence[str] = (),
        type: str = "",
        year: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SearchPage:
        """One page of results; `next` goes into `cursor` for the one behind it."""
        params = {"q": text, "tag": [*tags], "type": type or None, "year": year, "limit": limit, "cursor": cursor}
        return cast("SearchPage", self._ask("GET", "/images/search", params=said(params)))

    def patch(self, image_id: str, changes: Mapping[str, Any], *, etag: str = "") -> Image:
        """Change the record by a merge patch; with an etag only if it is still that one. Raises Missing, Stale, BadField."""
        headers = {"content-type": "application/merge-patch+json"} | ({"if-match": etag} if etag else {})
        return cast("Image", self._ask("PATCH", f"/images/{segment(image_id)}", content=orjson.dumps(changes), headers=headers))

    def delete(self, image_id: str, *, purge: bool = False) -> None:
        """Move it to the trash; with `purge`, remove one that is there for good."""
        self._ask("DELETE", f"/images/{segment(image_id)}", params={"purge": "true"} if purge else {})

    def restore(self, image_id: str) -> Image:
        """Bring it back from the trash."""
        return cast("Image", self._ask("POST", f"/images/{segment(image_id)}/restore"))

    def original(self, image_id: str, file: BinaryIO, *, told: Told = lambda _: None) -> str:
        """Write the bytes that came in to `file`, from where it stands; the SHA-256 of what was written, in hex.

        A connection that breaks is taken up where it broke off, as long as the object is the same one.
        """
        digest, written, etag = hashlib.sha256(), 0, ""
        for attempt in range(1, TRIES + 1):
            headers = {"range": f"bytes={written}-", "if-match": etag} if written else {}
            try:
                with self._http.stream("GET", f"/images/{segment(image_id)}/original", headers=headers) as response:
                    if response.status_code != (206 if written else 200):
                        response.read()
                        raise refusal(response)
                    etag = response.headers.get("etag", "")
                    for chunk in response.iter_raw(CHUNK):
                        file.write(chunk)
                        digest.update(chunk)
                        written += len(chunk)
                        told(len(chunk))
                return digest.hexdigest()
            except httpx.TransportError as error:
                failure = self._unreachable(error)
                if attempt == TRIES or isinstance(failure, Unreachable):
                    raise failure from error
                self._sleep(pause_s(failure, attempt))
            except Unavailable as error:
                if attempt == TRIES:
                    raise
                self._sleep(pause_s(error, attempt))
        raise AssertionError("the last attempt returns or raises")
