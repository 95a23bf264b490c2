"""Bad input through the real door: each gets its problem document soon, leaves nothing behind, and the process lives."""

from __future__ import annotations

import io
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image as Pillow
from tests.acceptance.conftest import Server
from tests.pictures import encoded, jpeg, noise, png


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def png_that_lies(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def jpeg_that_lies(side: int) -> bytes:
    honest = jpeg(64, 64)
    at = honest.index(b"\xff\xc0")
    return honest[: at + 5] + struct.pack(">HH", side, side) + honest[at + 9 :]


def gif_of_many_frames(frames: int) -> bytes:
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\x00"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b"\x3b"


def png_with_text_bomb() -> bytes:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    good = png(32, 32)
    return good[:33] + bomb + good[33:100]  # and cut off, so that only a refusal is right


def cmyk_with_broken_profile_cut() -> bytes:
    whole = encoded(noise(200, 200).convert("CMYK"), "JPEG", icc_profile=b"not a profile" * 100)
    return whole[: len(whole) // 2]


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10" height="10">{}</svg>'

REFUSED: dict[str, tuple[bytes, set[str]]] = {
    "empty": (b"", {"empty_file"}),
    "text": (b"hello, I am not a picture" * 100, {"unsupported_format"}),
    "html": (b"<!doctype html><script>alert(1)</script>", {"unsupported_format"}),
    "pdf": (b"%PDF-1.7\n" + b"x" * 500, {"unsupported_format"}),
    "executable": (b"\x7fELF" + b"\0" * 500, {"unsupported_format"}),
    "jpeg cut at half": (half(jpeg()), {"corrupt_image"}),
    "jpeg of only a header": (jpeg()[:300], {"corrupt_image"}),
    "png cut at half": (half(png()), {"corrupt_image"}),
    "webp cut at half": (half(encoded(noise(300, 200), "WEBP")), {"corrupt_image"}),
    "gif cut at half": (half(encoded(noise(300, 200), "GIF")), {"corrupt_image"}),
    "tiff cut at half": (half(encoded(noise(300, 200), "TIFF")), {"corrupt_image"}),
    "jpeg of 64k by 64k": (jpeg_that_lies(65_500), {"too_many_pixels"}),
    "png of 64k by 64k": (png_that_lies(65_536), {"too_many_pixels"}),
    "gif of 10,000 frames": (gif_of_many_frames(10_000), {"too_many_frames"}),
    "cmyk with a broken profile, cut": (cmyk_with_broken_profile_cut(), {"corrupt_image"}),
    "svg with a script": (SVG.format("<script>alert(1)</script>").encode(), {"corrupt_image", "unsupported_format", "unprocessable", "unsafe_image"}),
    "svg with a file": (SVG.format('<image xlink:href="file:///etc/passwd" width="10" height="10"/>').encode(), {"corrupt_image", "unsupported_format", "unprocessable", "unsafe_image"}),
    "svg with an entity": (b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SVG.format("<text>&x;</text>").encode(), {"corrupt_image", "unsupported_format", "unprocessable", "unsafe_image"}),
    "svg of a billion laughs": (b'<!DOCTYPE svg [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(8)) + b"]>" + SVG.format("<text>&i;</text>").encode(), {"corrupt_image", "unsupported_format", "unprocessable", "unsafe_image"}),
    "png with a bomb in its text, cut": (png_with_text_bomb(), {"corrupt_image"}),
    "gzip": (b"\x1f\x8b" + b"\0" * 100, {"unsupported_format"}),
}  # fmt: skip


def everything(server: Server) -> tuple[set[str], int, int]:
    """What the server keeps: rows, object versions and files."""
    catalog = sqlite3.connect(f"file:{server.data_dir / 'catalog.db'}?mode=ro", uri=True)
    rows = {row[0] for row in catalog.execute("SELECT id FROM images")}
    catalog.close()
    blobs = sum(
        1 for path in (server.data_dir / "objects").rglob("*") if path.is_file() and not path.name.startswith("objects.db")
    )
    spooled = sum(1 for path in (server.data_dir / "spool").rglob("*"))
    return rows, blobs, spooled


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose leavings can be counted."""
    server = Server(tmp_path_factory.mktemp("bad") / "data").start()
    yield server
    server.stop()


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: name.replace(" ", "_"))
def test_a_bad_file_is_refused_with_its_code_and_leaves_nothing(mine, name):
    data, codes = REFUSED[name]
    before = everything(mine)
    started = time.monotonic()
    with mine.client() as client:
        answer = client.post("/images", files={"file": ("picture.jpg", data, "image/jpeg")})
    took = time.monotonic() - started

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in codes, answer.text
    assert took < 5, "two seconds on an idle machine; this one may be busy"
    assert everything(mine) == before
    assert httpx.get(f"{mine.url}/health/ready").status_code == 200


def test_a_wrong_extension_does_not_matter_since_the_bytes_decide(mine):
    with mine.client() as client:
        answer = client.post("/images", files={"file": ("picture.png", jpeg(), "application/pdf")})

    assert answer.status_code == 201
    assert answer.json()["type"] == "image/jpeg"


def test_a_polyglot_is_taken_as_the_image_that_it_is_and_served_as_nothing_else(mine):
    polyglot = jpeg() + b"<script>alert(1)</script><!-- PK\x03\x04 -->"
    with mine.client() as client:
        record = client.post("/images", files={"file": ("page.html", polyglot, "text/html")}).json()
        original = client.get(f"/images/{record['id']}/original")

    assert record["type"] == "image/jpeg"
    assert original.headers["content-type"] == "image/jpeg"
    assert original.headers["x-content-type-options"] == "nosniff"
    assert original.headers["content-disposition"].startswith("attachment")
    assert all(b"<script>" not in httpx.get(r["url"]).content for r in record["renditions"])


def test_a_broken_colour_profile_does_not_cost_the_picture(mine):
    data = encoded(noise(200, 200).convert("CMYK"), "JPEG", icc_profile=b"not a profile" * 100)
    with mine.client() as client:
        answer = client.post("/images", files={"file": data})

    assert answer.status_code == 201
    with Pillow.open(io.BytesIO(httpx.get(answer.json()["renditions"][0]["url"]).content)) as picture:
        assert picture.mode == "RGB"


FORMS: dict[str, tuple[dict[str, str], bytes, int, str]] = {
    "another content type": ({"content-type": "application/json"}, b"{}", 415, "unsupported_media_type"),
    "no boundary": ({"content-type": "multipart/form-data"}, b"--x--", 415, "unsupported_media_type"),
    "not a form": ({"content-type": "multipart/form-data; boundary=x"}, b"nonsense", 400, "bad_request"),
    "cut off": ({"content-type": "multipart/form-data; boundary=x"}, b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc', 400, "bad_request"),
    "no file": ({"content-type": "multipart/form-data; boundary=x"}, b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nabc\r\n--x--\r\n', 400, "bad_field"),
    "a part without a name": ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nX-Y: z\r\n\r\nabc\r\n--x--\r\n", 400, "bad_request"),
    "a name that is not utf-8": ({"content-type": "multipart/form-data; boundary=x"}, b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff\xfe.jpg"\r\n\r\n' + jpeg(16, 16) + b"\r\n--x--\r\n", 400, "bad_field"),
    "endless headers": ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nX: " + b"y" * 100_000 + b"\r\n\r\nabc\r\n--x--\r\n", 400, "bad_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS, ids=lambda name: name.replace(" ", "_"))
def test_a_bad_form_is_refused(mine, name):
    headers, body, status, code = FORMS[name]
    before = everything(mine)
    with mine.client() as client:
        answer = client.post("/images", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert everything(mine) == before


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"colour": "red"}, "bad_field"),
        ({"visibility": "secret"}, "bad_field"),
        ({"custom": "[1]"}, "bad_field"),
        ({"custom": "{"}, "bad_field"),
        ({"custom": '{"a": "' + "x" * 20_000 + '"}'}, "bad_field"),
        ({"title": "x" * 201}, "bad_field"),
        ({"tags": ",".join(f"t{n}" for n in range(101))}, "bad_field"),
        ({"tags": "x" * 65}, "bad_field"),
        ({"album_id": "x" * 10_000}, "not_found"),
        ({"album_id": "0" * 26}, "not_found"),
        ({"description": "x" * 70_000}, "bad_field"),
    ],
)
def test_a_bad_field_is_refused_by_name_and_leaves_nothing(mine, fields, code):
    before = everything(mine)
    with mine.client() as client:
        answer = client.post("/images", files={"file": jpeg(32, 32, seed=99)}, data=fields)

    assert (400 <= answer.status_code < 500, answer.json()["code"]) == (True, code), answer.text
    assert everything(mine) == before


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/images?cursor=nonsense", "bad_cursor"),
        ("/images?cursor=" + "A" * 5000, "bad_cursor"),
        ("/images?limit=0", "bad_field"),
        ("/images?limit=1000000", "bad_field"),
        ("/images?sort=colour", "bad_field"),
        ("/images?colour=red", "bad_field"),
        ("/images?created_after=yesterday", "bad_field"),
        ("/images?sort=position", "bad_field"),
        ("/images?owner=" + "x" * 10_000, "bad_field"),
        ("/images?album=" + "0" * 26, "not_found"),
        ("/images?tag=" + "x" * 100, "bad_field"),
        ("/images?min_bytes=-1", "bad_field"),
        ("/images?sha256=zz", "bad_field"),
        ("/images/search?q=" + "x" * 501, "bad_field"),
        ("/images/search?q=a&cursor=-1", "bad_cursor"),
        ("/images/search?year=0", "bad_field"),
        ("/images/" + "y" * 10_000, "not_found"),
        ("/images/%00", "not_found"),
        ("/albums/..%2f..%2fetc", "not_found"),
        ("/nowhere", "not_found"),
        ("/i/x/thumb_150.webp", "not_found"),
        ("/i/" + "0" * 26 + "/gigantic.webp", "not_found"),
        ("/i/" + "0" * 26 + "/thumb_150.exe", "bad_option"),
        ("/i/" + "0" * 26 + "/thumb_150.webp?w=3", "bad_option"),
        ("/i/" + "0" * 26 + "/thumb_150.webp?kid=a&exp=1&sig=b", "bad_signature"),
        ("/i/" + "0" * 26 + "/thumb_150.webp?kid=a&exp=1e9&sig=b", "bad_signature"),
        ("/i/" + "0" * 26 + "/thumb_150.webp?kid=a&kid=b&exp=1&sig=b", "bad_option"),
        ("/i//", "not_found"),
        ("/i/%ff%fe/%00.webp", "not_found"),
    ],
    ids=lambda value: value[:40],
)
def test_a_bad_address_is_a_4xx_with_a_code(mine, path, code):
    with mine.client() as client:
        answer = client.get(path)

    assert (400 <= answer.status_code < 500, answer.json()["code"]) == (True, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_file_above_the_limit_is_refused_before_it_is_all_sent(tmp_path):
    server = Server(tmp_path / "data", {"SAFELIGHT_LIMITS__MAX_BYTES": "100000"}).start()
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        while sent < 200_000_000:
            sent += 65536
            yield b"\xff" * 65536

    try:
        with server.client() as client:
            declared = client.post("/images", files={"file": b"\xff" * 5_000_000})
            assert (declared.status_code, declared.json()["code"]) == (413, "too_many_bytes")
            try:
                answer = client.post("/images", content=body(), headers={"content-type": "multipart/form-data; boundary=x"})
                assert (answer.status_code, answer.json()["code"]) == (413, "too_many_bytes")
            except httpx.TransportError:
                pass  # the answer may be lost when the connection is closed on a sender that does not listen
            assert sent < 100_000_000
            assert client.get("/health/ready").status_code == 200
            assert everything(server)[0] == set()
    finally:
        server.stop()
