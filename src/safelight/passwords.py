"""Passwords: Argon2id (RFC 9106) over a peppered password, how easily one is guessed, and whether it is in a list of leaked ones.

Pure work without a clock or a database, slow on purpose: services.people calls it in a thread, a few at a time.
"""

from __future__ import annotations

import bisect
import hashlib
import hmac
import mmap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError, VerificationError

SHORTEST: Final = 8
"""NIST SP 800-63B section 3.1.1.2."""
LONGEST: Final = 256
"""Longer ones are refused at the door: hashing is paid by the byte before it is paid by the pass."""
_PEPPER_ID: Final = 8


@dataclass(frozen=True)
class Hasher:
    """Hashes with the first pepper; checks what any of them hashed. `memory_kib` and `passes` are Argon2's m and t; p is 1."""

    peppers: Sequence[bytes]
    memory_kib: int
    passes: int

    def hash(self, password: str) -> str:
        """`<pepper id>$argon2id$…`, to be kept."""
        pepper = self.peppers[0]
        return _pepper_id(pepper) + self._argon2.hash(_peppered(pepper, password))

    def matches(self, kept: str, password: str) -> bool:
        """Whether it is the password. For an empty `kept`, the same work and False: nobody learns by the clock who exists."""
        kept = kept or self._nobody
        pepper = next((one for one in self.peppers if _pepper_id(one) == kept[:_PEPPER_ID]), self.peppers[0])
        try:
            self._argon2.verify(kept[_PEPPER_ID:], _peppered(pepper, password))
        except (VerificationError, InvalidHashError, Argon2Error):
            return False
        return kept != self._nobody

    def is_outdated(self, kept: str) -> bool:
        """Hashed with another pepper or cheaper parameters than now: hash it anew while the password is at hand."""
        return kept[:_PEPPER_ID] != _pepper_id(self.peppers[0]) or self._argon2.check_needs_rehash(kept[_PEPPER_ID:])

    @cached_property
    def _argon2(self) -> PasswordHasher:
        return PasswordHasher(time_cost=self.passes, memory_cost=self.memory_kib, parallelism=1)

    @cached_property
    def _nobody(self) -> str:
        """A hash that costs what a real one costs. Its password is thrown away."""
        return self.hash(hashlib.sha256(self.peppers[0] + b"nobody").hexdigest())


def _pepper_id(pepper: bytes) -> str:
    return hashlib.sha256(b"safelight pepper id\x00" + pepper).hexdigest()[:_PEPPER_ID]


def _peppered(pepper: bytes, password: str) -> bytes:
    # NFKC: the same keys on another keyboard give the same password (NIST SP 800-63B section 3.1.1.2).
    text = unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")
    return hmac.digest(pepper, text, hashlib.sha256).hex().encode()


def strength(password: str, about: Sequence[str] = ()) -> tuple[int, str]:
    """0 (at once) to 4 (hard) by zxcvbn, and its advice, perhaps empty. `about`: words that an attacker knows of the user."""
    from zxcvbn import zxcvbn  # its word lists take a while to load

    # Its work grows faster than the password; what is strong in 72 characters is not weaker with more.
    found = zxcvbn(password[:72], user_inputs=[word for word in about if word])
    feedback = found["feedback"]
    return int(found["score"]), str(feedback.get("warning") or " ".join(feedback.get("suggestions", ())))


class Breached:
    """A local list of leaked passwords: sorted upper-case hexadecimal SHA-1 hashes or beginnings of them, one a line.

    What follows a colon is ignored, so that a downloaded "Pwned Passwords" file ordered by hash serves as it is. Looked up by
    bisection in the mapped file: forty gigabytes cost three dozen page reads and no memory.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def contains(self, password: str) -> bool:
        """Whether the password's hash, or its beginning, is in the list. Raises OSError."""
        # SHA-1 is the list's choice and guards nothing here.
        wanted = hashlib.sha1(password.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest().upper().encode()
        if self._path.stat().st_size == 0:
            return False
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # The last line that sorts at or before the hash; its beginning if it has one here.
            offset = bisect.bisect_right(range(len(content)), wanted, key=lambda at: _line_at(content, at)) - 1
            line = _line_at(content, offset) if offset >= 0 else b""
            return bool(line) and wanted.startswith(line)


def _line_at(content: mmap.mmap, offset: int) -> bytes:
    """What the line that covers this offset says before its colon."""
    start = content.rfind(b"\n", max(0, offset - 128), offset) + 1
    if start == 0:
        start = max(0, offset - 128)
    end = content.find(b"\n", offset)
    line = content[start : end if end >= 0 else len(content)]
    return line.partition(b":")[0].strip().upper()
