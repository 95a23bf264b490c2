"""Faults: what botocore raises, read into one value, and that into Safelight's errors. Called by connection and catalog.

A server's answer has a status and a code; a broken connection and a timeout have neither. What the driver said goes to the log
with the cause, never to a client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import botocore.exceptions  # type: ignore[import-untyped]  # botocore ships no types

from safelight.errors import BackendUnavailable, BadField, SafelightError, TooLarge

_PASSING: Final = frozenset(
    {
        "InternalServerError",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Of a request, and of one action of a transaction, whose codes lack the ending."""
_UNTRUSTED: Final = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "UnrecognizedClientException",
    }
)
_UNKNOWN: Final = frozenset({"UnknownOperationException", "NotImplemented", "NotImplementedException", "UnsupportedOperation"})
CONDITION: Final = "ConditionalCheckFailed"


class ConditionFailed(Exception):
    """A condition does not hold; `failed` are the places of its actions in the transaction. Never leaves this package."""

    def __init__(self, failed: tuple[int, ...]) -> None:
        self.failed = failed
        super().__init__("A condition does not hold.")


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request. `status` is 0 when there was no answer; `causes` are those of a transaction's actions."""

    status: int
    code: str
    reason: str
    causes: tuple[str, ...] = ()
    has_credentials: bool = True
    is_ours: bool = False
    """The request never left: it was not one."""

    @property
    def failed(self) -> tuple[int, ...]:
        """Which conditions of the transaction do not hold."""
        if self.code == "ConditionalCheckFailedException":
            return (0,)
        return tuple(place for place, cause in enumerate(self.causes) if cause.startswith(CONDITION))

    @property
    def is_passing(self) -> bool:
        """Worth another attempt. What is not implemented (501) will not be a moment later."""
        if self.causes:
            return all(cause in _PASSING for cause in self.causes if cause not in {"", "None"})
        if self.is_ours or not self.has_credentials or self.is_unknown:
            return False
        return self.status in {0, 429} or self.status >= 500 or self.code in _PASSING

    @property
    def is_untrusted(self) -> bool:
        """The credentials are wrong, or may not do that."""
        return not self.has_credentials or self.code in _UNTRUSTED or self.status in {401, 403}

    @property
    def is_absent(self) -> bool:
        """There is no such table."""
        return self.code in {"ResourceNotFoundException", "TableNotFoundException"}

    @property
    def is_unknown(self) -> bool:
        """The server does not know this operation."""
        return self.status == 501 or self.code in _UNKNOWN

    @property
    def is_too_large(self) -> bool:
        """An item beyond 400 KB, or a transaction beyond 4 MB."""
        return "size has exceeded" in self.reason or "size cannot exceed" in self.reason


def read(error: Exception) -> Fault | None:
    """What a driver's exception says; None when it is not a driver's."""
    if isinstance(error, botocore.exceptions.ClientError):
        answer: dict[str, Any] = error.response
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        causes = tuple(str(cause.get("Code") or "") for cause in answer.get("CancellationReasons", ()))
        return Fault(status, str(answer.get("Error", {}).get("Code", "")), str(error), causes)
    if isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        return Fault(0, "", str(error), has_credentials=False)
    if isinstance(error, botocore.exceptions.ParamValidationError | UnicodeError):
        return Fault(0, "", str(error), is_ours=True)
    if isinstance(error, botocore.exceptions.BotoCoreError | aiohttp.ClientError | OSError):
        # A TimeoutError is an OSError; aiobotocore lets through what breaks while it reads an answer's body.
        return Fault(0, "", f"{type(error).__name__}: {error}")
    return None


def behind(error: SafelightError) -> Fault | None:
    """The fault that an error was made of."""
    return read(error.__cause__) if isinstance(error.__cause__, Exception) else None


def translated(fault: Fault) -> SafelightError:
    """The error that a caller of the Catalog port knows."""
    if fault.is_too_large:
        return TooLarge("The record is larger than the catalog keeps: DynamoDB takes 400 KB.")
    if fault.is_ours:
        return BadField("A value is out of the range that can be kept.")
    return BackendUnavailable("The catalog does not answer.")
