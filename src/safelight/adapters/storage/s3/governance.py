"""Governance: what the buckets should be besides being there, set and verified item by item. Called by `safelight bucket`.

The desired state is data: `desired` makes it, `check` compares, `apply` also writes. Every item is written alone and read back,
so that one rule a server lacks does not keep the others, and so that an answer of 200 is not taken for a kept setting. What
others have put into a policy, a lifecycle, CORS rules or notifications stays: ours are known by their ids.

It never looks at versioning first, nor needs an open S3Store: it is what makes a bucket fit to be opened.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from safelight.adapters.storage.s3 import faults
from safelight.adapters.storage.s3.connection import Connection
from safelight.adapters.storage.s3.faults import Fault
from safelight.adapters.storage.s3.options import BucketName, S3Options
from safelight.errors import SafelightError

log = structlog.get_logger(__name__)

State = Literal["applied", "already", "drift", "unsupported", "failed"]

_DATA_ACTIONS: Final = [
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:PutObject",
]
"""Denied from other addresses. Configuration is not: a wrong allow-list must not lock out whoever comes to mend it."""
_UNSUPPORTED: Final = frozenset({"NotImplemented", "MalformedXML", "MethodNotAllowed", "XNotImplemented"})
_LACKING: Final[Mapping[str, frozenset[str]]] = {
    # Reading these is answered as if they had never been set, so only a write would tell; see docs/reference/bucket.md.
    "SeaweedFS": frozenset({"archive", "intelligent_tiering", "event_notification", "public_access_block"}),
    "MinIO": frozenset({"cors", "abort_multipart", "public_access_block"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Governance:
    """What an operator may choose. None or () leaves an item out."""

    ip_allow_list: tuple[str, ...] = ()
    """Networks (CIDR) from which objects may be read and written."""
    cors_origins: tuple[str, ...] = ()
    """Origins of pages that upload directly."""
    queue_arn: str | None = None
    """SQS queue that hears of objects under `incoming/`."""
    archive_after_days: int | None = 90
    archive_storage_class: str = "GLACIER_IR"
    """One that still answers at once: an original may be read at any time."""
    tiering_after_days: int | None = 30
    noncurrent_days: int | None = 90
    """Longer than trash lasts: what is in the trash is noncurrent."""


@dataclass(frozen=True, slots=True)
class Item:
    """How it stands with one thing of one bucket."""

    bucket: str
    name: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Aspect:
    """A part of a bucket's configuration: how to read the entry with an id, and how to write it beside the others."""

    read: Callable[[Connection, str, str], Awaitable[Any]]
    write: Callable[[Connection, str, str, Any], Awaitable[None]]
    canonical: Callable[[Any], Any] = lambda value: value
    """The same for all spellings of one meaning, since servers answer in their own."""


@dataclass(frozen=True, slots=True)
class Desired:
    """One item as it should be. With a reason not to, it is reported as unsupported and never written."""

    bucket: str
    name: str
    aspect: Aspect
    id: str
    value: Any
    reason_not_to: str = ""


def desired(options: S3Options, governance: Governance) -> list[Desired]:
    """Everything that the two buckets should be."""
    return [item for name in ("originals", "renditions") for item in _of_bucket(options, governance, name)]


async def apply(options: S3Options, governance: Governance) -> list[Item]:
    """Set what is not so yet. Errors are the items' states; raises WrongState without credentials."""
    return await _each(options, governance, is_writing=True)


async def check(options: S3Options, governance: Governance, *, only: str | None = None) -> list[Item]:
    """Compare, and write nothing. Errors are the items' states; raises WrongState without credentials."""
    return await _each(options, governance, is_writing=False, only=only)


async def _each(options: S3Options, governance: Governance, *, is_writing: bool, only: str | None = None) -> list[Item]:
    connection = await Connection.make(options)
    try:
        # Some servers describe a bucket that is not there as one without settings.
        found = {bucket: await _server(connection, bucket) for bucket in (options.originals_bucket, options.renditions_bucket)}
        items = []
        for item in desired(options, governance):
            if only not in {None, item.name}:
                continue
            server = found[item.bucket]
            if isinstance(server, Fault):
                outcome, detail = _refusal(options, server)
                items.append(Item(item.bucket, item.name, "failed", f"the bucket cannot be reached: {detail}"))
                continue
            outcome, detail = await _settle(connection, item, server, is_writing=is_writing)
            items.append(Item(item.bucket, item.name, outcome, detail))
            log.info("bucket.item", bucket=item.bucket, name=item.name, state=outcome)
        return items
    finally:
        await connection.close()


