"""ForeignBuckets: objects of buckets that an operator has listed. Kept by adapters.storage.s3; checked by testing.contracts.foreign_buckets.

A server reads them, for whoever has a signed URL, with credentials of the installation's: whether an object may be read at all is
for the caller to judge, by the tenant's list. `source` is the port for a command that reads a whole bucket, with its caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from safelight.domain.sources import BucketObject
from safelight.ports.outbound import FetchLimits, Reading


class ForeignBuckets(Protocol):
    """Reads what is not ours, and never a bucket of ours."""

    def get(
        self, found: BucketObject, conditions: Mapping[str, str], *, limits: FetchLimits
    ) -> AbstractAsyncContextManager[Reading]:
        """The object as it is now, to the terms of `Outbound.get`; of the conditions If-None-Match counts, since objects have an ETag.

        Entering and reading raise Missing for no such object; SourceNotAllowed for a bucket of ours; SourceRefused for what the
        store will not do, no such bucket among it, and for compressed bytes; TooManyBytes as soon as there are more than
        allowed; SourceUnavailable for what may go better another time; SourceTimedOut where the time is over.
        """
        ...
