"""Table: what the table has to be, made and verified item by item. Called by catalog for `open`, `migrate` and `plan`.

Two indexes are the ones the product promises: UserIndex and AlbumIndex, sorted by the time of upload. TenantIndex is the list of an
administrator; TakenIndex, TitleIndex and SizeIndex are its other orders. Everything else is found in the table itself.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from safelight.adapters.catalog.dynamodb import faults
from safelight.adapters.catalog.dynamodb.connection import Connection
from safelight.adapters.catalog.dynamodb.items import FILTERS, MOVING, ORDER, encoded, placed
from safelight.adapters.catalog.dynamodb.options import URL
from safelight.errors import BackendUnavailable, SafelightError, WrongState

log = structlog.get_logger(__name__)

REVISION: Final = "0001_one_table"
"""What this release needs; kept in the table itself."""
SCHEMA: Final = {"PK": {"S": "SCHEMA"}, "SK": {"S": "META"}}
EXPIRY: Final = "forget_at"
"""Seconds since 1970, on items that are of no use after that: DynamoDB deletes them within some days."""
INDEXES: Final = {
    "UserIndex": ("user_key", "created_key"),
    "AlbumIndex": ("album_key", "created_key"),
    "TenantIndex": ("tenant_key", "created_key"),
    "TakenIndex": ("tenant_key", "taken_key"),
    "TitleIndex": ("tenant_key", "title_key"),
    "SizeIndex": ("tenant_key", "size_key"),
}
READY_WITHIN_S: Final = 900.0
"""Until a table or an index is there: an index over many items takes its time."""


def _index(name: str) -> dict[str, Any]:
    partition, order = INDEXES[name]
    # UserIndex carries the other orders too: one owner's images are few enough to be sorted here.
    copied = {*FILTERS, *(ORDER.values() if name == "UserIndex" else ())} - {partition, order}
    projection = (
        {"ProjectionType": "KEYS_ONLY"}
        if name == "AlbumIndex"
        else {"ProjectionType": "INCLUDE", "NonKeyAttributes": sorted(copied)}
    )
    keys = [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": order, "KeyType": "RANGE"}]
    return {"IndexName": name, "KeySchema": keys, "Projection": projection}


def _attributes(names: set[str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": "S"} for name in sorted(names)]


async def described(connection: Connection) -> dict[str, Any] | None:
    """The table, None when there is none."""
    try:
        answer = await _call(connection, "describe_table")
    except SafelightError as error:
        fault = faults.behind(error)
        if fault is None or not fault.is_absent:
            raise
        return None
    table: dict[str, Any] = answer["Table"]
    return table


async def missing(connection: Connection) -> list[str]:
    """What `apply` would do, in order. Raises WrongState for a table of a newer release."""
    table = await described(connection)
    if table is None:
        return [f"table {connection.options.table}", "time to live", "point-in-time recovery", REVISION]
    revision = await revision_of(connection)
    if revision is not None and revision > REVISION:
        raise WrongState(
            f"The catalog's schema ({revision}) is newer than this release ({REVISION}), and `safelight migrate` "
            "only goes forward; run the newer release."
        )
    have = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", ())}
    wanted = [f"index {name}" for name in INDEXES if name not in have]
    if not table.get("StreamSpecification", {}).get("StreamEnabled"):
        wanted.append("stream")
    if not await _has_expiry(connection):
        wanted.append("time to live")
    if not await _has_recovery(connection):
        wanted.append("point-in-time recovery")
    return wanted + ([REVISION] if revision != REVISION else [])


async def apply(connection: Connection) -> list[str]:
    """Make the table what it has to be; what was done. Of two processes that do so at once, each finds done what the other did."""
    done: list[str] = []
    for what in await missing(connection):
        kind, _, name = what.partition(" ")
        match kind:
            case "table":
                await _create(connection)
            case "index":
                await _add_index(connection, name)
            case "stream":
                await _update(connection, StreamSpecification=_STREAM)
            case "time":
                if await _asked(connection, "update_time_to_live", TimeToLiveSpecification=_EXPIRY) is None:
                    continue
            case "point-in-time":
                if await _asked(connection, "update_continuous_backups", PointInTimeRecoverySpecification=_RECOVERY) is None:
                    continue
            case _:
                item = SCHEMA | {"revision": {"S": REVISION}}
                await connection.call("put_item", TableName=connection.options.table, Item=item)
        done.append(what)
    return done


_STREAM: Final = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
_EXPIRY: Final = {"Enabled": True, "AttributeName": EXPIRY}
_RECOVERY: Final = {"PointInTimeRecoveryEnabled": True}


async def require(connection: Connection) -> None:
    """Raises WrongState when the table is not the one that this release needs."""
    table = await described(connection)
    name = connection.options.table
    if table is None:
        raise WrongState(
            f"There is no table {name} at {connection.options.where} ({URL}). Run `safelight migrate`, or correct table and region."
        )
    keys = [key["AttributeName"] for key in table["KeySchema"]]
    revision = await revision_of(connection) if keys == ["PK", "SK"] else None
    if revision is None:
        raise WrongState(f"The table {name} ({URL}) is not Safelight's yet; run `safelight migrate`.")
    if revision != REVISION:
        newer = "newer than" if revision > REVISION else "older than"
        raise WrongState(f"The catalog's schema ({revision}) is {newer} this release's ({REVISION}); run `safelight migrate`.")
    indexes = {index["IndexName"]: index.get("IndexStatus", "ACTIVE") for index in table.get("GlobalSecondaryIndexes", ())}
    lacking = [index for index in INDEXES if indexes.get(index) != "ACTIVE"]
    if lacking:
        raise WrongState(f"The table {name} ({URL}) lacks {', '.join(lacking)}; run `safelight migrate`.")


async def revision_of(connection: Connection) -> str | None:
    """What the table says it is."""
    answer = await connection.call("get_item", TableName=connection.options.table, Key=SCHEMA, ConsistentRead=True)
    revision: str | None = answer.get("Item", {}).get("revision", {}).get("S")
    return revision


async def filling(connection: Connection) -> str | None:
    """Who fills the table and has not finished; None when nobody does."""
    key = encoded(placed(MOVING, {}))
    answer = await connection.call("get_item", TableName=connection.options.table, Key=key, ConsistentRead=True)
    source: str | None = answer.get("Item", {}).get("source", {}).get("S")
    return source


async def _create(connection: Connection) -> None:
    names = {"PK", "SK"} | {name for pair in INDEXES.values() for name in pair}
    try:
        await _call(
            connection,
            "create_table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=_attributes(names),
            KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[_index(name) for name in INDEXES],
            StreamSpecification=_STREAM,
        )
    except SafelightError as error:
        fault = faults.behind(error)
        if fault is None or fault.code != "ResourceInUseException":  # another process makes it
            raise
    await _settled(connection)


async def _add_index(connection: Connection, name: str) -> None:
    await _update(
        connection,
        AttributeDefinitions=_attributes(set(INDEXES[name])),
        GlobalSecondaryIndexUpdates=[{"Create": _index(name)}],
    )


async def _update(connection: Connection, **changes: Any) -> None:
    await _call(connection, "update_table", **changes)
    await _settled(connection)


async def _settled(connection: Connection) -> None:
    """Until table and indexes are active: DynamoDB builds one index at a time."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                table = await described(connection)
                if table is not None and table["TableStatus"] == "ACTIVE":
                    indexes = table.get("GlobalSecondaryIndexes", ())
                    if all(index.get("IndexStatus", "ACTIVE") == "ACTIVE" for index in indexes):
                        return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise BackendUnavailable(
            f"The table {connection.options.table} is not ready yet; run `safelight migrate` again."
        ) from None


async def _has_expiry(connection: Connection) -> bool:
    answer = await _asked(connection, "describe_time_to_live")
    return answer is None or answer["TimeToLiveDescription"].get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}


async def _has_recovery(connection: Connection) -> bool:
    answer = await _asked(connection, "describe_continuous_backups")
    if answer is None:
        return True
    recovery = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    return bool(recovery.get("PointInTimeRecoveryStatus") == "ENABLED")


async def _asked(connection: Connection, operation: str, **arguments: Any) -> dict[str, Any] | None:
    """The answer; None from a server that does not know the question, which is told of and done without."""
    try:
        return await _call(connection, operation, **arguments)
    except SafelightError as error:
        fault = faults.behind(error)
        if fault is None or not fault.is_unknown:
            raise
        log.warning("catalog.unsupported", operation=operation, table=connection.options.table)
        return None


async def _call(connection: Connection, operation: str, **arguments: Any) -> dict[str, Any]:
    return await connection.call(operation, is_quiet=True, TableName=connection.options.table, **arguments)
