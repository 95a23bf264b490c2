"""DynamoTables: the table's items as rows of the SQL schema, for `safelight move` and for giving a backup back.

The one place that reads the table from end to end, and the only one whose role needs `dynamodb:Scan` and `dynamodb:BatchWriteItem`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from safelight.adapters.catalog.carried import TABLES, opened, require_columns, sealed, table_named
from safelight.adapters.catalog.dynamodb import items, tags
from safelight.adapters.catalog.dynamodb.carrying import KEPT_KEYS, items_of, row_of
from safelight.adapters.catalog.dynamodb.catalog import told
from safelight.adapters.catalog.dynamodb.connection import Connection
from safelight.adapters.catalog.dynamodb.faults import ConditionFailed
from safelight.adapters.catalog.dynamodb.items import decoded, encoded
from safelight.adapters.catalog.dynamodb.options import DynamoOptions
from safelight.adapters.catalog.dynamodb.picture import Picture
from safelight.adapters.catalog.dynamodb.table import filling, require
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.errors import AlreadyExists, BackendUnavailable
from safelight.ports.archive import Row

T = TypeVar("T")
_BATCH: Final = 25
"""Requests of one BatchWriteItem."""


class DynamoTables:
    """Keeps Tables.

    Rows are read from a picture of the whole table. It is taken anew when the first table is read from its beginning, as every walk
    through all of them begins, and before whatever is read after something was written.

    Args:
        options: As DynamoCatalog takes them.
        secrets: Opens and seals the sealed columns.
        spool: Folder for the picture.

    """

    def __init__(self, options: DynamoOptions, *, secrets: SecretBox, spool: Path) -> None:
        self.options: Final = options
        self._box: Final = secrets
        self._spool: Final = spool
        self._connection: Connection | None = None
        self._picture: Picture | None = None
        self._is_behind = False
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="picture")

    @property
    def names(self) -> Sequence[str]:
        """Those of the SQL schema."""
        return tuple(TABLES)

    async def open(self) -> None:
        """Connect and look at the table."""
        if self._connection is not None:
            return
        connection = await Connection.make(self.options)
        try:
            await told(self.options, require(connection))
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def close(self) -> None:
        """The picture with it."""
        connection, self._connection = self._connection, None
        await self._let_go()
        if connection is not None:
            await connection.close()

    async def read(self, table: str, *, after: Row | None = None, limit: int = 500) -> list[Row]:
        """From the picture."""
        asked = table_named(table)
        picture = await self._looked(anew=self._is_behind or (after is None and table == self.names[0]))
        return [opened(self._box, asked, row) for row in await self._run(lambda: picture.page(asked, after, limit))]

    async def last(self, table: str) -> Row | None:
        """From the picture, to which was added what has been written since."""
        asked = table_named(table)
        picture = await self._looked(anew=False)
        row = await self._run(lambda: picture.last(asked))
        return None if row is None else opened(self._box, asked, row)

    async def write(self, table: str, rows: Sequence[Row]) -> None:
        """In their order, as many at a time as a transaction of DynamoDB takes: who ends early leaves the first of them."""
        asked = table_named(table)
        require_columns(asked, rows)
        transaction, tagged = Transaction(self._open(), writes=True), set[str]()
        kept = [sealed(self._box, asked, row) for row in rows]
        for number, row in enumerate(kept):
            unit = row["id"] if table == "images" else str(number)
            for place, item in enumerate(items_of(table, row)):
                if place == 0:
                    transaction.add(item, otherwise=AlreadyExists, unit=unit)
                    if table == "images":
                        tagged |= tags.note(transaction, row["tenant"], None, item)
                else:
                    transaction.put(item, unit=unit)
        if table == "album_images":
            await self._reserve(kept)
        await transaction.commit()
        for partition in sorted(tagged):
            while await tags.fold(self._open(), partition):
                pass
        picture = self._picture
        if picture is not None:
            await self._run(lambda: picture.add({} if table == "image_tags" else {table: kept}))
            self._is_behind = True

    async def clear(self) -> None:
        """All but what belongs to the table itself."""
        await self._let_go()
        async for page in self._open().pages("scan", ProjectionExpression="PK, SK", ConsistentRead=True):
            keys = [key for key in page["Items"] if items.key_of(decoded(key)) not in KEPT_KEYS]
            for at in range(0, len(keys), _BATCH):
                await self._remove(keys[at : at + _BATCH])

    async def filling(self) -> str | None:
        """One item."""
        return await filling(self._open())

    async def set_filling(self, by: str | None) -> None:
        """That item, written or removed."""
        connection, key = self._open(), items.placed(items.MOVING, {})
        if by is None:
            await connection.call("delete_item", TableName=self.options.table, Key=encoded(key))
        else:
            await connection.call("put_item", TableName=self.options.table, Item=encoded(key | {"source": by}))

    async def _looked(self, *, anew: bool) -> Picture:
        if self._picture is not None and not anew:
            return self._picture
        await self._let_go()
        picture = await self._run(lambda: Picture(self._spool))
        try:
            async for page in self._open().pages("scan", ConsistentRead=True):
                await self._run(partial(_shown, picture, page["Items"]))
            await self._run(picture.settle)
        except BaseException:
            await self._run(picture.close)
            raise
        self._picture = picture
        return picture

    async def _let_go(self) -> None:
        picture, self._picture, self._is_behind = self._picture, None, False
        if picture is not None:
            await self._run(picture.close)

    async def _reserve(self, places: Sequence[Row]) -> None:
        """The counters of the albums, behind these positions. Before the places: one that is too high harms nobody."""
        last: dict[str, int] = {}
        for place in places:
            last[place["album"]] = max(place["position"], last.get(place["album"], 0))
        for album, position in last.items():
            try:
                await self._open().call(
                    "update_item",
                    TableName=self.options.table,
                    Key=encoded(items.placed(items.album_key(album), {})),
                    UpdateExpression="SET last_position = :last",
                    ConditionExpression="attribute_not_exists(last_position) OR last_position < :last",
                    ExpressionAttributeValues=encoded({":last": position}),
                )
            except ConditionFailed:
                continue

    async def _remove(self, keys: Sequence[Mapping[str, Any]]) -> None:
        asked = {self.options.table: [{"DeleteRequest": {"Key": key}} for key in keys]}
        while asked:
            answer = await self._open().call("batch_write_item", RequestItems=asked)
            asked = answer.get("UnprocessedItems", {})

    def _open(self) -> Connection:
        if self._connection is None:
            raise BackendUnavailable("The catalog is not open.")
        return self._connection

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _shown(picture: Picture, found: Sequence[Mapping[str, Any]]) -> None:
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for item in map(decoded, found):
        if (one := row_of(item)) is not None:
            name, row = one
            rows[name].append(row)
    picture.add(rows)
