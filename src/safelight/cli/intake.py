"""What every kind of import does alike: ask whether a picture is there, wait until it is developed, and say what came of it.

Used by `import_folder`, `import_bucket` and `import_listing`; threads share one `Intake`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

import orjson

from safelight.cli.crew import Stop, Turns, patiently
from safelight.cli.journal import Journal, Known, Marked
from safelight.domain.images import MAX_CUSTOM_BYTES, MAX_TAGS, normal_tag
from safelight.errors import BadField, Forbidden, Missing, SafelightError, SourceNotAllowed, TooMany, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from safelight.client import Client, Image

T = TypeVar("T")

SETTLE_S: Final = 120.0
"""How long a picture may be developed until it counts as imported without its renditions."""

Outcome = Literal["imported", "would_import", "already_there", "in_trash", "refused", "skipped"]
Told = Callable[[int], object]


class Item(Marked, Protocol):
    """One picture that may be imported."""

    @property
    def shown(self) -> str:
        """How it is told of."""
        ...

    @property
    def size_bytes(self) -> int:
        """0 where nobody says."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one item. `url` is where it comes from, if it has an address; copied is what a store did by itself."""

    shown: str
    outcome: Outcome
    size_bytes: int = 0
    image: str | None = None
    code: str | None = None
    detail: str | None = None
    url: str | None = None
    is_copied: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """The server, and how this run goes about it. `words` are said of every picture."""

    client: Client
    journal: Journal
    words: dict[str, Any]
    stop: Stop
    is_dry: bool
    patience_s: float
    waits: Callable[[SafelightError], object]
    turns: Turns = field(default_factory=Turns)

    def judged(self, item: Item, work: Callable[[], Done], *, url: str | None = None) -> Done | None:
        """What came of the item by `work`; None when the end was asked for before it was done.

        Raises what makes the rest pointless too: Unauthenticated, Forbidden, Unavailable after all patience.
        """
        try:
            return work()
        except OSError as error:
            return Done(item.shown, "refused", item.size_bytes, code="unreadable", detail=f"{error.strerror}.", url=url)
        except (Unavailable, TooMany):
            if self.stop:
                return None
            raise
        except SafelightError as error:
            if isinstance(error, Unauthenticated | Forbidden) and not isinstance(error, SourceNotAllowed):
                raise
            return Done(item.shown, "refused", item.size_bytes, code=error.code, detail=error.detail, url=url)

    def patiently(self, call: Callable[[], T]) -> T:
        """What `call` returns, tried again while the server is busy or away."""
        return patiently(call, patience_s=self.patience_s, stop=self.stop, told=self.waits)

    def sent(self, path: Path, told: Told, **words: Any) -> Image:
        """The image that a file has become; bytes that were on their way when it broke off are taken back from what was told."""
        told_bytes = 0

        def count(size: int) -> None:
            nonlocal told_bytes
            told_bytes += size
            told(size)

        try:
            return self.client.upload(path, told=count, is_background=True, **{**self.words, **words})
        except BaseException:
            told(-told_bytes)
            raise

    def there(self, item: Item, sha256: str, known: Known) -> Done | None:
        """That the server has it, or had it and somebody put it into the trash; None when it does not."""
        image = self.client.by_sha256(sha256) if sha256 else None
        if image is not None:
            return Done(item.shown, "already_there", item.size_bytes, image["id"])
        if known.image:
            # It was there once. Who has put it into the trash since does not want it back; who has lost it does.
            with contextlib.suppress(Missing):
                if self.client.get(known.image)["trashed_at"] is not None:
                    return Done(item.shown, "in_trash", item.size_bytes, known.image)
        return None

    def became(self, item: Item, image: Image, *, url: str | None = None) -> Done:
        """What came of the item, which is this image now; remembered for the next run."""
        twin = image["duplicate_of"]
        if twin is not None:
            if twin != image["id"]:
                self._take_back(image)
            done = Done(item.shown, "already_there", item.size_bytes, twin, url=url)
        else:
            image = self._settled(image)
            if (problem := image["problem"]) is not None:
                return Done(item.shown, "refused", item.size_bytes, image["id"], problem["code"], problem["detail"], url)
            done = Done(item.shown, "imported", item.size_bytes or image["bytes"], image["id"], url=url)
        self.remember(item, image["sha256"], done)
        return done

    def remember(self, item: Item, sha256: str, done: Done) -> None:
        """For the next run."""
        if done.outcome in ("imported", "already_there") and done.image is not None and not self.is_dry:
            self.journal.keep(item, Known(sha256, done.image))

    def _settled(self, image: Image) -> Image:
        """The image when it is developed, if the server has answered before."""
        deadline = time.monotonic() + SETTLE_S
        while image["status"] == "developing" and time.monotonic() < deadline and not self.stop.wait(0.5):
            try:
                image = self.client.get(image["id"])
            except Missing:
                break  # taken away meanwhile; it had been accepted
        return image

    def _take_back(self, image: Image) -> None:
        """Remove what has just come in although its bytes were here: before it came, nobody could know."""
        with contextlib.suppress(Missing):
            if image["trashed_at"] is None:  # else a run has been killed between the two
                self.client.delete(image["id"])
            self.client.delete(image["id"], purge=True)


def kept_tags(found: Iterable[str]) -> tuple[str, ...]:
    """As they are kept here, each once; what cannot be a tag is left out."""
    tags: dict[str, None] = {}
    for each in found:
        try:
            tags[normal_tag(each)] = None
        except BadField:
            continue
    return tuple(tags)[:MAX_TAGS]


def kept_custom(source: str, named: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """What there is no field for; of what would be too much, the name alone."""
    whole = {**named, **{name: value for name, value in more.items() if value}}
    try:
        fits = len(orjson.dumps({source: whole})) <= MAX_CUSTOM_BYTES
    except orjson.JSONEncodeError:
        fits = False
    return {source: whole if fits else dict(named)}
