"""The upload record: bytes that somebody said would come by another way than through the API, and the moves legal for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from safelight.domain.ids import AlbumId, ImageId, TenantId, UploadId, UserId
from safelight.domain.images import Problem, Visibility
from safelight.errors import BadField, TooManyBytes, Unsupported, WrongState

UNKNOWN_TYPE: Final = "application/octet-stream"
"""What a browser says of a file that it does not know; the probe decides what it is."""
LATE: Final = timedelta(minutes=10)
"""How long after its expiry an upload that began in time may still arrive."""
TAKING: Final = timedelta(minutes=5)
"""How long taking in bytes that have arrived may last before somebody else tries."""
KEPT: Final = timedelta(days=7)
"""How long the record of an upload that has ended can be asked for."""
PIECE_BYTES: Final = 8 * 1024 * 1024
"""How much of a body that comes in pieces is stored at a time; a server that dies costs its client no more than this."""
SMALL_BYTES: Final = 1024 * 1024
"""Pieces below this are joined, so that a record names few."""


class Method(StrEnum):
    """How the bytes come: a signed form, a signed PUT, tus, fetched by us, or found in the store without an announcement."""

    POST = "post"
    PUT = "put"
    TUS = "tus"
    URL = "url"
    FOUND = "found"


class UploadState(StrEnum):
    """pending -> arrived -> accepted | rejected (the file is at fault); pending or arrived -> abandoned; pending -> expired."""

    PENDING = "pending"
    ARRIVED = "arrived"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an upload that lie in the store as an object of their own, which never changes."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file on its way in. `revision` counts every change of the record; whoever saves the next one has decided."""

    id: UploadId
    tenant: TenantId
    owner: UserId
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    revision: int = 1
    state: UploadState = UploadState.PENDING
    method: Method = Method.POST
    media_type: str = UNKNOWN_TYPE
    """What the client says it is, and has to say again when it sends it."""
    size_bytes: int | None = None
    """What the client says it has; None when it does not know yet."""
    offset_bytes: int = 0
    """How many have come, for methods that send in pieces."""
    pieces: tuple[Piece, ...] = ()
    """Where they are, in order. What is stored and not named here does not count."""
    tus_metadata: str = ""
    """`Upload-Metadata` as it was sent, which a HEAD repeats."""
    tus_concat: str = ""
    """`Upload-Concat` likewise: `partial` for one that is only a part of another, `final;…` for what was made of such."""
    sha256: str = ""
    """What the client says it hashes to, in hexadecimal; empty when it did not say."""
    source: str = ""
    """The key of bytes that were found, the URL of those that we fetch; empty for those that are sent."""
    source_version: str = ""
    """Which version of them; another one is another upload."""
    file_name: str = ""
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    album: AlbumId | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Mapping[str, Any] = field(default_factory=dict)
    image: ImageId | None = None
    duplicate_of: ImageId | None = None
    problem: Problem | None = None

    @property
    def key(self) -> str:
        """Where the bytes are on their way in."""
        is_found = self.source and self.method is not Method.URL
        return self.source if is_found else f"incoming/{self.tenant}/{self.id}"

    @property
    def is_open(self) -> bool:
        """Still to become an image, or not."""
        return self.state in (UploadState.PENDING, UploadState.ARRIVED)

    @property
    def is_partial(self) -> bool:
        """Never an image of its own."""
        return self.tus_concat == "partial"

    @property
    def is_whole(self) -> bool:
        """Every byte has come; known only of methods that send in pieces."""
        return self.offset_bytes == self.size_bytes

    @property
    def due_at(self) -> datetime:
        """When somebody has to look after it if nothing has happened by then."""
        match self.state:
            case UploadState.PENDING:
                return self.expires_at + LATE
            case UploadState.ARRIVED:
                return self.updated_at + TAKING
            case _:
                return self.updated_at + KEPT

    def claimed(self, *, at: datetime, expires_at: datetime, size_bytes: int | None) -> Upload:
        """Somebody begins to send, and whoever was sending cannot save any more. Raises WrongState unless it is pending."""
        self._sending()
        return replace(self, revision=self.revision + 1, updated_at=at, expires_at=expires_at, size_bytes=size_bytes)

    def grown(self, pieces: tuple[Piece, ...], *, at: datetime, expires_at: datetime) -> Upload:
        """These are its pieces now; with the last byte it has arrived. Raises WrongState unless it is pending."""
        self._sending()
        offset = sum(piece.size_bytes for piece in pieces)
        upload = replace(
            self, pieces=pieces, offset_bytes=offset, revision=self.revision + 1, updated_at=at, expires_at=expires_at
        )
        return replace(upload, state=UploadState.ARRIVED) if upload.is_whole and not self.is_partial else upload

    def _sending(self) -> None:
        if self.state is not UploadState.PENDING:
            raise WrongState(f"The upload is {self.state}.")

    def arrived(self, *, at: datetime) -> Upload:
        """Its bytes are there. Raises WrongState once it has ended."""
        return self._moved(UploadState.ARRIVED, at)

    def accepted(self, image: ImageId, *, duplicate_of: ImageId | None, at: datetime) -> Upload:
        """It has become this image. Raises WrongState once it has ended."""
        return replace(self._moved(UploadState.ACCEPTED, at), image=image, duplicate_of=duplicate_of)

    def rejected(self, problem: Problem, *, at: datetime) -> Upload:
        """Its bytes cannot become an image. Raises WrongState once it has ended otherwise than by being accepted."""
        if self.state is UploadState.ACCEPTED:  # developing it found what the probe did not
            return replace(
                self, state=UploadState.REJECTED, problem=problem, image=None, revision=self.revision + 1, updated_at=at
            )
        return replace(self._moved(UploadState.REJECTED, at), problem=problem)

    def abandoned(self, *, at: datetime) -> Upload:
        """Its owner does not want it any more. Raises WrongState once it has ended."""
        return self._moved(UploadState.ABANDONED, at)

    def expired(self, *, at: datetime) -> Upload:
        """It did not come in time. Raises WrongState unless it is pending."""
        if self.state is not UploadState.PENDING:
            raise WrongState(f"The upload is {self.state}.")
        return self._moved(UploadState.EXPIRED, at)

    def _moved(self, state: UploadState, at: datetime) -> Upload:
        if not self.is_open:
            raise WrongState(f"The upload is {self.state}.")
        return replace(self, state=state, revision=self.revision + 1, updated_at=at)