async def _server(connection: Connection, bucket: str) -> str | Fault:
    """What the server calls itself; the fault when it does not let us look at the bucket's configuration.

    Not a HEAD of the bucket: that counts as listing it, which an allow-list denies to who comes to mend it.
    """
    try:
        answer = await connection.call("look", lambda: connection.client.get_bucket_versioning(Bucket=bucket), is_quiet=True)
    except SafelightError as error:
        fault = _fault(error)
        if fault is None:
            raise
        return fault
    return str(answer["ResponseMetadata"]["HTTPHeaders"].get("server", ""))


def _fault(error: SafelightError) -> Fault | None:
    return faults.read(error.__cause__) if isinstance(error.__cause__, Exception) else None


async def _settle(connection: Connection, item: Desired, server: str, *, is_writing: bool) -> tuple[State, str]:
    if item.reason_not_to:
        return "unsupported", item.reason_not_to
    aspect, wanted = item.aspect, item.aspect.canonical(item.value)
    try:
        before = await aspect.read(connection, item.bucket, item.id)
        if before is not None and aspect.canonical(before) == wanted:
            return "already", ""
        if not is_writing:
            if any(server.startswith(name) and item.name in lacking for name, lacking in _LACKING.items()):
                return "unsupported", f"{server.split(maxsplit=1)[0]} does not have it"
            return "drift", "not set" if before is None else f"is {_short(before)}"
        await aspect.write(connection, item.bucket, item.id, item.value)
        after = await aspect.read(connection, item.bucket, item.id)
    except SafelightError as error:
        fault = _fault(error)
        return _refusal(connection.options, fault) if fault is not None else ("failed", error.detail)
    if after is None or aspect.canonical(after) != wanted:
        return "unsupported", f"accepted, but is {_short(after)}" if after is not None else "accepted, but not kept"
    return "applied", "" if before is None else f"was {_short(before)}"


def _refusal(options: S3Options, fault: Fault) -> tuple[State, str]:
    said = fault.code or (f"status {fault.status}" if fault.status else "no answer")
    # SeaweedFS takes a sub-resource it does not know for the creation of the bucket.
    is_lacking = fault.code in _UNSUPPORTED or fault.code.startswith("BucketAlready") or fault.status in {405, 501}
    # AWS has them all, so there a 400 is a wrong setting: a queue that is not there, a key of another region.
    is_lacking = is_lacking or (fault.status == 400 and options.endpoint_url is not None)
    return ("unsupported" if is_lacking else "failed"), said


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 200 else text[:197] + "..."


