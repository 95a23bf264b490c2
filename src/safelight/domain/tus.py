"""The headers of tus 1.0.0, as values (https://tus.io/protocols/resumable-upload). What clients send is read here and nowhere else."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from safelight.domain.ids import UploadId, is_id
from safelight.errors import BadField, Missing

if TYPE_CHECKING:
    from hashlib import _Hash

VERSION: Final = "1.0.0"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "expiration",
    "checksum",
    "concatenation",
)
BODY_TYPE: Final = "application/offset+octet-stream"
MAX_METADATA: Final = 16 * 1024
MAX_PARTIALS: Final = 64
_HASHES: Final[Mapping[str, Callable[[], _Hash]]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),  # tus demands it; against accidents, not attackers
    "sha256": hashlib.sha256,
}
ALGORITHMS: Final = tuple(_HASHES)


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request have to hash to."""

    algorithm: str
    digest: bytes

    def start(self) -> _Hash:
        """A fresh hash of that kind."""
        return _HASHES[self.algorithm]()


def number(text: str, name: str) -> int:
    """A count of bytes. Raises BadField for anything but up to 15 digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadField(f"{name} takes a number of bytes.", field=name)
    return int(text)


def read_checksum(text: str) -> Checksum:
    """`Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`. Raises BadField."""
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in _HASHES:
        raise BadField(f"Upload-Checksum takes one of {', '.join(ALGORITHMS)}.", field="Upload-Checksum")
    digest = _base64(encoded.strip(), "Upload-Checksum")
    if len(digest) != _HASHES[algorithm]().digest_size:
        raise BadField(f"That is no {algorithm}.", field="Upload-Checksum")
    return Checksum(algorithm, digest)


def read_metadata(text: str) -> dict[str, str]:
    """`Upload-Metadata: filename d29ybGQuanBn,is_confidential`; an empty header, as some clients send it, says nothing.

    Raises BadField for what is too long, not base64, not UTF-8, or said twice.
    """
    if len(text) > MAX_METADATA:
        raise BadField(f"Upload-Metadata has more than {MAX_METADATA} characters.", field="Upload-Metadata")
    found: dict[str, str] = {}
    for pair in text.split(","):
        key, _, encoded = pair.strip().partition(" ")
        if not key:
            continue
        if key in found or not key.isascii():
            raise BadField("The keys of Upload-Metadata are ASCII and differ.", field="Upload-Metadata")
        try:
            found[key] = _base64(encoded.strip(), "Upload-Metadata").decode()
        except UnicodeDecodeError:
            raise BadField(f"{key[:100]} is not UTF-8.", field="Upload-Metadata") from None
    return found


def read_concat(text: str) -> tuple[UploadId, ...] | None:
    """The uploads that `Upload-Concat: final;/tus/a /tus/b` joins; None for `partial`. Raises BadField, Missing."""
    if len(text) > MAX_METADATA or not (text.isascii() and text.isprintable()):
        raise BadField("Upload-Concat is too long, or holds what is no URL.", field="Upload-Concat")
    word, mark, rest = text.strip().partition(";")
    if word == "partial" and not mark:
        return None
    urls = rest.split()
    if word != "final" or not 1 <= len(urls) <= MAX_PARTIALS:
        raise BadField(f"Upload-Concat takes partial, or final; and 1 to {MAX_PARTIALS} URLs.", field="Upload-Concat")
    return tuple(map(_upload_of, urls))


def _upload_of(url: str) -> UploadId:
    """From an absolute or relative URL; whose host it names does not matter, since only the id is looked up."""
    try:
        name = urlsplit(url).path.rstrip("/").rpartition("/")[2]
    except ValueError:
        raise BadField("Upload-Concat holds what is no URL.", field="Upload-Concat") from None
    if not is_id(name):
        raise Missing
    return UploadId(name)


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # some clients leave the padding out
    except (binascii.Error, ValueError):
        raise BadField(f"{name} is not base64.", field=name) from None
