"""The image record: what is known of one picture, and the moves that are legal for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from safelight.domain.ids import ImageId, TenantId, UserId
from safelight.domain.recipes import Recipe
from safelight.errors import BadField, WrongState
from safelight.imaging.spec import master_name
from safelight.imaging.transform.values import Focal

MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 5_000
MAX_TAGS: Final = 100
MAX_TAG: Final = 64
MAX_FILE_NAME: Final = 255
MAX_CUSTOM_BYTES: Final = 16_384

DAMAGED: Final = "original_damaged"
"""The problem of an image with an original whose bytes in the store are not those that came in."""

Json = Any  # JSON has no finite type; checked where it enters (schemas, `checked_custom`)


class Status(StrEnum):
    """developing -> ready | rejected (the bytes are at fault) | failed (we are; an operator may retry)."""

    DEVELOPING = "developing"
    READY = "ready"
    REJECTED = "rejected"
    FAILED = "failed"


class Visibility(StrEnum):
    """private: owner and admins; unlisted: whoever has the link; public: everybody, and caches may keep it."""

    PRIVATE = "private"
    UNLISTED = "unlisted"
    PUBLIC = "public"

    def is_narrower_than(self, other: Visibility) -> bool:
        """Whether caches may have kept what is not for everybody with the link any more."""
        return self is Visibility.PRIVATE and other is not Visibility.PRIVATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One developed file: `preset` and `format` name it, `object_key` finds its bytes in the renditions bucket."""

    preset: str
    format: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    etag: str
    object_key: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image was rejected or failed: the code and public detail of the error."""

    code: str
    detail: str
    versions: tuple[int, ...] = ()
    """Whose originals are damaged, where that is the problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Bytes that an image has or had: `number` is never used again, so neither is their object key."""

    number: int
    sha256: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    frames: int
    file_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One picture of a tenant. `version` counts its bytes, `revision` every change of the record (its ETag).

    While new bytes are being developed, or the same ones once more (then `printing` counts), `renditions` are still those of
    `developed_version` and `developed_printing`, made by `developed_recipe`, and still delivered.
    """

    id: ImageId
    tenant: TenantId
    owner: UserId
    created_at: datetime
    updated_at: datetime
    version: int = 1
    revision: int = 1
    status: Status = Status.DEVELOPING
    visibility: Visibility = Visibility.PRIVATE
    title: str = ""
    description: str = ""
    file_name: str = ""
    tags: tuple[str, ...] = ()
    custom: Mapping[str, Json] = field(default_factory=dict)
    media_type: str
    size_bytes: int
    sha256: str
    width: int
    height: int
    frames: int = 1
    has_alpha: bool = False
    """Some of the developed picture is clear."""
    focal_point: Focal | None = None
    """What `gravity=focal` keeps inside; stays when the bytes are replaced."""
    taken_at: datetime | None = None
    camera: str = ""
    place: str = ""
    thumbhash: str = ""
    dominant_color: str = ""
    phash: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    renditions: tuple[Rendition, ...] = ()
    developed_version: int = 0
    printing: int = 0
    """How often developing the bytes of this version was begun anew; what each makes lies in a folder of its own."""
    developed_printing: int = 0
    recipe: Recipe | None = None
    """By which the bytes of now are developed; None is the installation's way."""
    developed_recipe: Recipe | None = None
    replaced_at: datetime | None = None
    earlier: tuple[Version, ...] = ()
    """Versions before this one, oldest first."""
    highest_version: int = 1
    """The last number that was given out; a replacement that was rejected has used one up."""
    generation: int = 0
    """How often all that had been made of it on request was let go of; what is made from then on has other keys."""
    uncached_at: datetime | None = None
    """When that was last."""
    trashed_at: datetime | None = None
    problem: Problem | None = None

    @property
    def is_trashed(self) -> bool:
        """In the trash: hidden, its bytes kept for the tenant's days."""
        return self.trashed_at is not None

    @property
    def original_key(self) -> str:
        """Where the bytes that came in are, in the originals bucket."""
        return self.key_of_version(self.version)

    def key_of_version(self, number: int) -> str:
        """Where the bytes of any version are."""
        return f"{self.tenant}/{self.id}/{number}/original"

    def master_key(self, name: str) -> str:
        """Our own high-quality encoding beside the original, `master` or `master_600`: transforms read it, never a stranger's bytes."""
        return f"{self.tenant}/{self.id}/{self.version}/{name}.jpg"

    @property
    def delivered_master_key(self) -> str:
        """The master of what is delivered now: an older one's while new bytes are being developed."""
        return f"{self.tenant}/{self.id}/{self.developed_version}/master.jpg"

    def delivered_lesser_key(self, side: int) -> str:
        """The smaller master of that side, if there is one. Its loss costs time only."""
        return f"{self.tenant}/{self.id}/{self.developed_version}/{master_name(side)}.jpg"

    @property
    def present(self) -> Version:
        """What the bytes of now are."""
        return Version(
            number=self.version,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            media_type=self.media_type,
            width=self.width,
            height=self.height,
            frames=self.frames,
            file_name=self.file_name,
            created_at=self.replaced_at or self.created_at,
        )

    @property
    def versions(self) -> tuple[Version, ...]:
        """All that there are, newest first."""
        return (self.present, *reversed(self.earlier))

    def is_damaged(self, number: int) -> bool:
        """Whether the original of this version is known to be damaged."""
        return self.problem is not None and number in self.problem.versions

    @property
    def stored_bytes(self) -> int:
        """What the originals of all versions take."""
        return self.size_bytes + sum(version.size_bytes for version in self.earlier)

    @property
    def developed_folder(self) -> str:
        """Where the renditions lie that are delivered now: another folder for each developing."""
        return folder_of(self.developed_version, self.developed_printing)

    @property
    def folder(self) -> str:
        """Where those lie, or will, of the bytes of now."""
        return folder_of(self.version, self.printing)

    def address(self, *, by_focal_point: bool = False, mark: str = "") -> str:
        """The `v` of a delivery URL: another one whenever the same URL would mean other pixels, so that no cache needs a purge.

        `mark` tells one watermark from another.
        """
        point = self.focal_point if by_focal_point else None
        return "-".join(str(part) for part in (self.edition, point, mark) if part)

    @property
    def edition(self) -> str:
        """Tells what is delivered from what was delivered before a replacement or a purge of caches."""
        return ".".join(str(number) for number in (self.developed_version and self.developed_folder, self.generation) if number)

    @property
    def prefix(self) -> str:
        """Under which every object of this image lies, in both buckets and all versions."""
        return f"{self.tenant}/{self.id}/"

    def rendition_key(self, preset: str, extension: str, *, folder: str) -> str:
        """Where a rendition lies, in the renditions bucket."""
        return f"{self.tenant}/{self.id}/{folder}/{preset}.{extension}"

    def made_key(self, name: str, extension: str, *, folder: str) -> str:
        """Where something lies that is made of a version on request, in the same bucket, apart by generation."""
        return f"{self.tenant}/{self.id}/{folder}/g{self.generation}/{name}.{extension}"

    def is_outdated(self, key: str) -> bool:
        """Whether the object of this key in the renditions bucket was made on request in a generation before this one."""
        folder = key.removeprefix(self.prefix).partition("/")[2].partition("/")[0]
        return folder[:1] == "g" and folder[1:].isdecimal() and int(folder[1:]) < self.generation

    def rendition(self, preset: str, format: str) -> Rendition | None:
        """The rendition of this preset and format, if it has been made."""
        return next((r for r in self.renditions if r.preset == preset and r.format == format), None)

    def _changed(self, at: datetime, **changes: Any) -> Image:
        return replace(self, revision=self.revision + 1, updated_at=at, **changes)

    def edited(self, *, at: datetime, **changes: Any) -> Image:
        """With other words, tags, visibility, focal point or custom values. Raises BadField, WrongState (in the trash)."""
        if self.is_trashed:
            raise WrongState("The image is in the trash; restore it first.")
        return self._changed(at, **checked(changes))

    def developed(self, *, at: datetime, renditions: tuple[Rendition, ...], **facts: Any) -> Image:
        """Ready to be delivered."""
        damaged = () if self.problem is None else tuple(number for number in self.problem.versions if number != self.version)
        return self._changed(
            at,
            status=Status.READY,
            renditions=renditions,
            developed_version=self.version,
            developed_printing=self.printing,
            developed_recipe=self.recipe,
            problem=_of_damage(damaged) if damaged else None,
            **facts,
        )

    def replaced(self, version: Version, *, at: datetime, recipe: Recipe | None = None) -> Image:
        """With other bytes, which are still to be developed. Raises WrongState in the trash or before the first are ready."""
        if self.is_trashed:
            raise WrongState("The image is in the trash; restore it first.")
        if not self.renditions or self.status is not Status.READY:
            raise WrongState("The image is not ready yet.")
        if version.number <= self.highest_version:
            raise WrongState("The image has been replaced in the meantime.")
        return self._changed(
            at,
            status=Status.DEVELOPING,
            version=version.number,
            highest_version=version.number,
            earlier=(*self.earlier, self.present),
            printing=0,
            recipe=recipe,
            **_bytes_of(version),
        )

    def rejected(self, problem: Problem, *, at: datetime) -> Image:
        """The bytes cannot be developed and never will: as it was before them, if it was anything, with the problem told."""
        if self.developed_version == self.version:  # they could be developed before: what refuses them is a limit of today
            return self._changed(at, status=Status.READY, problem=problem, recipe=self.developed_recipe)
        if not self.earlier:
            return self._changed(at, status=Status.REJECTED, problem=problem)
        *earlier, last = self.earlier
        return self._changed(
            at,
            status=Status.READY,
            version=last.number,
            earlier=tuple(earlier),
            printing=self.developed_printing,
            recipe=self.developed_recipe,
            problem=problem,
            **_bytes_of(last),
        )

    def developed_again(self, *, at: datetime) -> Image:
        """To be developed once more of the same bytes by the same recipe; what there is of it is delivered meanwhile."""
        return self._changed(at, status=Status.DEVELOPING, printing=self.printing + 1)

    def lost(self, problem: Problem, *, at: datetime) -> Image:
        """Its original is gone. What has been made of it is delivered as before; what was never developed has failed."""
        status = Status.FAILED if self.status is Status.DEVELOPING else self.status
        return self._changed(at, status=status, problem=problem)

    def damaged(self, versions: tuple[int, ...], *, at: datetime) -> Image:
        """The originals of these versions are not what came in: they are not given out. What was made of them is, as before."""
        return self._changed(at, problem=_of_damage(versions))

    def found(self, *, at: datetime) -> Image:
        """Its original is there again, and sound."""
        return self._changed(at, problem=None)

    def failed(self, problem: Problem, *, at: datetime) -> Image:
        """Developing was given up for now; an operator may retry."""
        return self._changed(at, status=Status.FAILED, problem=problem)

    def uncached(self, *, at: datetime) -> Image:
        """Nothing that was made of it on request is used any more. The record says what it said: `updated_at` stays."""
        return replace(self, revision=self.revision + 1, generation=self.generation + 1, uncached_at=at)

    def trashed(self, *, at: datetime) -> Image:
        """Hidden from lists and delivery. Raises WrongState when it already is."""
        if self.is_trashed:
            raise WrongState("The image is already in the trash.")
        return self._changed(at, trashed_at=at)

    def restored(self, *, at: datetime) -> Image:
        """Back from the trash. Raises WrongState when it is not there."""
        if not self.is_trashed:
            raise WrongState("The image is not in the trash.")
        return self._changed(at, trashed_at=None)


