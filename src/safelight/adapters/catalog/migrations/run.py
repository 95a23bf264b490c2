"""The way to alembic, imported only when there is something to migrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection

from safelight.errors import WrongState

FOLDER: Final = Path(__file__).parent


def config() -> Config:
    """Alembic's settings; there is no alembic.ini, so that an installed wheel has all it needs."""
    settings = Config()
    # The parser of ini files takes a percent sign for a reference.
    settings.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


def upgrade(connection: Connection) -> list[str]:
    """Apply what is missing in the connection's transaction; the revisions in order. Raises WrongState for a newer schema."""
    applied: list[str] = []

    def note(*, step: Any, **_: Any) -> None:  # alembic's MigrationInfo
        applied.extend(step.up_revision_ids)

    settings = config()
    settings.attributes.update(connection=connection, on_version_apply=note)
    try:
        command.upgrade(settings, "head")
    except CommandError as error:
        raise _unknown() from error
    return applied


def pending(revision: str | None) -> list[str]:
    """What `upgrade` would apply to a schema of this revision, in order. Raises WrongState for one that is not known here."""
    try:
        steps = list(ScriptDirectory.from_config(config()).iterate_revisions("head", revision or "base"))
    except RevisionError as error:
        raise _unknown() from error
    return [step.revision for step in reversed(steps)]


def _unknown() -> WrongState:
    return WrongState("The catalog's schema is not one that this release knows; run `safelight migrate` of a newer one.")
