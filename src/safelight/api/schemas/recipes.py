"""Recipes on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from safelight.api.schemas.common import Id, In, Out
from safelight.domain.recipes import FORMATS, MAX_PLACES, MAX_SIDE, OwnSize, Recipe, Recipes


class SizeIn(In):
    """A rendition of the recipe's own. A side that is left out is free; what else is, the recipe says."""

    width: int | None = Field(None, description=f"1 to {MAX_SIDE} pixels.")
    height: int | None = Field(None, description="Likewise.")
    fit: str | None = Field(None, description="As in a transform; scale-down where nothing is said.", examples=["cover"])
    formats: list[str] | None = Field(None, max_length=10)
    quality: dict[str, int | None] | None = None


class RecipeIn(In):
    """How pictures are developed. What is left out, or null, the installation says."""

    renditions: list[str] | None = Field(
        None,
        max_length=20,
        description="Presets that are made at once, of `thumb_150` to `large`.",
        examples=[["thumb_300", "large"]],
    )
    formats: list[str] | None = Field(None, max_length=10, description="Of webp, jpeg and avif.", examples=[["webp", "avif"]])
    sizes: dict[str, SizeIn] | None = Field(
        None,
        description="Made and delivered beside the presets, by name.",
        examples=[{"card": {"width": 400, "height": 300, "fit": "cover"}}],
    )
    quality: dict[str, int | None] | None = Field(None, description="1 to 100, by format.", examples=[{"webp": 75, "avif": 55}])
    watermark: str | None = Field(
        None,
        max_length=500,
        description="Laid over whatever is delivered: the options of a watermark in a transform. '' is none.",
        examples=["wm=logo,wmp=south-east", "wmt=Draft,wmp=tile"],
    )
    tiles: bool | None = Field(None, description="Whether the tiles for zooming are cut at once; else for large pictures only.")
    analysis: list[str] | None = Field(
        None, max_length=10, description="Of placeholder, colours and phash; all where nothing is said."
    )
    webhooks: bool | None = Field(None, description="Whether webhooks tell that these pictures came in and are ready.")


class SizeFields(Out):
    """A rendition of a recipe's own; null is a free side, or what the recipe says."""

    width: int | None
    height: int | None
    fit: str
    formats: list[str] | None
    quality: dict[str, int]


class RecipeFields(Out):
    """What a version of a recipe says; null is what the installation says."""

    renditions: list[str] | None
    formats: list[str] | None
    sizes: dict[str, SizeFields]
    quality: dict[str, int]
    watermark: str
    tiles: bool | None
    analysis: list[str]
    webhooks: bool


class PlacesIn(In):
    """Which pictures a recipe is for as they come in: these and no others."""

    default: bool = Field(False, description="Those for which there is no other recipe.")
    albums: list[Id] = Field([], max_length=MAX_PLACES, description="Those that come into these albums.")
    tags: list[str] = Field([], max_length=MAX_PLACES, description="Those that come with these tags.")


class PlacesOut(Out):
    """Which pictures a recipe is for."""

    default: bool
    albums: list[str]
    tags: list[str]


class RecipeOut(Out):
    """A version of a recipe: `shop@2` means the same for ever."""

    name: str
    version: int
    versions: int = Field(description="How many there are.")
    recipe: RecipeFields
    places: PlacesOut


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """The recipe as `RecipeIn` takes it."""
    return {
        "renditions": list(recipe.renditions) or None,
        "formats": list(recipe.formats) or None,
        "sizes": {
            size.name: {
                "width": size.width or None,
                "height": size.height or None,
                "fit": size.fit.value,
                "formats": list(size.formats) or None,
                "quality": _qualities(size),
            }
            for size in recipe.sizes
        },
        "quality": _qualities(recipe),
        "watermark": recipe.watermark,
        "tiles": recipe.tiles,
        "analysis": list(recipe.analysis),
        "webhooks": recipe.webhooks,
    }


def _qualities(one: Recipe | OwnSize) -> dict[str, int]:
    return {format: each for format in FORMATS if (each := getattr(one, f"{format}_quality")) is not None}


def recipe_out(recipes: Recipes, reference: str) -> RecipeOut:
    """The version that is meant. Raises Missing."""
    recipe = recipes.get(reference)
    places = recipes.places.of(recipe.name)
    return RecipeOut(
        name=recipe.name,
        version=recipe.version,
        versions=len(recipes.versions[recipe.name]),
        recipe=RecipeFields(**recipe_document(recipe)),
        places=PlacesOut(default=bool(places.default), albums=sorted(places.albums), tags=sorted(places.tags)),
    )
