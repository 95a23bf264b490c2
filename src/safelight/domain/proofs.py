"""Proofs: what a signed URL carries, and whether a tenant's ring of keys bears it out. One rule per grammar, no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from safelight import signing
from safelight.domain.accounts import Grammar, SigningKey
from safelight.errors import BadSignature, ExpiredSignature
from safelight.signing import imgproxy, thumbor


@dataclass(frozen=True, slots=True)
class Signature:
    """What a native URL carries beside its path."""

    kid: str
    exp: int
    sig: str

    def check(self, ring: Iterable[SigningKey], path: str, now: datetime) -> float:
        """Until when it holds, in seconds since 1970. Raises BadSignature, ExpiredSignature."""
        key = next((key for key in ring if key.kid == self.kid and key.grammar is Grammar.NATIVE), None)
        if key is None or not key.is_live(now):
            raise BadSignature
        if not signing.verify(key.secret, path, kid=self.kid, exp=self.exp, sig=self.sig):
            raise BadSignature
        if self.exp <= now.timestamp():
            raise ExpiredSignature
        return min(self.exp, _ends(key))


@dataclass(frozen=True, slots=True)
class ForeignSignature:
    """What an imgproxy or thumbor URL carries. `paths` are the spellings of the rest that a client may have signed.

    Such a URL names no key, so every live one of its grammar is tried. `exp` is seconds since 1970, 0 = never.
    """

    grammar: Grammar
    sig: str
    paths: tuple[str, ...]
    exp: int = 0

    def check(self, ring: Iterable[SigningKey], now: datetime) -> float:
        """Until when it holds, in seconds since 1970. Raises BadSignature, ExpiredSignature."""
        keys = [key for key in ring if key.grammar is self.grammar and key.is_live(now)]
        # All of them are tried, and so there is no telling which was right.
        ends = [_ends(key) for key in keys for path in self.paths if self._is_by(key, path)]
        if not ends:
            raise BadSignature
        if self.exp and self.exp <= now.timestamp():
            raise ExpiredSignature
        return min(self.exp or math.inf, *ends)

    def _is_by(self, key: SigningKey, path: str) -> bool:
        if self.grammar is Grammar.IMGPROXY:
            return imgproxy.verify(key.secret, key.salt, path, self.sig, size_bytes=key.size_bytes)
        return thumbor.verify(key.secret, path, self.sig)


def _ends(key: SigningKey) -> float:
    return math.inf if key.retired_at is None else key.retired_at.timestamp()
