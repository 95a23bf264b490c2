"""The catalog in one DynamoDB table. What each kind of question costs is told in docs/explanation/dynamodb.md.

    options       where the table is, from the setting's URL
    faults        what the driver raises, as Safelight's errors
    connection    the aiobotocore client; retries, deadlines, batches
    table         keys, indexes and features of the table, made and verified
    items         records as items and back, and every key there is
    transaction   a unit of work: reads, waiting writes, one TransactWriteItems
    images        which index answers a question
    albums        places and their order
    accounts      users, keys, sealed secrets
    purges        what caches are to let go of
    redevelopments  pictures that are developed again, many at a time
    people        credentials, codes, sessions, failures, token keys
    uploads       what is on its way in, and when it is due
    tags          exact counts without a hot item
    journal       what has happened to images
    numbers       of events and entries, without a counter
    directory     keys, tenants, the outbox
    catalog       DynamoCatalog: the Catalog port
    carrying      items as rows of the SQL schema and back
    picture       all rows as they were at one reading, sorted
    archive       DynamoTables: the Tables port

Wiring builds DynamoCatalog and DynamoTables.
"""

from safelight.adapters.catalog.dynamodb.archive import DynamoTables
from safelight.adapters.catalog.dynamodb.catalog import DynamoCatalog
from safelight.adapters.catalog.dynamodb.options import DynamoOptions

__all__ = ["DynamoCatalog", "DynamoOptions", "DynamoTables"]
