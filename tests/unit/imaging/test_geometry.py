"""Geometry: bounds that hold for every size."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.imaging.geometry import fit_inside, shrink_on_load, upright

sizes = st.integers(1, 70_000)


@settings(max_examples=300, deadline=None)
@given(sizes, sizes, st.integers(1, 5000))
def test_what_fits_is_never_larger_than_the_box_nor_the_picture_and_never_empty(width, height, side):
    w, h = fit_inside(width, height, side)

    assert 1 <= w <= min(width, side) or w == 1
    assert 1 <= h <= min(height, side) or h == 1
    assert max(w, h) == min(side, max(width, height))


@settings(max_examples=300, deadline=None)
@given(sizes, sizes, st.integers(1, 5000))
def test_the_aspect_is_kept_to_half_a_pixel(width, height, side):
    w, h = fit_inside(width, height, side)
    scale = min(1, side / max(width, height))

    assert w == 1 or abs(w - width * scale) <= 0.5 + 1e-9
    assert h == 1 or abs(h - height * scale) <= 0.5 + 1e-9


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.integers(1, 5000))
def test_turning_before_or_after_fitting_is_the_same(width, height, side):
    assert fit_inside(height, width, side) == fit_inside(width, height, side)[::-1]


@pytest.mark.parametrize(
    ("size", "side", "fitted"),
    (
        ((4032, 3024), 150, (150, 113)),
        ((10_000, 10), 150, (150, 1)),
        ((1, 1), 2048, (1, 1)),
        ((600, 400), 600, (600, 400)),
        ((3, 1000), 150, (1, 150)),
    ),
)
def test_known_sizes(size, side, fitted):
    assert fit_inside(*size, side) == fitted


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 70_000), st.integers(1, 5000))
def test_shrinking_on_load_leaves_enough_to_resample(longest, side):
    factor = shrink_on_load(longest, side)

    assert factor == 1 or longest / factor >= 1.1 * side


@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_the_last_four_orientations_lie_on_their_side(orientation):
    assert upright(3, 2, orientation) == ((2, 3) if orientation >= 5 else (3, 2))
