"""plan: against a slow reference in exact fractions, and bounds that hold for every source and every option."""

from dataclasses import replace
from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption, TooManyPixels
from safelight.imaging import Format
from safelight.imaging.geometry import fit_inside
from safelight.imaging.transform import Fit, Focal, Gravity, Source, estimate, parse, plan
from safelight.imaging.transform.plan import Box, Size, between, lesser_for, shrink_for

sides = st.integers(1, 20_000)


def up(value):
    return floor(value + Fraction(1, 2))


def slow(spec, source, frame, focus=None):
    """The same by the rules of the reference page, one sentence each, nothing folded together."""
    axes = []
    for axis, name, length in ((0, "left", "width"), (1, "top", "height")):
        start, size = frame[axis], frame[axis + 2]
        first, last = 0, size
        if spec.crop:
            if spec.crop.is_percent:
                per_unit = Fraction(size, 100)
                a = Fraction(str(getattr(spec.crop, name)))
                b = a + Fraction(str(getattr(spec.crop, length)))
            else:
                per_unit = Fraction(source.pixels[axis], source.original[axis])
                a = getattr(spec.crop, name)
                b = a + getattr(spec.crop, length)
            if a * per_unit >= size:
                return None
            first = min(up(a * per_unit), size - 1)
            last = min(max(up(b * per_unit), first + 1), size)
        axes.append((start + first, last - first))
    (left, width), (top, height) = axes

    across = spec.rotate in (90, 270)
    box_w, box_h = (spec.height, spec.width) if across else (spec.width, spec.height)
    w, h = (box_w or 8192), (box_h or 8192)
    cut = (width, height)
    if not (box_w or box_h):
        resized = (width, height)
    elif spec.fit is Fit.FILL:
        resized = (w, h)
    elif spec.fit is Fit.COVER or (spec.fit is Fit.CROP and width >= w and height >= h):
        scale = max(Fraction(w, width), Fraction(h, height))
        cut = (max(1, up(w / scale)), max(1, up(h / scale)))
        resized = (w, h)
    elif spec.fit is Fit.ASPECT_CROP and (box_w and box_h):
        scale = max(Fraction(w, width), Fraction(h, height))
        cut = (max(1, up(w / scale)), max(1, up(h / scale)))
        resized = (w, h) if cut[0] >= w and cut[1] >= h else cut
    elif spec.fit is Fit.CROP:
        resized = cut = (min(w, width), min(h, height))
    else:
        scale = min(Fraction(w, width), Fraction(h, height))
        if spec.fit is Fit.SCALE_DOWN:
            scale = min(scale, 1)
        resized = (max(1, up(width * scale)), max(1, up(height * scale)))

    gravity = focus or spec.gravity
    places = []
    for axis, (start, size, window) in enumerate(((left, width, cut[0]), (top, height, cut[1]))):
        starts = range(start, start + size - window + 1)
        if isinstance(gravity, Focal):
            point = Fraction(str((gravity.x, gravity.y)[axis])) * source.pixels[axis]
            places.append(min(starts, key=lambda at: (abs(at + Fraction(window, 2) - point), -at)))
        else:
            towards = ("west", "north")[axis] in gravity.value, ("east", "south")[axis] in gravity.value
            places.append(starts[0] if towards[0] else starts[-1] if towards[1] else starts[(len(starts) - 1) // 2])

    turned = resized[::-1] if across else resized
    inner = (spec.width, spec.height) if spec.fit is Fit.PAD else turned
    canvas = (spec.pad.left + inner[0] + spec.pad.right, spec.pad.top + inner[1] + spec.pad.bottom)
    at = (spec.pad.left + (inner[0] - turned[0]) // 2, spec.pad.top + (inner[1] - turned[1]) // 2)
    return (*places, *cut), resized, at, canvas


def planned_or_none(spec, source, **more):
    try:
        return plan(spec, source, **more)
    except BadOption as error:
        assert error.extra["option"] == "crop"
        return None
    except TooManyPixels:
        assume(False)


@settings(max_examples=500, deadline=None)
@given(specs(side=500, source=700), st.integers(1, 600), st.integers(1, 600), st.integers(1, 300), st.data())
def test_the_plan_is_that_of_the_slow_reference(spec, width, height, longest, data):
    pixels = Size(min(width, longest), min(height, longest))
    source = Source(Size(width, height), pixels)
    left, top = data.draw(st.integers(0, pixels.width - 1)), data.draw(st.integers(0, pixels.height - 1))
    trimmed = Box(left, top, data.draw(st.integers(1, pixels.width - left)), data.draw(st.integers(1, pixels.height - top)))
    frame = data.draw(st.sampled_from((None, trimmed)))
    focus = data.draw(st.none() | st.builds(Focal, st.floats(0, 1), st.floats(0, 1)))

    made = planned_or_none(spec, source, frame=frame, focus=focus)

    expected = slow(spec, source, frame or source.frame, focus)
    assert expected == (made and (made.crop, made.resize, (made.left, made.top), made.canvas))


@settings(max_examples=500, deadline=None)
@given(specs(), sides, sides)
def test_bounds_hold_for_every_source_and_every_option(spec, width, height):
    source = Source.of(width, height)
    made = planned_or_none(spec, source)
    assume(made is not None)
    crop, resize = made.crop, made.resize

    assert min(crop.width, crop.height, *resize) >= 1
    assert 0 <= crop.left <= crop.left + crop.width <= source.pixels.width
    assert 0 <= crop.top <= crop.top + crop.height <= source.pixels.height
    turned = resize[::-1] if spec.rotate in (90, 270) else resize
    assert 0 <= made.left <= made.left + turned[0] <= made.canvas.width
    assert 0 <= made.top <= made.top + turned[1] <= made.canvas.height
    inner = (made.canvas.width - spec.pad.left - spec.pad.right, made.canvas.height - spec.pad.top - spec.pad.bottom)
    for side, asked in zip(inner, (spec.width, spec.height), strict=True):
        assert side <= (asked or 8192)
        assert not asked or spec.fit not in {Fit.COVER, Fit.FILL, Fit.PAD} or side == asked
    if spec.fit is Fit.CONTAIN:
        assert any(side == (asked or 8192) for side, asked in zip(inner, (spec.width, spec.height), strict=True))
    if not spec.fit.enlarges:
        assert resize.width <= crop.width
        assert resize.height <= crop.height


@settings(max_examples=300, deadline=None)
@given(specs(), sides, sides)
def test_a_picture_that_fits_is_left_as_it_is(spec, width, height):
    source = Source.of(width, height)
    still = replace(spec, fit=Fit.SCALE_DOWN, crop=None, width=0, height=0)

    made = planned_or_none(still, source)
    assert made.crop == source.frame
    assert made.resize == source.pixels


@settings(max_examples=300, deadline=None)
@given(
    sides,
    sides,
    st.integers(1, 8192),
    st.integers(1, 8192),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from((Fit.COVER, Fit.CROP)),
)
def test_the_focal_point_stays_inside(width, height, w, h, x, y, fit):
    source, point = Source.of(width, height), Focal(x, y)
    made = planned_or_none(replace(parse("full.webp"), width=w, height=h, fit=fit, gravity=point), source)

    assert made.crop.left <= point.x * source.pixels.width <= made.crop.left + made.crop.width
    assert made.crop.top <= point.y * source.pixels.height <= made.crop.top + made.crop.height


@settings(max_examples=300, deadline=None)
@given(specs(), sides, sides)
def test_turning_or_mirroring_asks_for_the_same_box(spec, width, height):
    source = Source.of(width, height)
    upright = planned_or_none(replace(spec, rotate=0), source)
    over = planned_or_none(replace(spec, rotate=180), source)

    assert (upright and upright.canvas) == (over and over.canvas)


@settings(max_examples=300, deadline=None)
@given(specs(), sides, sides)
def test_the_decoder_never_shrinks_below_twice_the_target(spec, width, height):
    source = Source.of(width, height)
    made = planned_or_none(spec, source)
    assume(made is not None)
    factor = shrink_for(made.crop, made.resize)
    decoded = Size(-(-source.pixels.width // factor), -(-source.pixels.height // factor))
    box = between(made.crop, source.pixels, decoded)

    assert factor == 1 or made.crop.width / factor >= 2 * made.resize.width
    assert factor == 1 or made.crop.height / factor >= 2 * made.resize.height
    assert 0 <= box.left < box.left + box.width <= decoded.width
    assert 0 <= box.top < box.top + box.height <= decoded.height


@settings(max_examples=500, deadline=None)
@given(specs(), sides, sides)
def test_a_lesser_master_has_the_pixels_of_the_result_and_twice_those_of_a_part(spec, width, height):
    source = Source.of(width, height)
    made = planned_or_none(spec, source)
    side = lesser_for(made, source) if made else 0
    if not side:
        return
    lesser = Size(*fit_inside(width, height, side))
    box = between(made.crop, source.pixels, lesser)

    assert max(lesser) < max(source.pixels)
    if made.crop == source.frame:
        assert box == (0, 0, *lesser)
        assert lesser.width + 1 >= made.resize.width
        assert lesser.height + 1 >= made.resize.height
    else:
        assert box.width + 1 >= 2 * made.resize.width - 1
        assert box.height + 1 >= 2 * made.resize.height - 1


@pytest.mark.parametrize(
    "text, size, side",
    (
        ("w=600,h=600.webp", (6000, 4011), 600),
        ("w=512,h=512.webp", (4032, 3024), 600),
        ("w=150.webp", (4032, 3024), 600),
        ("w=602.webp", (4032, 3024), 1200),
        ("w=1200.webp", (4032, 3024), 1200),
        ("w=1400.webp", (4032, 3024), 0),
        ("w=300,h=300,fit=cover.webp", (4032, 3024), 1200),
        ("c=25p:25p:50p:50p,w=300.webp", (4032, 3024), 1200),
        ("c=25p:25p:50p:50p,w=600.webp", (4032, 3024), 0),
        ("w=500.webp", (700, 500), 0),
        ("w=500.webp", (760, 500), 600),
        ("full.webp", (4032, 3024), 0),
    ),
)
def test_the_smallest_master_that_is_enough_is_read(text, size, side):
    source = Source.of(*size)
    assert lesser_for(plan(parse(text), source), source) == side


KNOWN = (
    ("w=300.webp", (4032, 3024), (300, 225)),
    ("w=300,h=300.webp", (4032, 3024), (300, 225)),
    ("w=300,h=300.webp", (200, 100), (200, 100)),
    ("fit=contain,w=300,h=300.webp", (200, 100), (300, 150)),
    ("fit=contain,h=300.webp", (200, 100), (600, 300)),
    ("fit=cover,w=300,h=300.webp", (200, 100), (300, 300)),
    ("fit=crop,w=300,h=300.webp", (200, 100), (200, 100)),
    ("fit=crop,w=150,h=300.webp", (200, 100), (150, 100)),
    ("fit=crop,w=50,h=30.webp", (200, 100), (50, 30)),
    ("fit=pad,w=300,h=300.webp", (200, 100), (300, 300)),
    ("fit=fill,w=300,h=10.webp", (200, 100), (300, 10)),
    ("w=8000.webp", (8000, 4000), (2048, 1024)),
    ("r=90,w=100.webp", (200, 100), (100, 200)),
    ("r=90,w=50.webp", (200, 100), (50, 100)),
    ("c=10:10:50:40.webp", (200, 100), (50, 40)),
    ("c=150:90:100:100.webp", (200, 100), (50, 10)),
    ("c=50p:0p:50p:100p.webp", (200, 100), (100, 100)),
    ("c=4000:0:4000:4000.webp", (8000, 4000), (1024, 1024)),
    ("p=10,w=100.webp", (200, 100), (120, 70)),
    ("p=1:2:3:4,w=100.webp", (200, 100), (106, 54)),
    ("fit=contain,w=8192.webp", (1, 20_000), (4, 8192)),
    ("fit=cover,h=4096,w=8192.webp", (1, 20_000), (8192, 4096)),
    ("w=1,h=1.webp", (20_000, 1), (1, 1)),
)


@pytest.mark.parametrize(("text", "size", "canvas"), KNOWN)
def test_known_sizes(text, size, canvas):
    assert plan(parse(text), Source.of(*size)).canvas == canvas


@pytest.mark.parametrize("text", ("c=200:0:5:5.webp", "c=0:100:5:5.webp", "c=99999:0:1:1.webp"))
def test_a_crop_wholly_outside_is_a_bad_option(text):
    with pytest.raises(BadOption):
        plan(parse(text), Source.of(200, 100))


@pytest.mark.parametrize("text", ("fit=fill,h=8192,w=8192.webp", "fit=cover,h=4097,w=8192.jpg", "fit=fill,h=2049,w=2048.gif"))
def test_results_larger_than_anyone_shows_are_refused(text):
    for told in (plan, estimate):
        with pytest.raises(TooManyPixels):
            told(parse(text), Source.of(200, 100))


@pytest.mark.parametrize(
    ("gravity", "corner"),
    (
        (Gravity.NORTH_WEST, (0, 0)),
        (Gravity.NORTH_EAST, (100, 0)),
        (Gravity.CENTER, (50, 0)),
        (Gravity.AUTO, (50, 0)),
        (Focal(0.9, 0), (100, 0)),
        (Focal(0.3, 0), (10, 0)),
    ),
)
def test_gravity_draws_the_window(gravity, corner):
    made = plan(replace(parse("fit=cover,h=100,w=100.webp"), gravity=gravity), Source.of(200, 100))

    assert made.crop == (*corner, 100, 100)


def test_estimates_grow_with_the_work_and_stay_small_for_thumbnails():
    source = Source.of(6000, 4000)
    small, large, held = (estimate(parse(text), source) for text in ("w=300.webp", "full.webp", "w=300,t=10.webp"))

    assert small < large
    assert small < held
    assert small < 32_000_000
    assert estimate(parse("w=600.auto"), source) >= max(
        estimate(parse("w=600.auto").resolved(format), source) for format in (Format.AVIF, Format.WEBP, Format.JPEG, Format.PNG)
    )
