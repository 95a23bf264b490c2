"""DynamoCatalog: the catalog in one DynamoDB table. Wiring makes one per process, opened in the event loop that uses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from safelight.adapters.catalog.carried import HALF_FILLED
from safelight.adapters.catalog.dynamodb import faults, table, tags
from safelight.adapters.catalog.dynamodb.accounts import DynamoAccounts, DynamoApiKeys
from safelight.adapters.catalog.dynamodb.albums import DynamoAlbums
from safelight.adapters.catalog.dynamodb.connection import Connection
from safelight.adapters.catalog.dynamodb.directory import DynamoDirectory, DynamoOutbox, read_tenant, write_event
from safelight.adapters.catalog.dynamodb.factors import DynamoFactors
from safelight.adapters.catalog.dynamodb.images import DynamoImages
from safelight.adapters.catalog.dynamodb.issuers import DynamoIssuers, DynamoTrust
from safelight.adapters.catalog.dynamodb.items import encoded
from safelight.adapters.catalog.dynamodb.journal import DynamoJournal
from safelight.adapters.catalog.dynamodb.ledger import DynamoLedger
from safelight.adapters.catalog.dynamodb.options import URL, DynamoOptions
from safelight.adapters.catalog.dynamodb.people import DynamoPeople, DynamoPeopleDirectory
from safelight.adapters.catalog.dynamodb.purges import DynamoPurges
from safelight.adapters.catalog.dynamodb.redevelopments import DynamoRedevelopments
from safelight.adapters.catalog.dynamodb.shares import DynamoShares
from safelight.adapters.catalog.dynamodb.trail import DynamoTrail
from safelight.adapters.catalog.dynamodb.transaction import Transaction
from safelight.adapters.catalog.dynamodb.uploads import DynamoUploads
from safelight.adapters.catalog.dynamodb.webhooks import DynamoDeliveries, DynamoWebhooks
from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.secretbox import SecretBox
from safelight.domain.accounts import Tenant
from safelight.domain.audit import INSTALLATION
from safelight.domain.events import Event
from safelight.domain.ids import TenantId
from safelight.errors import BackendUnavailable, SafelightError, WrongState
from safelight.ports.catalog import Directory, Journal, Records
from safelight.ports.ledger import Ledger

log = structlog.get_logger(__name__)

T = TypeVar("T")

_CREDENTIALS: Final = "what the AWS SDKs read (AWS_ACCESS_KEY_ID, ~/.aws/credentials, web identity, instance role)"


@dataclass(frozen=True, slots=True)
class DynamoRecords:
    """Keeps Records."""

    transaction: Transaction
    tenant: Tenant
    images: DynamoImages
    albums: DynamoAlbums
    accounts: DynamoAccounts
    uploads: DynamoUploads
    people: DynamoPeople
    factors: DynamoFactors
    webhooks: DynamoWebhooks
    trail: DynamoTrail
    redevelopments: DynamoRedevelopments

    async def emit(self, event: Event) -> None:
        """Into the outbox, in this transaction."""
        self.transaction.require_writing()
        require_own(event.tenant, self.tenant.id)
        write_event(self.transaction, event)


class DynamoCatalog:
    """Keeps Catalog.

    Args:
        options: Where the table is.
        secrets: Seals signing secrets: a SecretBox, or its key of 32 bytes.
        is_whole: Open only on a table that no unfinished move is filling.

    """

    def __init__(self, options: DynamoOptions, *, secrets: SecretBox | bytes, is_whole: bool = True) -> None:
        self.options: Final = options
        self._is_whole: Final = is_whole
        self._box: Final = SecretBox(secrets) if isinstance(secrets, bytes) else secrets
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connect, and try whatever will be needed: reading, writing, asking an index.

        Raises WrongState for a table, credentials or permissions that will not do; it names the setting.
        """
        if self._connection is not None:
            return
        connection = await Connection.make(self.options)
        try:
            await told(self.options, self._tried(connection))
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        log.info("catalog.opened", table=self.options.table, at=self.options.where)

    async def close(self) -> None:
        """Close every connection; commits that are under way end as an answer that was lost does."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def migrate(self) -> list[str]:
        """Make the table, or what it lacks, and switch on expiry, recovery to a point in time, and its stream."""
        async with self._briefly() as connection:
            applied = await told(self.options, table.apply(connection))
        if applied:
            log.info("catalog.migrated", applied=applied)
        return applied

    async def plan(self) -> list[str]:
        """What `migrate` would do; nothing is changed. Raises WrongState for a table of a newer release."""
        async with self._briefly() as connection:
            return await told(self.options, table.missing(connection))

    async def ping(self) -> None:
        """Read what the table says it is."""
        if await table.revision_of(self._open()) is None:
            raise BackendUnavailable("The catalog does not answer.")

    @asynccontextmanager
    async def tenant(self, tenant: TenantId, *, writes: bool = False) -> AsyncIterator[Records]:
        """One unit of work over one tenant's records; it goes out when the block ends."""
        async with self._transaction(writes=writes) as transaction:
            row = await read_tenant(transaction, tenant)
            images = DynamoImages(transaction, row.id)
            yield DynamoRecords(
                transaction,
                row,
                images,
                DynamoAlbums(transaction, row.id, DynamoShares(transaction, row.id)),
                DynamoAccounts(
                    transaction, row.id, self._box, DynamoApiKeys(transaction, row.id), DynamoIssuers(transaction, row.id)
                ),
                DynamoUploads(transaction, row.id),
                DynamoPeople(transaction, row.id),
                DynamoFactors(transaction, row.id, self._box),
                DynamoWebhooks(transaction, row.id, self._box, DynamoDeliveries(transaction, row.id)),
                DynamoTrail(transaction, row.id),
                DynamoRedevelopments(transaction, row.id),
            )
        if images.tagged and tags.is_time_to_fold():
            with contextlib.suppress(SafelightError):  # the next one will
                for pk in sorted(images.tagged):
                    await tags.fold(transaction.connection, pk)

    @asynccontextmanager
    async def journal(self, tenant: TenantId, *, writes: bool = False) -> AsyncIterator[Journal]:
        """One unit of work over one tenant's journal."""
        async with self._transaction(writes=writes) as transaction:
            yield DynamoJournal(transaction, (await read_tenant(transaction, tenant)).id)

    @asynccontextmanager
    async def ledger(self, *, writes: bool = False) -> AsyncIterator[Ledger]:
        """One unit of work over what tenants have used."""
        async with self._transaction(writes=writes) as transaction:
            yield DynamoLedger(transaction)

    @asynccontextmanager
    async def directory(self, *, writes: bool = False) -> AsyncIterator[Directory]:
        """One unit of work outside any tenant."""
        async with self._transaction(writes=writes) as transaction:
            people = DynamoPeopleDirectory(transaction, DynamoTrust(transaction, self._box))
            yield DynamoDirectory(
                transaction, DynamoOutbox(transaction, DynamoPurges(transaction)), people, DynamoTrail(transaction, INSTALLATION)
            )

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[Transaction]:
        transaction = Transaction(self._open(), writes=writes)
        try:
            yield transaction
        finally:
            transaction.is_over = True
        if writes:
            # A caller that is cancelled meanwhile cannot call the request back: it goes on to its end, whole.
            ending = asyncio.ensure_future(transaction.commit())
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                ending.add_done_callback(_noted)
                raise

    def _open(self) -> Connection:
        if self._connection is None:
            raise BackendUnavailable("The catalog is not open.")
        return self._connection

    @asynccontextmanager
    async def _briefly(self) -> AsyncIterator[Connection]:
        """A connection of its own: `migrate` and `plan` work on a closed catalog too."""
        connection = await Connection.make(self.options)
        try:
            yield connection
        finally:
            await connection.close()

    async def _tried(self, connection: Connection) -> None:
        await table.require(connection)
        name = self.options.table
        probe = {"TableName": name, "Key": table.SCHEMA, "ConditionExpression": "attribute_exists(PK)"}
        gone = {"TableName": name, "Key": encoded({"PK": "PROBE", "SK": "META"})}
        await connection.call("transact_write_items", is_quiet=True, TransactItems=[{"ConditionCheck": probe}, {"Delete": gone}])
        await connection.call(
            "query",
            is_quiet=True,
            TableName=name,
            IndexName="UserIndex",
            KeyConditionExpression="user_key = :none",
            ExpressionAttributeValues=encoded({":none": "PROBE"}),
            Limit=1,
        )
        if self._is_whole and (source := await table.filling(connection)) is not None:
            raise WrongState(HALF_FILLED.format(source=source))


async def told(options: DynamoOptions, work: Awaitable[T]) -> T:
    """The result. What is a matter of settings is told with the setting to look at."""
    try:
        return await work
    except SafelightError as error:
        fault = faults.behind(error)
        if fault is None:
            raise
        name, where = options.table, options.where
        if fault.is_untrusted:
            said = fault.code or "there are none"
            raise WrongState(
                f"DynamoDB at {where} does not let these credentials use the table {name} ({URL}): {said}."
                f" Correct {_CREDENTIALS}, or their policy."
            ) from error
        if fault.is_absent:
            raise WrongState(f"There is no table {name} at {where} ({URL}). Run `safelight migrate`.") from error
        if fault.status == 0 and not fault.is_ours:
            raise BackendUnavailable(f"DynamoDB at {where} does not answer ({URL}).") from error
        if 400 <= fault.status < 500 and not fault.is_passing:
            raise WrongState(f"DynamoDB at {where} refuses the table {name} ({URL}): {fault.code}.") from error
        raise


def _noted(ending: asyncio.Future[None]) -> None:
    if not ending.cancelled() and ending.exception() is not None:
        log.info("catalog.unsettled", error=type(ending.exception()).__name__)
