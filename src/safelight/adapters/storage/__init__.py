"""Storage adapters: `memory` for tests, `local` for one machine or one shared disk. What they promise is in ports.storage."""
