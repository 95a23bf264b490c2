"""Recipes: what a tenant's admins say of how its pictures are developed, and which recipe holds for a picture.

They are part of the tenant's record, as its presets are. What is done by them is in `development` and `delivery`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from safelight.domain import access
from safelight.domain.accounts import Actor, Tenant
from safelight.domain.ids import AlbumId, TenantId, is_id
from safelight.domain.images import Image, normal_tags
from safelight.domain.recipes import Recipe, Recipes, checked
from safelight.errors import BadField, BadOption, Missing, WrongState
from safelight.imaging.transform import Watermark
from safelight.imaging.transform.grammar import Named
from safelight.ports.catalog import Catalog, Records
from safelight.services.tenants import Tenants


@dataclass(frozen=True, slots=True)
class RecipeBook:
    """The recipes of tenants, by whoever may write them."""

    catalog: Catalog
    tenants: Tenants
    watermarks: Named
    ink: Callable[[TenantId, Watermark], Awaitable[bytes]]
    """The PNG of a watermark of a tenant; raises BadOption where there is none."""

    async def all(self, actor: Actor) -> Recipes:
        """The tenant's own, with every version and the pictures that they are for. Raises Forbidden."""
        access.require(actor, "recipe.read")
        async with self.catalog.tenant(actor.tenant) as records:
            return records.tenant.recipes

    async def put(self, actor: Actor, name: str, document: Mapping[str, Any]) -> Recipes:
        """What the name means from now on; versions before stay what they were. All recipes. Raises BadField, Forbidden."""
        access.require(actor, "recipe.manage")
        recipe = checked(name, document, self.watermarks)
        if recipe.mark is not None:
            try:
                await self.ink(actor.tenant, recipe.mark)  # now, rather than at every picture that comes in
            except BadOption as error:
                raise BadField(f"watermark: {error.detail}", field="watermark") from None

        def changed(tenant: Tenant) -> Tenant:
            if taken := next((size.name for size in recipe.sizes if size.name in tenant.presets), ""):
                raise BadField("A preset of yours has this name.", field=f"sizes.{taken}")
            return replace(tenant, recipes=tenant.recipes.with_version(recipe))

        return (await self.tenants.rewrite(actor.tenant, changed)).recipes

    async def remove(self, actor: Actor, name: str) -> None:
        """No version of it can be asked for any more; what was developed by it stays as it is.

        Raises Missing, Forbidden, WrongState while it is for any pictures.
        """
        access.require(actor, "recipe.manage")

        def removed(recipes: Recipes) -> Recipes:
            if not recipes.places.of(name).is_nowhere:
                raise WrongState("There are pictures that this recipe is for; say first that it is for none.")
            return recipes.without(name)

        await self._changed(actor, removed)

    async def place(
        self, actor: Actor, name: str, *, default: bool, albums: Sequence[str] = (), tags: Sequence[str] = ()
    ) -> Recipes:
        """It is for these pictures as they come in, and for no others. All recipes. Raises Missing, BadField, Forbidden."""
        access.require(actor, "recipe.manage")
        wanted = [AlbumId(album) for album in dict.fromkeys(albums)]
        named = normal_tags([*tags])
        async with self.catalog.tenant(actor.tenant) as records:
            for album in wanted:
                if not is_id(album):
                    raise Missing(f"There is no album {album[:50]!r}.")
                await records.albums.get(album)

        def placed(recipes: Recipes) -> Recipes:
            recipes.get(name)
            return replace(recipes, places=recipes.places.given(name, default=default, albums=wanted, tags=named))

        return await self._changed(actor, placed)

    async def _changed(self, actor: Actor, change: Callable[[Recipes], Recipes]) -> Recipes:
        def changed(tenant: Tenant) -> Tenant:
            return replace(tenant, recipes=change(tenant.recipes))

        return (await self.tenants.rewrite(actor.tenant, changed)).recipes


async def held_for(records: Records, image: Image) -> Recipe | None:
    """What the image is developed by now."""
    recipes = records.tenant.recipes
    albums = await records.albums.of_image(image.id) if recipes.places.albums else []
    return recipes.held(albums, image.tags)
