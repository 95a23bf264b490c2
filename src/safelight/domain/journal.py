"""The journal: what has happened to an image, in order, for whoever watches it or asks later. Kept for days, not for ever.

Events say what is so and are told with the rows that make it so; notes of steps say what is being done about it. Both are entries
of one journal, so that a page which follows it needs one place only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from safelight.domain.events import ImageEvent
from safelight.domain.ids import ImageId, UserId


class StepNote(StrEnum):
    """What is told of a step: each try begins, and ends in one of two ways."""

    STARTED = "step.started"
    DONE = "step.done"
    FAILED = "step.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal: an event of the image by its name, or a StepNote with its flow and step.

    `version` and `revision` are those of the event that it is about, `code` is that of the error where something failed.
    """

    image: ImageId
    owner: UserId
    name: str
    at: datetime
    version: int
    revision: int
    flow: str = ""
    step: str = ""
    code: str = ""

    @classmethod
    def of(cls, event: ImageEvent, at: datetime) -> Entry:
        """What the event adds to the journal."""
        return cls(image=event.image, owner=event.owner, name=event.name, at=at, version=event.version, revision=event.revision)

    @property
    def occurrence(self) -> str:
        """Of the event that it is about: the end of the ids of the runs that it has started."""
        return f"{self.image}:{self.version}.{self.revision}"

    def details(self) -> dict[str, Any]:
        """What is not in columns of its own, without what is empty."""
        words = {"flow": self.flow, "step": self.step, "code": self.code}
        return {"version": self.version, "revision": self.revision} | {name: word for name, word in words.items() if word}


@dataclass(frozen=True, slots=True)
class Numbered:
    """An entry with its place: later ones of the same tenant have higher numbers."""

    number: int
    entry: Entry
