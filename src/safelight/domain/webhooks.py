"""Webhooks: whom a tenant wants told, of what, when a telling is tried again, and what became of it. Values and rules; nothing is sent here.

A message is one event; a delivery is one message for one endpoint, and its id is the message's, the same at every endpoint and in
every attempt. Standard Webhooks (https://www.standardwebhooks.com) says what goes over the wire; `signing.webhooks` signs it.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from safelight.domain.albums import Album
from safelight.domain.ids import DeliveryId, EndpointId, TenantId
from safelight.domain.images import Image
from safelight.domain.uploads import Upload
from safelight.errors import BadField, WrongState

TYPES: Final[dict[str, tuple[str, str]]] = {
    "image.accepted": ("image.accepted", "An image is in: its bytes are safe, its renditions are not made yet."),
    "image.ready": ("image.ready", "Every rendition is stored; after a replacement, those of the new bytes."),
    "image.rejected": (
        "image.rejected",
        "The bytes cannot be developed and never will. `problem` says why, unless the image is gone by then.",
    ),
    "image.failed": ("image.failed", "Developing was given up for now; `problem` says why, and an operator may retry."),
    "image.damaged": ("image.damaged", "An original in the store is not what came in any more; `problem` says of which version."),
    "image.replaced": ("image.replaced", "Other bytes are in and become the next version; the old ones are still delivered."),
    "image.edited": ("image.edited", "Words, tags, visibility, focal point or custom values changed."),
    "image.trashed": ("image.deleted", "It went to the trash, from where it may come back."),
    "image.restored": ("image.restored", "It came back from the trash."),
    "image.purged": ("image.purged", "It is gone for good, and its bytes with it; only `id`, `version` and `revision` are told."),
    "upload.rejected": ("upload.rejected", "A file that was sent or fetched cannot become an image; `problem` says why."),
    "album.created": ("album.created", "There is a new album."),
    "album.edited": ("album.edited", "Its words, its cover, or its images and their order changed."),
    "album.deleted": ("album.deleted", "The album is gone; only its `id` is told. Its images stay."),
    "endpoint.disabled": ("endpoint.disabled", "Another of your endpoints was switched off: it is gone, or failed for days."),
}
"""By the name of the event of ours: what it is called outside, and what it means. What is not here is nobody else's business."""
PING: Final = "ping"
"""What a test sends, to one endpoint whatever it wants to hear."""
NAMES: Final = tuple(sorted(name for name, _ in TYPES.values()))
FAMILIES: Final = tuple(sorted({f"{name.partition('.')[0]}.*" for name in NAMES}))

MAX_ENDPOINTS: Final = 20
MAX_DESCRIPTION: Final = 500
MAX_EXCERPT: Final = 500
"""Characters of an answer that are kept."""
MAX_ATTEMPTS: Final = 20
"""Attempts of a delivery that are kept, the last ones."""
MAX_GRACE: Final = timedelta(days=30)
WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 10 * 3600)
)
"""Rests after the first failed attempt, the second, and so on: eleven attempts within a day."""
JITTER: Final = 0.2
"""Each rest is up to so much longer, so that what failed together does not come back together."""
LONGEST_WAIT: Final = timedelta(days=1)
"""No endpoint puts us off for longer, whatever its Retry-After says."""


