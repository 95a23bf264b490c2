"""Metadata: what honest files say is found, what dishonest ones say does no harm."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.imaging.metadata.exif import read_exif
from safelight.imaging.metadata.facts import MAX_KEYWORDS, read_facts
from safelight.imaging.metadata.icc import describe
from safelight.imaging.metadata.iptc import read_iptc
from safelight.imaging.metadata.text import MAX_TEXT
from safelight.imaging.metadata.xmp import read_xmp

ASCII, SHORT, LONG, RATIONAL, BYTE, UNDEFINED = 2, 3, 4, 5, 1, 7


def exif(image=(), photo=(), gps=(), order="<"):
    """An EXIF block of (tag, type, value) entries: text as bytes, numbers as a tuple, rationals as a tuple of pairs."""
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    image = [*image]
    at = 8 + 2 + 12 * (len(image) + bool(photo) + bool(gps)) + 4
    blocks = b""

    def directory(entries, at):
        body, tail = struct.pack(order + "H", len(entries)), b""
        heap = at + 2 + 12 * len(entries) + 4
        for tag, kind, value in entries:
            raw = (
                value
                if isinstance(value, bytes)
                else b"".join(
                    struct.pack(
                        order + {SHORT: "H", LONG: "I", BYTE: "B", RATIONAL: "II"}[kind], *(v if kind == RATIONAL else (v,))
                    )
                    for v in value
                )
            )
            body += struct.pack(order + "HHI", tag, kind, len(value))
            if len(raw) <= 4:
                body += raw.ljust(4, b"\0")
            else:
                body += struct.pack(order + "I", heap + len(tail))
                tail += raw
        return body + b"\0\0\0\0" + tail

    for tag, entries in ((0x8769, photo), (0x8825, gps)):
        if entries:
            image.append((tag, LONG, (0,)))
    size = len(directory(image, 8))
    at = 8 + size
    for index, (tag, _kind, _value) in enumerate(image):
        entries = {0x8769: photo, 0x8825: gps}.get(tag)
        if entries:
            image[index] = (tag, LONG, (at,))
            block = directory(list(entries), at)
            blocks += block
            at += len(block)
    return b"Exif\0\0" + header + directory(image, 8) + blocks


def facts(**blocks):
    return read_facts(lambda name: blocks.get(name.replace("-data", "").replace("-profile", ""), b""))


@pytest.mark.parametrize("order", ("<", ">"))
def test_exif_tells_camera_lens_time_and_exposure(order):
    block = exif(
        image=((0x010F, ASCII, b"Canon\0"), (0x0110, ASCII, b"Canon EOS 5D\0")),
        photo=(
            (0x829A, RATIONAL, ((1, 250),)),
            (0x8827, SHORT, (400,)),
            (0x9003, ASCII, b"2024:05:01 12:30:15\0"),
            (0x9011, ASCII, b"+02:00\0"),
            (0xA434, ASCII, b"EF 50mm\0"),
        ),
        order=order,
    )

    found = facts(exif=block)
    assert (found.camera, found.lens, found.taken_at) == ("Canon EOS 5D", "EF 50mm", "2024-05-01T12:30:15+02:00")
    assert found.metadata["exif"]["ExposureTime"] == 1 / 250
    assert found.metadata["exif"]["PhotographicSensitivity"] == 400


def test_where_it_was_and_serial_numbers_are_private():
    block = exif(
        image=((0x0110, ASCII, b"D90\0"),),
        photo=((0xA431, ASCII, b"SN-123456\0"), (0xA420, ASCII, b"0011aabb\0"), (0xA430, ASCII, b"Ann\0")),
        gps=(
            (1, ASCII, b"S\0"),
            (2, RATIONAL, ((35, 1), (30, 1), (3600, 100))),
            (3, ASCII, b"W\0"),
            (4, RATIONAL, ((70, 1), (15, 1), (0, 1))),
            (5, BYTE, (1,)),
            (6, RATIONAL, ((125, 10),)),
        ),
    )

    found = facts(exif=block)
    assert found.location is not None
    assert (found.location.latitude, found.location.longitude, found.location.altitude) == (-35.51, -70.25, -12.5)
    assert found.private["BodySerialNumber"] == "SN-123456"
    assert not any("GPS" in name or "Serial" in name or "Owner" in name for name in found.metadata["exif"])


@pytest.mark.parametrize(
    ("entries", "reason"),
    (
        (
            (
                (1, ASCII, b"N\0"),
                (2, RATIONAL, ((0, 1), (0, 1), (0, 1))),
                (3, ASCII, b"E\0"),
                (4, RATIONAL, ((0, 1), (0, 1), (0, 1))),
            ),
            "zeros",
        ),
        (((2, RATIONAL, ((91, 1), (0, 1), (0, 1))), (4, RATIONAL, ((10, 1), (0, 1), (0, 1)))), "beyond the pole"),
        (((2, RATIONAL, ((9, 0), (0, 1), (0, 1))), (4, RATIONAL, ((10, 1), (0, 1), (0, 1)))), "no number"),
        (((2, RATIONAL, ((9, 1), (0, 1), (0, 1))),), "half of it"),
    ),
)
def test_a_place_that_cannot_be_is_no_place(entries, reason):
    assert facts(exif=exif(gps=entries)).location is None


@pytest.mark.parametrize("date", (b"0000:00:00 00:00:00\0", b"2024:13:01 00:00:00\0", b"    :  :     :  :  \0", b"yesterday\0"))
def test_a_date_that_cannot_be_is_no_date(date):
    assert facts(exif=exif(photo=((0x9003, ASCII, date),))).taken_at is None


@pytest.mark.parametrize("value", [1e300, -1e300, 2.0**63, float("inf"), float("nan")])
def test_a_number_that_no_record_holds_is_not_told(value):
    block = b"MM\0*" + struct.pack(">IHHHII", 8, 1, 0x011A, 12, 1, 22) + struct.pack(">d", value)

    assert read_exif(block).public == {}


@pytest.mark.parametrize("offset", ["+01:00:00.5", "-00:30:00.000001"])
def test_an_offset_by_a_fraction_of_a_second_is_no_date(offset):
    packet = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
        f'<rdf:Description xmp:CreateDate="2024-01-02T03:04:05{offset}"/></rdf:RDF>'
    )

    assert read_facts(lambda name: packet.encode() if name == "xmp-data" else b"").taken_at is None


def test_text_beyond_ascii_survives():
    block = exif(image=((0x8298, ASCII, "© Zoë".encode() + b"\0"), (0x013B, ASCII, "Zoë".encode("latin-1") + b"\0")))

    found = facts(exif=block)
    assert (found.copyright, found.creator) == ("© Zoë", "Zoë")


def iptc(*datasets, is_utf8=True):
    records = (b"\x1c\x01\x5a\x00\x03\x1b%G" if is_utf8 else b"") + b"".join(
        b"\x1c\x02" + bytes([number]) + len(value).to_bytes(2, "big") + value for number, value in datasets
    )
    return b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + len(records).to_bytes(4, "big") + records


def test_iptc_tells_title_caption_keywords_and_place():
    block = iptc(
        (5, b"Rose"),
        (120, "Eine schöne".encode()),
        (25, b"red"),
        (25, b"rose"),
        (90, b"Wien"),
        (101, b"Austria"),
        (55, b"20240501"),
        (60, b"123015+0200"),
    )

    found = facts(iptc=block)
    assert (found.title, found.description, found.keywords) == ("Rose", "Eine schöne", ("red", "rose"))
    assert (found.place, found.taken_at) == ("Wien, Austria", "2024-05-01T12:30:15+02:00")


XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:exif="http://ns.adobe.com/exif/1.0/" photoshop:City="Oslo" aux:SerialNumber="777">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Fjord &amp; sky</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>water</rdf:li><rdf:li>sky</rdf:li></rdf:Bag></dc:subject>
<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>
<exif:GPSLatitude>59,54.5N</exif:GPSLatitude>
<photoshop:DateCreated>2023-02-03T04:05:06+01:00</photoshop:DateCreated>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_xmp_is_believed_first_and_hides_the_same_things():
    found = facts(xmp=XMP.encode() + b" " * 2000, iptc=iptc((5, b"Old"), (25, b"sky"), (25, b"sea")))

    assert (found.title, found.keywords, found.creator, found.place) == (
        "Fjord & sky",
        ("water", "sky", "sea"),
        "Ann, Bob",
        "Oslo",
    )
    assert found.taken_at == "2023-02-03T04:05:06+01:00"
    assert set(found.private) == {"aux:SerialNumber", "exif:GPSLatitude"}
    assert not set(found.private) & set(found.metadata["xmp"])


def test_xmp_with_a_doctype_says_nothing():
    block = XMP.replace("<x:xmpmeta", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><x:xmpmeta').replace(
        "water", "&b;"
    )

    assert read_xmp(block.encode()) == ({}, {})


def test_everything_is_cut_to_a_sane_length():
    many = b"".join(b"<rdf:li>%d</rdf:li>" % n for n in range(5000))
    block = XMP.encode().replace(b"<rdf:li>water</rdf:li>", many).replace(b"Fjord", b"x" * 50_000)

    found = facts(xmp=block, exif=exif(image=((0x010E, ASCII, b"y" * 60_000),)))
    assert len(found.keywords) <= MAX_KEYWORDS
    assert len(found.title) <= MAX_TEXT
    assert len(found.description) <= MAX_TEXT


def test_xmp_nested_without_end_says_nothing():
    assert read_xmp(b"<a>" * 100_000) == ({}, {})


def test_marks_that_turn_text_around_are_taken_out():
    assert facts(exif=exif(image=((0x013B, ASCII, "a\u202egnp.exe\x07".encode() + b"\0"),))).creator == "agnp.exe"


@pytest.mark.parametrize(
    "tag",
    (
        b"desc\0\0\0\0" + (12).to_bytes(4, "big") + b"Adobe RGB 98\0",
        b"mluc\0\0\0\0"
        + (1).to_bytes(4, "big")
        + (12).to_bytes(4, "big")
        + b"enUS"
        + (24).to_bytes(4, "big")
        + (28).to_bytes(4, "big")
        + "Adobe RGB 98".encode("utf-16-be"),
    ),
    ids=("version 2", "version 4"),
)
def test_a_profile_tells_its_name(tag):
    profile = b"\0" * 128 + (1).to_bytes(4, "big") + b"desc" + (144).to_bytes(4, "big") + len(tag).to_bytes(4, "big") + tag

    assert describe(profile) == "Adobe RGB 98"


HONEST = {
    "exif": exif(
        image=((0x010F, ASCII, b"Canon\0"),),
        photo=((0x9003, ASCII, b"2024:05:01 12:30:15\0"),),
        gps=((2, RATIONAL, ((1, 1), (2, 1), (3, 1))),),
    ),
    "iptc": iptc((5, b"Rose"), (25, b"red")),
    "xmp": XMP.encode(),
}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(HONEST)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=20),
    st.integers(0, 4000),
)
def test_damaged_metadata_never_raises(name, changes, cut):
    block = bytearray(HONEST[name])
    for at, value in changes:
        block[at % len(block)] = value

    facts(**{name: bytes(block[: cut or None])})


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_never_raises(block):
    for start in (b"", b"Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"):
        read_exif(start + block)
    for start in (b"", b"\x1c", b"Photoshop 3.0\x008BIM\x04\x04\0\0"):
        read_iptc(start + block)
    read_xmp(b"<x>" + block)
    describe(b"\0" * 128 + block)


def test_a_directory_that_points_at_itself_ends():
    block = bytearray(exif(image=((0x010F, ASCII, b"Canon\0"),), photo=((0x9003, ASCII, b"2024:05:01 12:30:15\0"),)))
    at = block.index(struct.pack("<HHI", 0x8769, LONG, 1)) + 8
    block[at : at + 4] = struct.pack("<I", 8)

    assert read_exif(bytes(block)).public["Make"] == "Canon"
