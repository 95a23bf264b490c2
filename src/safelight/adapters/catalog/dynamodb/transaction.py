"""Transaction: a unit of work. Reads go to the table, writes wait in it until its end and then go out together.

What it has written it sees: every read lays the waiting writes over what the table answered. Each write says what it expects of the
item that it replaces; at the end they go out as one TransactWriteItems, so that all of them happen or none, and of two units of
work that change the same item one is refused.

DynamoDB takes a hundred actions and four megabytes. Writes are therefore grouped by what they belong to (an image with its event
and everything that finds it); more than a hundred go out in several transactions, in the order of writing, none of which splits a
group that fits into one. Who reads or crashes between two of them finds the first ones done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from safelight.adapters.catalog.dynamodb.connection import Connection
from safelight.adapters.catalog.dynamodb.faults import ConditionFailed
from safelight.adapters.catalog.dynamodb.items import Item, Key, decoded, encoded, key_of, typed
from safelight.errors import SafelightError, Stale, TooBroad, WrongState

MAX_ACTIONS: Final = 100
MAX_PART_BYTES: Final = 3_500_000
"""DynamoDB counts four megabytes; ours are counted roughly."""
MAX_LOOKED_AT: Final = 50_000
"""Entries of an index that one transaction reads on the way to its answers: 20 MB at most."""
PAGE: Final = 1_000

Otherwise = Callable[[], SafelightError]
"""Makes what is raised when an item is not as expected; mostly a class."""
Expected = Mapping[str, Any]
"""What an item must be for the write to happen: a value, None for an attribute that is not there, ... for any value."""
ABSENT: Final[Expected] = {"PK": None}
PRESENT: Final = {"PK": ...}


@dataclass(slots=True)
class _Write:
    """What becomes of one item: `item` is what it will be, None when it goes; `changes` is None when it is written as a whole."""

    item: Item | None
    expected: Expected
    otherwise: Otherwise
    unit: str
    changes: Item | None = None
    adds: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Check:
    key: Key
    expected: Expected
    otherwise: Otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Entries of an index: one partition, in the order of one attribute, between two bounds that belong to it."""

    index: str
    partition: tuple[str, str]
    order: str
    low: str | None = None
    high: str | None = None
    is_descending: bool = False
    filters: tuple[tuple[str, str, Any], ...] = ()
    """(operator, attribute, value); `contains` is an operator."""


@dataclass(slots=True)
class _Tally:
    """What a unit adds to the numbers of an item that many units share."""

    key: Key
    adds: dict[str, int]
    most: Mapping[str, int]
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class AtMost:
    """What a number may be after the transaction has added to it."""

    limit: int


class Expression:
    """Collects the names and values of an expression, since any name might be one of DynamoDB's 573 reserved words."""

    def __init__(self) -> None:
        self._names: Final[dict[str, str]] = {}
        self._values: Final[dict[str, Any]] = {}

    def name(self, attribute: str) -> str:
        """What stands for the attribute."""
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: Any) -> str:
        """What stands for the value."""
        name = f":v{len(self._values)}"
        self._values[name] = typed(value)
        return name

    def condition(self, expected: Expected, adds: Mapping[str, int] | None = None) -> str:
        """All that is expected, '' for nothing; `adds` is what the write adds to numbers."""

        def clause(attribute: str, value: Any) -> str:
            if isinstance(value, AtMost):
                return f"{self.name(attribute)} <= {self.value(value.limit - (adds or {}).get(attribute, 0))}"
            if value is ...:
                return f"attribute_exists({self.name(attribute)})"
            if value is None:
                return f"attribute_not_exists({self.name(attribute)})"
            return f"{self.name(attribute)} = {self.value(value)}"

        return " AND ".join(clause(attribute, value) for attribute, value in expected.items())

    def between(self, attribute: str, low: str | None, high: str | None) -> str:
        """A condition on a key's second part, '' without bounds."""
        if low is not None and high is not None:
            return f"{self.name(attribute)} BETWEEN {self.value(low)} AND {self.value(high)}"
        if low is not None:
            return f"{self.name(attribute)} >= {self.value(low)}"
        return "" if high is None else f"{self.name(attribute)} <= {self.value(high)}"

    def filter(self, operator: str, attribute: str, value: Any) -> str:
        """One clause of a filter."""
        if operator == "contains":
            return f"contains({self.name(attribute)}, {self.value(value)})"
        return f"{self.name(attribute)} {operator} {self.value(value)}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Names and values, as far as there are any."""
        found: dict[str, Any] = {}
        if self._names:
            found["ExpressionAttributeNames"] = {stands_for: name for name, stands_for in self._names.items()}
        if self._values:
            found["ExpressionAttributeValues"] = self._values
        return found