@dataclass(frozen=True, slots=True)
class DropFolder:
    """The owner rule for what is found: `<prefix><tenant's name>/<user's name>/anything` belongs to that user."""

    prefix: str

    def owner_of(self, key: str) -> tuple[str, str] | None:
        """The names of tenant and user; None for a key that this folder says nothing of."""
        if not self.prefix or not key.startswith(self.prefix):
            return None
        tenant, _, rest = key.removeprefix(self.prefix).partition("/")
        user, _, name = rest.partition("/")
        return (tenant, user) if tenant and user and name and not name.endswith("/") else None


def checked_media_type(text: str) -> str:
    """The type that a client announces, in lower case and without parameters. Raises Unsupported for what is no image."""
    kind = text.partition(";")[0].strip().lower()
    if not kind:
        return UNKNOWN_TYPE
    family, _, rest = kind.partition("/")
    is_plain = rest.isascii() and 0 < len(rest) <= 64 and all(c.isalnum() or c in ".+-" for c in rest)
    if not is_plain or (family != "image" and kind != UNKNOWN_TYPE):
        raise Unsupported("Announce an image: content_type is image/... or left out.")
    return kind


def checked_size(size_bytes: int | None, method: Method, *, max_bytes: int) -> int | None:
    """The size that a client announces. Raises TooManyBytes, BadField for none where the method needs one."""
    if size_bytes is None:
        if method is Method.PUT:
            raise BadField("A PUT is signed for one size: say it.", field="size")
        return None
    if size_bytes > max_bytes:
        raise TooManyBytes(f"The file has more than {max_bytes} bytes.", limit=max_bytes)
    return size_bytes


def kept_apart(pieces: tuple[Piece, ...], size_bytes: int) -> int:
    """How many of the pieces stay as they are when one of this size comes behind them; the others become one with it.

    A client that sends a byte at a time makes a row of pieces whose sizes at least halve, as the digits of a binary counter:
    never more than 20 small ones.
    """
    kept = len(pieces)
    while kept and pieces[kept - 1].size_bytes < SMALL_BYTES and pieces[kept - 1].size_bytes <= 2 * size_bytes:
        kept -= 1
        size_bytes += pieces[kept].size_bytes
    return kept
