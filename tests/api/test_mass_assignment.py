"""Nobody sets what is not theirs to set by naming it in a body (OWASP API3:2023), tried on every operation that takes JSON.

A valid body is made from the OpenAPI document for every operation, and into it and into every object within it go, one at a time,
fields that some record has and no client sets. Each is refused, and none of the values is in any row afterwards. An operation that this
cannot feed fails, and says what to add. Asked by a plain user, and by the administrator of a tenant, who gets further.
"""

from __future__ import annotations

import copy
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.api.test_idor import BODIES, Place
from tests.people import moved_in

from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.app import Front
from safelight.domain.accounts import Role

NOTHING = "0" * 26
MARK = "01j0smuggled00000000000000"
SMUGGLED: dict[str, Any] = {
    "id": MARK, "tenant": MARK, "tenant_id": MARK, "owner": MARK, "user_id": MARK, "admin": MARK, "made_by": MARK, "asked_by": MARK,
    "role": "operator", "is_admin": True, "is_operator": True, "permissions": [MARK],
    "created_at": "1999-09-09T09:09:09Z", "updated_at": "1999-09-09T09:09:09Z", "verified_at": "1999-09-09T09:09:09Z",
    "suspended_at": "1999-09-09T09:09:09Z", "proven_at": "1999-09-09T09:09:09Z", "disabled_at": "1999-09-09T09:09:09Z",
    "status": MARK, "state": MARK, "bytes": 987_654_321_987, "stored_bytes": 987_654_321_987, "size_bytes": 987_654_321_987,
    "revision": 987_654_321, "version": 987_654_321, "sha256": MARK, "secret": MARK, "secret_hash": MARK, "token": MARK,
    "password_hash": MARK, "erasure": MARK, "domains": [f"{MARK}.example"], "quotas": {"bytes": 987_654_321_987}, "__proto__": {"role": MARK},
}  # fmt: skip
TRACES = re.compile(rf"{MARK}|987654321|936868149|'operator'")
"""Of any of these in a row: the ids, the amounts, the time in seconds or microseconds, the role."""
VALID: dict[str, Any] = {
    **BODIES,
    "recipes_put": {"quality": {"webp": 70}},
    "presets_set": {"options": "w=31"},
    "webhooks_add": {"url": "https://hooks.example.org/x"},
    "admin_add_issuer": {"issuer": "https://accounts.example.org", "audiences": ["app"]},
    "albums_create": {"title": "mine"},
    "albums_add": {"images": [NOTHING]},
    "warmings_add": {"transforms": ["w=20.webp"], "filter": {"tag": "crow"}},
    "purges_add": {"tag": "crow"},
    "tenants_add": {"name": "smuggler"},
    "admin_add_user": {"name": "new one"},
    "admin_add_api_key": {"user": NOTHING},
    "auth_sign_up": {"email": "crow@example.org", "password": "correct horse battery staple"},
    "auth_sign_in": {"email": "crow@example.org", "password": "correct horse battery staple"},
    "auth_forgot_password": {"email": "crow@example.org"},
}
"""A body where the document alone does not make one that is taken."""
RAW = {"events_of_the_store": "takes what an object store says, with the installation's own secret"}
"""Operations whose body is no record of ours, and why."""


def resolved(schema: dict, document: dict) -> dict:
    """Behind references, and the first of several that is not null."""
    while True:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif some := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            schema = next(each for each in some if each.get("type") != "null")
        else:
            return schema


