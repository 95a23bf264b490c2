"""`import --from SERVICE LISTING`: pictures of an account elsewhere, which the server fetches by itself as of `POST /imports`.

Every asset is asked for under a key of its own, so that a request which was repeated, by this run or by the next one after a
kill, is the same import: one image comes of it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safelight.cli.accounts import PAGES, Asset, Other, Service, asset_of
from safelight.cli.intake import Done, Intake, Told
from safelight.cli.journal import Known
from safelight.cli.listings import Broken, entries
from safelight.cli.naming import album_id
from safelight.domain.images import MAX_TAGS
from safelight.errors import Missing, SafelightError, TooMany, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from safelight.client import Client, Image

WAIT_S: Final = 20
"""How long one request waits for the picture; then it is asked again."""


def found(listing: Path, service: Service, base_url: str) -> Iterator[Asset | Done]:
    """Every picture that the file lists, and why the rest of it is none. Raises OSError."""
    for entry in entries(listing, pages=PAGES):
        one = entry if isinstance(entry, Broken) else asset_of(service, entry, base_url=base_url)
        match one:
            case Asset():
                yield one
            case Other():
                yield Done(one.name, "skipped", detail=one.reason)
            case Broken():
                yield Done(f"line {one.line}", "refused", code="bad_line", detail=f"Line {one.line}: {one.reason}.")


@dataclass(frozen=True, slots=True)
class Folders:
    """Albums that stand for folders elsewhere, made when the first picture of one comes."""

    client: Client
    _ids: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def album(self, title: str) -> str:
        """The id of the album with this title. Raises Conflict when several have it."""
        with self._lock:
            if title not in self._ids:
                self._ids[title] = album_id(self.client, title, make=True)
            return self._ids[title]


@dataclass(frozen=True, slots=True)
class ListingImport:
    """Has one asset after the other fetched; several threads share it. Without `folders` all go where `intake.words` say."""

    intake: Intake
    folders: Folders | None

    def take(self, asset: Asset, told: Told) -> Done | None:
        """What came of the asset. Raises as `Intake.judged`."""
        del told  # the bytes do not pass through here
        return self.intake.judged(asset, lambda: self._taken(asset), url=asset.url)

    def _taken(self, asset: Asset) -> Done:
        intake = self.intake
        known = intake.journal.find(asset)
        if done := intake.patiently(lambda: intake.there(asset, known.sha256, known)):
            return replace(done, url=asset.url)
        if intake.is_dry:
            return Done(asset.shown, "would_import", asset.size_bytes, url=asset.url)
        if known.image:  # it was there, and somebody has removed it since: what was asked then is answered
            known = self._again(asset, known)
        try:
            try:
                image = self._fetched(asset, known)
            except Missing:  # of an earlier run, which was killed when it had removed a picture that was here twice
                known = self._again(asset, known)
                image = self._fetched(asset, known)
        except (Unavailable, TooMany, Unauthenticated):
            raise
        except SafelightError:
            self._again(asset, known)
            raise
        return intake.became(asset, image, url=asset.url)

    def _again(self, asset: Asset, known: Known) -> Known:
        """Another try is another import."""
        anew = Known(tries=known.tries + 1)
        self.intake.journal.keep(asset, anew)
        return anew

    def _fetched(self, asset: Asset, known: Known) -> Image:
        intake = self.intake
        words = self._words(asset)
        seed = "\0".join((asset.name, asset.stamp, str(known.tries)))
        key = hashlib.sha256(seed.encode(errors="surrogatepass")).hexdigest()[:32]
        while True:
            image = intake.patiently(lambda: intake.client.import_url(asset.url, key=key, wait_s=WAIT_S, **words))
            if image is not None:
                return image
            if intake.stop.wait(0.5):
                raise Unavailable("It is still being fetched.")

    def _words(self, asset: Asset) -> dict[str, Any]:
        words = self.intake.words
        mine = {
            "filename": asset.file_name,
            "title": asset.title,
            "description": asset.description,
            "tags": [*dict.fromkeys((*words["tags"], *asset.tags))][:MAX_TAGS],
            "custom": asset.custom,
        }
        folders = self.folders
        if folders is not None and asset.album:
            mine["album"] = self.intake.patiently(lambda: folders.album(asset.album))
        return {**words, **mine}
