"""Keepers of the Workflows port: `dbos` on a file of its own, `memory` for tests."""
