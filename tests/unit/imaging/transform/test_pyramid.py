"""The pyramid's layout: where tiles lie, which of them a transform needs, and what is no pyramid."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.imaging import Format
from safelight.imaging.transform import Original, Size, Source, parse, parse_request, plan, settle
from safelight.imaging.transform.pyramid import MAX_TILES, TILE, Index, Window, check, header_bytes, levels, packed, window

LARGE = Size(10_000, 7_001)
TILES = [
    b"\xff\xd8\xff" + bytes([n]) * n for n in range(1, 1 + sum(level.columns * level.rows for level in levels(Size(2600, 1000))))
]


def test_levels_are_halvings_above_the_master():
    assert [level.size for level in levels(LARGE)] == [(10_000, 7_001), (5_000, 3_501), (2_500, 1_751)]
    assert [level.first for level in levels(LARGE)] == [0, 20 * 14, 20 * 14 + 10 * 7]
    assert levels(Size(2048, 2048)) == ()
    assert [level.size for level in levels(Size(2049, 1))] == [(2049, 1)]
    assert list(levels(Size(2049, 600))[0].tiles)[-2:] == [(1536, 512, 512, 88), (2048, 512, 1, 88)]


def test_a_file_is_read_by_ranges_row_by_row():
    size = Size(2600, 1000)
    file = packed(size, TILES)
    check(file, size)
    index = Index.read(file[: header_bytes(size)], size)
    rows = list(index.rows(Window(0, 1, 0, 2, 2), size))

    assert [[file[start:end] for start, end in pairwise(row)] for row in rows] == [TILES[1:3], TILES[7:9]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file[:-1],
        lambda file: file + b"x",
        lambda file: b"X" + file[1:],
        lambda file: file[:8] + b"\0" * 8 + file[16:],
        lambda file: file[:10],
        lambda file: b"",
        lambda file: file.replace(b"\xff\xd8\xff\x03", b"GIF8"),
        lambda file: file[:16] + b"\xff\xff\xff\xff" + file[20:],
    ],
)
def test_what_is_no_whole_file_of_jpegs_is_refused(spoil):
    size = Size(2600, 1000)
    with pytest.raises(ValueError):
        check(spoil(packed(size, TILES)), size)
    with pytest.raises(ValueError):
        check(packed(size, TILES), Size(2600, 1001))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c=0:0:512:512.jpg", Window(0, 0, 0, 1, 1)),
        ("c=512:1024:512:512.jpg", Window(0, 1, 2, 1, 1)),
        ("c=9728:6656:272:345.jpg", Window(0, 19, 13, 1, 1)),
        ("c=500:500:100:100.jpg", Window(0, 0, 0, 2, 2)),
        ("c=1024:1024:1024:1024,fit=fill,h=512,w=512.jpg", Window(1, 1, 1, 1, 1)),
        ("c=2048:2048:2048:2048,fit=fill,h=512,w=512.jpg", Window(2, 1, 1, 1, 1)),
        ("c=1024:1024:1024:1024,fit=fill,h=513,w=513.jpg", Window(0, 2, 2, 2, 2)),
        ("c=0:0:100:100,fit=fill,h=900,w=900.jpg", Window(0, 0, 0, 1, 1)),
        ("c=0:0:9000:7000,w=4000.jpg", None),
        ("w=4000.jpg", None),
        ("c=0:0:100:100,t=10.jpg", None),
        ("c=0:0:100:100,fit=cover,g=auto,h=10,w=90.jpg", None),
        ("c=0:0:100:100,icc=keep.jpg", None),
    ],
)
def test_a_transform_is_made_of_the_fewest_pixels_that_suffice(text, expected):
    assert window(parse(text), LARGE) == expected


def test_only_what_the_master_lacks_of_still_opaque_pictures_comes_from_tiles():
    def settled(text, **facts):
        original = Original(**({"format": Format.JPEG, "width": 10_000, "height": 7_000} | facts))
        return settle(parse_request(text), original, "", max_animation_pixels=50_000_000)

    near, far = "c=512:512:512:512.png", "c=512:512:512:512,w=50.png"
    assert settled(near).window == Window(0, 1, 1, 1, 1)
    assert settled(near).weight < settled("c=0:0:9000:7000,w=4000.png").weight / 5
    assert settled(far).window is None
    assert not settled(far).needs_original
    assert settled(near, has_alpha=True).window is None
    assert settled("c=512:512:512:512.jpg", has_alpha=True).window is not None
    assert settled(near, format=Format.WEBP, frames=3, width=3000, height=2000).window is None
    assert settled("c=0:0:500:500.png", width=2000, height=2000).window is None


@given(st.data())
def test_the_tiles_cover_the_crop_and_give_the_size_that_the_original_gives(data):
    original = Size(data.draw(st.integers(2049, 12_000)), data.draw(st.integers(1, 12_000)))
    left, top = (data.draw(st.integers(0, side - 1)) for side in original)
    width, height = (data.draw(st.integers(1, 4000)) for _ in range(2))
    box = data.draw(st.sampled_from(("", ",w=512", ",h=300", ",fit=fill,h=512,w=512", ",fit=cover,h=90,w=120,r=90")))
    spec = parse(f"c={left}:{top}:{width}:{height}{box}.jpg")
    found = window(spec, original)
    if found is None:
        return
    level = levels(original)[found.level]
    planned = plan(spec, Source(original, level.size))
    crop = planned.crop

    assert planned.canvas == plan(spec, Source.whole(*original)).canvas
    assert found.columns * found.rows <= MAX_TILES
    assert found.left * TILE <= crop.left < crop.left + crop.width <= (found.left + found.columns) * TILE
    assert found.top * TILE <= crop.top < crop.top + crop.height <= (found.top + found.rows) * TILE
    assert found.left + found.columns <= level.columns
    assert found.top + found.rows <= level.rows
