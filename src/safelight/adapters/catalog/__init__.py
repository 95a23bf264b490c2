"""The catalog port, kept twice: `sql.SqlCatalog` on SQLite, `memory.MemoryCatalog` for tests. Nothing is imported here."""
