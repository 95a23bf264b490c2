"""Notices: what object stores say has happened to their objects, in the shapes that they say it in. Pure; any JSON is safe here.

    AWS S3, Ceph     {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": .., "object": ..}}]}
    MinIO            the same, eventName with "s3:" before it
    EventBridge      {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": .., "object": ..}}
    SNS              {"Type": "Notification", "Message": "one of the above as text"}
    SeaweedFS        {"key": "/buckets/photos/a.jpg", "event_type": "create", "message": {"new_entry": ..}}

S3 and MinIO write keys as a form would (%2F, + for a space); EventBridge, Ceph and SeaweedFS write them as they are. Sizes,
versions and sequencers are hints at best: whoever acts looks at the object first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

from safelight.errors import BadRequest

MAX_NOTICES: Final = 1000
"""In one document. S3 sends one, MinIO a few; who sends more can send twice."""
_VERSIONED: Final = re.compile(r"(.+)\.versions(?:/v_([0-9A-Za-z]{1,128}))?", re.DOTALL)
"""Where SeaweedFS keeps the versions of an object, in its own namespace."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One object has come to be. The key is as the store knows it; an empty version means that none was said."""

    bucket: str
    key: str
    version: str = ""


def read_notices(document: Any) -> list[Notice]:
    """The objects that this JSON value says have been created; none for tests, deletions and whatever else happens to objects.

    Raises BadRequest for what no store says.
    """
    return _read(document, depth=0)


def _read(document: Any, depth: int) -> list[Notice]:
    if not isinstance(document, Mapping):
        raise BadRequest("A notification is a JSON object.")
    if document.get("Type") == "Notification" and isinstance(message := document.get("Message"), str) and depth == 0:
        return _read(_parsed(message), depth=1)
    if isinstance(records := document.get("Records"), list):
        if len(records) > MAX_NOTICES:
            raise BadRequest(f"A notification has at most {MAX_NOTICES} records.")
        return [notice for record in records if (notice := _record(record)) is not None]
    if document.get("Event") == "s3:TestEvent":
        return []
    if "detail-type" in document:
        notice = _bridged(document)
        return [] if notice is None else [notice]
    if isinstance(document.get("event_type"), str) and isinstance(document.get("key"), str):
        notice = _of_seaweedfs(document)
        return [] if notice is None else [notice]
    raise BadRequest("This is not a notification of a store that Safelight knows.")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("The message of the notification is not JSON.") from None


def _record(record: Any) -> Notice | None:
    if not isinstance(record, Mapping) or not isinstance(name := record.get("eventName"), str):
        raise BadRequest("A record of the notification has no eventName.")
    if not name.removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    entity = record.get("s3")
    if not isinstance(entity, Mapping):
        raise BadRequest("A record of the notification does not say which object.")
    bucket, key, version = _object(entity.get("bucket"), entity.get("object"), version_field="versionId")
    is_plain = str(record.get("eventSource")).startswith("ceph:")
    return Notice(bucket, key if is_plain else unquote_plus(key), version)


def _bridged(document: Mapping[str, Any]) -> Notice | None:
    if document.get("source") != "aws.s3" or document.get("detail-type") != "Object Created":
        return None
    detail = document.get("detail")
    if not isinstance(detail, Mapping):
        raise BadRequest("The event has no detail.")
    return Notice(*_object(detail.get("bucket"), detail.get("object"), version_field="version-id"))


def _object(bucket: Any, entity: Any, *, version_field: str) -> tuple[str, str, str]:
    name = bucket.get("name") if isinstance(bucket, Mapping) else None
    key = entity.get("key") if isinstance(entity, Mapping) else None
    if not isinstance(name, str) or not isinstance(key, str):
        raise BadRequest("The notification does not say which object.")
    version = entity.get(version_field)
    return name, key, version if isinstance(version, str) and version != "null" else ""


def _of_seaweedfs(document: Mapping[str, Any]) -> Notice | None:
    message = document.get("message")
    if not isinstance(message, Mapping):
        raise BadRequest("The notification has no message.")
    entry = message.get("new_entry")
    if document["event_type"] == "delete" or not isinstance(entry, Mapping):
        return None
    key = document["key"]
    if document["event_type"] == "rename" and isinstance(parent := message.get("new_parent_path"), str):
        key = f"{parent}/{entry.get('name')}"
    place, _, path = key.removeprefix("/buckets/").partition("/")
    if not key.startswith("/buckets/") or not place or not path:
        return None
    if (versioned := _VERSIONED.fullmatch(path)) is not None:
        return Notice(place, versioned[1], versioned[2] or "")
    return None if entry.get("is_directory") else Notice(place, path)
