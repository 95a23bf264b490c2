"""Sealed frames: what was sealed comes back, and nothing else does."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.adapters.storage._frames import FRAME_BYTES, HEADER_BYTES, TAG_BYTES, Sealer, Unsealer, frame_count, sealed_size
from safelight.adapters.storage._keyring import KeyRing, UnknownKey

RING = KeyRing(b"k" * 8, {b"k" * 8: AESGCM(b"m" * 32)})
BLOB_ID = b"b" * 16
STRIDE = FRAME_BYTES + TAG_BYTES
SIZES = st.sampled_from((0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 3 * FRAME_BYTES + 7))


def plain_of(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def seal(data: bytes, *cuts: int, blob_id: bytes = BLOB_ID) -> bytes:
    sealer = Sealer(RING, blob_id)
    edges = [0, *sorted(cuts), len(data)]
    frames = [frame for start, end in itertools.pairwise(edges) for frame in sealer.update(data[start:end])]
    return b"".join([sealer.header, *frames, sealer.finish()])


def unseal(blob: bytes, size: int, start: int = 0, end: int | None = None, *, blob_id: bytes = BLOB_ID) -> bytes:
    unsealer = Unsealer(RING, blob_id, blob[:HEADER_BYTES], size)
    end = size if end is None else end
    first, offset, length = unsealer.span(start, end)
    plain = b"".join(unsealer.open(first, blob[offset : offset + length]))
    return plain[start - first * FRAME_BYTES :][: end - start]


@settings(deadline=None, max_examples=60)
@given(size=SIZES, data=st.data())
def test_what_is_sealed_in_any_pieces_opens_in_any_range(size, data):
    cuts = data.draw(st.lists(st.integers(0, size), max_size=5))
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    blob = seal(plain_of(size), *cuts)

    assert len(blob) == sealed_size(size)
    assert unseal(blob, size, start, end) == plain_of(size)[start:end]


@pytest.mark.parametrize(
    ("size", "frames"), ((0, 1), (1, 1), (FRAME_BYTES, 1), (FRAME_BYTES + 1, 2), (2 * FRAME_BYTES, 2), (2 * FRAME_BYTES + 1, 3))
)
def test_frames_are_counted_exactly(size, frames):
    assert frame_count(size) == frames
    assert len(seal(plain_of(size))) == HEADER_BYTES + size + frames * TAG_BYTES


def test_a_range_needs_only_its_frames():
    unsealer = Unsealer(RING, BLOB_ID, seal(plain_of(5 * FRAME_BYTES))[:HEADER_BYTES], 5 * FRAME_BYTES)

    assert unsealer.span(3 * FRAME_BYTES + 1, 3 * FRAME_BYTES + 2) == (3, HEADER_BYTES + 3 * STRIDE, STRIDE)


@settings(deadline=None, max_examples=80)
@given(size=SIZES, data=st.data())
def test_any_flipped_bit_is_refused(size, data):
    blob = bytearray(seal(plain_of(size)))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises((ValueError, UnknownKey)):
        unseal(bytes(blob), size)


def test_frames_in_another_order_are_refused():
    blob = seal(plain_of(3 * FRAME_BYTES))
    first, second, last = (blob[HEADER_BYTES + n * STRIDE :][:STRIDE] for n in range(3))

    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(blob[:HEADER_BYTES] + second + first + last, 3 * FRAME_BYTES)


def test_a_dropped_frame_is_refused():
    blob = seal(plain_of(3 * FRAME_BYTES))

    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(blob[:HEADER_BYTES] + blob[HEADER_BYTES + STRIDE :], 2 * FRAME_BYTES)


def test_a_blob_cut_at_a_frames_edge_is_refused_even_by_one_who_believes_the_shorter_size():
    blob = seal(plain_of(3 * FRAME_BYTES))

    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(blob[:-STRIDE], 2 * FRAME_BYTES)


def test_a_last_frame_does_not_pass_for_an_inner_one():
    blob = seal(plain_of(FRAME_BYTES))

    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(blob + blob[HEADER_BYTES:], 2 * FRAME_BYTES)


def test_a_blob_under_the_name_of_another_is_refused():
    with pytest.raises(ValueError, match="does not belong here"):
        unseal(seal(b"mine", blob_id=b"c" * 16), 4)


def test_a_frame_of_another_blob_is_refused():
    mine, other = seal(plain_of(100)), seal(plain_of(100), blob_id=b"c" * 16)

    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(mine[:HEADER_BYTES] + other[HEADER_BYTES:], 100)


@pytest.mark.parametrize("header", (b"", b"SLB1", b"\xff\xd8\xff\xe0" + bytes(HEADER_BYTES - 4), bytes(HEADER_BYTES + 1)))
def test_what_is_no_header_is_refused(header):
    with pytest.raises(ValueError, match="not the header"):
        Unsealer(RING, BLOB_ID, header, 0)


def test_two_blobs_of_the_same_bytes_have_nothing_in_common():
    one, two = seal(bytes(1000)), seal(bytes(1000))

    assert one[HEADER_BYTES : HEADER_BYTES + 16] != two[HEADER_BYTES : HEADER_BYTES + 16]
    assert one[12:24] != two[12:24]
