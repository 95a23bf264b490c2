"""settle: what a request means for one picture, and whether our master has the pixels for it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.imaging.transform.strategies import specs

from safelight.errors import BadOption, TooManyPixels
from safelight.imaging import Format
from safelight.imaging.transform import Focal, Original, Source, parse, parse_request, plan, settle
from safelight.imaging.transform.grammar import Request
from safelight.imaging.transform.original import is_playing

PHOTOGRAPH = Original(format=Format.JPEG, width=6000, height=4000)
SMALL = Original(format=Format.JPEG, width=800, height=600)
DRAWING = Original(format=Format.PNG, width=800, height=600, has_alpha=True)
FILM = Original(format=Format.GIF, width=400, height=300, frames=20)
MODERN = "image/avif,image/webp,*/*"


def settled(text: str, original: Original, accept: str = MODERN, budget: int = 50_000_000):
    return settle(parse_request(text), original, accept, max_animation_pixels=budget)


@pytest.mark.parametrize(
    ("text", "original", "needs_original"),
    (
        ("w=300.webp", PHOTOGRAPH, False),
        ("w=2048.webp", PHOTOGRAPH, False),
        ("w=2049.webp", PHOTOGRAPH, True),
        ("full.webp", PHOTOGRAPH, True),
        ("full.webp", SMALL, False),
        ("fit=contain,w=3000.webp", SMALL, False),
        ("c=1000:1000:600:400,w=204.webp", PHOTOGRAPH, False),
        ("c=1000:1000:600:400,w=300.webp", PHOTOGRAPH, True),
        ("fit=cover,h=1300,w=1300.webp", PHOTOGRAPH, False),
        ("fit=cover,h=1400,w=1400.webp", PHOTOGRAPH, True),
        ("w=300.webp", DRAWING, True),
        ("w=300.jpg", DRAWING, False),
        ("bg=fff,w=300.webp", DRAWING, False),
        ("bg=f00,w=300.jpg", DRAWING, True),
        ("w=300.webp", FILM, True),
        ("w=300.avif", FILM, False),
        ("an=first,w=300.webp", FILM, False),
        ("pg=2,w=300.webp", FILM, True),
        ("icc=keep,w=300.webp", replace(SMALL, profile="Display P3"), True),
        ("icc=keep,w=300.webp", replace(SMALL, profile="sRGB IEC61966-2.1"), False),
        ("icc=keep,w=300.webp", SMALL, False),
        ("w=300.original", PHOTOGRAPH, False),
        ("w=300.original", DRAWING, True),
    ),
)
def test_the_original_is_read_only_where_the_master_does_not_have_it(text, original, needs_original):
    assert settled(text, original).needs_original is needs_original


@settings(max_examples=400, deadline=None)
@given(specs(trim=False), st.integers(1, 20_000), st.integers(1, 20_000))
def test_no_master_is_ever_enlarged_where_the_original_has_more(spec, width, height):
    original = Original(format=Format.JPEG, width=width, height=height)
    try:
        found = settle(Request(replace(spec, page=1)), original, "", max_animation_pixels=1)
        ours = plan(found.spec, Source.of(width, height))
        theirs = plan(found.spec, Source.whole(width, height))
    except (BadOption, TooManyPixels):
        return

    if not found.needs_original and max(width, height) > 2048:
        master = Source.of(width, height).pixels
        assert theirs.resize.width <= -(-theirs.crop.width * master.width // width) + 1
        assert theirs.resize.height <= -(-theirs.crop.height * master.height // height) + 1
    assert found.weight >= ours.canvas.width * ours.canvas.height


@pytest.mark.parametrize(
    ("one", "other", "original"),
    (
        ("w=9,an=first.webp", "w=9.webp", PHOTOGRAPH),
        ("w=9,h=9,fit=cover,g=focal.webp", "w=9,h=9,fit=cover.webp", PHOTOGRAPH),
        ("w=9,h=9,fit=cover,g=focal.webp", "w=9,h=9,fit=cover,g=0.2x0.3.webp", replace(PHOTOGRAPH, focal_point=Focal(0.2, 0.3))),
        ("w=9,bg=f00.webp", "w=9.webp", PHOTOGRAPH),
        ("w=9,icc=keep.webp", "w=9.webp", PHOTOGRAPH),
        ("w=9.original", "w=9.jpg", PHOTOGRAPH),
        ("w=9.original", "w=9.png", replace(PHOTOGRAPH, format=Format.TIFF)),
        ("w=9.original", "w=9.jpg", replace(PHOTOGRAPH, format=Format.HEIC)),
        ("w=9.auto", "w=9.avif", PHOTOGRAPH),
        ("w=9.auto", "w=9.webp", FILM),
        ("w=9,an=first.auto", "w=9.avif", FILM),
        ("w=9.original", "w=9.gif", FILM),
    ),
)
def test_what_means_the_same_for_this_picture_is_one_key(one, other, original):
    assert settled(one, original).spec == settled(other, original).spec


def test_the_stored_point_is_part_of_the_key():
    text = "w=9,h=9,fit=cover,g=focal.webp"
    keys = {settled(text, replace(SMALL, focal_point=point)).spec.text for point in (None, Focal(0.1, 0.2), Focal(0.1, 0.3))}

    assert len(keys) == 3


def test_an_animation_over_the_budget_shows_its_first_frame_and_says_so():
    within, over = settled("w=100.webp", FILM, budget=3_000_000), settled("w=100.webp", FILM, budget=1_000_000)

    assert is_playing(within.spec, FILM.frames) and not within.is_cut_short
    assert not is_playing(over.spec, FILM.frames) and over.is_cut_short
    assert not over.needs_original
    assert settled("fit=contain,w=4000.webp", FILM).is_cut_short
    assert not settled("w=100.avif", FILM, budget=1).is_cut_short
    assert not settled("w=100.webp", SMALL, budget=1).is_cut_short


@pytest.mark.parametrize("accept", ("*/*", "image/avif,*/*"))
def test_what_plays_becomes_a_gif_for_clients_without_webp(accept):
    assert settled("w=100.auto", FILM, accept).spec.format is Format.GIF


def test_a_page_that_is_not_there_is_refused():
    with pytest.raises(BadOption) as refused:
        settled("pg=2.webp", SMALL)

    assert refused.value.extra["option"] == "page"
    assert settled("pg=2.webp", replace(SMALL, format=Format.TIFF)).needs_original


@settings(max_examples=200, deadline=None)
@given(
    specs(), st.sampled_from((PHOTOGRAPH, SMALL, DRAWING, FILM, replace(FILM, has_alpha=True))), st.sampled_from((MODERN, "*/*"))
)
def test_settling_twice_changes_nothing_and_leaves_nothing_open(spec, original, accept):
    try:
        once = settle(Request(spec), original, accept, max_animation_pixels=50_000_000)
    except (BadOption, TooManyPixels):
        return
    again = settle(Request(once.spec), original, "", max_animation_pixels=50_000_000)

    assert once.spec.format is not None
    assert (again.spec, again.needs_original, again.weight) == (once.spec, once.needs_original, once.weight)
    assert parse(once.spec.text) == once.spec
