"""The whole application in this process, over HTTP without a socket; single parts can be put in by a test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.promises import Promises
from tests.zygotes import handed_on

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


class Witness(httpx.ASGITransport):
    """Passes requests on, and holds each answer to what the OpenAPI document promises of it."""

    promises: Promises | None = None

    def __init__(self, front: Front) -> None:
        if Witness.promises is None:  # the same for every application, and not made in no time
            Witness.promises = Promises(front.api.openapi())
        super().__init__(front, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        body = await response.aread()
        media_type = response.headers.get("content-type", "")
        assert self.promises is not None
        broken = self.promises.broken(request.method, request.url.path, response.status_code, media_type, body)
        assert broken is None, broken
        return response


@pytest.fixture(scope="module", autouse=True)
def zygotes() -> Iterator[None]:
    """Applications of a module take a zygote over from each other."""
    with handed_on():
        yield


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The databases of an installation that was opened and closed again: their tables, and nothing in them."""
    folder = tmp_path_factory.mktemp("blank")
    safelight = build(Settings(data_dir=folder))

    async def made() -> None:
        await safelight.catalog.migrate()
        await safelight.catalog.close()
        await safelight.workflows.open()
        await safelight.workflows.close()

    asyncio.run(made())
    return folder


@pytest.fixture
def run(tmp_path: Path, blank: Path) -> Run:
    @asynccontextmanager
    async def running(settings: dict | None = None, **overrides: object) -> AsyncIterator[Running]:
        chosen = Settings(data_dir=tmp_path / "data", **(settings or {}))
        chosen.spool_path.mkdir(parents=True, exist_ok=True)
        for database in ("catalog.db", "workflows.db"):
            if not (chosen.data_dir / database).exists():
                shutil.copy(blank / database, chosen.data_dir)
        safelight = build(chosen, **overrides)
        await safelight.catalog.migrate()
        await safelight.catalog.open()
        token = await safelight.accounts.bootstrap(lambda _: None)
        await safelight.catalog.close()
        front = Front(safelight)
        transport = Witness(front)
        headers = {"authorization": f"Bearer {token}"}
        async with (
            front.api.router.lifespan_context(front.api),
            httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
        ):
            yield Running(safelight, client, token or "")

    return running
