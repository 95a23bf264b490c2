"""Answers held against the OpenAPI document: the status, the code of a refusal, the media type and the shape of what is told."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema_rs

from safelight.api.problems import MEDIA_TYPE


class Promises:
    """What one document promises."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        # The fixed before the patterned, as the router has them.
        paths = sorted(document["paths"], key=lambda path: path.count("{"))
        self._paths = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), document["paths"][path]) for path in paths]

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """What the document says of it; None where it says nothing."""
        for pattern, operations in self._paths:
            if pattern.fullmatch(path):
                return operations.get(method.lower())
        return None

    def broken(self, method: str, path: str, status: int, media_type: str, body: bytes) -> str | None:
        """How the answer breaks the promise; None where it does not, or nothing is promised."""
        operation = self.operation(method, path)
        if operation is None or status == 500:
            return None
        where = f"{method} {path} ({operation['operationId']}) answered {status}"
        response = operation["responses"].get(str(status))
        if response is None:
            return f"{where}, which is not documented: {body[:300]!r}"
        content = response.get("content", {})
        plain = media_type.partition(";")[0]
        if not content:
            return f"{where} with a body that is not documented" if body else None
        told = content.get(plain) or content.get(f"{plain.partition('/')[0]}/*")
        if told is None:
            return f"{where} as {media_type!r}, which is not documented"
        if plain not in ("application/json", MEDIA_TYPE):
            return None
        value = json.loads(body)
        if plain == MEDIA_TYPE and value["code"] not in told["examples"]:
            return f"{where} with the code {value['code']!r}, which is not declared: add it to `@refuses` of the route"
        error = next(self._validator(operation["operationId"], status, plain).iter_errors(value), None)
        return f"{where} with another shape: {error.message} at {error.instance_path}" if error else None

    @functools.cache  # noqa: B019 (a handful of these live as long as the tests)
    def _validator(self, operation_id: str, status: int, media_type: str) -> Any:
        [operation] = [
            operation
            for operations in self.document["paths"].values()
            for operation in operations.values()
            if operation["operationId"] == operation_id
        ]
        schema = operation["responses"][str(status)]["content"][media_type]["schema"]
        return jsonschema_rs.Draft202012Validator({"components": self.document["components"], "allOf": [schema]})
