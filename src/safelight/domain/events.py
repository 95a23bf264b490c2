"""What has happened, told once with the rows that it changed and relayed at least once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from safelight.domain.ids import AlbumId, CodeId, EndpointId, ErasureId, ImageId, TenantId, UploadId, UserId
from safelight.domain.images import Image


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened in a tenant."""

    tenant: TenantId

    name: ClassVar[str]

    @property
    def occurrence(self) -> str:
        """What happened to which thing, as part of the id of the run that it starts: the same however often it is told."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The same occurrence has the same key, however often it is told."""
        return f"{self.name}:{self.occurrence}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the outbox and the workflow engine."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ImageEvent(Event):
    """Something happened to one image; `version` counts its bytes, `revision` its record."""

    image: ImageId
    version: int
    revision: int
    owner: UserId

    @classmethod
    def of(cls, image: Image) -> Self:
        """What has made this record what it is."""
        return cls(image.tenant, image.id, image.version, image.revision, image.owner)

    @property
    def occurrence(self) -> str:
        """One for each revision of the record."""
        return f"{self.image}:{self.version}.{self.revision}"


@dataclass(frozen=True, slots=True)
class ImageArrived(ImageEvent):
    """Bytes that are to be developed; `is_urgent` when somebody waits for that."""

    is_urgent: bool = True


class ImageAccepted(ImageArrived):
    """The bytes are safe; nothing has been developed yet."""

    __slots__ = ()
    name = "image.accepted"


class ImageReplaced(ImageArrived):
    """Other bytes are safe and become the next version; the old ones are still delivered."""

    __slots__ = ()
    name = "image.replaced"


class ImageRedeveloping(ImageArrived):
    """The same bytes are to be developed once more; what there is of them is still delivered."""

    __slots__ = ()
    name = "image.redeveloping"


class ImageReady(ImageEvent):
    """Every rendition is stored."""

    __slots__ = ()
    name = "image.ready"


class ImageRejected(ImageEvent):
    """The bytes cannot be developed and never will."""

    __slots__ = ()
    name = "image.rejected"


class ImageFailed(ImageEvent):
    """Developing was given up for now; an operator may retry."""

    __slots__ = ()
    name = "image.failed"


class ImageDamaged(ImageEvent):
    """An original in the store is not what came in."""

    __slots__ = ()
    name = "image.damaged"


class ImageEdited(ImageEvent):
    """Words, tags or visibility changed."""

    __slots__ = ()
    name = "image.edited"


class ImageUncached(ImageEvent):
    """What had been made of it on request is not used any more."""

    __slots__ = ()
    name = "image.uncached"


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


@dataclass(frozen=True, slots=True)
class MailDue(Event):
    """A letter is to be sent to a user. It carries no secret: the mail is made from the code's record when it is sent."""

    user: UserId
    letter: str
    code: CodeId

    name = "mail.due"

    @property
    def occurrence(self) -> str:
        """One for each letter: a code is mailed once."""
        return self.code


@dataclass(frozen=True, slots=True)
class ImportRequested(Event):
    """A picture is to be fetched from the URL in its upload's row, which may be a secret and is therefore not told here."""

    upload: UploadId
    is_urgent: bool = True

    name = "import.requested"

    @property
    def occurrence(self) -> str:
        """One for each import: it is asked for once."""
        return self.upload


@dataclass(frozen=True, slots=True)
class UploadRejected(Event):
    """What was sent cannot become an image; why is in the upload's row."""

    upload: UploadId

    name = "upload.rejected"

    @property
    def occurrence(self) -> str:
        """One for each upload: it is rejected once."""
        return self.upload


@dataclass(frozen=True, slots=True)
class AlbumEvent(Event):
    """Something happened to an album; `change` tells one change from another, since what is in an album is no part of its revision."""

    album: AlbumId
    change: str

    @property
    def occurrence(self) -> str:
        """One for each change."""
        return f"{self.album}:{self.change}"


class AlbumCreated(AlbumEvent):
    """There is a new, empty album."""

    __slots__ = ()
    name = "album.created"


class AlbumEdited(AlbumEvent):
    """Its words, its cover, or which images are in it and in what order, changed."""

    __slots__ = ()
    name = "album.edited"


class AlbumDeleted(AlbumEvent):
    """The album is gone; its images stay."""

    __slots__ = ()
    name = "album.deleted"


@dataclass(frozen=True, slots=True)
class EndpointDisabled(Event):
    """A webhook endpoint was switched off by us, since it is gone or failed for days; which of both is in its row."""

    endpoint: EndpointId
    revision: int

    name = "endpoint.disabled"

    @property
    def occurrence(self) -> str:
        """One for each time."""
        return f"{self.endpoint}:{self.revision}"


@dataclass(frozen=True, slots=True)
class ErasureRequested(Event):
    """A user is shut out, and everything of theirs is to be removed."""

    user: UserId
    erasure: ErasureId

    name = "erasure.requested"

    @property
    def occurrence(self) -> str:
        """One for each request."""
        return self.erasure


@dataclass(frozen=True, slots=True)
class ImageNarrowed(Event):
    """Fewer may see an image than before, or under another watermark only, so what others keep of it has to go."""

    image: ImageId
    revision: int

    name = "image.narrowed"

    @property
    def occurrence(self) -> str:
        """One for each revision of the record."""
        return f"{self.image}:{self.revision}"


EVENTS: dict[str, type[Event]] = {
    event.name: event
    for event in (
        ImageAccepted,
        ImageReplaced,
        ImageRedeveloping,
        ImageReady,
        ImageRejected,
        ImageFailed,
        ImageDamaged,
        ImageEdited,
        ImageUncached,
        ImageTrashed,
        ImageRestored,
        ImagePurged,
        MailDue,
        ImportRequested,
        UploadRejected,
        AlbumCreated,
        AlbumEdited,
        AlbumDeleted,
        EndpointDisabled,
        ErasureRequested,
        ImageNarrowed,
    )
}


def from_json(name: str, payload: dict[str, Any]) -> Event:
    """The event again, from the outbox."""
    return EVENTS[name](**payload)
