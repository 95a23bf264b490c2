"""Faults: what obstore and botocore raise, read into one value, and that into Safelight's errors. Called by connection and store.

A server's answer has a status and a code; a broken connection and a timeout have neither. What the driver said goes to the log
with the cause, never to a client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import aiohttp
import botocore.exceptions  # type: ignore[import-untyped]  # botocore ships no types
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError, UnauthenticatedError

from safelight.errors import AlreadyExists, BackendUnavailable, BadRequest, Missing, SafelightError

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_ABSENT: Final = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})
"""MethodNotAllowed: reading the version of a delete marker."""
_REFUSED: Final = frozenset({"KeyTooLongError", "MetadataTooLarge", "EntityTooLarge", "InvalidURI"})
_PASSING: Final = frozenset(
    {
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "SlowDown",
        "ThrottlingException",
        "Throttling",
        "TooManyRequests",
    }
)
_UNTRUSTED: Final = frozenset(
    {
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request. `status` is 0 when there was no answer."""

    status: int
    code: str
    reason: str
    is_conflict: bool = False
    has_credentials: bool = True

    @property
    def is_absent(self) -> bool:
        """There is no such object or version. A HEAD's 404 has no code, so it may also be the bucket."""
        return self.code in _ABSENT or (self.status in {404, 405} and self.code in {"", "404", "405"})

    @property
    def is_passing(self) -> bool:
        """Worth another attempt. What is not implemented (501) will not be a moment later."""
        return self.status in {0, 429} or (self.status >= 500 and self.status != 501) or self.code in _PASSING

    @property
    def is_untrusted(self) -> bool:
        """The credentials are wrong, or may not do that."""
        return not self.has_credentials or self.code in _UNTRUSTED or self.status in {401, 403}

    @property
    def is_range(self) -> bool:
        """The range begins behind the last byte."""
        return self.status == 416


def read(error: Exception) -> Fault | None:
    """What a driver's exception says; None when it is not a driver's."""
    if isinstance(error, botocore.exceptions.ClientError):
        answer = error.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(answer.get("Error", {}).get("Code", ""))
        return Fault(status, code, str(error), is_conflict=status == 412 or code == "ConditionalRequestConflict")
    if isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        return Fault(0, "", str(error), has_credentials=False)
    if isinstance(error, BaseError | FileNotFoundError):
        text = str(error)
        answered, named = _STATUS.search(text), _CODE.search(text)
        return Fault(
            int(answered[1]) if answered else 404 if isinstance(error, FileNotFoundError) else 0,
            named[1] if named else "",
            text.partition("\n\nDebug source")[0],
            is_conflict=isinstance(error, AlreadyExistsError | PreconditionError),
            has_credentials=not (isinstance(error, UnauthenticatedError) and answered is None),
        )
    if isinstance(error, botocore.exceptions.BotoCoreError | aiohttp.ClientError | OSError):
        # A TimeoutError is an OSError; aiobotocore lets through what breaks while it reads an answer's body.
        return Fault(0, "", f"{type(error).__name__}: {error}")
    return None


def translated(fault: Fault) -> SafelightError:
    """The error that a caller of the Storage port knows."""
    if fault.is_absent:
        return Missing()
    if fault.is_conflict:
        return AlreadyExists("An object with this key already exists.")
    if fault.code in _REFUSED:
        return BadRequest("The object store does not take a key or metadata of that size.")
    return BackendUnavailable("The object store does not answer.")
