"""Bodies that are read into memory: small, and whole within a time. A new route is tried by being in the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import re

from safelight.api.app import Front
from safelight.api.edge import SMALL_BYTES
from safelight.settings import Server


def reads_json(operation):
    return any(kind.endswith("json") for kind in operation.get("requestBody", {}).get("content", {}))


async def test_no_route_takes_a_large_json_body_whether_its_size_is_told_or_not(run):
    async with run() as app:
        document = app.client._transport.app.api.openapi()
        tried = [
            (method, re.sub(r"\{\w+\}", "01JZZZZZZZZZZZZZZZZZZZZZZZ", path))
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if reads_json(operation) and path != "/events/s3"  # that looks for the secret before it looks at the body
        ]
        large = json.dumps({"name": "x" * 2 * SMALL_BYTES}).encode()

        async def pieces():
            for start in range(0, len(large), 16_384):
                yield large[start : start + 16_384]

        assert len(tried) > 10
        for method, path in tried:
            for content in (large, pieces()):
                headers = {"content-type": "application/json"}
                answer = await app.client.request(method, path, content=content, headers=headers)
                told = answer.status_code, answer.json()["code"]
                # A patch has a smaller limit of its own, which it meets first when no size is told.
                assert told == (413, "too_large") or (method == "patch" and told == (400, "bad_field")), (method, path, told)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_a_client_that_stops_in_the_middle_of_a_body_is_not_waited_for(run):
    async with run({"server": Server(body_idle_s=0.05)}) as app:
        front: Front = app.client._transport.app
        headers = [(b"authorization", f"Bearer {app.token}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/albums", "raw_path": b"/albums", "query_string": b"", "root_path": "",
                 "scheme": "http", "server": ("test", 80), "client": ("10.0.0.1", 1), "headers": headers, "http_version": "1.1"}  # fmt: skip
        came = iter([{"type": "http.request", "body": b'{"na', "more_body": True}])
        sent = []

        async def receive():
            return next(came, None) or await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        async with asyncio.timeout(60):
            await front(scope, receive, send)
        assert sent[0]["status"] == 400
