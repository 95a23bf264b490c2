"""/events: what happens to images, told as it happens; and what the object store tells of what has been put into it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import orjson
from fastapi import Request, Response

from safelight.api.auth import Asking, Hall, asking_again
from safelight.api.refusals import refuses
from safelight.api.routes.images import small_body
from safelight.api.routes.room import room
from safelight.api.schemas.uploads import HeardOut
from safelight.api.streams import STREAM, After, EventStream, resumed
from safelight.errors import BadField, BadRequest, Busy, Forbidden, TooManyStreams, Unauthenticated

router = room("events", "/events")

MAX_BYTES: Final = 1024 * 1024
"""Four times what S3 or EventBridge send at most."""
SIGNATURE: Final = "x-safelight-signature"
NOTIFICATION: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "As the store, SNS or EventBridge sends it."}}
        },
    }
}


@router.get("", response_class=Response, responses=STREAM)
@refuses(Busy, TooManyStreams)
async def follow(request: Request, hall: Hall, actor: Asking, after: After = None) -> EventStream:
    """What happens to your images, as it happens (server-sent events), from now on unless you resume; admins: to the tenant's."""
    return EventStream(hall.progress, actor, asking_again(request), after=resumed(request, after))


@router.post("/s3", response_model=HeardOut, openapi_extra=NOTIFICATION)
@refuses(BadField, BadRequest, Forbidden, Unauthenticated)
async def of_the_store(request: Request, hall: Hall) -> HeardOut:
    """Notifications of AWS S3 (also through SNS or EventBridge), MinIO or SeaweedFS; sent with the secret of the settings."""
    secret = hall.settings.events.secret.get_secret_value()
    if not secret:
        raise Forbidden("This installation takes no events: SAFELIGHT_EVENTS__SECRET is not set.")
    body = await _trusted_body(request, secret.encode())
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is not JSON.") from None
    heard = await hall.store_events.hear(document)
    return HeardOut(**{outcome.value: count for outcome, count in heard.items()})


async def _trusted_body(request: Request, secret: bytes) -> bytes:
    """The body, from someone who has the secret: as a bearer, or as the key of an HMAC-SHA256 of the body."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        # Before the body: a stranger cannot make us read it.
        if not hmac.compare_digest(token.strip().encode(errors="replace"), secret):
            raise Unauthenticated
        return await small_body(request, MAX_BYTES)
    given = request.headers.get(SIGNATURE, "")
    if not given.startswith("sha256="):
        raise Unauthenticated
    body = await small_body(request, MAX_BYTES)
    if not hmac.compare_digest(given.removeprefix("sha256=").encode(errors="replace"), _mac(body, secret)):
        raise Unauthenticated
    return body


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
