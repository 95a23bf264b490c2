"""Wire: what a child says is believed only as far as an honest child could have said it."""

import json

import pytest

from safelight.errors import DecodeBudgetExceeded, TooManyPixels
from safelight.imaging import Developed, Facts, File, Format, Header, Location
from safelight.imaging.sandbox import wire

JPEG = b"\xff\xd8\xff\xe0 a picture"
HEADER = Header(format=Format.HEIC, width=40, height=30, frames=1, has_alpha=True, orientation=6, is_buffered=True)
DEVELOPED = Developed(
    header=HEADER,
    files=(
        File(preset="large", format=Format.JPEG, width=40, height=30, data=JPEG),
        File(preset="medium", format=Format.JPEG, width=40, height=30, data=JPEG),
        File(preset="large", format=Format.WEBP, width=40, height=30, data=b"RIFF\0\0\0\0WEBP"),
    ),
    facts=Facts(
        taken_at="2024-05-01T12:30:15+02:00",
        camera="C",
        keywords=("a", "b"),
        location=Location(latitude=1.5, longitude=-2.0),
        metadata={"exif": {"FNumber": 2.8, "LensSpecification": [1, 2.5]}},
        private={"GPSLatitude": [1, 2, 3]},
    ),
    thumbhash=bytes(range(20)),
    dominant_color="#00ff7f",
    phash="0123456789abcdef",
)


def sent(reply: wire.Reply) -> tuple[wire.Head, list[bytes]]:
    frame = b"".join(wire.packed(reply))
    size = wire.head_size(frame[: wire.LENGTH_BYTES])
    at = wire.LENGTH_BYTES + size
    head = wire.read_head(frame[wire.LENGTH_BYTES : at])
    blobs = []
    for length in head.sizes:
        blobs.append(frame[at : at + length])
        at += length
    return head, blobs


def test_a_development_crosses_unchanged_and_shared_bytes_once():
    head, blobs = sent(wire.developed_reply(DEVELOPED))

    assert wire.read_developed(head.value, blobs) == DEVELOPED
    assert len(blobs) == 2


def test_a_header_crosses_unchanged():
    head, _ = sent(wire.Reply(wire.header_value(HEADER)))

    assert wire.read_header(head.value) == HEADER


def test_a_refusal_crosses_with_its_code_and_limit():
    frame = b"".join(wire.packed_error(TooManyPixels("Too many.", limit=5)))

    error = wire.read_head(frame[wire.LENGTH_BYTES :]).error
    assert isinstance(error, TooManyPixels)
    assert (error.detail, error.extra) == ("Too many.", {"limit": 5})


@pytest.mark.parametrize("code", ("forbidden", "not_found", "rate_limited", "", None, 7))
def test_a_child_cannot_raise_what_is_not_its_business(code):
    with pytest.raises(wire.Malformed):
        wire.read_head(json.dumps({"error": {"code": code, "detail": "x"}, "blobs": []}).encode())


@pytest.mark.parametrize(
    "body",
    (
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"blobs": [-1]}',
        b'{"blobs": [1.5]}',
        b'{"blobs": [true]}',
        b'{"blobs": [99999999999]}',
        b'{"blobs": [200000000, 200000000]}',
        b'{"ok": NaN, "blobs": []}',
        b'{"blobs": [' + b"0," * 1000 + b"0]}",
        b"[" * 100_000,
        b"\xff\xfe",
    ),
)
def test_a_head_that_no_honest_child_sends_is_malformed(body):
    with pytest.raises(wire.Malformed):
        wire.read_head(body)


@pytest.mark.parametrize("length", (b"\0\0\0\0", b"\xff\xff\xff\xff"))
def test_a_head_too_long_or_empty_is_malformed(length):
    with pytest.raises(wire.Malformed):
        wire.head_size(length)


def changed(value, path, new):
    value = json.loads(json.dumps(value))
    *above, last = path
    at = value
    for step in above:
        at = at[step]
    at[last] = new
    return value


@pytest.mark.parametrize(
    ("path", "new"),
    (
        (("header", "width"), 0),
        (("header", "width"), "40"),
        (("header", "width"), True),
        (("header", "format"), "exe"),
        (("header", "orientation"), 9),
        (("files", 0, "blob"), 5),
        (("files", 0, "blob"), -1),
        (("files", 0, "preset"), "../../etc"),
        (("files", 0, "format"), "svg"),
        (("files", 0, "format"), "webp"),
        (("files",), {}),
        (("facts", "camera"), 5),
        (("facts", "camera"), "a\0b"),
        (("facts", "camera"), "\ud800"),
        (("facts", "title"), "x" * 1_000_000),
        (("facts", "taken_at"), "now"),
        (("facts", "location", "latitude"), 1e400),
        (("facts", "location", "latitude"), 91),
        (("facts", "keywords"), [1]),
        (("facts", "metadata", "exif"), "text"),
        (("facts", "metadata", "exif"), {"a": {"b": {"c": {"d": 1}}}}),
        (("facts", "metadata", "exif"), {"a": None}),
        (("facts", "metadata", "exif"), {"a": 2**70}),
        (("thumbhash",), "zz"),
        (("dominant_color",), "red; background: url(//evil)"),
        (("phash",), "0"),
    ),
)
def test_a_value_that_no_honest_child_sends_is_malformed(path, new):
    reply = wire.developed_reply(DEVELOPED)

    with pytest.raises(wire.Malformed):
        wire.read_developed(changed(reply.value, path, new), reply.blobs)


def test_a_page_cannot_pass_for_a_picture():
    reply = wire.developed_reply(DEVELOPED)

    with pytest.raises(wire.Malformed):
        wire.read_developed(reply.value, [b"<script>alert(1)</script>", *reply.blobs[1:]])


def test_an_error_without_extra_crosses():
    frame = b"".join(wire.packed_error(DecodeBudgetExceeded()))

    assert isinstance(wire.read_head(frame[wire.LENGTH_BYTES :]).error, DecodeBudgetExceeded)


def test_a_pyramid_is_believed_only_as_a_whole_file_of_jpegs():
    from safelight.imaging.transform import Size
    from safelight.imaging.transform.pyramid import packed

    size = Size(2100, 300)
    good = packed(size, [JPEG] * 5)

    assert wire.read_tiled([good], size) == good
    for blobs in ([], [good, good], [good[:-1]], [packed(size, [JPEG] * 4)], [packed(size, [JPEG] * 4 + [b"GIF89a"])], [b""]):
        with pytest.raises(wire.Malformed):
            wire.read_tiled(blobs, size)
    with pytest.raises(wire.Malformed):
        wire.read_tiled([good], Size(2100, 301))
