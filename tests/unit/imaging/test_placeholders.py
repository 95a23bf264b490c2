"""ThumbHash, pHash and dominant colour against other people's programs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.imaging.placeholders import dominant_color, phash, thumbhash


def pattern(width, height, is_translucent):
    y, x = np.mgrid[0:height, 0:width]
    alpha = np.minimum(255, x * 9 + y * 2) if is_translucent else np.full_like(x, 255)
    return np.stack([(x * 7 + y * 3) % 256, (x * x + 5 * y) % 256, (x * y) % 256, alpha], -1).astype(np.uint8)


# Made with thumbhash.js 0.1.1 (npm "thumbhash", Node 20) from the same pattern.
@pytest.mark.parametrize(
    ("width", "height", "is_translucent", "expected"),
    (
        (100, 75, False, "1f08060d826676476657086465546776ee8fbabc40"),
        (60, 100, False, "1ff8010c02335194101450315667ce9f69e408"),
        (32, 32, False, "dd180a170a2046873369998588688868788787f7e2406906"),
        (1, 40, False, "4dba19991408847b88878877088477bf88"),
        (50, 40, True, "1ff88514843c3bc073c27559f8b5d80e880974677778877707"),
        (33, 77, True, "1f088212042b693c624078ac4fcbfaa050776488877877"),
    ),
)
def test_thumbhash_is_the_reference_byte_for_byte(width, height, is_translucent, expected):
    assert thumbhash(pattern(width, height, is_translucent)).hex() == expected


def slow_thumbhash(rgba):
    """The published algorithm, term by term, as a reader would write it down."""
    h, w = rgba.shape[:2]
    pixels = [tuple(int(v) / 255 for v in rgba[y, x]) for y in range(h) for x in range(w)]
    covered = sum(p[3] for p in pixels)
    mean = [sum(p[c] * p[3] for p in pixels) / covered if covered else 0 for c in range(3)]
    has_alpha = covered < w * h
    planes = {"l": [], "p": [], "q": [], "a": []}
    for *color, a in pixels:
        r, g, b = (mean[c] * (1 - a) + a * color[c] for c in range(3))
        for name, value in zip("lpqa", ((r + g + b) / 3, (r + g) / 2 - b, r - g, a), strict=True):
            planes[name].append(value)
    js_round = lambda v: math.floor(v + 0.5)
    most = 5 if has_alpha else 7
    lx, ly = (max(1, js_round(most * side / max(w, h))) for side in (w, h))

    def channel(name, nx, ny):
        dc, ac = 0.0, []
        for cy in range(ny):
            cx = 0
            while cx * ny < nx * (ny - cy):
                f = sum(
                    planes[name][x + y * w] * math.cos(math.pi / w * cx * (x + 0.5)) * math.cos(math.pi / h * cy * (y + 0.5))
                    for y in range(h)
                    for x in range(w)
                ) / (w * h)
                if cx or cy:
                    ac.append(f)
                else:
                    dc = f
                cx += 1
        scale = max(abs(f) for f in ac)
        return dc, [0.5 + 0.5 / scale * f for f in ac], scale

    l, p, q = channel("l", max(3, lx), max(3, ly)), channel("p", 3, 3), channel("q", 3, 3)
    head = js_round(63 * l[0]) | js_round(31.5 + 31.5 * p[0]) << 6 | js_round(31.5 + 31.5 * q[0]) << 12
    head |= js_round(31 * l[2]) << 18 | has_alpha << 23
    tail = (ly if w > h else lx) | js_round(63 * p[2]) << 3 | js_round(63 * q[2]) << 9 | (w > h) << 15
    out = [head & 255, head >> 8 & 255, head >> 16, tail & 255, tail >> 8]
    chans = [l, p, q]
    if has_alpha:
        a = channel("a", 5, 5)
        out.append(js_round(15 * a[0]) | js_round(15 * a[2]) << 4)
        chans.append(a)
    nibbles = [js_round(15 * f) for _, ac, _ in chans for f in ac]
    for index, nibble in enumerate(nibbles):
        if index % 2:
            out[-1] |= nibble << 4
        else:
            out.append(nibble)
    return bytes(out)


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 14), st.integers(2, 14), st.booleans(), st.integers(0, 2**32 - 1))
def test_thumbhash_is_the_published_algorithm(width, height, is_translucent, seed):
    rgba = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if not is_translucent:
        rgba[..., 3] = 255

    assert thumbhash(rgba) == slow_thumbhash(rgba)


@pytest.mark.parametrize("value", (0, 77, 255))
def test_a_flat_colour_has_one_thumbhash_whatever_its_size(value):
    def flat(width, height):
        return thumbhash(np.full((height, width, 4), [value, value // 2, value // 3, 255], np.uint8))

    assert flat(100, 100) == flat(64, 64) == flat(37, 37)


def test_a_fully_transparent_picture_has_a_thumbhash():
    assert len(thumbhash(np.zeros((10, 10, 4), np.uint8))) >= 6


# Made with imagehash 4.3.2 (phash of the same 32 x 32 pixels).
@pytest.mark.parametrize(
    ("k", "expected"), ((0, "889293973c3b6ec3"), (1, "8c919c8d31b7b4ab"), (2, "cacf54151d1b1796"), (3, "c213ec9bca9b4e16"))
)
def test_phash_has_the_bits_of_imagehash(k, expected):
    y, x = np.mgrid[0:32, 0:32]
    grey = ((x * (7 + k) + y * y * (k + 1) + (x * y) % (5 + k) * 20) % 256).astype(np.uint8)

    assert phash(grey) == expected


def test_the_dominant_colour_is_the_mean_of_what_there_is_most_of():
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:6] = (200, 40, 40, 255)
    rgba[6:] = (20, 20, 220, 255)

    assert dominant_color(rgba) == "#c82828"


def test_what_cannot_be_seen_does_not_dominate():
    rgba = np.zeros((10, 10, 4), np.uint8)
    rgba[:9] = (200, 40, 40, 10)
    rgba[9:] = (20, 20, 220, 255)

    assert dominant_color(rgba) == "#1414dc"
    assert dominant_color(np.zeros((4, 4, 4), np.uint8)) == "#ffffff"
