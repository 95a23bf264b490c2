"""The ground: every error that Safelight raises on purpose. No imports from above, no status codes.

SafelightError
├── BadRequest          400  BadOption BadCursor BadField BadCode BadPasskey MethodNotAllowed (405) RangeNotSatisfiable (416)
├── Unauthenticated     401  MfaRequired StepUpRequired PasswordRequired
├── Forbidden           403  BadSignature ExpiredSignature SourceNotAllowed TenantSuspended QuotaExceeded Misdirected (421)
├── Missing             404  Gone (410)
├── Conflict            409  Duplicate WrongState NotArrived AlreadyExists DataDirInUse WrongOffset TakenOver (423)
├── PreconditionFailed  412  Stale OtherProtocol
├── TooLarge            413  TooManyBytes TooManyPixels TooManyFrames
├── Unsupported         415  UnsupportedFormat
├── Unprocessable       422  CorruptImage EmptyFile ChecksumMismatch ChunkMismatch (460) DecodeBudgetExceeded WeakPassword
│                            MailRefused TooBroad SourceUnreachable SourceRefused
├── TooMany             429  LockedOut TooManyStreams
├── Unavailable         503  Busy SandboxLost BackendUnavailable (DamagedRecord: never worth another try) SourceUnavailable StepTimedOut SourceFailed (502) SourceTimedOut (504)
├── DamagedObject       503  never worth another try
└── SearchUnavailable   503  never worth another try

A class's docstring is the default message; `code` is the contract with clients and never changes; `kind` is one of eleven,
and only `api/problems.py` turns a kind into a status, only `cli.py` into an exit code. What a stranger must not read goes
to the log with the cause, never into `detail`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """What sort of refusal this is; the doors translate it."""

    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    UNPROCESSABLE = "unprocessable"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"


class SafelightError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE
    is_transient: ClassVar[bool] = False
    """Worth another try as it is: a flow retries these and gives up at once on the others."""

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.extra = extra
        super().__init__(self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.detail, self.extra))


def _rebuild(cls: type[SafelightError], detail: str, extra: dict[str, Any]) -> SafelightError:
    return cls(detail, **extra)


def by_code(code: str, detail: str, **extra: Any) -> SafelightError:
    """The error with this code, rebuilt on the other side of a process or a database row."""
    todo: list[type[SafelightError]] = [SafelightError]
    while todo:
        cls = todo.pop()
        if cls.__dict__.get("code") == code:
            return cls(detail, **extra)
        todo += cls.__subclasses__()
    return SafelightError(detail, **extra)


class BadRequest(SafelightError):
    """The request cannot be understood."""

    code = "bad_request"
    kind = Kind.BAD_REQUEST


class BadField(BadRequest):
    """A field of the request is unknown or out of range."""

    code = "bad_field"


class BadOption(BadRequest):
    """An option of the URL is unknown or out of range."""

    code = "bad_option"


class BadCursor(BadRequest):
    """The cursor is not one of ours, or belongs to another sort order."""

    code = "bad_cursor"


class BadCode(BadRequest):
    """The code is wrong, used, replaced by a newer one or too old; ask for another."""

    code = "bad_code"


class BadPasskey(BadRequest):
    """What the authenticator said does not fit, or comes too late; begin again with new options."""

    code = "bad_passkey"


class MethodNotAllowed(BadRequest):
    """The address does not answer this method."""

    code = "method_not_allowed"


class RangeNotSatisfiable(BadRequest):
    """The range lies outside."""

    code = "range_not_satisfiable"


class Unauthenticated(SafelightError):
    """Credentials are missing or not valid."""

    code = "unauthenticated"
    kind = Kind.UNAUTHENTICATED


class MfaRequired(Unauthenticated):
    """The password is right; a code of the authenticator app completes the sign-in."""

    code = "mfa_required"


class StepUpRequired(Unauthenticated):
    """This asks for a recent proof of who you are; give one to `POST /auth/step-up`."""

    code = "step_up_required"


class PasswordRequired(Unauthenticated):
    """The link asks for a password; give it to `POST /shared/{token}/open`."""

    code = "password_required"


class Forbidden(SafelightError):
    """These credentials do not allow that."""

    code = "forbidden"
    kind = Kind.FORBIDDEN


class TenantSuspended(Forbidden):
    """The tenant is suspended: nothing is lost, and nothing goes until the operator resumes it."""

    code = "tenant_suspended"


class Misdirected(Forbidden):
    """This host name belongs to another tenant."""

    code = "misdirected"


class QuotaExceeded(Forbidden):
    """The tenant has used up a quota; `which` says what of, `limit` and `used` how much."""

    code = "quota_exceeded"


class BadSignature(Forbidden):
    """The signature of the URL does not match."""

    code = "bad_signature"


class ExpiredSignature(Forbidden):
    """The signed URL has expired."""

    code = "expired_signature"


class PresetsOnly(Forbidden):
    """Only presets are delivered here."""

    code = "presets_only"


class SourceNotAllowed(Forbidden):
    """This installation takes nothing from that address."""

    code = "source_not_allowed"


class Missing(SafelightError):
    """There is nothing here."""

    code = "not_found"
    kind = Kind.MISSING


class Gone(Missing):
    """The upload has ended; begin a new one."""

    code = "gone"


class Conflict(SafelightError):
    """The request conflicts with what is already there."""

    code = "conflict"
    kind = Kind.CONFLICT


class AlreadyExists(Conflict):
    """Something with this name or key already exists."""

    code = "already_exists"


class Duplicate(Conflict):
    """The same bytes are already here."""

    code = "duplicate"


class WrongState(Conflict):
    """The resource is not in a state that allows this."""

    code = "wrong_state"


class NotArrived(Conflict):
    """The bytes of this upload are not there yet."""

    code = "not_arrived"


class WrongOffset(Conflict):
    """The upload continues at another offset: ask for it with HEAD."""

    code = "wrong_offset"


class TakenOver(Conflict):
    """Another request sends this upload, or has sent the rest; what this one sent last does not count."""

    code = "taken_over"


class DataDirInUse(Conflict):
    """Another Safelight server is using this data directory."""

    code = "data_dir_in_use"


class PreconditionFailed(SafelightError):
    """A condition of the request does not hold."""

    code = "precondition_failed"
    kind = Kind.PRECONDITION_FAILED


class Stale(PreconditionFailed):
    """The resource has changed since it was read."""

    code = "stale"


class OtherProtocol(PreconditionFailed):
    """Say `Tus-Resumable: 1.0.0`, the version of the protocol that is spoken here."""

    code = "other_protocol"


class TooLarge(SafelightError):
    """The request is larger than allowed."""

    code = "too_large"
    kind = Kind.TOO_LARGE


class TooManyBytes(TooLarge):
    """The file has more bytes than allowed."""

    code = "too_many_bytes"


class TooManyPixels(TooLarge):
    """The image has more pixels than allowed."""

    code = "too_many_pixels"


class TooManyFrames(TooLarge):
    """The animation has more frames than allowed."""

    code = "too_many_frames"


class Unsupported(SafelightError):
    """The media type is not supported."""

    code = "unsupported_media_type"
    kind = Kind.UNSUPPORTED


class UnsupportedFormat(Unsupported):
    """The file is not an image in a format that Safelight takes."""

    code = "unsupported_format"


class Unprocessable(SafelightError):
    """The content cannot be processed."""

    code = "unprocessable"
    kind = Kind.UNPROCESSABLE


class EmptyFile(Unprocessable):
    """The file is empty."""

    code = "empty_file"


class ChecksumMismatch(Unprocessable):
    """The bytes do not have the checksum that was announced."""

    code = "checksum_mismatch"


class ChunkMismatch(Unprocessable):
    """The bytes of this request do not have the checksum that it tells; none of them is kept."""

    code = "chunk_mismatch"


class CorruptImage(Unprocessable):
    """The image is damaged or incomplete and cannot be decoded."""

    code = "corrupt_image"


class DecodeBudgetExceeded(Unprocessable):
    """Decoding the image takes more time or memory than allowed."""

    code = "decode_budget_exceeded"


class OverMaxBytes(Unprocessable):
    """No quality makes a file of this size as small as `max_bytes` asks."""

    code = "over_max_bytes"


class WeakPassword(Unprocessable):
    """The password is too easy to guess."""

    code = "weak_password"


class MailRefused(Unprocessable):
    """The mail server refuses this recipient for good."""

    code = "mail_refused"


class TooBroad(Unprocessable):
    """The question would pass too many images on the way to its answer; narrow it, or sort by upload date."""

    code = "too_broad"


class SourceUnreachable(Unprocessable):
    """The source cannot be read: there is no such address, it may not be asked, does not answer, or breaks off."""

    # One sentence for all of them: the difference would tell a stranger what there is in our network.
    code = "source_unreachable"


class SourceRefused(Unprocessable):
    """The source does not hand the picture out."""

    code = "source_refused"


class TooMany(SafelightError):
    """Too many requests."""

    code = "too_many_requests"
    kind = Kind.TOO_MANY


class TooManyStreams(TooMany):
    """You follow too many streams of events at once; close one."""

    code = "too_many_streams"


class LockedOut(TooMany):
    """Too many failed attempts; wait before the next."""

    code = "locked_out"


class Unavailable(SafelightError):
    """A part of the service is not available at the moment."""

    code = "unavailable"
    kind = Kind.UNAVAILABLE
    is_transient = True


class StepTimedOut(Unavailable):
    """A step of durable work took too long, or gave no sign of life, and was broken off."""

    code = "step_timed_out"
    is_transient = True


class Busy(Unavailable):
    """All places are taken; try again in a moment."""

    code = "busy"


class SandboxLost(Unavailable):
    """The decoding process ended unexpectedly."""

    code = "sandbox_lost"


class BackendUnavailable(Unavailable):
    """A backend does not answer."""

    code = "backend_unavailable"


class DamagedRecord(BackendUnavailable):
    """A record of the catalog cannot be read."""

    code = "damaged_record"
    # It would read the same the next time: whoever goes through the records of many passes by, and keeps nobody waiting.
    is_transient = False


class SourceUnavailable(Unavailable):
    """The source does not answer at the moment."""

    code = "source_unavailable"


class SourceTimedOut(SourceUnavailable):
    """The source of the picture does not answer in time."""

    code = "source_timed_out"


class SourceFailed(Unavailable):
    """The source of the picture does not hand it out at the moment."""

    # One sentence for whatever is wrong there, as with SourceUnreachable.
    code = "source_failed"


class DamagedObject(SafelightError):
    """The stored bytes of this object are damaged."""

    code = "damaged_object"
    kind = Kind.UNAVAILABLE


class SearchUnavailable(SafelightError):
    """This installation has no search."""

    code = "search_unavailable"
    kind = Kind.UNAVAILABLE
