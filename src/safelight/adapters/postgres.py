"""PostgreSQL: how any of our adapters connects to it. Not an adapter itself; catalog, search and workflows call it.

What can go wrong with a server across a network is answered here once. A server that is gone, frozen or failing over must not
hang a thread: connecting, every statement and every lock has its time. A pooled connection whose other end has closed is found
out before it is used, without a round trip, so a server that was restarted meanwhile is noticed by nobody.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import AdaptContext, PQGen
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import NullPool, QueuePool

from safelight.errors import BackendUnavailable, BadField, WrongState

T = TypeVar("T")

CONNECT_S: Final = 3
"""To connect, sign-in included. The URL's own `connect_timeout` goes before it."""

STATEMENT_S: Final = 10.0
"""The server ends any statement of ours that takes longer."""

LOCK_S: Final = 5.0
"""The server ends any statement of ours that waits longer for a lock."""

_ANSWER_S: Final = 2.0
"""What the client waits beyond the server's own limit, before it takes the server for frozen and hangs up."""

IDLE_LIMIT: Final = "idle_in_transaction_session_timeout = 15000"
"""Milliseconds. The server ends a transaction whose client stands still, so that a frozen process of ours holds no lock for ever."""

_RECYCLE_S: Final = 1800
"""No pooled connection lives longer: behind a fail-over or a load balancer they spread over the servers again."""


LEAST_VERSION: Final = 140_000
"""As libpq counts: of PostgreSQL 14, the oldest that is tried."""


class Lock(IntEnum):
    """What our advisory locks are for: their first number, so that no two uses meet in one database."""

    MIGRATION = 5117
    SLOT = 5118
    SEARCH = 5119
    NAME = 5120


_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_S,
    "application_name": "safelight",
    # A peer whose machine is gone sends no farewell: it is noticed after 5 + 3 * 3 seconds, not after two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 14_000,
}


@dataclass(slots=True)
class Patience:
    """How long a statement may take on every connection that has this, in seconds; may be changed at any time."""

    statement_s: float = STATEMENT_S


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which no answer is waited for longer than its patience; then it is closed, for nobody knows its state.

    The server's own statement_timeout does not help when the server itself stands still.
    """

    patience: Patience = Patience()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Drive one exchange with the server. Raises OperationalError when its time is up."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience.statement_s + _ANSWER_S)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  the one name that psycopg has for it
            self.pgconn.finish()
            raise psycopg.OperationalError("The server has not answered in time.") from None


def checked(url: str) -> str:
    """The URL, when libpq can read it. Raises BadField."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise BadField("Expected postgresql://user:password@host:5432/database.", field="url")
    try:
        named = conninfo_to_dict(url)
    except psycopg.Error:
        # Not the driver's words: they repeat the URL, and with it the password.
        raise BadField(
            "The PostgreSQL URL cannot be read; expected postgresql://user:password@host:5432/database.", field="url"
        ) from None
    if not all(port.isdecimal() or not port for port in str(named.get("port") or "").split(",")):
        raise BadField("The port of the PostgreSQL URL is no number.", field="url")
    if not named.get("dbname"):
        raise BadField("The PostgreSQL URL names no database.", field="url")
    return url


def connect(url: str, *, patience: Patience | None = None, context: AdaptContext | None = None) -> BoundedConnection:
    """A new connection, in autocommit. Raises psycopg.OperationalError within CONNECT_S, per address where the name has several."""
    options = {name: value for name, value in _DEFAULTS.items() if name not in conninfo_to_dict(url)}
    # Statements are not kept on the server: a pooler in transaction mode hands each transaction to another session.
    connection = BoundedConnection.connect(url, autocommit=True, prepare_threshold=None, context=context, **options)
    if patience is not None:
        connection.patience = patience
    return connection


def beginning(mode: str = "", *, statement_s: float = STATEMENT_S, lock_s: float = LOCK_S, settings: str = "") -> str:
    """BEGIN with its limits, in one message. Limits of the transaction, not of the session, since a pooler shares sessions."""
    return (
        f"BEGIN {mode}; SET LOCAL statement_timeout = {int(statement_s * 1000)}; SET LOCAL lock_timeout = {int(lock_s * 1000)};"
        f" SET LOCAL {IDLE_LIMIT};{settings}"
    )


