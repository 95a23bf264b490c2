"""Transactions: one connection, one thread at a time, from an event loop. The only place that awaits a database.

A transaction's calls run in the catalog's threads, in order, on the one connection it holds. When a caller is cancelled
while a statement runs, the end of the transaction queues behind that statement and then rolls back.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from safelight.adapters.catalog.engines import Database
from safelight.adapters.catalog.turns import Turns
from safelight.errors import AlreadyExists, BackendUnavailable, BadField, Missing, SafelightError, WrongState

log = structlog.get_logger()

T = TypeVar("T")
P = ParamSpec("P")


class Rows(Protocol):
    """Whatever holds a transaction and has methods that run in it."""

    @property
    def transaction(self) -> Transaction:
        """The one they run in."""
        ...


R = TypeVar("R", bound=Rows)


def reading(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], Coroutine[Any, Any, T]]:
    """Run the method's body in the transaction's thread; outside it is awaited."""

    @wraps(method)
    async def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.transaction.run(lambda: method(self, *args, **kwargs))

    return call


def writing(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], Coroutine[Any, Any, T]]:
    """The same for a body that writes. Raises WrongState in a transaction that was opened for reading."""

    @wraps(method)
    async def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.transaction.writes:
            raise WrongState("This transaction was opened for reading.")
        return await self.transaction.run(lambda: method(self, *args, **kwargs))

    return call


def claiming(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], Coroutine[Any, Any, T]]:
    """The same for a body that claims an id or a name: after AlreadyExists the transaction goes on."""

    @wraps(method)
    def attempt(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.transaction.attempt():
            return method(self, *args, **kwargs)

    return writing(attempt)


class Transaction:
    """One transaction, from its turn to its end. It begins with the first call, in that call's thread."""

    def __init__(self, engine: Engine, database: Database, threads: ThreadPoolExecutor, turns: Turns, *, writes: bool) -> None:
        self.writes: Final = writes
        self._engine = engine
        self._database = database
        self._threads = threads
        self._turns = turns
        self._connection: Connection | None = None
        self._is_over = False
        self._one_at_a_time = threading.Lock()

    @property
    def connection(self) -> Connection:
        """The connection, inside `run`."""
        assert self._connection is not None
        return self._connection

    def attempt(self) -> AbstractContextManager[object]:
        """What fails in this context undoes itself alone."""
        return self._database.attempt(self.connection)

    def keep_others_out(self, name: str) -> None:
        """Inside `run`: whoever else asks for this name, of whichever tenant, waits until this transaction has ended."""
        self._database.keep_others_out(self.connection, name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do this in a thread. Raises SafelightError only."""
        try:
            return await asyncio.wrap_future(self._threads.submit(self._run, work))
        except RuntimeError as error:  # the threads are gone
            raise BackendUnavailable("The catalog is closed.") from error

    async def end(self, *, commit: bool) -> None:
        """Commit or roll back, and give the turn on. Raises what the commit raises."""
        if self._ends_inline():
            self._turns.give()
            return
        try:
            ending: Future[None] = self._threads.submit(self._end, commit)
        except RuntimeError as error:
            self._turns.give()
            raise BackendUnavailable("The catalog is closed.") from error
        ending.add_done_callback(lambda _: self._turns.give())
        if not self.writes:
            return  # what a read has found is found; only the next turn waits for its end
        # A cancelled caller does not keep the connection: the end runs on without it.
        await asyncio.shield(asyncio.wrap_future(ending))

    def _ends_inline(self) -> bool:
        if self.writes or not self._database.ends_reads_inline or not self._one_at_a_time.acquire(blocking=False):
            return False
        try:
            self._finish(commit=False)
        finally:
            self._one_at_a_time.release()
        return True

    def _run(self, work: Callable[[], T]) -> T:
        with self._one_at_a_time, told_as_ours(self._database):
            if self._is_over:
                raise WrongState("The transaction has ended.")
            if self._connection is None:
                connection = self._engine.connect()
                try:
                    connection.begin()
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
            return work()

    def _end(self, commit: bool) -> None:  # noqa: FBT001  # only ever called through submit
        with self._one_at_a_time, told_as_ours(self._database):
            self._finish(commit=commit)

    def _finish(self, *, commit: bool) -> None:
        self._is_over = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if commit and self.writes:
                self._database.require_whole(connection)
                connection.commit()
            else:
                connection.rollback()
        except BaseException as error:
            # Never hand a connection in an unknown state to the next transaction.
            connection.invalidate()
            if commit:
                raise
            log.warning("catalog.rollback_failed", error=type(error).__name__)
        finally:
            connection.close()


@contextmanager
def told_as_ours(database: Database) -> Iterator[None]:
    """Driver errors become ours; anything else passes."""
    try:
        yield
    except IntegrityError as error:
        if database.names_missing_parent(error):
            raise Missing from error
        raise AlreadyExists from error
    except DataError as error:  # out of range, or no text, says the server
        raise BadField("A value is out of the range that can be kept.") from error
    except StatementError as error:
        if isinstance(error.orig, SafelightError):  # a value that a column's type refused
            raise error.orig from error
        if isinstance(error.orig, OverflowError | UnicodeError):
            raise BadField("A value is out of the range that can be kept.") from error
        raise BackendUnavailable("The catalog does not answer.") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise BackendUnavailable("The catalog does not answer.") from error
    except (OverflowError, UnicodeError) as error:
        raise BadField("A value is out of the range that can be kept.") from error
