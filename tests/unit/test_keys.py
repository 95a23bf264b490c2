"""Files of secrets are there whole or not at all: a key that was cut off would open nothing, and be taken for the key."""

from __future__ import annotations

import os
import stat

import pytest

from safelight.adapters.storage._keyring import KeyRing, create_key_file
from safelight.cli.care import _keep_secrets, _secrets_of
from safelight.settings import Settings
from safelight.wiring import keep_secret, secret_keys


@pytest.fixture
def power_cut(monkeypatch):
    """Until it is undone, whatever is written does not reach the disk."""

    def cut(_descriptor):
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", cut)
        yield patched


def test_a_first_start_that_is_cut_off_leaves_no_half_key_behind(tmp_path, power_cut):
    path = tmp_path / "keys" / "catalog.key"
    with pytest.raises(OSError, match="power cut"):
        secret_keys(path)
    assert list(path.parent.iterdir()) == []

    power_cut.undo()
    [key] = secret_keys(path)
    assert len(key) == 32
    assert secret_keys(path) == [key]


def test_a_restore_that_is_cut_off_gives_the_secrets_back_when_it_is_repeated(tmp_path, power_cut):
    was, now = (Settings(data_dir=tmp_path / name) for name in ("was", "now"))
    power_cut.undo()
    keys = secret_keys(was.secrets_file)
    keep_secret(was.data_dir / "admin.key", "sl_token\n")
    kept = _secrets_of(was)
    power_cut.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        _keep_secrets(now, kept)

    power_cut.undo()
    _keep_secrets(now, kept)
    assert secret_keys(now.secrets_file) == keys
    assert (now.data_dir / "admin.key").read_text() == "sl_token\n"


def test_a_secret_that_is_there_stays_and_nobody_else_may_read_it(tmp_path):
    path = tmp_path / "keys" / "secret"

    assert keep_secret(path, "first")
    assert not keep_secret(path, "second")
    assert path.read_text() == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_master_key_is_made_once(tmp_path):
    path = tmp_path / "keys" / "master.key"
    create_key_file(path)
    active = KeyRing.load(path).active
    create_key_file(path)

    assert KeyRing.load(path).active == active
