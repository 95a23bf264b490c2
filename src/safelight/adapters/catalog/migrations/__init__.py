"""Migrations: the revisions that make the schema, and which of them this release needs.

Old code must run on the new schema while a rollout is under way; say at the top of a revision how it does. This file is
read at every start, so it imports nothing.
"""

from typing import Final

HEAD: Final = "0001_first_light"
"""The newest revision. Each begins with its number, is named as its file and has at most 32 characters."""
