"""Bare: an application that sends one file from memory, whatever is asked. What the server costs that it runs in. Called by `delivery`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

BODY = Path(os.environ["BARE_FILE"]).read_bytes()
HEADERS = [
    (b"content-type", b"image/webp"),
    (b"content-length", b"%d" % len(BODY)),
    (b"etag", b'"bare"'),
    (b"cache-control", b"private, max-age=3600, immutable"),
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI 3."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