def _of_damage(versions: tuple[int, ...]) -> Problem:
    named = ", ".join(map(str, versions))
    return Problem(code=DAMAGED, detail=f"The stored original is damaged (version {named}).", versions=versions)


def _bytes_of(version: Version) -> dict[str, Any]:
    return {
        "sha256": version.sha256,
        "size_bytes": version.size_bytes,
        "media_type": version.media_type,
        "width": version.width,
        "height": version.height,
        "frames": version.frames,
        "file_name": version.file_name,
        "replaced_at": version.created_at,
    }


def folder_of(version: int, printing: int) -> str:
    """The name of where one developing of a version keeps what it makes."""
    return f"{version}p{printing}" if printing else str(version)


def normal_tag(tag: str) -> str:
    """A tag as it is kept: trimmed, inner white space single, case folded. Raises BadField."""
    text = " ".join(tag.split()).casefold()
    if not text or len(text) > MAX_TAG or not text.isprintable():
        raise BadField(f"A tag has 1 to {MAX_TAG} printable characters.", field="tags")
    return text


def normal_tags(tags: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Tags in the order given, each once. Raises BadField."""
    normal = tuple(dict.fromkeys(normal_tag(tag) for tag in tags))
    if len(normal) > MAX_TAGS:
        raise BadField(f"An image has at most {MAX_TAGS} tags.", field="tags")
    return normal


_UNSAFE_IN_NAME = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def normal_file_name(name: str) -> str:
    """The last part of a client's path, without control characters, at most 255 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return _UNSAFE_IN_NAME.sub("", last).strip()[:MAX_FILE_NAME]


def checked(changes: dict[str, Any]) -> dict[str, Any]:
    """The same changes with tags normalised and lengths checked. Raises BadField."""
    for name, limit in (("title", MAX_TITLE), ("description", MAX_DESCRIPTION)):
        value = changes.get(name)
        if value is not None and (len(value) > limit or "\x00" in value):
            raise BadField(f"{name} has at most {limit} characters.", field=name)
    if "tags" in changes:
        changes = changes | {"tags": normal_tags(changes["tags"])}
    return changes