class Transaction:
    """One unit of work on one connection."""

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        self.connection: Final = connection
        self.writes: Final = writes
        self.is_over = False
        self.memo: Final[dict[Any, Any]] = {}
        """Answers of a transaction that reads: the same question gets the same answer until its end."""
        self._found: Final[dict[Key, Item | None]] = {}
        self._written: Final[dict[Key, _Write]] = {}
        self._checks: Final[dict[str, list[_Check]]] = {}
        self._tallies: Final[dict[str, list[_Tally]]] = {}
        self._looked_at = 0

    # Reading

    async def item(self, key: Key) -> Item | None:
        """The item as it is now, None when there is none."""
        self.require_open()
        if key in self._written:
            return self._written[key].item
        if key not in self._found and not _may_be(key):
            self._found[key] = None
        if key not in self._found:
            answer = await self.connection.call(
                "get_item", TableName=self.connection.options.table, Key=_wire(key), ConsistentRead=True
            )
            self._found[key] = decoded(answer["Item"]) if "Item" in answer else None
        return self._found[key]

    def learn(self, item: Item) -> None:
        """The item as it is now: somebody has changed it past the transaction."""
        self._found[key_of(item)] = item

    async def items(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Those that exist."""
        self.require_open()
        asked = list(dict.fromkeys(keys))
        unknown = [key for key in asked if key not in self._written and key not in self._found and _may_be(key)]
        for row in await self.connection.rows([_wire(key) for key in unknown]):
            item = decoded(row)
            self._found[key_of(item)] = item
        found = {key: self._written[key].item if key in self._written else self._found.get(key) for key in asked}
        return {key: item for key, item in found.items() if item is not None}

    async def collection(
        self,
        pk: str,
        prefix: str = "",
        *,
        low: str | None = None,
        high: str | None = None,
        limit: int | None = None,
        is_descending: bool = False,
    ) -> list[Item]:
        """The items of a partition of the table as they are now, in the order of their second key; the first `limit`."""
        self.require_open()
        if prefix:
            low, high = prefix, prefix + "\U0010ffff"
        gone = sum(1 for key in self._written if key[0] == pk)
        expression = Expression()
        key_condition = " AND ".join(
            filter(None, [f"{expression.name('PK')} = {expression.value(pk)}", expression.between("SK", low, high)])
        )
        arguments = {"KeyConditionExpression": key_condition, "ConsistentRead": True, **expression.arguments}
        if is_descending:
            arguments["ScanIndexForward"] = False
        if limit is not None:
            arguments["Limit"] = limit + gone
        found: dict[Key, Item] = {}
        async for page in self.connection.pages(**arguments):
            found |= {key_of(item): item for item in map(decoded, page["Items"])}
            if limit is not None and len(found) >= limit + gone:
                break
        for key, write in self._written.items():
            if key[0] == pk and (low is None or key[1] >= low) and (high is None or key[1] <= high):
                found.pop(key, None)
                if write.item is not None:
                    found[key] = write.item
        return [found[key] for key in sorted(found, reverse=is_descending)][:limit]

    async def count(self, pk: str, prefix: str, *, without: str) -> int:
        """How many items of a partition do not have this flag set."""
        if any(key[0] == pk for key in self._written):
            return sum(not item.get(without) for item in await self.collection(pk, prefix))
        self.require_open()
        expression = Expression()
        key_condition = f"{expression.name('PK')} = {expression.value(pk)} AND begins_with({expression.name('SK')}, {expression.value(prefix)})"
        wanted = expression.filter("=", without, value=False)
        found = 0
        async for page in self.connection.pages(
            KeyConditionExpression=key_condition,
            FilterExpression=wanted,
            Select="COUNT",
            ConsistentRead=True,
            **expression.arguments,
        ):
            found += page["Count"]
        return found

    async def entries(self, walk: Walk, *, limit: int) -> AsyncIterator[Item]:
        """Entries of an index in order, `limit` being how many are likely to be wanted. They may lag behind the table.

        Raises TooBroad when the transaction has looked at too many.
        """
        self.require_open()
        if walk.low is not None and walk.high is not None and walk.low > walk.high:
            return
        waiting = self._waiting(walk)
        async for entry in self._indexed(walk, limit=limit):
            if key_of(entry) in self._written:
                continue
            while waiting and _is_before(waiting[-1][walk.order], entry[walk.order], walk):
                yield waiting.pop()
            yield entry
        while waiting:
            yield waiting.pop()

    async def _indexed(self, walk: Walk, *, limit: int) -> AsyncIterator[Item]:
        expression = Expression()
        attribute, value = walk.partition
        key_condition = " AND ".join(
            filter(
                None,
                [
                    f"{expression.name(attribute)} = {expression.value(value)}",
                    expression.between(walk.order, walk.low, walk.high),
                ],
            )
        )
        arguments: dict[str, Any] = {
            "IndexName": walk.index,
            "KeyConditionExpression": key_condition,
            "ScanIndexForward": not walk.is_descending,
            # A filter is applied to what the limit has let through: small pages of it would be many requests.
            "Limit": PAGE if walk.filters else min(PAGE, limit),
        }
        if walk.filters:
            arguments["FilterExpression"] = " AND ".join(expression.filter(*clause) for clause in walk.filters)
        async for page in self.connection.pages(**arguments, **expression.arguments):
            self._looked_at += page["ScannedCount"]
            if self._looked_at > MAX_LOOKED_AT:
                raise TooBroad
            for item in page["Items"]:
                yield decoded(item)

    def _waiting(self, walk: Walk) -> list[Item]:
        """What is written and not yet in the index, the first one last."""
        attribute, value = walk.partition
        found = [
            write.item
            for write in self._written.values()
            if write.item is not None
            and write.item.get(attribute) == value
            and write.item.get(walk.order) is not None
            and (walk.low is None or write.item[walk.order] >= walk.low)
            and (walk.high is None or write.item[walk.order] <= walk.high)
        ]
        return sorted(found, key=lambda item: str(item[walk.order]), reverse=not walk.is_descending)

    # Writing

    def add(self, item: Item, *, otherwise: Otherwise, unit: str) -> None:
        """A new item."""
        self._write(key_of(item), _Write(_whole(item), ABSENT, otherwise, unit))

    def put(self, item: Item, *, unit: str) -> None:
        """The item, whatever was there."""
        self._write(key_of(item), _Write(_whole(item), {}, Stale, unit))

    def change(
        self,
        before: Item,
        after: Mapping[str, Any],
        *,
        unit: str,
        expected: Expected = PRESENT,
        otherwise: Otherwise = Stale,
    ) -> None:
        """Other values for these attributes, None to take one off; those that are not named stay, whoever changes them."""
        changes = {name: value for name, value in after.items() if before.get(name) != value}
        self._write(key_of(before), _Write(_whole({**before, **changes}), expected, otherwise, unit, changes=changes))

    def increase(self, before: Item, name: str, by: int, *, unit: str, expected: Expected, otherwise: Otherwise = Stale) -> None:
        """Add to a number, whatever it has become meanwhile."""
        after = {**before, name: before.get(name, 0) + by}
        self._write(key_of(before), _Write(after, expected, otherwise, unit, changes={}, adds={name: by}))

    def remove(self, key: Key, *, unit: str, expected: Expected | None = None, otherwise: Otherwise = Stale) -> None:
        """The item gone."""
        self._write(key, _Write(None, expected or {}, otherwise, unit))

    def check(self, key: Key, expected: Expected, *, otherwise: Otherwise, unit: str) -> None:
        """Commit what belongs to this unit only if another item is as expected."""
        self.require_writing()
        self._checks.setdefault(unit, []).append(_Check(key, expected, otherwise))

    def tally(self, key: Key, adds: Mapping[str, int], *, most: Mapping[str, int], otherwise: Otherwise, unit: str) -> None:
        """Add to numbers of an item that exists, in the same request as the rest of the unit: what is counted has happened.

        `most` is what they may be then. The transaction itself does not see it.
        """
        self.require_writing()
        self._tallies.setdefault(unit, []).append(_Tally(key, dict(adds), most, otherwise))

    def _write(self, key: Key, write: _Write) -> None:
        self.require_writing()
        old = self._written.get(key)
        if old is None:
            self._written[key] = write
            return
        is_new = old.expected is ABSENT
        if is_new and write.item is None:
            del self._written[key]  # it never was
            return
        # What is expected is of the item before the transaction, so not of what the transaction has changed itself.
        own = None if old.changes is None else old.changes.keys() | old.adds.keys()
        fresh = {} if own is None else {name: value for name, value in write.expected.items() if name not in own}
        write.expected = old.expected if is_new else {**fresh, **old.expected}
        write.otherwise, write.unit = old.otherwise, old.unit
        if write.changes is not None:
            if old.changes is None:
                write.changes, write.adds = None, {}
            else:
                write.changes = {**old.changes, **write.changes}
                write.adds = {
                    name: old.adds.get(name, 0) + write.adds.get(name, 0) for name in old.adds.keys() | write.adds.keys()
                }
        self._written[key] = write

    def pending(self, key: Key) -> Item | None:
        """The item, when this transaction is the one that makes it."""
        write = self._written.get(key)
        return write.item if write is not None and write.expected is ABSENT else None

    def require_open(self) -> None:
        """Raises WrongState after the end."""
        if self.is_over:
            raise WrongState("The transaction has ended.")

    def require_writing(self) -> None:
        """Raises WrongState in a transaction that was opened for reading."""
        if not self.writes:
            raise WrongState("This transaction was opened for reading.")
        self.require_open()

    # The end

    async def commit(self) -> None:
        """Everything that was written, or, up to a hundred actions, nothing. Raises what the writes said."""
        table = self.connection.options.table
        for part in self._parts():
            try:
                await self.connection.call(
                    "transact_write_items",
                    TransactItems=[{kind: {"TableName": table, **action}} for kind, action, _ in part],
                    ClientRequestToken=uuid4().hex,
                )
            except ConditionFailed as error:
                otherwise = part[error.failed[0]][2]
                raise otherwise() from error

    def _parts(self) -> Iterator[list[tuple[str, dict[str, Any], Otherwise]]]:
        """The actions of each TransactWriteItems, in the order of writing."""
        units: dict[str, list[Key]] = {}
        for key, write in self._written.items():
            units.setdefault(write.unit, []).append(key)
        part: list[tuple[str, dict[str, Any], Otherwise]] = []
        tallies: list[_Tally] = []
        checked: set[Key] = set()
        size = 0
        for unit, keys in units.items():
            # A unit of its own size beyond the limit is split: what is first, its row and its event, stays together.
            for at in range(0, len(keys), MAX_ACTIONS - 10):
                some = keys[at : at + MAX_ACTIONS - 10]
                checks = [check for check in self._checks.get(unit, ()) if check.key not in self._written]
                actions = [_action(key, self._written[key]) for key in some]
                weight = sum(_weight(action) for _, action, _ in actions)
                fresh = [check for check in checks if check.key not in checked]
                if part and (len(part) + len(actions) + len(fresh) > MAX_ACTIONS - 1 or size + weight > MAX_PART_BYTES):
                    yield part + _counted(tallies)
                    part, tallies, checked, size, fresh = [], [], set(), 0, checks
                for check in {check.key: check for check in fresh}.values():
                    part.append(_checking(check))
                    checked.add(check.key)
                part += actions
                tallies += self._tallies.get(unit, ()) if at == 0 else ()
                size += weight
        if part:
            yield part + _counted(tallies)


def _action(key: Key, write: _Write) -> tuple[str, dict[str, Any], Otherwise]:
    expression = Expression()
    condition = expression.condition(write.expected, write.adds)
    conditional = {"ConditionExpression": condition} if condition else {}
    if write.item is None:
        return "Delete", {"Key": _wire(key), **conditional, **expression.arguments}, write.otherwise
    if write.changes is None:
        return "Put", {"Item": encoded(write.item), **conditional, **expression.arguments}, write.otherwise
    sets = [f"{expression.name(name)} = {expression.value(value)}" for name, value in write.changes.items() if value is not None]
    removes = [expression.name(name) for name, value in write.changes.items() if value is None]
    adds = [f"{expression.name(name)} {expression.value(by)}" for name, by in write.adds.items()]
    clauses = [f"{word} {', '.join(parts)}" for word, parts in (("SET", sets), ("REMOVE", removes), ("ADD", adds)) if parts]
    if not clauses:  # nothing changes, but what was expected has to hold
        return "ConditionCheck", {"Key": _wire(key), **conditional, **expression.arguments}, write.otherwise
    return (
        "Update",
        {"Key": _wire(key), "UpdateExpression": " ".join(clauses), **conditional, **expression.arguments},
        write.otherwise,
    )


def _counted(tallies: Sequence[_Tally]) -> list[tuple[str, dict[str, Any], Otherwise]]:
    """One action an item, since a request may name each but once."""
    actions = []
    for key in dict.fromkeys(tally.key for tally in tallies):
        mine = [tally for tally in tallies if tally.key == key]
        adds = {name: sum(tally.adds.get(name, 0) for tally in mine) for tally in mine for name in tally.adds}
        limits = {name: min(tally.most[name] for tally in mine if name in tally.most) for tally in mine for name in tally.most}
        expected = PRESENT | {name: AtMost(limit) for name, limit in limits.items() if adds.get(name, 0) > 0}
        actions.append(_action(key, _Write({}, expected, mine[-1].otherwise, "", changes={}, adds=adds)))
    return actions


def _checking(check: _Check) -> tuple[str, dict[str, Any], Otherwise]:
    expression = Expression()
    condition = expression.condition(check.expected)
    return "ConditionCheck", {"Key": _wire(check.key), "ConditionExpression": condition, **expression.arguments}, check.otherwise


def _weight(action: Mapping[str, Any]) -> int:
    return sum(_size(value) for value in action.values())


def _size(value: Any) -> int:
    match value:
        case str() | bytes():
            return len(value)
        case dict():
            return sum(len(name) + _size(inner) for name, inner in value.items())
        case list():
            return sum(map(_size, value))
        case _:
            return 1


def _may_be(key: Key) -> bool:
    """Whether an item can have such a key; ids come from strangers, and DynamoDB refuses the request for longer ones."""
    return 0 < len(key[0].encode(errors="replace")) <= 2048 and 0 < len(key[1].encode(errors="replace")) <= 1024


def _whole(item: Mapping[str, Any]) -> Item:
    return {name: value for name, value in item.items() if value is not None}


def _wire(key: Key) -> dict[str, Any]:
    return {"PK": {"S": key[0]}, "SK": {"S": key[1]}}


def _is_before(one: str, other: str, walk: Walk) -> bool:
    return one > other if walk.is_descending else one < other


async def merged(streams: Sequence[AsyncIterator[Item]], order: str, *, is_descending: bool) -> AsyncIterator[Item]:
    """Entries of several walks in one order."""
    heads = [await anext(stream, None) for stream in streams]
    while left := [(head[order], place) for place, head in enumerate(heads) if head is not None]:
        _, place = max(left) if is_descending else min(left)
        first = heads[place]
        assert first is not None
        yield first
        heads[place] = await anext(streams[place], None)
