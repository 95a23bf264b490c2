"""Recipes as values: what one may say, which version a name means, and which recipe is for a picture."""

from __future__ import annotations

import orjson
import pytest

from safelight.domain.ids import AlbumId
from safelight.domain.recipes import MAX_RECIPES, MAX_SIDE, MAX_SIZES, MAX_VERSIONS, NO_RECIPES, Places, Recipes, checked, kept
from safelight.errors import BadField, Missing
from safelight.imaging import PRESETS, Format
from safelight.imaging import Recipe as Development
from safelight.imaging.transform import read_named

NAMED = read_named({"logo": "wm=01jabcdefghjkmnpqrstvwxyz0,wms=22"})
FIRST, SECOND = AlbumId("01j0000000000000000000000a"), AlbumId("01j0000000000000000000000b")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"colour": 1}, "colour"),
        ({"renditions": []}, "renditions"),
        ({"renditions": ["card"]}, "renditions"),
        ({"renditions": ["large", "large"]}, "renditions"),
        ({"renditions": "large"}, "renditions"),
        ({"renditions": [1]}, "renditions"),
        ({"formats": ["png"]}, "formats"),
        ({"formats": [["webp"]]}, "formats"),
        ({"quality": 80}, "quality"),
        ({"quality": {"png": 80}}, "quality.png"),
        ({"quality": {"webp": 0}}, "quality.webp"),
        ({"quality": {"avif": 101}}, "quality.avif"),
        ({"quality": {"webp": True}}, "quality.webp"),
        ({"quality": {"webp": 80.5}}, "quality.webp"),
        ({"watermark": 1}, "watermark"),
        ({"watermark": "wm=nobody's"}, "watermark"),
        ({"watermark": "w=300,wmt=Draft"}, "watermark"),
        ({"watermark": "w=300"}, "watermark"),
        ({"watermark": "full"}, "watermark"),
        ({"watermark": "wmt=" + "x" * 2000}, "watermark"),
        ({"tiles": 1}, "tiles"),
        ({"sizes": []}, "sizes"),
        ({"sizes": {f"s{number}": {"width": 9} for number in range(MAX_SIZES + 1)}}, "sizes"),
        ({"sizes": {"large": {"width": 9}}}, "sizes.large"),
        ({"sizes": {"Card": {"width": 9}}}, "sizes.Card"),
        ({"sizes": {"master_600": {"width": 9}}}, "sizes.master_600"),
        ({"sizes": {"w=300": {"width": 9}}}, "sizes.w=300"),
        ({"sizes": {"card@2": {"width": 9}}}, "sizes.card@2"),
        ({"sizes": {"card": 300}}, "sizes.card"),
        ({"sizes": {"card": {}}}, "sizes.card.width"),
        ({"sizes": {"card": {"width": 0}}}, "sizes.card.width"),
        ({"sizes": {"card": {"width": MAX_SIDE + 1}}}, "sizes.card.width"),
        ({"sizes": {"card": {"height": True}}}, "sizes.card.height"),
        ({"sizes": {"card": {"height": 9.5}}}, "sizes.card.height"),
        ({"sizes": {"card": {"width": 9, "fit": "cover"}}}, "sizes.card.width"),
        ({"sizes": {"card": {"width": 9, "height": 9, "fit": "squeeze"}}}, "sizes.card.fit"),
        ({"sizes": {"card": {"width": 9, "fit": ["cover"]}}}, "sizes.card.fit"),
        ({"sizes": {"card": {"width": 9, "formats": ["png"]}}}, "sizes.card.formats"),
        ({"sizes": {"card": {"width": 9, "quality": {"webp": 0}}}}, "sizes.card.quality.webp"),
        ({"sizes": {"card": {"width": 9, "blur": 1}}}, "sizes.card.blur"),
        ({"webhooks": "yes"}, "webhooks"),
        ({"analysis": ["faces"]}, "analysis"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused_by_the_name_of_its_field(document, field):
    with pytest.raises(BadField) as caught:
        checked("shop", document, NAMED)

    assert caught.value.extra["field"] == field


@pytest.mark.parametrize("name", ["", "Shop", "1shop", "shop@2", "a b", "x" * 33, "shop\n"])
def test_a_name_that_could_not_stand_in_an_address_is_refused(name):
    with pytest.raises(BadField):
        checked(name, {})


def test_a_recipe_goes_over_the_installations_way_where_it_says_something():
    usual = Development(webp_quality=71, jpeg_quality=72, master_quality=93)

    nothing = checked("shop", {}).over(usual)
    something = checked(
        "shop",
        {
            "renditions": ["large", "thumb_150"],
            "formats": ["avif", "webp"],
            "quality": {"avif": 50, "webp": None},
            "analysis": [],
        },
    ).over(usual)

    assert nothing == usual
    assert [preset.name for preset in something.presets] == ["thumb_150", "large"]
    assert something.formats == (Format.WEBP, Format.AVIF)
    assert (something.webp_quality, something.jpeg_quality, something.avif_quality, something.master_quality) == (71, 72, 50, 93)
    assert something.analysis == ()
    assert set(something.presets) < set(PRESETS)


def test_a_size_of_its_own_says_what_it_needs_and_the_rest_is_the_recipes_or_the_installations():
    usual = Development(webp_quality=71, jpeg_quality=72)
    sizes = {
        "wide": {"width": 800},
        "card": {"width": 400, "height": 300, "fit": "cover", "formats": ["avif", "jpeg"], "quality": {"jpeg": 60}},
    }

    assert checked("shop", {"sizes": sizes, "quality": {"webp": 75}}).over(usual).sizes == (
        ("card", "w=400,h=300,fit=cover,q=60.jpg"),
        ("card", "w=400,h=300,fit=cover,q=60.avif"),
        ("wide", "w=800,fit=scale-down,q=75.webp"),
        ("wide", "w=800,fit=scale-down,q=72.jpg"),
    )


def test_sizes_are_kept_as_they_were_said():
    one = checked("shop", {"sizes": {"b": {"height": 9, "formats": ["webp"]}, "a": {"width": 9, "height": 8, "fit": "pad"}}})

    assert kept("shop", 1, orjson.loads(orjson.dumps(one.said()))) == kept("shop", 1, one.said()) == one
    recipes = NO_RECIPES.with_version(one)
    assert recipes.with_version(one) is recipes
    assert (recipes.has_size("b"), recipes.has_size("c")) == (True, False)


def test_a_watermark_is_kept_as_what_its_name_stands_for_now_and_lies_on_the_picture():
    by_name = checked("shop", {"watermark": "wm=logo,wmo=80,wml=canvas"}, NAMED)

    assert by_name.watermark == "wm=01jabcdefghjkmnpqrstvwxyz0,wms=22,wmo=80"
    assert (by_name.mark.opacity, by_name.mark.layer) == (80, "picture")
    assert checked("shop", {"watermark": by_name.watermark}) == by_name
    assert checked("shop", {"watermark": ""}).mark is None
    assert checked("shop", {"watermark": "wmt=a%2Cb%25,wmp=tile"}).mark.text == "a,b%"


def test_what_it_says_is_what_is_kept():
    one = checked(
        "shop", {"renditions": ["large"], "quality": {"jpeg": 70}, "tiles": False, "webhooks": False, "watermark": "wmt=Draft"}
    )

    assert kept("shop", 1, one.said()) == one
    assert checked("shop", {"webhooks": True, "tiles": None}).said() == {}


def test_a_name_means_its_newest_version_and_a_number_the_same_for_ever():
    recipes = NO_RECIPES
    for quality in (70, 80, 80, 70):
        recipes = recipes.with_version(checked("shop", {"quality": {"webp": quality}}))

    assert [recipes.get(reference).webp_quality for reference in ("shop@1", "shop@2", "shop@3", "shop")] == [70, 80, 70, 70]
    assert recipes.get("shop").reference == "shop@3"
    for reference in ("shop@4", "shop@0", "shop@01", "shop@", "other", "", "shop@2 ", "x" * 5000):
        with pytest.raises(Missing):
            recipes.get(reference)


def test_a_tenant_has_so_many_recipes_and_versions_and_no_more():
    recipes = NO_RECIPES
    for number in range(MAX_RECIPES):
        recipes = recipes.with_version(checked(f"r{number}", {}))
    with pytest.raises(BadField):
        recipes.with_version(checked("one-more", {}))
    for number in range(MAX_VERSIONS - 1):
        recipes = recipes.with_version(checked("r0", {"quality": {"webp": 1 + number}}))
    with pytest.raises(BadField):
        recipes.with_version(checked("r0", {"quality": {"webp": 99}}))
    long = NO_RECIPES
    with pytest.raises(BadField, match="bytes"):
        for number in range(MAX_RECIPES * MAX_VERSIONS):
            text = f"{number:04}" + "%2C" * 96
            long = long.with_version(checked(f"r{number // MAX_VERSIONS}", {"watermark": f"wmt={text}"}))


def test_an_album_goes_before_a_tag_a_tag_before_the_default_and_the_older_and_earlier_first():
    places = Places(default="all", albums={SECOND: "late", FIRST: "early"}, tags={"sale": "s", "press": "p"})

    assert places.chosen([SECOND, FIRST], ["press"]) == "early"
    assert places.chosen([SECOND], ["press"]) == "late"
    assert places.chosen([], ["sale", "press", "other"]) == "p"
    assert places.chosen([AlbumId("01j0000000000000000000000c")], ["other"]) == "all"
    assert Places().chosen([FIRST], ["sale"]) == ""
    assert Recipes({"p": ({},)}, places).held([], ["press"]).reference == "p@1"
    assert NO_RECIPES.held([FIRST], ["sale"]) is None


def test_a_recipe_takes_places_over_and_leaves_those_it_does_not_name():
    places = Places(default="a", albums={FIRST: "a", SECOND: "b"}, tags={"x": "a"})

    after = places.given("b", default=True, albums=[FIRST], tags=["y"])

    assert after == Places(default="b", albums={FIRST: "b"}, tags={"x": "a", "y": "b"})
    assert after.of("a") == Places(tags={"x": "a"})
    assert after.given("b", default=False, albums=[], tags=[]).of("b").is_nowhere
    with pytest.raises(BadField):
        places.given("a", default=False, albums=[], tags=[f"t{number}" for number in range(201)])
