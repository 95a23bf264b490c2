"""Tags: how often each is used. Exact, and yet no item that every upload with the tag `holiday` would have to change.

A change of an image writes what it changes (`DELTA#…`, one item however many tags); who counts adds them to the counters (`TAG#…`).
Both are kept twice, for the tenant and for the image's owner, since who is no admin is told of their own tags only.
Now and then a writer folds deltas into the counters, in one transaction that counts itself (`FOLDS`), so that a reader who has
seen a delta both before and after knows it and looks again.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import orjson

from safelight.adapters.catalog.dynamodb.connection import Connection
from safelight.adapters.catalog.dynamodb.faults import ConditionFailed
from safelight.adapters.catalog.dynamodb.items import Item, decoded, encoded
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.domain.ids import TenantId
from safelight.errors import BackendUnavailable

FOLD_ONE_IN: Final = 16
_FOLDED: Final = 45
"""Deltas, and as many tags, of one folding: with itself, below a hundred actions."""


def partition(tenant: TenantId, owner: str | None = None) -> str:
    """Where the counts of all images of the tenant are, or those of one owner."""
    return f"TAGS#{tenant}" if owner is None else f"TAGS#{tenant}#{owner}"


def used(item: Item | None) -> Iterable[str]:
    """The tags of an image that count: none in the trash."""
    return () if item is None or item["is_trashed"] else set(item["tags"])


def note(transaction: Transaction, tenant: TenantId, before: Item | None, after: Item | None) -> frozenset[str]:
    """Write down what the change of an image does to the counts; the partitions of those that it does something to."""
    change = Counter(used(after))
    change.subtract(used(before))
    deltas = {tag: by for tag, by in change.items() if by}
    one = after or before
    if not deltas or one is None:
        return frozenset()
    name = f"DELTA#{one['id']}#{one['revision']:010d}{'' if after is not None else '#gone'}"
    touched = frozenset({partition(tenant), partition(tenant, one["owner"])})
    for pk in touched:
        transaction.put({"PK": pk, "SK": name, "tags": orjson.dumps(deltas).decode()}, unit=one["id"])
    return touched


async def counted(transaction: Transaction, pk: str, prefix: str) -> Counter[str]:
    """How often each tag that begins so is used."""
    for _ in range(5):
        folds = await _folds(transaction, pk)
        found: Counter[str] = Counter()
        for item in await transaction.collection(pk, f"TAG#{prefix}"):
            found[item["SK"].removeprefix("TAG#")] += item["used"]
        for item in await transaction.collection(pk, "DELTA#"):
            found.update({tag: by for tag, by in orjson.loads(item["tags"]).items() if tag.startswith(prefix)})
        if await _folds(transaction, pk) == folds:
            return +found
    raise BackendUnavailable("The catalog is too busy to answer.")


async def _folds(transaction: Transaction, pk: str) -> int:
    found = await transaction.collection(pk, "FOLDS")
    return found[0]["folds"] if found else 0


def is_time_to_fold() -> bool:
    """One change in sixteen: few deltas wait, and nobody has to keep count."""
    return secrets.randbelow(FOLD_ONE_IN) == 0


async def fold(connection: Connection, pk: str) -> int:
    """Add the oldest deltas to the counters; how many there were. Who is second finds them gone and leaves it."""
    table = connection.options.table
    answer = await connection.call(
        "query",
        TableName=table,
        KeyConditionExpression="PK = :pk AND begins_with(SK, :delta)",
        ExpressionAttributeValues=encoded({":pk": pk, ":delta": "DELTA#"}),
        ConsistentRead=True,
        Limit=_FOLDED,
    )
    change: Counter[str] = Counter()
    actions: list[dict[str, Any]] = []
    for item in map(decoded, answer["Items"]):
        deltas = orjson.loads(item["tags"])
        if actions and len(change.keys() | deltas.keys()) > _FOLDED:
            break
        change.update(deltas)
        gone = {"Key": encoded({"PK": pk, "SK": item["SK"]}), "ConditionExpression": "attribute_exists(PK)"}
        actions.append({"Delete": {"TableName": table, **gone}})
    folded = len(actions)
    if not folded or len(change) + folded + 1 > 100:  # a single image with so many tags: its delta stays
        return 0
    counts = {f"TAG#{tag}": ("used", by) for tag, by in change.items() if by} | {"FOLDS": ("folds", 1)}
    for sk, (name, by) in counts.items():
        added = {"UpdateExpression": "ADD #n :by", "ExpressionAttributeNames": {"#n": name}}
        values = {"ExpressionAttributeValues": encoded({":by": by})}
        actions.append({"Update": {"TableName": table, "Key": encoded({"PK": pk, "SK": sk}), **added, **values}})
    try:
        await connection.call("transact_write_items", TransactItems=actions)
    except ConditionFailed:
        return 0
    return folded
