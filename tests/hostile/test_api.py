"""Requests made from the OpenAPI document, good ones and broken ones, by users of two tenants and by nobody.

None is a server error, every answer is one that the document promises, what breaks the document's own rules is refused, and nobody is
told anything of anybody else. `make fuzz-api` tries many more; a failure names the request as a curl command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from tests.api.test_idor import Place, places
from tests.people import Person, moved_in
from tests.promises import Promises

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.app import Front
from safelight.domain.accounts import Role
from safelight.settings import Settings
from safelight.wiring import build

CASES = int(os.environ.get("FUZZ_API", "6"))
SEED = int(os.environ.get("FUZZ_SEED", "20"))
WITHIN_S = 60.0
LAST = {
    "privacy_erase_own",
    "privacy_erase_user",
    "auth_end_sessions",
    "auth_end_session",
    "auth_change_password",
    "admin_reset_mfa",
    "tenants_suspend",
}
"""Operations that may end whoever asks: they come last, from people who came for them."""
CHEAP = {"hash_memory_kib": 8192, "hash_passes": 1}
SETTINGS: dict[str, Any] = {
    "rate": {"user_per_s": 0, "address_per_s": 0, "auth_per_minute": 0},
    "auth": {"signup_tenants": "default", **CHEAP},
    "ingest": {"wait_s": 1},
}


def cases(operation: Any, mode: GenerationMode, count: int) -> list[Any]:
    """So many requests of an operation, always the same for one seed."""
    made: list[Any] = []

    @seed(SEED)
    @hypothesis_settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode))
    def make(case: Any) -> None:
        made.append(case)

    with contextlib.suppress(Unsatisfiable):  # nothing about it can be wrong
        make()
    return made[:count]


def requested(case: Any, things: dict[str, str], known: dict[str, list[Place]], dice: random.Random) -> requests.PreparedRequest:
    """The request, now and then about things that there are."""
    for place in known.get(case.operation.definition.raw["operationId"], ()):
        held = {"path": case.path_parameters, "query": case.query, "body": case.body}[place.where]
        if isinstance(held, dict) and place.name in held and place.kind in things and dice.random() < 0.7:
            thing = things[place.kind]
            held[place.name] = [thing] if isinstance(held[place.name], list) else thing
    return requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()


def everything(schema: Any) -> Iterator[tuple[str, Any]]:
    for result in schema.get_all_operations():
        operation = result.ok()
        yield operation.definition.raw["operationId"], operation


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # schemathesis rolls its own dice
async def test_no_request_of_the_document_breaks_a_promise(tmp_path):
    dice = random.Random(SEED)
    safelight = build(Settings(data_dir=tmp_path / "data", **SETTINGS), originals=MemoryStorage(), renditions=MemoryStorage())
    safelight.settings.spool_path.mkdir(parents=True)
    await safelight.catalog.migrate()
    await safelight.catalog.open()
    await safelight.accounts.bootstrap(lambda _: None)
    await safelight.catalog.close()
    front = Front(safelight)
    document = front.api.openapi()
    promises = Promises(document)
    known: dict[str, list[Place]] = {}
    for place in places(document):
        known.setdefault(place.operation, []).append(place)
    seen: Counter[int] = Counter()
    said: dict[str | None, set[str]] = {}
    transport = httpx.ASGITransport(front, raise_app_exceptions=False)
    async with (
        front.api.router.lifespan_context(front.api),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client,
    ):
        safelight.progress.drain()  # or a stream of events would go on for as long as it is read
        ada = await moved_in(front, safelight, "mallards-nest-ada", role=Role.ADMIN, seed=1)
        number = 2

        async def people() -> list[Person | None]:
            nonlocal number
            bob = await moved_in(front, safelight, f"crow-{number}-bob", role=Role.USER, tenant=ada.tenant, seed=number)
            eve = await moved_in(front, safelight, f"crow-{number}-eve", role=Role.ADMIN, seed=number)
            number += 1
            return [bob, eve, None]

        async def tried(case: Any, mode: GenerationMode, who: Person | None) -> None:
            # Now and then it is about what somebody else has.
            whose = ada if who is None or dice.random() < 0.4 else who
            request = requested(case, whose.things, known, dice)
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in ("authorization", "x-api-key")
            }
            async with asyncio.timeout(WITHIN_S):
                answer = await client.request(
                    request.method, request.url, content=request.body, headers=headers | (who.headers if who else {})
                )
            seen[answer.status_code] += 1
            told = f"{who and who.name}, {answer.status_code}: {case.as_curl_command()}\n{answer.text[:500]}"
            assert answer.status_code < 500 or answer.status_code == 503, told
            path = request.path_url.partition("?")[0]
            broken = promises.broken(
                request.method, path, answer.status_code, answer.headers.get("content-type", ""), answer.content
            )
            assert broken is None, f"{broken}: {told}"
            # Whoever is of her tenant may know what it is called, which is after her.
            shared = {ada.tenant, ada.things["signing-keys"]}  # which signs the URLs of all
            text = answer.text.replace(f"of-{ada.name}", "") if who and who.tenant == ada.tenant else answer.text
            # What somebody has said they may be told again, now or later: their own audit trail has it.
            said.setdefault(who and who.name, shared if who and who.tenant == ada.tenant else set()).update(
                mark for mark in ada.marks if mark in request_text(request)
            )
            leaked = [mark for mark in ada.marks if mark in text and mark not in said[who and who.name]]
            assert not leaked, f"{leaked} told to {told}"

        schema = schemathesis.openapi.from_dict(document)
        operations = sorted(everything(schema), key=lambda each: each[0] in LAST)
        callers = await people()
        for name, operation in operations:
            if name in LAST:
                callers = await people()
            for mode, count in ((GenerationMode.POSITIVE, CASES), (GenerationMode.NEGATIVE, max(1, CASES // 2))):
                for index, case in enumerate(cases(operation, mode, count)):
                    await tried(case, mode, callers[index % len(callers)])
    assert {200, 201, 204, 400, 401, 403, 404} <= set(seen), seen


def request_text(request: requests.PreparedRequest) -> str:
    """What the caller said."""
    body = request.body or ""
    return f"{request.url} {body.decode(errors='replace') if isinstance(body, bytes) else body}"
