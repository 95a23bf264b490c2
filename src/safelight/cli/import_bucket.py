"""`import s3://BUCKET/PREFIX`: objects of a bucket. Where it is at the store that the server keeps its uploads in, that one copies.

Whether it does is tried: an upload is announced as of `POST /uploads`, and if its URL leads to the store of the bucket, the store
is asked to copy the object there, by the caller's own credentials. It may refuse; then, as everywhere else, the bytes come through here.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from safelight.cli.intake import Done, Intake, Told, kept_custom, kept_tags
from safelight.cli.journal import Known
from safelight.domain.images import MAX_DESCRIPTION, MAX_TAGS, MAX_TITLE, normal_file_name
from safelight.errors import Missing, NotArrived, SourceRefused, WrongState
from safelight.imaging import sniff
from safelight.imaging.formats import SNIFF_BYTES
from safelight.ports.source import MAX_COPY_BYTES

if TYPE_CHECKING:
    from safelight.client import Image
    from safelight.ports.source import Described, Found, Source

PROBED_BYTES: Final = 16 * 1024 * 1024
"""Above this the server is asked whether it would take so much, before it is fetched for nothing."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of the bucket."""

    found: Found

    @property
    def name(self) -> str:
        """See Marked."""
        return self.found.key

    shown = name

    @property
    def stamp(self) -> str:
        """See Marked."""
        return f"{self.found.size_bytes} {self.found.etag}"

    @property
    def size_bytes(self) -> int:
        """See Item."""
        return self.found.size_bytes


def found(source: Source) -> Iterator[Thing | Done]:
    """Every object, page by page."""
    for each in source.list():
        yield Thing(each) if each.size_bytes else Done(each.key, "skipped", detail="empty")


@dataclass(slots=True)
class BucketImport:
    """Takes one object after the other to its end; several threads share it."""

    intake: Intake
    source: Source
    bucket: str
    _may_copy: bool = True
    """Until the store, or this caller's rights, turn out not to allow it: then nobody asks again."""

    def take(self, thing: Thing, told: Told) -> Done | None:
        """What came of the object. Raises as `Intake.judged`."""
        return self.intake.judged(thing, lambda: self.intake.patiently(lambda: self._taken(thing, told)))

    def _taken(self, thing: Thing, told: Told) -> Done:
        intake = self.intake
        known = intake.journal.find(thing)
        if known.image and (done := intake.there(thing, known.sha256, known)):
            return done
        said = self.source.describe(thing.found)
        if said.sha256 and (done := intake.there(thing, said.sha256, known)):
            intake.remember(thing, said.sha256, done)
            return done
        head = b"".join(self.source.read(thing.found, most=SNIFF_BYTES))
        if sniff(head) is None:
            return Done(thing.shown, "skipped", detail="not an image")
        if intake.is_dry:
            return Done(thing.shown, "would_import", thing.size_bytes)
        words = _words(thing, said, self.bucket, intake.words)
        may_copy = self._may_copy and thing.size_bytes <= MAX_COPY_BYTES
        if may_copy and (image := self._copied(thing, said, known, words)) is not None:
            return replace(intake.became(thing, image), is_copied=True)
        return self._carried(thing, known, words, told)

    def _copied(self, thing: Thing, said: Described, known: Known, words: dict[str, Any]) -> Image | None:
        """The image, whose bytes have not left the store; None where it does not copy."""
        client = self.intake.client
        if known.upload:
            try:
                return client.complete_upload(known.upload)
            except (Missing, NotArrived, WrongState):
                pass  # killed before the store had copied, or too long ago
        offer = client.announce(
            size=thing.size_bytes,
            content_type=said.media_type if said.media_type.startswith("image/") else "",
            sha256=said.sha256,
            filename=_file_name(thing),
            **words,
        )
        # Before it is copied: after a kill this, and not a second one, is what becomes an image.
        self.intake.journal.keep(thing, replace(known, upload=offer["id"]))
        try:
            self._may_copy = self.source.copy(thing.found, offer["url"], offer["headers"] or {})
        except (SourceRefused, Missing):
            client.abandon_upload(offer["id"])
            raise
        if self._may_copy:
            return client.complete_upload(offer["id"])
        client.abandon_upload(offer["id"])
        return None

    def _carried(self, thing: Thing, known: Known, words: dict[str, Any], told: Told) -> Done:
        """Through this machine: fetched whole, and sent unless the server has it."""
        intake = self.intake
        if thing.size_bytes > PROBED_BYTES:
            intake.client.abandon_upload(intake.client.announce(size=thing.size_bytes)["id"])
        with tempfile.NamedTemporaryFile(prefix="safelight-import-") as file:
            digest = hashlib.sha256()
            for chunk in self.source.read(thing.found):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            sha256 = digest.hexdigest()
            with intake.turns.of(sha256):
                if done := intake.there(thing, sha256, known):
                    intake.remember(thing, sha256, done)
                    return done
                return intake.became(thing, intake.sent(Path(file.name), told, name=_file_name(thing), **words))


def _file_name(thing: Thing) -> str:
    return normal_file_name(PurePosixPath(thing.name).name)


def _words(thing: Thing, said: Described, bucket: str, words: dict[str, Any]) -> dict[str, Any]:
    """What is said of the picture: by the caller, and by the metadata of the object."""
    more = dict(said.metadata)
    title, description = more.pop("title", ""), more.pop("description", "") or more.pop("caption", "")
    tags = (more.pop("tags", "") or more.pop("keywords", "")).split(",")
    mine = {
        "title": title[:MAX_TITLE],
        "description": description[:MAX_DESCRIPTION],
        "tags": [*dict.fromkeys((*words["tags"], *kept_tags(tags)))][:MAX_TAGS],
        "custom": kept_custom("s3", {"bucket": bucket, "key": thing.name}, {"metadata": more}),
    }
    return {**words, **mine}
