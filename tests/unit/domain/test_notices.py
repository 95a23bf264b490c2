"""Notices: each store's shape as its documentation or the server itself gives it, and anything else is refused or means nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain.notices import MAX_NOTICES, Notice, read_notices
from safelight.errors import BadRequest


def record(name="ObjectCreated:Put", key="incoming/t/u", **object_):
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-06-21T12:00:00.000Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos"},
            "object": {
                "key": key,
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "sequencer": "0055AED6DCD90281E5",
                **object_,
            },
        },
    }


EVENT_BRIDGE = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {
        "version": "0",
        "bucket": {"name": "photos"},
        "object": {
            "key": "incoming/a+b %2F.jpg",
            "size": 5,
            "etag": "b1946ac9",
            "version-id": "IYV3p45B",
            "sequencer": "00617F08299329D189",
        },
        "reason": "PutObject",
    },
}
TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-06-21T12:00:00.000Z",
    "Bucket": "photos",
    "RequestId": "5582815E1AEA5ADF",
}
MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "photos/incoming/t/u",
    "Records": [{**record("s3:ObjectCreated:Put", "incoming%2Ft%2Fu", versionId="null"), "eventSource": "minio:s3"}],
}
SNS = {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": json.dumps({"Records": [record()]})}


def seaweedfs(event="create", key="/buckets/photos/incoming/t/u", entry=None, **message):
    new_entry = {"name": key.rpartition("/")[2], "attributes": {"file_size": 5}} if entry is None else entry
    return {
        "event_type": event,
        "key": key,
        "message": {"new_entry": new_entry, "new_parent_path": key.rpartition("/")[0], **message},
    }


PLAIN = Notice("photos", "incoming/t/u")
TOLD = {
    "AWS": ({"Records": [record()]}, [PLAIN]),
    "AWS, with a version": (
        {"Records": [record(versionId="096fKKXTRTtl3on89fVO")]},
        [Notice("photos", "incoming/t/u", "096fKKXTRTtl3on89fVO")],
    ),
    "AWS, a form": ({"Records": [record("ObjectCreated:Post")]}, [PLAIN]),
    "AWS, parts put together": ({"Records": [record("ObjectCreated:CompleteMultipartUpload")]}, [PLAIN]),
    "AWS, a key written as a form": (
        {"Records": [record(key="drop/Gr%C3%BC%C3%9Fe+a%2Bb.jpg")]},
        [Notice("photos", "drop/Grüße a+b.jpg")],
    ),
    "AWS, several": ({"Records": [record(), record(key="a"), record()]}, [PLAIN, Notice("photos", "a"), PLAIN]),
    "AWS, a deletion": ({"Records": [record("ObjectRemoved:Delete")]}, []),
    "AWS, a delete marker": ({"Records": [record("ObjectRemoved:DeleteMarkerCreated", versionId="x")]}, []),
    "AWS, a lifecycle": ({"Records": [record("LifecycleExpiration:Delete"), record("ObjectRestore:Completed")]}, []),
    "AWS, nothing": ({"Records": []}, []),
    "AWS, a test": (TEST_EVENT, []),
    "SNS": (SNS, [PLAIN]),
    "SNS, a test": (SNS | {"Message": json.dumps(TEST_EVENT)}, []),
    "Ceph, whose keys are as they are": (
        {"Records": [{**record(key="a+b%2F"), "eventSource": "ceph:s3"}]},
        [Notice("photos", "a+b%2F")],
    ),
    "EventBridge, whose keys are as they are": (EVENT_BRIDGE, [Notice("photos", "incoming/a+b %2F.jpg", "IYV3p45B")]),
    "EventBridge, a deletion": (EVENT_BRIDGE | {"detail-type": "Object Deleted"}, []),
    "EventBridge, of something else": (EVENT_BRIDGE | {"source": "aws.ec2"}, []),
    "MinIO": (MINIO, [PLAIN]),
    "SeaweedFS": (seaweedfs(), [PLAIN]),
    "SeaweedFS, written again": (seaweedfs("update"), [PLAIN]),
    "SeaweedFS, a version": (
        seaweedfs(key="/buckets/photos/incoming/t/u.versions/v_6715eb8f"),
        [Notice("photos", "incoming/t/u", "6715eb8f")],
    ),
    "SeaweedFS, its newest version": (
        seaweedfs("update", "/buckets/photos/incoming/t/u.versions", {"name": "u.versions", "is_directory": True}),
        [PLAIN],
    ),
    "SeaweedFS, a folder": (seaweedfs(entry={"name": "u", "is_directory": True}), []),
    "SeaweedFS, a deletion": (seaweedfs("delete"), []),
    "SeaweedFS, moved": (
        seaweedfs("rename", "/buckets/photos/tmp/x", {"name": "u"}, new_parent_path="/buckets/photos/incoming/t"),
        [PLAIN],
    ),
    "SeaweedFS, outside of buckets": (seaweedfs(key="/topics/a"), []),
}


@pytest.mark.parametrize(("document", "notices"), TOLD.values(), ids=TOLD)
def test_a_stores_notification_tells_what_was_created(document, notices):
    assert read_notices(document) == notices


NONSENSE = {
    "nothing": None,
    "a list": [],
    "a text": "s3:TestEvent",
    "an empty object": {},
    "records that are none": {"Records": {}},
    "a record that is none": {"Records": [1]},
    "a record without a name": {"Records": [{}]},
    "a record without an object": {"Records": [record() | {"s3": None}]},
    "a bucket that is none": {"Records": [record() | {"s3": {"bucket": "photos", "object": {"key": "a"}}}]},
    "a key that is none": {"Records": [record(key=["a"])]},
    "too many records": {"Records": [record()] * (MAX_NOTICES + 1)},
    "SNS with something else": SNS | {"Message": "hello"},
    "SNS in SNS": SNS | {"Message": json.dumps(SNS)},
    "SNS that wants to be confirmed": {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.example/"},
    "EventBridge without detail": EVENT_BRIDGE | {"detail": []},
    "SeaweedFS without a message": {"event_type": "create", "key": "/buckets/a/b"},
}


@pytest.mark.parametrize("document", NONSENSE.values(), ids=NONSENSE)
def test_what_no_store_says_is_refused(document):
    with pytest.raises(BadRequest):
        read_notices(document)


WORDS = st.sampled_from(
    ["Records", "eventName", "s3", "bucket", "object", "key", "name", "versionId", "detail", "detail-type", "source", "Type", "Message",
     "Event", "event_type", "message", "new_entry", "new_parent_path", "is_directory", "eventSource"]
)  # fmt: skip
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["ObjectCreated:Put", "Notification", "Object Created", "aws.s3", "create", "rename", "/buckets/a/b", "/buckets/a/b.versions/v_1",
                       "%", "%zz", "\ud800", json.dumps({"Records": []})])
)  # fmt: skip
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=8),
    max_leaves=40,
)


def planted(whole, inner, path):
    if not path:
        return inner
    if isinstance(whole, dict) and whole:
        name = sorted(whole)[path[0] % len(whole)]
        return whole | {name: planted(whole[name], inner, path[1:])}
    if isinstance(whole, list) and whole:
        at = path[0] % len(whole)
        return [*whole[:at], planted(whole[at], inner, path[1:]), *whole[at + 1 :]]
    return inner


HARMED = st.builds(
    planted,
    st.sampled_from([document for document, _ in TOLD.values()]),
    JSON,
    st.lists(st.integers(0, 10), min_size=1, max_size=6),
)


@given(JSON | HARMED)
@settings(max_examples=500, deadline=None)
def test_any_json_is_notices_or_a_clean_refusal(document):
    try:
        notices = read_notices(document)
    except BadRequest:
        return
    assert all(type(part) is str for notice in notices for part in (notice.bucket, notice.key, notice.version))