def valid(schema: dict, document: dict) -> Any:
    """Something that the schema takes, with no more than it wants."""
    if "default" in schema:
        return schema["default"]
    schema = resolved(schema, document)
    if examples := schema.get("examples"):
        return examples[0]
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    match schema.get("type"):
        case "object":
            return {name: valid(schema["properties"][name], document) for name in schema.get("required", ())}
        case "array":
            return [valid(schema["items"], document) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return False
    if schema.get("format") == "date-time":
        return (datetime.now(UTC) + timedelta(days=1)).isoformat()
    return "a" * max(8, schema.get("minLength", 1)) if schema.get("maxLength", 99) >= 8 else "a" * schema["maxLength"]


def objects(body: Any, *at: str | int) -> list[tuple[str | int, ...]]:
    """Where in the body objects are, itself first."""
    if isinstance(body, dict):
        return [at, *(place for name, value in body.items() for place in objects(value, *at, name))]
    if isinstance(body, list):
        return [place for number, value in enumerate(body) for place in objects(value, *at, number)]
    return []


def with_field(body: Any, at: tuple[str | int, ...], name: str, value: Any) -> Any:
    body = held = copy.deepcopy(body)
    for step in at:
        held = held[step]
    held[name] = value
    return body


def operations(document: dict) -> list[tuple[str, str, str, dict]]:
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is not None and operation["operationId"] not in RAW:
                found.append((operation["operationId"], method.upper(), path, content["schema"]))
    return found


def traces(app) -> set[str]:
    """Rows with a smuggled value in them; the audit trail may say what was refused."""
    with closing(sqlite3.connect(app.safelight.settings.data_dir / "catalog.db")) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not name.startswith("trail")
        ]
        return {
            f"{table}: {row!r}"
            for table in tables
            for row in database.execute(f'SELECT * FROM "{table}"')
            if TRACES.search(repr(row))
        }


def named(schema: dict, document: dict, at: tuple[str | int, ...]) -> set[str]:
    """The fields that the document lets somebody set in that object; all of them where names are free."""
    schema = resolved(schema, document)
    for step in at:
        inner = (
            schema.get("items")
            if isinstance(step, int)
            else schema.get("properties", {}).get(step, schema.get("additionalProperties"))
        )
        if not isinstance(inner, dict):
            return set(SMUGGLED)
        schema = resolved(inner, document)
    return set(schema.get("properties", {})) if "properties" in schema else set(SMUGGLED)


@pytest.mark.parametrize("role", [Role.USER, Role.ADMIN], ids=str)
async def test_no_field_that_is_not_the_clients_is_taken_from_a_body(run, role):
    settings = {
        "rate": {"user_per_s": 0, "address_per_s": 0, "auth_per_minute": 0},
        "auth": {"signup_tenants": "default", "hash_memory_kib": 8192, "hash_passes": 1},
    }
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        front = Front(app.safelight)
        document = front.api.openapi()
        me = await moved_in(front, app.safelight, "crows-nest-bob", role=role, seed=2)
        before = traces(app)  # the operator whom the installation began with
        tried, unfed = 0, []
        for operation, method, path, schema in operations(document):
            address = path
            for name in re.findall(r"\{(\w+)\}", path):
                kind = Place(operation, method, path, "path", name).kind
                mine = me.things.get(kind, "nothing")
                # An album is lent to others than its owner.
                address = address.replace("{" + name + "}", NOTHING if (operation, name) == ("albums_share", "user") else mine)
            body = VALID.get(operation) or valid(schema, document)
            for at in objects(body):
                taken = named(schema, document, at)
                for name in SMUGGLED.keys() - taken:
                    answer = await app.client.request(
                        method, address, json=with_field(body, at, name, SMUGGLED[name]), headers=me.headers
                    )
                    assert 400 <= answer.status_code < 500, (operation, at, name, answer.status_code, answer.text)
                    tried += 1
            # That it was refused for that field, and not for the rest of the body.
            plain = await app.client.request(method, address, json=body, headers=me.headers)
            code = plain.json().get("code") if plain.status_code >= 400 else ""
            if code in ("bad_field", "bad_request"):
                unfed.append(f"{operation}: {plain.json()['detail']}")
            assert traces(app) == before, operation
        assert not unfed, f"add to VALID bodies that are taken: {unfed}"
        assert tried > 1000
