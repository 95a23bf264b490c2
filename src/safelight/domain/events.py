"""What has happened, told once with the rows that it changed and relayed at least once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from safelight.domain.ids import ImageId, TenantId


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """Something happened to one image; `version` counts its bytes, `revision` its record."""

    tenant: TenantId
    image: ImageId
    version: int
    revision: int

    name: ClassVar[str]

    @property
    def key(self) -> str:
        """The same occurrence has the same key, however often it is told."""
        return f"{self.name}:{self.image}:{self.version}.{self.revision}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the outbox and the workflow engine."""
        return asdict(self)


class ImageAccepted(ImageEvent):
    """The bytes are safe; nothing has been developed yet."""

    __slots__ = ()
    name = "image.accepted"


class ImageReplaced(ImageEvent):
    """Other bytes are safe and become the next version; the old ones are still delivered."""

    __slots__ = ()
    name = "image.replaced"


class ImageReady(ImageEvent):
    """Every rendition is stored."""

    __slots__ = ()
    name = "image.ready"


class ImageEdited(ImageEvent):
    """Words, tags or visibility changed."""

    __slots__ = ()
    name = "image.edited"


class ImageTrashed(ImageEvent):
    """Hidden, not gone."""

    __slots__ = ()
    name = "image.trashed"


class ImageRestored(ImageEvent):
    """Back from the trash."""

    __slots__ = ()
    name = "image.restored"


class ImagePurged(ImageEvent):
    """The record is gone; its bytes are to follow."""

    __slots__ = ()
    name = "image.purged"


EVENTS: dict[str, type[ImageEvent]] = {
    event.name: event
    for event in (ImageAccepted, ImageReplaced, ImageReady, ImageEdited, ImageTrashed, ImageRestored, ImagePurged)
}


def from_json(name: str, payload: dict[str, Any]) -> ImageEvent:
    """The event again, from the outbox."""
    return EVENTS[name](**payload)
