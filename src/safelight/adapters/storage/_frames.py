"""Frames: a blob's bytes sealed in pieces of 64 KiB, so that a range can be read without the rest.

    blob   = header frame{n}            n >= 1, also for an object without bytes
    header = "SLB1" wrapped-data-key    72 bytes, see `_keyring`
    frame  = AES-256-GCM(data key, nonce, 64 KiB of plain bytes (the last one: 0 to 64 KiB), blob id)
    nonce  = frame number (11 bytes, big-endian) last-frame flag (1 byte)

This is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance,
CRYPTO 2015) with the nonce layout of age-encryption.org/v1. The number tells reordered and dropped frames, the flag a blob cut
or grown at a frame's edge, the blob id (associated data) frames and whole files moved between blobs. The data key is used for
one blob only, so the nonces need no random part.

Knows neither files nor objects: bytes in, bytes out. Called by `_blobs`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safelight.adapters.storage._keyring import KEY_BYTES, WRAPPED_BYTES, KeyRing

FRAME_BYTES: Final = 64 * 1024
"""A 20 KB range costs one frame; the tags cost 0.02 % of the disk; AES-GCM is at full speed from 16 KiB on."""
TAG_BYTES: Final = 16
MAGIC: Final = b"SLB1"
HEADER_BYTES: Final = len(MAGIC) + WRAPPED_BYTES


def frame_count(size_bytes: int) -> int:
    """How many frames so many plain bytes take."""
    return max(1, -(-size_bytes // FRAME_BYTES))


def sealed_size(size_bytes: int) -> int:
    """How large the blob of so many plain bytes is."""
    return HEADER_BYTES + size_bytes + TAG_BYTES * frame_count(size_bytes)


class Sealer:
    """Seals one blob, front to back."""

    def __init__(self, ring: KeyRing, blob_id: bytes) -> None:
        data_key = secrets.token_bytes(KEY_BYTES)
        self.header = MAGIC + ring.wrap(data_key, blob_id)
        self._cipher = AESGCM(data_key)
        self._blob_id = blob_id
        self._number = 0
        self._held = bytearray()

    def update(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The frames that are now known not to be the last one."""
        rest = memoryview(data)
        frames: list[bytes] = []
        if self._held:
            room = FRAME_BYTES - len(self._held)
            self._held += rest[:room]
            rest = rest[room:]
            if rest:
                frames.append(self._seal(self._held, is_last=False))
                self._held.clear()
        while len(rest) > FRAME_BYTES:
            frames.append(self._seal(rest[:FRAME_BYTES], is_last=False))
            rest = rest[FRAME_BYTES:]
        self._held += rest
        return frames

    def finish(self) -> bytes:
        """The last frame."""
        return self._seal(self._held, is_last=True)

    def _seal(self, plain: bytes | bytearray | memoryview, *, is_last: bool) -> bytes:
        frame = self._cipher.encrypt(_nonce(self._number, is_last=is_last), plain, self._blob_id)
        self._number += 1
        return frame


class Unsealer:
    """Opens any frames of one blob."""

    def __init__(self, ring: KeyRing, blob_id: bytes, header: bytes, size_bytes: int) -> None:
        """Raises ValueError for a header that is damaged or another blob's, UnknownKey when the ring lacks its key."""
        if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
            raise ValueError("This is not the header of a sealed blob.")
        self._cipher = AESGCM(ring.unwrap(header[len(MAGIC) :], blob_id))
        self._blob_id = blob_id
        self._size_bytes = size_bytes
        self._last = frame_count(size_bytes) - 1

    def span(self, start: int, end: int) -> tuple[int, int, int]:
        """The frames that hold the plain bytes [start, end): number of the first, offset and length in the file.

        An empty range yields one frame all the same, so that an object without bytes is checked like any other.
        """
        first = min(start // FRAME_BYTES, self._last)
        last = max(first, (end - 1) // FRAME_BYTES)
        stride = FRAME_BYTES + TAG_BYTES
        offset = HEADER_BYTES + first * stride
        return first, offset, min((last + 1 - first) * stride, sealed_size(self._size_bytes) - offset)

    def open(self, first: int, frames: bytes) -> Sequence[bytes]:
        """Plain bytes of consecutive frames. Raises ValueError when one of them is not what was sealed."""
        view = memoryview(frames)
        stride = FRAME_BYTES + TAG_BYTES
        try:
            return [
                self._cipher.decrypt(_nonce(number, is_last=number == self._last), view[at : at + stride], self._blob_id)
                for number, at in enumerate(range(0, len(view), stride), start=first)
            ]
        except InvalidTag:
            raise ValueError("A frame is not what was sealed.") from None


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if is_last else b"\0")