class DeliveryState(StrEnum):
    """waiting -> delivered | failed (given up); replaying makes it waiting again."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class DisabledFor(StrEnum):
    """Why an endpoint is off: an administrator said so, it answered 410 Gone, or everything failed for days."""

    ASKED = "asked"
    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one tenant wants to be told. `events` are types or families like `image.*`; none means every type."""

    id: EndpointId
    tenant: TenantId
    url: str
    created_at: datetime
    updated_at: datetime
    secret: bytes = field(repr=False)
    previous_secret: bytes = field(default=b"", repr=False)
    """The one before, which signs too until `previous_until`."""
    previous_until: datetime | None = None
    events: tuple[str, ...] = ()
    description: str = ""
    revision: int = 1
    disabled_at: datetime | None = None
    disabled_for: DisabledFor | None = None
    failing_since: datetime | None = None
    """When the first attempt failed after the last that did not."""

    @property
    def is_enabled(self) -> bool:
        """It is told."""
        return self.disabled_at is None

    def wants(self, type: str) -> bool:
        """Whether it is to hear of events of this type."""
        return not self.events or type in self.events or f"{type.partition('.')[0]}.*" in self.events

    def secrets(self, now: datetime) -> tuple[bytes, ...]:
        """What messages are signed with, the newest first."""
        has_previous = self.previous_until is not None and now < self.previous_until
        return (self.secret, self.previous_secret) if has_previous else (self.secret,)

    def edited(self, *, at: datetime, **changes: Any) -> Endpoint:
        """With another url, events or description. Raises BadField."""
        changed = replace(self, **changes)
        if len(changed.description) > MAX_DESCRIPTION or not changed.description.isprintable():
            raise BadField(f"A description has at most {MAX_DESCRIPTION} printable characters.", field="description")
        unknown = [name for name in changed.events if name not in NAMES and name not in FAMILIES]
        if unknown:
            raise BadField(f"There is no event {unknown[0][:100]!r}.", field="events")
        return replace(changed, events=tuple(sorted(set(changed.events))), revision=self.revision + 1, updated_at=at)

    def rotated(self, secret: bytes, *, at: datetime, grace: timedelta) -> Endpoint:
        """Signed with this one from now on, and for the grace with the one before as well; older ones end."""
        until = at + grace if grace else None
        previous = self.secret if grace else b""
        return replace(
            self, secret=secret, previous_secret=previous, previous_until=until, revision=self.revision + 1, updated_at=at
        )

    def enabled(self, *, at: datetime) -> Endpoint:
        """On again, with a clean record."""
        return replace(self, disabled_at=None, disabled_for=None, failing_since=None, revision=self.revision + 1, updated_at=at)

    def disabled(self, why: DisabledFor, *, at: datetime) -> Endpoint:
        """Off: nothing more is sent, and nothing more is written down for it."""
        return replace(self, disabled_at=at, disabled_for=why, revision=self.revision + 1, updated_at=at)

    def answered(self, attempt: Attempt, delivery: Delivery, *, patience: timedelta) -> Endpoint:
        """What an attempt says of it; itself when that is nothing new. `delivery` is what the attempt made of it."""
        if attempt.is_success:
            return self if self.failing_since is None else replace(self, failing_since=None, revision=self.revision + 1)
        if not self.is_enabled:
            return self
        since = self.failing_since or attempt.at
        failing = self if self.failing_since else replace(self, failing_since=since, revision=self.revision + 1)
        if attempt.status == 410:
            return replace(failing.disabled(DisabledFor.GONE, at=attempt.at), revision=self.revision + 1)
        # Not by the clock alone: after a silence the first failure would else be the last.
        if delivery.state is DeliveryState.FAILED and attempt.at - since >= patience:
            return replace(failing.disabled(DisabledFor.FAILING, at=attempt.at), revision=self.revision + 1)
        return failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try. `status` is 0 when there was no answer, and `error` then says what there was; `excerpt` is how the answer began."""

    at: datetime
    duration_ms: int
    status: int = 0
    error: str = ""
    excerpt: str = ""

    @property
    def is_success(self) -> bool:
        """A redirect is none: it is not followed, since it would lead past whoever configured the URL."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message for one endpoint. `body` is what is sent, byte for byte the same in every attempt."""

    id: DeliveryId
    tenant: TenantId
    endpoint: EndpointId
    type: str
    body: str
    created_at: datetime
    forget_at: datetime
    due_at: datetime | None
    """When to try next; None once it has ended."""
    state: DeliveryState = DeliveryState.WAITING
    revision: int = 1
    tries: int = 0
    """Since it was made or replayed."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def message_id(self) -> str:
        """`webhook-id`: by this the receiver knows a message that it has had."""
        return f"msg_{self.id}"

    def claimed(self, *, until: datetime) -> Delivery:
        """Somebody sends it now; if nothing is heard of them until then, somebody else does."""
        return replace(self, due_at=until, revision=self.revision + 1)

    def tried(self, attempt: Attempt, *, wait: timedelta) -> Delivery:
        """After this attempt; if it failed, and was not the last, the next one comes after the wait."""
        tries, attempts = self.tries + 1, (*self.attempts, attempt)[-MAX_ATTEMPTS:]
        after = replace(self, tries=tries, attempts=attempts, revision=self.revision + 1, due_at=None)
        if attempt.is_success:
            return replace(after, state=DeliveryState.DELIVERED)
        if attempt.status == 410 or tries > len(WAITS):
            return replace(after, state=DeliveryState.FAILED)
        return replace(after, due_at=attempt.at + wait)

    def replayed(self, *, at: datetime, kept: timedelta) -> Delivery:
        """To be sent again from now on, with all its attempts before it. Raises WrongState while it waits anyway."""
        if self.state is DeliveryState.WAITING:
            raise WrongState("The delivery has not ended yet.")
        return replace(
            self,
            state=DeliveryState.WAITING,
            tries=0,
            due_at=at,
            forget_at=max(self.forget_at, at + kept),
            revision=self.revision + 1,
        )


def wait_after(tries: int, *, chance: float, asked: timedelta | None = None) -> timedelta:
    """How long to rest after so many failed tries (1 = the first): as the schedule says, and as long as was asked at least.

    `chance` is a random number below 1.
    """
    wait = WAITS[min(tries, len(WAITS)) - 1] * (1 + JITTER * chance)
    return wait if asked is None else max(wait, min(asked, LONGEST_WAIT))


def retry_after(value: str, now: datetime) -> timedelta | None:
    """What a Retry-After header asks for (RFC 9110 section 10.2.3), None for what is none."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), int(LONGEST_WAIT.total_seconds())))
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)


