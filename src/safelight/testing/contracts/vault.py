"""What every vault must do, sentence by sentence of ports.vault. Inherit and give a `vault` fixture: open and empty."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from safelight.errors import Missing
from safelight.ports.vault import Vault

SIZES = (0, 1, 65_535, 65_536, 65_537, 262_144, 262_145, 700_000)


async def bytes_of(vault: Vault, name: str) -> bytes:
    return b"".join([chunk async for chunk in await vault.read(name)])


class VaultContract:
    async def test_what_was_put_is_read_whatever_its_size(self, vault: Vault) -> None:
        for size in SIZES:
            body = bytes(number % 251 for number in range(size))
            await vault.put(f"objects/{size}", body)

            assert await bytes_of(vault, f"objects/{size}") == body

    async def test_a_body_that_comes_in_pieces_is_one_entry(self, vault: Vault) -> None:
        async def body() -> AsyncIterator[bytes]:
            for number in range(5):
                yield bytes([number]) * 50_000

        await vault.put("rows/a", body())

        assert await bytes_of(vault, "rows/a") == b"".join(bytes([number]) * 50_000 for number in range(5))

    async def test_a_body_that_raises_leaves_what_was_there(self, vault: Vault) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 100_000
            raise ZeroDivisionError

        await vault.put("rows/a", b"before")
        for name in ("rows/a", "rows/b"):
            with pytest.raises(ZeroDivisionError):
                await vault.put(name, body())

        assert await bytes_of(vault, "rows/a") == b"before"
        assert await vault.names("rows") == ["rows/a"]

    async def test_names_are_those_of_the_folder_in_order(self, vault: Vault) -> None:
        for name in ("rows/b", "rows/a", "snapshots/a", "objects/ab/abc"):
            await vault.put(name, b"x")

        assert await vault.names("rows") == ["rows/a", "rows/b"]
        assert await vault.names("nothing") == []

    async def test_what_is_not_there_is_missing(self, vault: Vault) -> None:
        await vault.put("rows/a", b"x")
        assert await vault.has("rows/a")
        await vault.remove("rows/a")
        await vault.remove("rows/a")

        assert not await vault.has("rows/a")
        with pytest.raises(Missing):
            await vault.read("rows/a")