def _of_bucket(options: S3Options, governance: Governance, name: BucketName) -> list[Desired]:
    bucket, prefix = options.bucket(name), options.prefix
    found: list[Desired] = []

    def add(item: str, aspect: Aspect, value: Any, *, reason_not_to: str = "") -> None:
        found.append(Desired(bucket, item, aspect, f"safelight-{item.replace('_', '-')}", value, reason_not_to))

    def rule(item: str, what: Mapping[str, Any], *, below: str = "") -> None:
        value = {"ID": f"safelight-{item.replace('_', '-')}", "Status": "Enabled", "Filter": {"Prefix": prefix + below}, **what}
        add(item, _LIFECYCLE, value)

    add("versioning", _VERSIONING, "Enabled")
    if options.is_encrypted:
        key_id = options.key_id(name)
        sealing = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_id} if key_id else {"SSEAlgorithm": "AES256"}
        add("encryption", _ENCRYPTION, {"ApplyServerSideEncryptionByDefault": sealing, "BucketKeyEnabled": key_id is not None})
    is_plain = (options.endpoint_url or "").startswith("http://")
    add(
        "https_only",
        _POLICY,
        _denial(bucket, "safelight-https-only", ["s3:*"], {"Bool": {"aws:SecureTransport": "false"}}),
        reason_not_to="the endpoint is http://, so this would lock out Safelight itself" if is_plain else "",
    )
    if governance.ip_allow_list:
        networks = {"NotIpAddress": {"aws:SourceIp": sorted(governance.ip_allow_list)}}
        add("ip_allow_list", _POLICY, _denial(bucket, "safelight-ip-allow-list", _DATA_ACTIONS, networks))
    everything = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    add("public_access_block", _PUBLIC_ACCESS, dict.fromkeys(everything, True))
    rule("abort_multipart", {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    if governance.noncurrent_days is not None:
        rule("noncurrent_versions", {"NoncurrentVersionExpiration": {"NoncurrentDays": governance.noncurrent_days}})
    if name == "renditions":
        if governance.tiering_after_days is not None:
            rule("intelligent_tiering", _transition(governance.tiering_after_days, "INTELLIGENT_TIERING"))
        return found
    if governance.archive_after_days is not None:
        rule("archive", _transition(governance.archive_after_days, governance.archive_storage_class))
    rule("expire_incoming", {"Expiration": {"Days": 1}}, below="incoming/")
    if governance.cors_origins:
        add(
            "cors",
            _CORS,
            {
                "ID": "safelight-cors",
                "AllowedOrigins": sorted(governance.cors_origins),
                "AllowedMethods": ["GET", "POST", "PUT"],
                "AllowedHeaders": ["*"],
                "ExposeHeaders": ["ETag"],
                "MaxAgeSeconds": 600,
            },
        )
    if governance.queue_arn is not None:
        where = {"Key": {"FilterRules": [{"Name": "prefix", "Value": f"{prefix}incoming/"}]}}
        add(
            "event_notification",
            _NOTIFICATION,
            {
                "Id": "safelight-event-notification",
                "QueueArn": governance.queue_arn,
                "Events": ["s3:ObjectCreated:*"],
                "Filter": where,
            },
        )
    return found


def _transition(days: int, storage_class: str) -> dict[str, Any]:
    return {"Transitions": [{"Days": days, "StorageClass": storage_class}]}


def _denial(bucket: str, sid: str, actions: Sequence[str], condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": condition,
    }


# How each aspect is read and written. Every request goes through Connection.call, with its deadline and retries.


async def _ask(connection: Connection, operation: str, bucket: str, **arguments: Any) -> dict[str, Any] | None:
    """The answer; None where the server says that nothing is set."""
    try:
        answer = await connection.call(
            operation, lambda: getattr(connection.client, operation)(Bucket=bucket, **arguments), is_quiet=True
        )
    except SafelightError as error:
        fault = _fault(error)
        # NoSuchBucketPolicy, NoSuchLifecycleConfiguration, ServerSideEncryptionConfigurationNotFoundError, ...
        if fault is not None and fault.status == 404 and fault.code not in {"", "404", "NoSuchBucket"}:
            return None
        raise
    return dict(answer)


async def _listed(connection: Connection, operation: str, bucket: str, field: str) -> list[dict[str, Any]]:
    return list((await _ask(connection, operation, bucket) or {}).get(field, []))


def _with(entries: Sequence[Mapping[str, Any]], key: str, entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(each for each in entries if each.get(key) != entry[key]), entry]


def _entry(entries: Sequence[Mapping[str, Any]], key: str, id: str) -> Any:
    return next((each for each in entries if each.get(key) == id), None)


async def _read_versioning(connection: Connection, bucket: str, _: str) -> Any:
    return (await _ask(connection, "get_bucket_versioning", bucket) or {}).get("Status")


async def _write_versioning(connection: Connection, bucket: str, _: str, value: Any) -> None:
    await _ask(connection, "put_bucket_versioning", bucket, VersioningConfiguration={"Status": value})


async def _read_encryption(connection: Connection, bucket: str, _: str) -> Any:
    answer = await _ask(connection, "get_bucket_encryption", bucket) or {}
    return next(iter(answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])), None)


async def _write_encryption(connection: Connection, bucket: str, _: str, value: Any) -> None:
    await _ask(connection, "put_bucket_encryption", bucket, ServerSideEncryptionConfiguration={"Rules": [value]})


def _canonical_encryption(value: Any) -> Any:
    default = value.get("ApplyServerSideEncryptionByDefault", {})
    # The same key may be answered by its ARN.
    return (
        default.get("SSEAlgorithm"),
        (default.get("KMSMasterKeyID") or "").rpartition("/")[2],
        value.get("BucketKeyEnabled", False),
    )


async def _statements(connection: Connection, bucket: str) -> list[dict[str, Any]]:
    answer = await _ask(connection, "get_bucket_policy", bucket)
    found = json.loads(answer["Policy"]).get("Statement", []) if answer else []
    return list(found) if isinstance(found, list) else [found]


