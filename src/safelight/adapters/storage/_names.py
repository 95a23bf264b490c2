"""Names: which keys Storage takes. Not a path check: keys never become paths. Called by the adapters, so that all agree."""

from __future__ import annotations

from typing import Final

from safelight.errors import BadRequest

MAX_KEY_BYTES: Final = 900
"""S3 takes 1024 bytes; the rest is room for what a gateway puts before or behind the key."""


def check_key(key: str) -> None:
    """Raises BadRequest for a key that some store would refuse, fold or take for another one."""
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise BadRequest("An object key must be valid Unicode.") from None
    if not 1 <= size_bytes <= MAX_KEY_BYTES:
        raise BadRequest(f"An object key must have 1 to {MAX_KEY_BYTES} bytes, not {size_bytes}.")
    # SeaweedFS folds '//' and makes a folder of 'a/'; HTTP clients and proxies resolve '..'.
    if key.startswith("/") or key.endswith("/") or "//" in key or ".." in key or "\0" in key:
        raise BadRequest("An object key must not start or end with '/', nor have '//', '..' or NUL.")
