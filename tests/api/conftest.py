"""The whole application in this process, over HTTP without a socket; single parts can be put in by a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from safelight.api.app import Front
from safelight.settings import Settings
from safelight.wiring import Safelight, build


@dataclass
class Running:
    """An application between start-up and shutdown."""

    safelight: Safelight
    client: httpx.AsyncClient
    token: str


Run = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    @asynccontextmanager
    async def running(settings: dict | None = None, **overrides: object) -> AsyncIterator[Running]:
        chosen = Settings(data_dir=tmp_path / "data", **(settings or {}))
        chosen.spool_path.mkdir(parents=True, exist_ok=True)
        safelight = build(chosen, **overrides)
        await safelight.catalog.migrate()
        await safelight.catalog.open()
        token = await safelight.accounts.bootstrap(lambda _: None)
        await safelight.catalog.close()
        front = Front(safelight)
        transport = httpx.ASGITransport(front, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {token}"}
        async with (
            front.api.router.lifespan_context(front.api),
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
        ):
            yield Running(safelight, client, token or "")

    return running