async def _read_policy(connection: Connection, bucket: str, id: str) -> Any:
    return _entry(await _statements(connection, bucket), "Sid", id)


async def _write_policy(connection: Connection, bucket: str, _: str, value: Any) -> None:
    statements = _with(await _statements(connection, bucket), "Sid", value)
    await _ask(connection, "put_bucket_policy", bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


def _canonical_policy(value: Any) -> Any:
    """Lists sorted, and single values as lists of one: servers write them either way. '*' is {'AWS': '*'}."""
    if isinstance(value, dict):
        if set(value) == {"AWS"}:
            return _canonical_policy(value["AWS"])
        return {key: _canonical_policy(inner) for key, inner in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else str(value)]


async def _read_public_access(connection: Connection, bucket: str, _: str) -> Any:
    return (await _ask(connection, "get_public_access_block", bucket) or {}).get("PublicAccessBlockConfiguration")


async def _write_public_access(connection: Connection, bucket: str, _: str, value: Any) -> None:
    await _ask(connection, "put_public_access_block", bucket, PublicAccessBlockConfiguration=value)


async def _read_lifecycle(connection: Connection, bucket: str, id: str) -> Any:
    return _entry(await _listed(connection, "get_bucket_lifecycle_configuration", bucket, "Rules"), "ID", id)


async def _write_lifecycle(connection: Connection, bucket: str, _: str, value: Any) -> None:
    rules = _with(await _listed(connection, "get_bucket_lifecycle_configuration", bucket, "Rules"), "ID", value)
    await _ask(connection, "put_bucket_lifecycle_configuration", bucket, LifecycleConfiguration={"Rules": rules})


def _canonical_lifecycle(value: Any) -> Any:
    """The prefix may stand in the filter or beside it, and an empty one nowhere."""
    rest = {key: inner for key, inner in value.items() if key not in {"Filter", "Prefix"}}
    filter = value.get("Filter") or {}
    others = {key: inner for key, inner in filter.items() if key != "Prefix"}
    return rest, filter.get("Prefix") or value.get("Prefix") or "", others


async def _read_cors(connection: Connection, bucket: str, id: str) -> Any:
    return _entry(await _listed(connection, "get_bucket_cors", bucket, "CORSRules"), "ID", id)


async def _write_cors(connection: Connection, bucket: str, _: str, value: Any) -> None:
    rules = _with(await _listed(connection, "get_bucket_cors", bucket, "CORSRules"), "ID", value)
    await _ask(connection, "put_bucket_cors", bucket, CORSConfiguration={"CORSRules": rules})


def _canonical_lists(value: Any) -> Any:
    return {key: sorted(inner) if isinstance(inner, list) else inner for key, inner in value.items()}


async def _read_notification(connection: Connection, bucket: str, id: str) -> Any:
    found = await _listed(connection, "get_bucket_notification_configuration", bucket, "QueueConfigurations")
    return _entry(found, "Id", id)


async def _write_notification(connection: Connection, bucket: str, _: str, value: Any) -> None:
    present = await _ask(connection, "get_bucket_notification_configuration", bucket) or {}
    present.pop("ResponseMetadata", None)
    queues = _with(present.pop("QueueConfigurations", []), "Id", value)
    await _ask(
        connection,
        "put_bucket_notification_configuration",
        bucket,
        NotificationConfiguration={**present, "QueueConfigurations": queues},
    )


def _canonical_notification(value: Any) -> Any:
    rules = value.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    where = sorted((each["Name"].lower(), each["Value"]) for each in rules)  # AWS answers 'Prefix' to 'prefix'
    return value.get("QueueArn"), sorted(value.get("Events", [])), where


_VERSIONING: Final = Aspect(_read_versioning, _write_versioning)
_ENCRYPTION: Final = Aspect(_read_encryption, _write_encryption, _canonical_encryption)
_POLICY: Final = Aspect(_read_policy, _write_policy, _canonical_policy)
_PUBLIC_ACCESS: Final = Aspect(_read_public_access, _write_public_access)
_LIFECYCLE: Final = Aspect(_read_lifecycle, _write_lifecycle, _canonical_lifecycle)
_CORS: Final = Aspect(_read_cors, _write_cors, _canonical_lists)
_NOTIFICATION: Final = Aspect(_read_notification, _write_notification, _canonical_notification)
