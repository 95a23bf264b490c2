"""Alembic runs this file for each command; the connection comes from `run.upgrade`, never from an ini file."""

from __future__ import annotations

from alembic import context

from safelight.adapters.catalog.tables import metadata

_given = context.config.attributes

context.configure(
    connection=_given["connection"],
    target_metadata=metadata,
    on_version_apply=_given.get("on_version_apply"),
    render_as_batch=True,  # SQLite changes a table by making it anew
)
context.run_migrations()
