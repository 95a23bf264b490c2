"""The OpenAPI document: what the framework reads off the routes, with the refusals, credentials and words that it cannot know.

What a route may refuse with follows from its shape: who asks, ids in its path, parameters, a body, a condition. What its service may
refuse beyond that it declares itself, with `refusals.refuses`. Nothing here is called by a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from safelight.api import auth
from safelight.api.conditions import if_match
from safelight.api.problems import MEDIA_TYPE, body_of, status_of, title_of
from safelight.api.rates import UNCOUNTED
from safelight.api.refusals import Errors, declared_by
from safelight.api.schemas.common import ProblemOut
from safelight.api.schemas.images import ImagePatch
from safelight.api.schemas.sharing import PassIn
from safelight.errors import (
    BackendUnavailable,
    BadField,
    BadRequest,
    Busy,
    Forbidden,
    Misdirected,
    Missing,
    SafelightError,
    Stale,
    StepUpRequired,
    TenantSuspended,
    TooLarge,
    TooMany,
    Unauthenticated,
)

_ASKED: Final[Errors] = (Unauthenticated, Forbidden, TenantSuspended, Misdirected)
_SCHEMAS: Final[tuple[type[BaseModel], ...]] = (ProblemOut, ImagePatch, PassIn)
"""Of bodies that routes read by themselves, so that the framework does not meet them."""
_SECURITY: Final[list[dict[str, list[str]]]] = [{"api_key": []}]
_SCHEMES: Final = {
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, `sl_…`, or an access token of `POST /auth/signin`. Tools that cannot send it as a bearer token"
        " say it in `X-API-Key`.",
    },
}
_TAGS: Final = {
    "images": "Take in, find, change, replace and trash images, and sign the URLs of their renditions.",
    "warmings": "Make renditions before somebody asks for them.",
    "uploads": "Send a file straight to the store.",
    "imports": "Let Safelight fetch a file.",
    "albums": "Put images in order.",
    "shared": "Albums, for whoever has a link to them.",
    "events": "What happens to images, as it happens.",
    "auth": "Sign up, sign in, sessions, passwords, second factors, passkeys.",
    "me": "Your API keys.",
    "usage": "What tenants use, and what it costs.",
    "privacy": "Take everything with you, or have it erased.",
    "admin": "Users, keys, issuers, dead letters and the search index, for admins and operators.",
    "tenants": "For operators; an admin's own.",
    "sources": "Pictures that lie elsewhere.",
    "presets": "A tenant's own names for transforms.",
    "recipes": "How a tenant's pictures are developed, and which recipe is for which of them.",
    "redevelopments": "Develop pictures again, many of them and not too fast.",
    "webhooks": "Whom to tell of what happens.",
    "purges": "What CDNs are to let go of.",
    "audit": "Who did what.",
    "health": "For load balancers and Prometheus.",
}
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"description": "What would be believed (RFC 9110, RFC 9470).", "schema": {"type": "string"}}},
    429: _RETRY,
    503: _RETRY,
}


def install(api: FastAPI) -> None:
    """Let the application tell this document, made when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _document(api)
        return api.openapi_schema

    api.__dict__["openapi"] = openapi


def _document(api: FastAPI) -> dict[str, Any]:
    document = FastAPI.openapi(api)
    components = document["components"]
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own refusals, which nobody gets
        schemas.pop(name, None)
    for model in _SCHEMAS:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    components["securitySchemes"] = _SCHEMES
    examples: dict[str, Any] = {}
    used: set[str] = set()
    for route in iter_route_contexts(api.routes):
        for method in route.methods or ():
            operation = document["paths"].get(route.path_format, {}).get(method.lower())
            if operation is None or route.path_format is None or route.endpoint is None:
                continue
            used |= set(operation["tags"])
            errors = sorted({*_implied(route.path_format, route.dependant, operation), *declared_by(route.endpoint)}, key=_order)
            examples |= {error.code: _example(error) for error in errors}
            operation["summary"] = _summary(operation["description"])
            operation["responses"].pop("422", None)
            _add_refusals(operation["responses"], errors)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            if _is_asked(route.dependant):
                operation["security"] = _SECURITY
    components["examples"] = dict(sorted(examples.items()))
    document["tags"] = [{"name": name, "description": words} for name, words in _TAGS.items() if name in used]
    return document


def _summary(description: str) -> str:
    """The first sentence, or as much of it as fits a list."""
    first = (
        description.split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0].split("; ", maxsplit=1)[0].split(": ", maxsplit=1)[0]
    )
    return first.removesuffix(".")


def _implied(path: str, dependant: Dependant, operation: dict[str, Any]) -> Iterator[type[SafelightError]]:
    calls = set(_calls(dependant))
    if path in UNCOUNTED:  # for machines that ask all day, and are told how things stand rather than refused
        return
    yield TooMany
    yield Busy
    if auth.hall in calls or auth.actor in calls:
        yield BackendUnavailable
    if auth.actor in calls:
        yield from _ASKED
    parameters = operation.get("parameters", ())
    if any(each["in"] == "path" and each["schema"].get("type") != "integer" for each in parameters):
        yield Missing
    if any(each["in"] != "path" or each["schema"].get("type") == "integer" for each in parameters):
        yield BadField
    if "requestBody" in operation:
        yield from (BadField, BadRequest, TooLarge)
    if if_match in calls:
        yield Stale


def _calls(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for each in dependant.dependencies:
        yield from _calls(each)


def _is_asked(dependant: Dependant) -> bool:
    return auth.actor in set(_calls(dependant))


def _order(error: type[SafelightError]) -> tuple[int, str]:
    return status_of(error()), error.code


def _example(error: type[SafelightError]) -> dict[str, Any]:
    shown = error(max_age_s=300) if error is StepUpRequired else error()
    return {"summary": shown.detail, "value": orjson.loads(body_of(status_of(shown), shown.code, shown.detail, **shown.extra))}


def _add_refusals(responses: dict[str, Any], errors: Iterable[type[SafelightError]]) -> None:
    """A response for each status, with its codes as examples; beside what the route answers with that status itself."""
    for error in errors:
        status = status_of(error())
        response = responses.setdefault(str(status), {"description": ""})
        content = response.setdefault("content", {})
        problem = content.setdefault(MEDIA_TYPE, {"schema": {"$ref": "#/components/schemas/ProblemOut"}, "examples": {}})
        problem["examples"][error.code] = {"$ref": f"#/components/examples/{error.code}"}
        codes = ", ".join(f"`{code}`" for code in problem["examples"])
        if set(content) == {MEDIA_TYPE}:
            response["description"] = f"{title_of(status)}: {codes}."
            if status in _HEADERS:
                response["headers"] = _HEADERS[status]
