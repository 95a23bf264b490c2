"""Server-sent events (WHATWG HTML, section 9.2): the journal as a response that goes on for as long as its client listens.

A stream ends when its client goes away, when the server drains, when its image is purged, and after ten minutes: the client
connects again with the number of what it heard last. It ends too when its credential no longer opens what it did: looked at every
ASKED_EVERY_S, of what this process believes for another five (`services.tokens.BELIEVED_S`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from types import FrameType
from typing import Annotated, Any, Final

import orjson
from fastapi import Query, Request, Response

from safelight.api.client import ClientGone, while_there
from safelight.api.schemas.progress import event_json
from safelight.domain.accounts import Actor
from safelight.domain.events import ImagePurged
from safelight.domain.ids import ImageId
from safelight.domain.journal import Numbered
from safelight.errors import BadField, SafelightError, Unavailable
from safelight.services.progress import Progress

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 2000
BEAT_S: Final = 15.0
"""Less than proxies wait for a word, a minute by default."""
LASTS_S: Final = 600.0
ASKED_EVERY_S: Final = 5.0
"""Whether whoever listens may still listen."""

STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "`id:`, `event:` and `data:` (JSON), as they come.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}
After = Annotated[
    str | None,
    Query(description="Resume behind this id, as `Last-Event-ID` does; `0`: everything that is kept.", max_length=40),
]


def resumed(request: Request, after: str | None) -> int | None:
    """The place to resume from: the header, which a reconnecting client sends, before the address. Raises BadField."""
    name, text = "Last-Event-ID", request.headers.get("last-event-id")
    if text is None:
        name, text = "after", after
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 40):
        raise BadField(f"{name} takes the id of an event.", field=name)
    return int(text)


class EventStream(Response):
    """What the actor may hear from that place on, of everything or of one image that the caller has admitted."""

    def __init__(
        self,
        progress: Progress,
        actor: Actor,
        again: Callable[[], Awaitable[Actor]],
        *,
        after: int | None,
        image: ImageId | None = None,
    ) -> None:
        super().__init__()
        self._again = again
        self._progress = progress
        self._actor = actor
        self._after = after
        self._image = image

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI 3. Raises, before it has begun, what refuses a stream."""
        state = scope["app"].state
        if not getattr(state, "hears_of_the_end", False):
            state.hears_of_the_end = True
            _end_with_the_process(self._progress)
        with self._progress.place(self._actor):
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),  # nginx would hold it back
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async with while_there(receive), aclosing(self._frames()) as frames:
                    async for frame in frames:
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
            except ClientGone:
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        # Not all at the same time, after a restart.
        now = asyncio.get_running_loop().time
        told_at = asked_at = now()
        ends_at = told_at + LASTS_S * random.uniform(0.8, 1.0)  # noqa: S311
        yield b"retry: %d\n\n" % RETRY_MS
        following = self._progress.follow(self._actor, image=self._image, after=self._after, beat_s=ASKED_EVERY_S)
        async with aclosing(following) as entries:
            async for one in entries:
                if now() - asked_at >= ASKED_EVERY_S:
                    if not await self._is_admitted():
                        return
                    asked_at = now()
                if one is not None or now() - told_at >= BEAT_S:
                    yield b":\n\n" if one is None else frame(one)
                    told_at = now()
                is_gone = self._image is not None and one is not None and one.entry.name == ImagePurged.name
                if is_gone or now() > ends_at:
                    return

    async def _is_admitted(self) -> bool:
        try:
            actor = await self._again()
        except Unavailable:
            return True  # a catalog that does not answer has taken nothing from anybody
        except SafelightError:
            return False
        return (actor.tenant, actor.user, actor.role, actor.scopes) == (
            self._actor.tenant,
            self._actor.user,
            self._actor.role,
            self._actor.scopes,
        )


def _end_with_the_process(progress: Progress) -> None:
    """End the streams as soon as the process is asked to end.

    A server lets its requests finish before it tells the application of the end, and ASGI has no earlier word; a stream would
    keep it for as long as its client listens. So the signals are heard here too, before the handler that the server has set.
    """
    loop = asyncio.get_running_loop()

    def heard(before: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def hear(number: int, where: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it every stream
                loop.call_soon_threadsafe(progress.drain)
            before(number, where)

        return hear

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler):
            with contextlib.suppress(ValueError):  # not in the main thread, where the signals are somebody else's
                signal.signal(number, heard(handler))


def frame(one: Numbered) -> bytes:
    """One event. JSON has no line ends, so that one `data:` holds it."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (one.number, one.entry.name.encode(), orjson.dumps(event_json(one.entry)))
