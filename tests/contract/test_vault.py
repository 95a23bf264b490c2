"""The Vault contract on a folder, and what somebody may do to its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from safelight.adapters.storage.vault import DirectoryVault
from safelight.errors import DamagedObject, DataDirInUse, WrongState
from safelight.testing.contracts.vault import VaultContract, bytes_of


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.key"
    path.write_text("5a" * 32 + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
async def vault(tmp_path: Path, key_file: Path):
    vault = DirectoryVault(tmp_path / "backups", key_file=key_file)
    await vault.open()
    yield vault
    await vault.close()


class TestDirectoryVault(VaultContract):
    pass


async def test_nothing_of_what_was_put_can_be_read_from_the_files(vault, tmp_path):
    await vault.put("rows/a", b"a secret that nobody else should read " * 100)

    assert b"secret" not in (tmp_path / "backups" / "rows" / "a").read_bytes()


async def test_a_changed_a_cut_a_grown_and_an_exchanged_file_are_told(vault, tmp_path):
    root = tmp_path / "backups"
    await vault.put("rows/other", b"y" * 200_000)
    await vault.put("rows/a", b"x" * 200_000)
    sound = (root / "rows" / "a").read_bytes()
    flipped = bytearray(sound)
    flipped[100_000] ^= 1
    exchanged = (root / "rows" / "other").read_bytes()
    for damaged in (bytes(flipped), sound[:-1], sound[: 72 + 65_552], sound + b"x", b"", sound[:80], exchanged):
        (root / "rows" / "a").write_bytes(damaged)
        with pytest.raises(DamagedObject):
            await bytes_of(vault, "rows/a")


async def test_another_key_or_passphrase_is_told_before_anything_is_written(vault, tmp_path, key_file):
    await vault.put("rows/a", b"x")
    await vault.close()
    other = tmp_path / "other.key"
    other.write_text("11" * 32)
    for wrong in (
        DirectoryVault(tmp_path / "backups", key_file=other),
        DirectoryVault(tmp_path / "backups", key_file=tmp_path / "nothing.key"),
        DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase"),
    ):
        with pytest.raises(WrongState):
            await wrong.open()
    other.write_text("11" * 32 + "\n" + "5a" * 32)  # rotated: the old key still opens
    rotated = DirectoryVault(tmp_path / "backups", key_file=other)
    await rotated.open()
    assert await bytes_of(rotated, "rows/a") == b"x"
    await rotated.close()


async def test_a_passphrase_opens_its_own_vault_and_no_other_one_does(tmp_path):
    right = DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase")
    await right.open()
    await right.put("rows/a", b"x")
    await right.close()

    with pytest.raises(WrongState):
        await DirectoryVault(tmp_path / "backups", passphrase=b"another passphrase").open()
    again = DirectoryVault(tmp_path / "backups", passphrase=b"a long passphrase")
    await again.open()
    assert await bytes_of(again, "rows/a") == b"x"
    await again.close()


async def test_one_command_uses_a_vault_at_a_time(vault, tmp_path, key_file):
    with pytest.raises(DataDirInUse):
        await DirectoryVault(tmp_path / "backups", key_file=key_file).open()


async def test_a_vault_carried_elsewhere_is_the_same(vault, tmp_path, key_file):
    await vault.put("rows/a", b"x")
    await vault.close()
    shutil.copytree(tmp_path / "backups", tmp_path / "elsewhere")
    carried = DirectoryVault(tmp_path / "elsewhere", key_file=key_file)
    await carried.open()

    assert await bytes_of(carried, "rows/a") == b"x"
    await carried.close()
