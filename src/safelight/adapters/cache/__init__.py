"""The cache port, kept twice: `memory.MemoryCache` in a process, `valkey.ValkeyCache` for many. Nothing is imported here."""
