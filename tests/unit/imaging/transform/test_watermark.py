"""Watermarks: how large and where, as someone would reckon who looks at every pixel; names; and which letters there are."""

import struct
from math import cos, isclose, radians, sin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont
from tests.unit.imaging.transform.strategies import watermarks

from safelight.errors import BadOption
from safelight.imaging.transform import (
    Fonts,
    Layer,
    Original,
    Position,
    Request,
    Scale,
    Size,
    parse,
    parse_request,
    read_named,
    settle,
)
from safelight.imaging.transform.fonts import bundled, covered
from safelight.imaging.transform.placing import placed
from safelight.imaging.transform.watermark import MIN_SIDE, quoted

sides = st.integers(1, 2000)
sizes = st.builds(Size, sides, sides)
layers = st.builds(Size, st.integers(MIN_SIDE, 5000), st.integers(MIN_SIDE, 5000))


def half_up(value):
    return int((value + 0.5) // 1)


def margins(mark, layer):
    sides = (mark.margin.x, mark.margin.y)
    return tuple(half_up(round(side * 100) * min(layer) / 10_000) if mark.margin.is_percent else side for side in sides)


@settings(max_examples=400, deadline=None)
@given(watermarks(), sizes, layers)
def test_a_mark_lies_where_its_margins_say(mark, own, layer):
    placing = placed(mark, own, layer)
    x, y = margins(mark, layer)
    right = layer.width - placing.left - placing.outer.width
    below = layer.height - placing.top - placing.outer.height

    for name, before, after, away, part, whole in (
        ("west", placing.left, right, x, placing.outer.width, layer.width),
        ("north", placing.top, below, y, placing.outer.height, layer.height),
    ):
        assert 1 - part <= before < whole, "a pixel is seen at the least"
        if before in {1 - part, whole - 1}:
            continue  # pushed as far out as it goes
        opposite = {"west": "east", "north": "south"}[name]
        if name in mark.position:
            assert before == away
        elif opposite in mark.position:
            assert after == away
        elif mark.position is Position.TILE:
            assert 0 <= after - before <= 1
        else:
            assert 0 <= after - before + 2 * away <= 1


@settings(max_examples=400, deadline=None)
@given(watermarks(), sizes, layers)
def test_a_mark_fills_its_share_as_far_as_its_shape_allows(mark, own, layer):
    placing = placed(mark, own, layer)
    angle = radians(mark.rotate)
    around = (
        own.width * abs(cos(angle)) + own.height * abs(sin(angle)),
        own.width * abs(sin(angle)) + own.height * abs(cos(angle)),
    )
    fits = min(whole / part for whole, part in zip(layer, around, strict=True))
    if mark.scale.is_own:
        factor = min(mark.scale.width, fits)
    else:
        factor = min(layer.width * mark.scale.width / 100 / around[0], layer.height * mark.scale.height / 100 / around[1])

    for side, got in zip(own, placing.inner, strict=True):
        assert abs(got - max(1, side * factor)) <= 0.500001
    for side, got, whole in zip(around, placing.outer, layer, strict=True):
        assert 1 <= got <= whole
        # Both sides of what is turned were rounded before.
        assert got <= whole and abs(got - min(whole, max(1, side * factor))) <= 2


@settings(max_examples=200, deadline=None)
@given(watermarks().filter(lambda mark: mark.position is Position.TILE), sizes, layers)
def test_tiles_never_overlap_and_lie_around_the_middle(mark, own, layer):
    placing = placed(mark, own, layer)

    for step, part, gap in zip(placing.step, placing.outer, margins(mark, layer), strict=True):
        assert step == part + max(0, gap)


def test_what_is_turned_by_a_quarter_has_its_sides_swapped_exactly():
    upright = placed(parse("wm=a,wms=1x.png").watermark, Size(300, 70), Size(1000, 1000))
    lying = placed(parse("wm=a,wms=1x,wmr=90.png").watermark, Size(300, 70), Size(1000, 1000))

    assert (upright.outer, lying.outer, lying.inner) == (Size(300, 70), Size(70, 300), Size(300, 70))


@settings(max_examples=200, deadline=None)
@given(watermarks())
def test_it_can_be_said_and_read_again(mark):
    text = ",".join(f"{name}={value}" for name, value in mark.said().items())
    said = parse(f"p=1,{text}.png").watermark

    assert said == (mark if mark.opacity else None)


@pytest.mark.parametrize("text", ("100%", "a,b/c", "wm=x,h=5", "50%2C", "1\n2", "…", "a.webp"))
def test_any_words_survive_the_grammar(text):
    assert parse(f"wmt={quoted(text)},w=9.png").watermark.text == text


def test_a_small_picture_carries_none_and_shares_the_key_of_one_without():
    original = Original(format=parse("full.png").format, width=1600, height=800)

    def settled(text):
        return settle(Request(parse(text)), original, "", max_animation_pixels=1).spec

    assert settled("w=198,wmt=a.png") == settled("w=198.png")
    assert settled("w=200,wmt=a.png").watermark is not None
    assert settled("h=99,r=90,wmt=a.png") == settled("h=99,r=90.png")
    assert settled("w=198,p=20,bg=fff,wmt=a.png").watermark is None, "padding makes the picture no larger"
    assert settled("w=198,p=20,bg=fff,wmt=a,wml=canvas.png").watermark is not None


def test_a_name_stands_for_its_options_and_the_url_goes_before_them():
    named = read_named({"logo": "wm=01j,wms=20,wmo=90", "stamp": "wmt=Draft,wmp=tile"})

    def said(text):
        return parse_request(f"{text}.png", named=named).spec

    assert said("wm=logo,w=300") == parse("w=300,wm=01j,wms=20,wmo=90.png")
    assert said("wm=logo,wmo=30") == parse("wm=01j,wms=20,wmo=30.png")
    assert said("wm=stamp,wmt=Sold") == parse("wmt=Sold,wmp=tile.png")
    assert said("wm=other").watermark.image == "other", "what is no name may be an id"
    with pytest.raises(BadOption):
        said("wm=logo,wmt=Sold")


@pytest.mark.parametrize(
    ("name", "options"),
    (
        ("Logo", "wmt=a"),
        ("", "wmt=a"),
        ("a" * 25, "wmt=a"),
        ("a", ""),
        ("a", "wmp=north"),
        ("a", "wmt=a,w=9"),
        ("a", "wmt=a,wmx=9"),
    ),
)
def test_names_that_cannot_work_are_told_at_the_start(name, options):
    with pytest.raises(ValueError):
        read_named({name: options})


def test_the_bundled_font_has_what_we_say_and_no_more():
    Fonts().check("© 2026 Ærøskøbing, Straße, naïve Ελληνικά Русский नमस्ते – „quoted“ €")

    with pytest.raises(BadOption) as caught:
        Fonts().check("ok 日本 😀")
    assert caught.value.extra["option"] == "watermark_text"
    assert caught.value.detail == "No font here has 日 (U+65E5), 本 (U+672C), 😀 (U+1F600)."


def test_letters_are_those_that_freetype_finds_too():
    font = ImageFont.truetype(str(bundled()), 20, layout_engine=ImageFont.Layout.BASIC)
    box = bytes(font.getmask("\U0010fffd"))
    points = [*range(0x20, 0x7F), *range(0xA0, 0x300), *range(0x370, 0x530), *range(0x900, 0xA00), *range(0x4E00, 0x4E80)]

    found = covered(bundled().read_bytes())
    assert {point for point in points if bytes(font.getmask(chr(point))) != box} == {point for point in points if point in found}


@pytest.mark.parametrize(
    "data", (b"", b"no font", b"\0\1\0\0\0\1" + bytes(6), b"\0\1\0\0" + struct.pack(">4H", 1, 0, 0, 0) + b"cmap" + bytes(12))
)
def test_what_is_no_font_is_refused(data):
    with pytest.raises(ValueError):
        covered(data)


def test_a_font_cut_short_at_any_point_is_refused_or_read():
    font = bundled().read_bytes()
    for size in range(0, 4000, 37):
        with pytest.raises(ValueError):
            covered(font[:size])


def test_scales_and_layers_are_what_they_say():
    assert str(Scale(20, 20)) == "20"
    assert str(Scale(1.5, 1.5, is_own=True)) == "1.5x"
    assert parse("p=1,wmt=a,wml=canvas.png").watermark.layer is Layer.CANVAS
    assert isclose(parse("wmt=a,wmo=33.33.png").watermark.opacity, 33.33)
