"""/health and /metrics: live asks nobody, ready asks every part within a time limit."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from fastapi import Request, Response
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from safelight.api.auth import Hall
from safelight.api.routes.room import room
from safelight.api.schemas.progress import ReadyOut

log = structlog.get_logger()
router = room("health")
PING_S = 2.0
FIGURES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Figures.", "content": {"application/openmetrics-text": {"schema": {"type": "string"}}}}
}


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
async def ready(hall: Hall, response: Response) -> ReadyOut:
    """Every part answers; 503 with the names of those that do not, 200 where all that is missing makes us slower."""

    async def ask(name: str) -> tuple[str, Exception | None]:
        try:
            async with asyncio.timeout(PING_S):
                await hall.pings[name]()
        except Exception as error:  # noqa: BLE001 (told below, when every part has answered: a traceback takes its time)
            return name, error
        return name, None

    vital = {part.name for part in hall.parts if part.is_vital}
    parts: dict[str, str] = {}
    for name, error in await asyncio.gather(*map(ask, hall.pings)):
        parts[name] = "ok" if error is None else "failed" if name in vital else "degraded"
        if error is not None:
            log.warning("ready.part_failed", part=name, exc_info=error)
    is_ready = "failed" not in parts.values() and not hall.is_draining
    response.status_code = 200 if is_ready else 503
    response.headers["cache-control"] = "no-store"
    status = "failed" if not is_ready else "degraded" if "degraded" in parts.values() else "ok"
    return ReadyOut(status=status, parts=parts)


@router.get("/metrics", response_class=Response, responses=FIGURES)
async def metrics(request: Request, hall: Hall) -> Response:
    """OpenMetrics text."""
    text: bytes = generate_latest(hall.instruments.registry)  # type: ignore[no-untyped-call]
    return Response(text, media_type=CONTENT_TYPE_LATEST)
