"""How users sign in, in SQL: credentials, codes and sessions of a tenant; failures of the installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, or_, select, text, update

from safelight.adapters.catalog.own import require_own
from safelight.adapters.catalog.rows import (
    code_columns,
    code_of,
    credential_columns,
    credential_of,
    link_of,
    moment,
    session_columns,
    session_of,
    user_of,
)
from safelight.adapters.catalog.sql_issuers import SqlTrust
from safelight.adapters.catalog.sql_own import change_own_row, own_row, require_own_user
from safelight.adapters.catalog.tables import album_links, api_keys, codes, credentials, failures, sessions, spent, tenants, users
from safelight.adapters.catalog.transactions import Transaction, claiming, reading, writing
from safelight.domain.accounts import User
from safelight.domain.ids import KeyId, LinkId, SessionId, TenantId, UserId
from safelight.domain.people import Credential, Failures, Letter, OneTimeCode, Session
from safelight.domain.queries import micros
from safelight.domain.sharing import Link
from safelight.errors import Missing

_user: Final = [column.label(f"user_{column.name}") for column in users.c]
_CREDENTIAL: Final = select(credentials).where(credentials.c.user == bindparam("id"), credentials.c.tenant == bindparam("tenant"))
_SAVE_CREDENTIAL: Final = update(credentials).where(
    credentials.c.user == bindparam("old_id"), credentials.c.tenant == bindparam("old_tenant")
)
_CODE: Final = select(codes).where(
    codes.c.user == bindparam("id"), codes.c.letter == bindparam("letter"), codes.c.tenant == bindparam("tenant")
)
_DROP_CODE: Final = delete(codes).where(codes.c.user == bindparam("id"), codes.c.letter == bindparam("old_letter"))
_SESSION: Final = select(sessions).where(sessions.c.id == bindparam("id"), sessions.c.tenant == bindparam("tenant"))
_SAVE_SESSION: Final = update(sessions).where(sessions.c.id == bindparam("old_id"), sessions.c.tenant == bindparam("old_tenant"))
_SESSIONS: Final = (
    select(sessions)
    .where(sessions.c.user == bindparam("id"), sessions.c.tenant == bindparam("tenant"), sessions.c.ended_at.is_(None))
    .order_by(sessions.c.used_at.desc(), sessions.c.id.desc())
)
_BY_EMAIL: Final = (
    select(*credentials.c, *_user)
    .join_from(credentials, users, users.c.id == credentials.c.user)
    .join(tenants, tenants.c.id == credentials.c.tenant)
    .where(tenants.c.name == bindparam("name"), credentials.c.email == bindparam("email"))
)
_ANY_SESSION: Final = (
    select(*sessions.c, *_user).join_from(sessions, users, users.c.id == sessions.c.user).where(sessions.c.id == bindparam("id"))
)
_ANY_LINK: Final = (
    select(*album_links.c, *_user)
    .join_from(album_links, users, users.c.id == album_links.c.made_by)
    .where(album_links.c.id == bindparam("id"))
)
_FAILURES: Final = (
    select(failures).where(failures.c.subject.in_(bindparam("subjects", expanding=True))).order_by(failures.c.subject)
)
# One statement, so that parallel guesses cannot count past each other; SQLite and PostgreSQL write it alike.
_COUNT: Final = text(
    'INSERT INTO failures (subject, "count", last_at) VALUES (:subject, 1, :at)'
    " ON CONFLICT (subject) DO UPDATE SET last_at = excluded.last_at,"
    ' "count" = CASE WHEN failures.last_at < :since THEN 1 ELSE failures."count" + 1 END'
    ' RETURNING "count"'
)
_FORGET: Final = delete(failures).where(failures.c.subject == bindparam("old_subject"))
_SWEEPS: Final = (
    delete(sessions).where(sessions.c.expires_at < bindparam("before")),
    delete(codes).where(codes.c.expires_at < bindparam("before")),
    delete(spent).where(spent.c.expires_at < bindparam("before")),
    delete(failures).where(failures.c.last_at < bindparam("before")),
)
_TOUCH: Final = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("old_id"))
    .where(or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("at")))
    .values(last_used_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class SqlPeople:
    """Keeps PeopleRecords."""

    transaction: Transaction
    tenant: TenantId

    @claiming
    def add_credential(self, credential: Credential) -> None:
        """A new row."""
        require_own_user(self.transaction, self.tenant, credential)
        self.transaction.connection.execute(insert(credentials), credential_columns(credential))

    @reading
    def credential(self, user: UserId) -> Credential:
        """By the user."""
        return credential_of(own_row(self.transaction, self.tenant, _CREDENTIAL, user))

    @claiming
    def save_credential(self, credential: Credential) -> None:
        """Replace the row."""
        require_own(credential.tenant, self.tenant)
        change_own_row(self.transaction, self.tenant, _SAVE_CREDENTIAL, credential.user, credential_columns(credential))

    @claiming
    def put_code(self, code: OneTimeCode) -> None:
        """Out with the old; writers of a tenant take turns."""
        require_own_user(self.transaction, self.tenant, code)
        self.transaction.connection.execute(_DROP_CODE, {"id": code.user, "old_letter": code.letter.value})
        self.transaction.connection.execute(insert(codes), code_columns(code))

    @reading
    def code(self, user: UserId, letter: Letter) -> OneTimeCode:
        """By user and letter."""
        return code_of(own_row(self.transaction, self.tenant, _CODE, user, letter=letter.value))

    @claiming
    def add_session(self, session: Session) -> None:
        """A new row."""
        require_own_user(self.transaction, self.tenant, session)
        self.transaction.connection.execute(insert(sessions), session_columns(session))

    @reading
    def session(self, session_id: SessionId) -> Session:
        """By its id."""
        return session_of(own_row(self.transaction, self.tenant, _SESSION, session_id))

    @writing
    def save_session(self, session: Session) -> None:
        """Replace the row."""
        require_own(session.tenant, self.tenant)
        change_own_row(self.transaction, self.tenant, _SAVE_SESSION, session.id, session_columns(session))

    @reading
    def sessions(self, user: UserId) -> list[Session]:
        """Along ix_sessions_user."""
        rows: Any = self.transaction.connection.execute(_SESSIONS, {"id": user, "tenant": self.tenant}).mappings()
        return [session_of(row) for row in rows]


@dataclass(frozen=True, slots=True)
class SqlPeopleDirectory:
    """Keeps PeopleDirectory."""

    transaction: Transaction
    trust: SqlTrust

    @reading
    def by_email(self, tenant: str, email: str) -> tuple[Credential, User]:
        """Along the unique names of tenants and addresses."""
        credential, user = self._with_user(_BY_EMAIL, len(credentials.c), name=tenant, email=email)
        return credential_of(credential), user_of(user)

    @reading
    def session(self, session_id: SessionId) -> tuple[Session, User]:
        """Session and user in one look-up."""
        session, user = self._with_user(_ANY_SESSION, len(sessions.c), id=session_id)
        return session_of(session), user_of(user)

    @reading
    def link(self, link_id: LinkId) -> tuple[Link, User]:
        """Link and maker in one look-up."""
        link, user = self._with_user(_ANY_LINK, len(album_links.c), id=link_id)
        return link_of(link), user_of(user)

    @reading
    def failures(self, subjects: Sequence[str]) -> list[Failures]:
        """By their key."""
        rows = self.transaction.connection.execute(_FAILURES, {"subjects": list(subjects)}).mappings()
        return [Failures(subject=row["subject"], count=row["count"], last_at=moment(row["last_at"])) for row in rows]

    @writing
    def count_failure(self, subject: str, at: datetime, *, since: datetime) -> Failures:
        """Insert or add one."""
        values = {"subject": subject, "at": micros(at), "since": micros(since)}
        count = self.transaction.connection.execute(_COUNT, values).scalar_one()
        return Failures(subject=subject, count=count, last_at=at)

    @writing
    def forget_failures(self, subject: str) -> None:
        """By its key."""
        self.transaction.connection.execute(_FORGET, {"old_subject": subject})

    @writing
    def touch_key(self, key_id: KeyId, at: datetime) -> None:
        """Never back in time: processes may report out of order."""
        self.transaction.connection.execute(_TOUCH, {"old_id": key_id, "at": micros(at)})

    @writing
    def sweep(self, before: datetime) -> int:
        """Along the indices on their times."""
        return sum(self.transaction.connection.execute(sweep, {"before": micros(before)}).rowcount for sweep in _SWEEPS)

    def _with_user(self, statement: Any, count: int, **values: str) -> tuple[dict[str, Any], dict[str, Any]]:
        row = self.transaction.connection.execute(statement, values).first()
        if row is None:
            raise Missing
        names, found = row._fields, tuple(row)
        user = {name.removeprefix("user_"): value for name, value in zip(names[count:], found[count:], strict=True)}
        return dict(zip(names[:count], found[:count], strict=True)), user
