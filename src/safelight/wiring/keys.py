"""Keys: the secrets that every process of an installation shares, and what is derived from them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, overload

from safelight.adapters.storage._keyring import keep_secret
from safelight.errors import WrongState
from safelight.ports.archive import Row
from safelight.settings import Settings

if TYPE_CHECKING:
    from safelight.adapters.catalog.secretbox import SecretBox

PSEUDONYMS: Final = "audit pseudonyms"
PEPPER: Final = "password pepper"
RECOVERY: Final = "recovery codes"
CODES: Final = "one-time codes"
LASTING: Final = (PSEUDONYMS, PEPPER, RECOVERY, CODES)
"""Uses of derived keys by which rows have to be found or checked for longer than a request: what `safelight move` hands down."""


class Keyring(Sequence[bytes]):
    """The keys of one use: our own, the one in use first, and behind them what came with a move, as soon as the catalog is open."""

    def __init__(self, own: Sequence[bytes]) -> None:
        self._keys: Final = list(own)

    @overload
    def __getitem__(self, at: int) -> bytes: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes]: ...

    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes]:
        return self._keys[at]

    def __len__(self) -> int:
        return len(self._keys)

    def inherit(self, key: bytes) -> None:
        """Believe this one too; it makes nothing new."""
        if key not in self._keys:
            self._keys.append(key)


def catalog_keys(settings: Settings) -> list[bytes]:
    """What every process of the installation has and no client ever gets, the one in use first."""
    given = settings.catalog.secret_key.get_secret_value()
    return hex_keys(given, "SAFELIGHT_CATALOG__SECRET_KEY") if given else secret_keys(settings.secrets_file)


def secret_box(settings: Settings) -> SecretBox:
    """What seals the secrets in the catalog."""
    from safelight.adapters.catalog.secretbox import SecretBox

    return SecretBox(*catalog_keys(settings))


def lasting_keys(settings: Settings) -> list[Row]:
    """What another installation has to know to find and check what this one has made: rows of `inherited_keys`."""
    keys = catalog_keys(settings)
    made = [(use, key) for use in LASTING for key in derived(keys, use)]
    return [
        {"purpose": use, "id": hashlib.sha256(b"safelight inherited " + key).hexdigest()[:16], "key": key} for use, key in made
    ]


def derived(keys: list[bytes], use: str) -> tuple[bytes, ...]:
    """A key for this use from each of these: one secret to keep, and none that serves two ends (HMAC as a PRF, RFC 5869)."""
    return tuple(hmac.digest(key, b"safelight " + use.encode(), hashlib.sha256) for key in keys)


def secret_keys(path: Path) -> list[bytes]:
    """The keys of the file, 64 hexadecimal digits a line, the one in use first; made at the first start. Raises WrongState."""
    if not path.exists():
        keep_secret(path, secrets.token_hex(32) + "\n")  # unless another process that starts at this moment is faster
    return hex_keys(path.read_text(), str(path))


def hex_keys(text: str, where: str) -> list[bytes]:
    """Keys of 32 bytes from 64 hexadecimal digits each, the one in use first. Raises WrongState that says where."""
    try:
        keys = [bytes.fromhex(word) for word in text.split()]
    except ValueError:
        keys = []
    if not keys or any(len(key) != 32 for key in keys):
        raise WrongState(f"{where} does not hold keys of 64 hexadecimal digits.")
    return keys
