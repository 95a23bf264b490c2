"""Refusals on the wire: RFC 9457 `application/problem+json`. The only place that turns a kind of error into a status code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from safelight.domain.access import Hidden
from safelight.errors import (
    BadField,
    BadRequest,
    Busy,
    DamagedObject,
    Kind,
    MethodNotAllowed,
    Missing,
    SafelightError,
    StepUpRequired,
    TooLarge,
)

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
STATUS: Final[dict[Kind, int]] = {
    Kind.BAD_REQUEST: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.PRECONDITION_FAILED: 412,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED: 415,
    Kind.UNPROCESSABLE: 422,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
}
EXACT: Final = {
    "method_not_allowed": 405,
    "gone": 410,
    "range_not_satisfiable": 416,
    "misdirected": 421,
    "taken_over": 423,
    "chunk_mismatch": 460,
    "source_failed": 502,
    "source_timed_out": 504,
}
"""Codes whose status is finer than their kind's; tus 1.0 asks for some of them, 460 is its own."""


def status_of(error: SafelightError) -> int:
    """The status code of an error; 500 for one that has no kind of its own."""
    return 500 if error.code == "internal" else EXACT.get(error.code, STATUS[error.kind])


def body_of(status: int, code: str, detail: str, **extra: Any) -> bytes:
    """The problem document; `type` names the code, `title` the status (RFC 9457 section 3.1)."""
    told = {"type": f"urn:safelight:problem:{code}", "title": title_of(status), "status": status, "code": code, "detail": detail}
    return orjson.dumps(told | extra)


def title_of(status: int) -> str:
    """What the status is called."""
    return "Checksum Mismatch" if status == EXACT["chunk_mismatch"] else HTTPStatus(status).phrase


def headers_of(error: SafelightError) -> dict[str, str]:
    """What the status obliges us to say beside the document."""
    headers = {"content-type": MEDIA_TYPE, "cache-control": "no-store"}
    if error.kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="safelight"'
        if isinstance(error, StepUpRequired):  # RFC 9470 section 3
            told = f', error="insufficient_user_authentication", max_age="{error.extra["max_age_s"]}"'
            headers["www-authenticate"] += told
    if error.is_transient or error.kind is Kind.TOO_MANY:
        headers["retry-after"] = str(error.extra.get("retry_after_s", 1))
    return headers


def problem(error: SafelightError) -> Response:
    """The answer to an error."""
    status = status_of(error)
    return Response(body_of(status, error.code, error.detail, **error.extra), status, headers=headers_of(error))


def install(app: FastAPI) -> None:
    """Make every refusal of the app a problem document, the framework's own ones too."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, SafelightError)
        request.state.problem_code = error.code
        request.state.is_hidden = isinstance(error, Hidden)
        if status_of(error) >= 500:
            # A full house is no fault: a traceback for each who is turned away would be work when there is too much of it. What is
            # damaged was logged by its key where that was found.
            is_known = isinstance(error, Busy | DamagedObject)
            log.warning("request.failed", code=error.code, exc_info=None if is_known else error)
        return problem(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        request.state.problem_code = BadField.code
        name = ".".join(where[1:]) or where[0]
        return problem(BadField(f"{name}: {first['msg']}", field=name))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return problem(Missing())
        code = {405: MethodNotAllowed.code, 413: TooLarge.code}.get(error.status_code, BadRequest.code)
        request.state.problem_code = code
        headers = {"content-type": MEDIA_TYPE, **(error.headers or {})}
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request))
        return Response(body_of(error.status_code, code, str(error.detail)), error.status_code, headers=headers)

    app.add_exception_handler(SafelightError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """All that the address answers (RFC 9110 section 15.5.6); the router itself only knows of the first route that it met."""
    routes = iter_route_contexts(app.routes)
    return sorted(
        {method for route in routes if route.matches(request.scope)[0] is not Match.NONE for method in route.methods or ()}
    )
