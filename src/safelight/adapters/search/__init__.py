"""The search port, kept twice: `sqlite.SqliteSearch` in a file, `memory.MemorySearch` for tests. Nothing is imported here."""