def excerpt_of(body: bytes) -> str:
    """The beginning of an answer as text that any catalog can keep and any terminal show."""
    text = body.decode("utf-8", "replace")[:MAX_EXCERPT]
    return "".join(c if c.isprintable() else " " for c in text).strip()


def message(type: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent: `type`, `timestamp` and `data`, as Standard Webhooks has it."""
    return {"type": type, "timestamp": _time(at), "data": data}


def image_data(image: Image) -> dict[str, Any]:
    """What is told of an image: enough to decide whether to ask for more. No URL that opens anything, nothing of where it was taken."""
    return {
        "id": image.id,
        "version": image.version,
        "revision": image.revision,
        "owner": image.owner,
        "status": image.status.value,
        "visibility": image.visibility.value,
        "title": image.title,
        "file_name": image.file_name,
        "tags": list(image.tags),
        "custom": dict(image.custom),
        "type": image.media_type,
        "bytes": image.size_bytes,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "created_at": _time(image.created_at),
        "updated_at": _time(image.updated_at),
        "trashed_at": _time(image.trashed_at) if image.trashed_at else None,
        "problem": {"code": image.problem.code, "detail": image.problem.detail} if image.problem else None,
    }


def album_data(album: Album) -> dict[str, Any]:
    """What is told of an album."""
    return {
        "id": album.id,
        "revision": album.revision,
        "owner": album.owner,
        "title": album.title,
        "description": album.description,
        "cover": album.cover,
        "image_count": album.image_count,
        "created_at": _time(album.created_at),
        "updated_at": _time(album.updated_at),
    }


def upload_data(upload: Upload) -> dict[str, Any]:
    """What is told of an upload. Not its source: the URL of an import may be a secret."""
    return {
        "id": upload.id,
        "owner": upload.owner,
        "method": upload.method.value,
        "state": upload.state.value,
        "file_name": upload.file_name,
        "custom": dict(upload.custom),
        "problem": {"code": upload.problem.code, "detail": upload.problem.detail} if upload.problem else None,
    }


def endpoint_data(endpoint: Endpoint) -> dict[str, Any]:
    """What the other endpoints are told of one. Not its URL, which may be a secret."""
    return {
        "id": endpoint.id,
        "description": endpoint.description,
        "disabled_for": endpoint.disabled_for.value if endpoint.disabled_for else None,
        "failing_since": _time(endpoint.failing_since) if endpoint.failing_since else None,
    }


def wanted_by(endpoints: Sequence[Endpoint], type: str) -> list[Endpoint]:
    """Those that are to hear of this."""
    return [endpoint for endpoint in endpoints if endpoint.is_enabled and endpoint.wants(type)]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
