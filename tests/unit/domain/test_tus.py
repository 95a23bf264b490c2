"""The headers of tus: what clients send is hostile until it is read, and never more than a refusal."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safelight.domain import tus
from safelight.domain.ids import new_id
from safelight.domain.uploads import PIECE_BYTES, SMALL_BYTES, Piece, kept_apart
from safelight.errors import BadField, Missing, SafelightError

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1, max_size=20)


@given(st.dictionaries(KEYS, st.text(max_size=50), max_size=8))
def test_metadata_come_back_as_they_were_said(words):
    header = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in words.items())

    assert tus.read_metadata(header) == words


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", {}),
        (" ", {}),
        (",", {}),
        ("is_confidential", {"is_confidential": ""}),
        ("filename ", {"filename": ""}),
        ("filename YS5qcGc=,", {"filename": "a.jpg"}),
        ("filename YS5qcGc", {"filename": "a.jpg"}),
        ("filename YS5qcGc= , type  aW1hZ2UvcG5n", {"filename": "a.jpg", "type": "image/png"}),
    ],
)
def test_metadata_are_read_as_clients_send_them(header, words):
    assert tus.read_metadata(header) == words


@given(st.text(max_size=200))
@example("filename ÿ===")
@example("a YQ==,a YQ==")
@example("a " + "A" * tus.MAX_METADATA)
@example("a /w==")
@example("a \ud800")
@pytest.mark.parametrize(
    "read", [tus.read_metadata, tus.read_checksum, tus.read_concat, lambda text: tus.number(text, "Upload-Length")]
)
def test_whatever_a_header_holds_it_is_read_or_refused(read, text):
    with contextlib.suppress(BadField, Missing):
        read(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "+1", " 1", "1e3", "٣", "²", "9" * 16, "0x10"])
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(BadField):
        tus.number(text, "Upload-Offset")


@pytest.mark.parametrize("algorithm", tus.ALGORITHMS)
def test_a_checksum_is_of_its_algorithm(algorithm):
    digest = hashlib.new(algorithm, b"hello").digest()
    checksum = tus.read_checksum(f"{algorithm} {base64.b64encode(digest).decode()}")
    started = checksum.start()
    started.update(b"hello")

    assert started.digest() == checksum.digest


@pytest.mark.parametrize(
    "text", ["", "sha1", "md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 !!!!", "SHA1 x"]
)
def test_what_is_no_checksum_is_refused(text):
    with pytest.raises(BadField):
        tus.read_checksum(text)


def test_the_parts_of_a_final_upload_are_named_by_any_url_of_theirs():
    a, b = new_id(), new_id()

    assert tus.read_concat(f"final;https://photos.example/tus/{a} /tus/{b}/") == (a, b)
    assert tus.read_concat("partial") is None


@pytest.mark.parametrize(
    "text",
    ["final", "final;", "final; ", "partial;", "FINAL;/a", "final;http://[/x", "final;/tus/\x00", "final;" + "/tus/x " * 65],
)
def test_what_is_no_concatenation_is_refused(text):
    with pytest.raises(SafelightError):
        tus.read_concat(text)


@given(st.lists(st.integers(1, 3 * SMALL_BYTES), max_size=120))
@example([1] * 300)
@example(list(range(400, 0, -1)))
@example([PIECE_BYTES, 1, SMALL_BYTES, 1])
def test_however_an_upload_is_cut_its_record_names_few_pieces_and_no_byte_is_lost(sizes):
    pieces: tuple[Piece, ...] = ()
    for size in sizes:
        kept = kept_apart(pieces, size)
        pieces = (*pieces[:kept], Piece("", size + sum(piece.size_bytes for piece in pieces[kept:])))

    total = sum(sizes)
    assert sum(piece.size_bytes for piece in pieces) == total
    assert len(pieces) <= total // SMALL_BYTES + 21
