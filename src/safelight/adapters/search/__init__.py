"""The search port, kept three times: `sqlite.SqliteSearch` in a file, `postgres.PostgresSearch`, `memory.MemorySearch` for tests.

`none.NoSearch` stands where an installation has chosen to have none. Nothing is imported here.
"""
