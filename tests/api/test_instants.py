"""Points in time that somebody names: RFC 3339 with an offset and nothing else, wherever the OpenAPI document takes one."""

from __future__ import annotations

import json

import pytest
from tests.api.test_idor import BODIES

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.api.app import create_api
from safelight.settings import Settings
from safelight.wiring import build

REFUSED = (
    "0.5", "0", "1700000000", "1e9", "-1", "NaN", "inf", "2026-06-01", "2026-06-01T12:00", "2026-06-01T12:00:00", "12:00:00Z",
    "2026-06-01 12:00:00Z", "2026-06-01T12:00:00+0100", "20260601T120000Z", "P1D", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "٢٠٢٦-06-01T12:00:00Z", "2026-06-01T12:00:00Z\n",
)  # fmt: skip


def whole():
    return create_api(build(Settings())).openapi()


def is_instant(schema):
    return schema.get("format") == "date-time" or any(is_instant(each) for each in schema.get("anyOf", ()))


def queries(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query" and is_instant(parameter["schema"]):
                    yield method, path, parameter["name"]


def bodies(document):
    """Operations with a JSON body that takes one, and where in it."""

    def within(schema, *at):
        for ref in [each.get("$ref") for each in (schema, *schema.get("anyOf", ()))]:
            if ref:
                schema = document["components"]["schemas"][ref.rpartition("/")[2]]
        for name, field in schema.get("properties", {}).items():
            if is_instant(field):
                yield (*at, name)
            else:
                yield from within(field, *at, name)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            for at in within(content["schema"]) if content else ():
                yield operation["operationId"], method, path, at


async def test_a_number_is_no_point_in_time_nor_is_a_date_alone_nor_a_time_without_its_offset(run):
    document = whole()
    asked, sent = list(queries(document)), list(bodies(document))
    assert {("get", "/admin/audit", "to"), ("get", "/images", "created_after"), ("delete", "/admin/failures", "before")} <= set(
        asked
    )
    assert {at for _, _, _, at in sent} >= {("expires_at",), ("since",), ("filter", "after")}
    async with run({"rate": {"user_per_s": 0, "address_per_s": 0}}, catalog=MemoryCatalog()) as app:
        for method, path, name in asked:
            for text in REFUSED:
                answer = await app.client.request(method, path, params={name: text})
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_field"), (method, path, name, text, answer.text)
        for operation, method, path, at in sent:
            for value in (*REFUSED, 0, 0.5, 1700000000, True, [], {}):
                body = json.loads(json.dumps(BODIES.get(operation, {})))
                held = body
                for each in at[:-1]:
                    held = held.setdefault(each, {})
                held[at[-1]] = value
                answer = await app.client.request(method, path.replace("{id}", "0" * 26).replace("{user}", "0" * 26), json=body)
                assert (answer.status_code, answer.json()["code"]) == (400, "bad_field"), (operation, at, value, answer.text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-01T12:00:00Z",
        "2026-06-01t12:00:00.123456z",
        "2026-06-01T12:00:00+05:30",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
async def test_an_instant_is_taken_with_any_offset(run, text):
    async with run(catalog=MemoryCatalog()) as app:
        for path, name in (("/images", "created_after"), ("/admin/audit", "to"), ("/admin/failures", "before")):
            answer = await app.client.get(path, params={name: text})
            assert answer.status_code == 200, (path, answer.text)
