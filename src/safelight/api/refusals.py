"""What a route may refuse with. Its shape tells most of that (`api.document`); the rest it declares with `refuses`.

The OpenAPI document is made of both, and the suite of the API holds every answer that it sees against the document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from safelight.errors import (
    BadField,
    BadRequest,
    Busy,
    CorruptImage,
    DamagedObject,
    DecodeBudgetExceeded,
    Duplicate,
    EmptyFile,
    QuotaExceeded,
    SafelightError,
    SandboxLost,
    StepTimedOut,
    TooManyBytes,
    TooManyFrames,
    TooManyPixels,
    Unavailable,
    Unsupported,
    UnsupportedFormat,
)

Errors = tuple[type[SafelightError], ...]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

FILE: Final[Errors] = (
    UnsupportedFormat,
    EmptyFile,
    CorruptImage,
    DamagedObject,
    DecodeBudgetExceeded,
    TooManyBytes,
    TooManyPixels,
    TooManyFrames,
    QuotaExceeded,
    Duplicate,
    Busy,
    SandboxLost,
    StepTimedOut,
    Unavailable,
)
"""Of a file that is taken in, while it comes and while it is developed."""
FORM: Final[Errors] = (*FILE, BadRequest, BadField, Unsupported)
"""Of a file that comes in a form."""


def refuses(*errors: type[SafelightError]) -> Callable[[Endpoint], Endpoint]:
    """Declare what an endpoint refuses with, beside what its shape tells."""

    def declared(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["refuses"] = errors
        return endpoint

    return declared


def declared_by(endpoint: Callable[..., Any]) -> Errors:
    """What `refuses` was told."""
    errors: Errors = endpoint.__dict__.get("refuses", ())
    return errors