def engine(
    url: str,
    *,
    size: int,
    wait_s: float = LOCK_S,
    begin: str | None = None,
    patience: Patience | None = None,
    session: str | None = None,
    **options: Any,
) -> Engine:
    """SQLAlchemy over such connections.

    Args:
        url: What libpq reads.
        size: Connections kept, none beyond them; 0 for one per use.
        wait_s: How long to wait for a free one.
        begin: What begins a transaction; None leaves it to the driver.
        patience: How long a statement may take.
        session: A setting for the session. Not behind a pooler that shares sessions.
        options: To `create_engine`.

    """
    pool: dict[str, Any] = {"poolclass": NullPool}
    if size:
        pool = {"poolclass": QueuePool, "pool_size": size, "max_overflow": 0, "pool_timeout": wait_s, "pool_recycle": _RECYCLE_S}
    made = create_engine("postgresql+psycopg://", use_native_hstore=False, **pool, **options)
    event.listen(made, "checkout", _require_alive)

    @event.listens_for(made, "do_connect")
    def opened(_dialect: object, _record: object, _args: object, given: dict[str, Any]) -> BoundedConnection:
        # SQLAlchemy cannot read every URL that libpq can (several hosts); what it gives is how JSON is written.
        connection = connect(url, patience=patience, context=given.get("context"))
        if session is not None:
            connection.execute(f"SET {session}")
        connection.autocommit = begin is not None
        return connection

    if begin is not None:

        @event.listens_for(made, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return made


def is_over(connection: psycopg.Connection[Any]) -> bool:
    """Whether the other end has closed an idle connection: the kernel knows, so nobody has to be asked."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    # Nothing is expected on an idle connection but the server's farewell.
    return bool(poll.poll(0))


def _require_alive(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    """The pool puts another connection in the place of one that has ended."""
    if is_over(connection):
        raise DisconnectionError


def place_of(url: str) -> str:
    """For messages: host and port, without user and password."""
    named = conninfo_to_dict(url)
    return f"{named.get('host', 'its socket')}:{named.get('port', 5432)}"


def look_at(url: str, setting: str) -> str:
    """Which PostgreSQL it is, and where; nothing is changed. Raises what `starting` does, and WrongState for one that is too old."""
    with starting(checked(url), setting):
        try:
            connection = connect(url)
        except psycopg.OperationalError as error:
            raise BackendUnavailable("The database does not answer.") from error
        with connection:
            info = connection.info
            found = f"PostgreSQL {info.parameter_status('server_version')} at {place_of(url)}"
            if info.server_version < LEAST_VERSION:
                raise WrongState(f"{found} is too old ({setting}). Upgrade it to PostgreSQL {LEAST_VERSION // 10_000} or newer.")
            return found


@contextmanager
def starting(url: str, setting: str) -> Iterator[None]:
    """Round what connects at the start: a server that does not let us in, or is not there, is told with the setting that names it."""
    try:
        yield
    except BackendUnavailable as error:
        said = str(error.__cause__)
        named = conninfo_to_dict(url)
        where = f"PostgreSQL at {place_of(url)}"
        if _REFUSED.search(said):
            raise WrongState(
                f"{where} does not let {named.get('user', 'this user')} in. Correct user or password in {setting}."
            ) from error
        if _NO_DATABASE.search(said):
            raise WrongState(f"{where} has no database {named['dbname']}. Create it, or correct {setting}.") from error
        if _NO_RIGHT.search(said):
            raise WrongState(
                f"{where} does not let {named.get('user', 'this user')} make tables ({setting}); see its GRANTs."
            ) from error
        raise BackendUnavailable(f"{where} does not answer ({setting}).") from error


# libpq gives no SQLSTATE for a connection that was refused, only the server's words, whose beginning is the same in all releases.
_REFUSED: Final = re.compile(r"authentication failed|no password supplied|role \"[^\"]*\" does not exist|no pg_hba.conf entry")
_NO_DATABASE: Final = re.compile(r"database \"[^\"]*\" does not exist")
_NO_RIGHT: Final = re.compile(r"InsufficientPrivilege|permission denied")
