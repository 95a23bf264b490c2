"""/admin/recipes: how a tenant's pictures are developed, and which recipe is for which of them; for admins."""

from __future__ import annotations

from fastapi import Response

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.recipes import PlacesIn, RecipeIn, RecipeOut, recipe_out
from safelight.errors import WrongState

router = room("recipes", "/admin/recipes")


@router.get("", response_model=list[RecipeOut], name="list")
async def recipes(hall: Hall, actor: Asking) -> list[RecipeOut]:
    """Your tenant's recipes in their newest versions, by name."""
    owned = await hall.recipes.all(actor)
    return [recipe_out(owned, name) for name in sorted(owned.versions)]


@router.get("/{reference}", response_model=RecipeOut)
async def get(hall: Hall, actor: Asking, reference: str) -> RecipeOut:
    """One recipe: `shop` in its newest version, `shop@2` in that one."""
    return recipe_out(await hall.recipes.all(actor), reference)


@router.put("/{name}", response_model=RecipeOut)
async def put(hall: Hall, actor: Asking, name: str, body: RecipeIn) -> RecipeOut:
    """What the name means for pictures that come in from now on: a new version, unless it says what the last one does."""
    return recipe_out(await hall.recipes.put(actor, name, body.model_dump(exclude_none=True)), name)


@router.put("/{name}/places", response_model=RecipeOut)
async def place(hall: Hall, actor: Asking, name: str, body: PlacesIn) -> RecipeOut:
    """Say which pictures it is for: those of these albums, with these tags, all others. An album goes before a tag, a tag before the rest."""
    placed = await hall.recipes.place(actor, name, default=body.default, albums=body.albums, tags=body.tags)
    return recipe_out(placed, name)


@router.delete("/{name}", status_code=204)
@refuses(WrongState)
async def remove(hall: Hall, actor: Asking, name: str) -> Response:
    """Remove a recipe with every version, once it is for no pictures. What was developed by it stays."""
    await hall.recipes.remove(actor, name)
    return Response(status_code=204)
