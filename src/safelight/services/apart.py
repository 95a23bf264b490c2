"""Apart: what goes from tenant to tenant does so for all of them, also when one has a record that nobody can read.

For the chores of the clock. What is wrong with a backend is no tenant's, and ends the chore as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from safelight.errors import DamagedRecord, Missing

log = structlog.get_logger()


@contextmanager
def apart(chore: str, tenant: str) -> Iterator[None]:
    """One tenant's turn in a chore: a damaged record ends it with an error in the log, a tenant that is gone with a warning."""
    try:
        yield
    except Missing as error:
        log.warning("chore.passed_by", chore=chore, tenant=tenant, error=error.detail)
    except DamagedRecord as error:
        log.error("chore.passed_by", chore=chore, tenant=tenant, error=error.detail)
