"""How pictures are developed: recipes, and developing again. A room of the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from safelight.client.documents import Recipe, Redevelopment
from safelight.client.wire import Connection, segment


class Developing(Connection):
    """`/admin/recipes` and `/redevelopments`."""

    def recipes(self) -> Sequence[Recipe]:
        """The newest version of each, by name."""
        return cast("Sequence[Recipe]", self._ask("GET", "/admin/recipes"))

    def recipe(self, reference: str) -> Recipe:
        """`shop` as it is now, or `shop@2`. Raises Missing."""
        return cast("Recipe", self._ask("GET", f"/admin/recipes/{segment(reference)}"))

    def set_recipe(self, name: str, document: Mapping[str, Any]) -> Recipe:
        """What the name means from now on. Raises BadField."""
        return cast("Recipe", self._ask("PUT", f"/admin/recipes/{segment(name)}", json=document))

    def apply_recipe(self, name: str, *, default: bool, albums: Sequence[str], tags: Sequence[str]) -> Recipe:
        """It is for these pictures and no others. Raises Missing, BadField."""
        body = {"default": default, "albums": [*albums], "tags": [*tags]}
        return cast("Recipe", self._ask("PUT", f"/admin/recipes/{segment(name)}/places", json=body))

    def remove_recipe(self, name: str) -> None:
        """Every version of it. Raises Missing, WrongState while it is for any pictures."""
        self._ask("DELETE", f"/admin/recipes/{segment(name)}")

    def redevelop(self, filter: Mapping[str, Any], *, recipe: str = "", rate: float, dry_run: bool = False) -> Redevelopment:
        """Develop the pictures that fit again. Raises Missing, BadField, WrongState."""
        body = {"filter": filter, "recipe": recipe, "rate": rate, "dry_run": dry_run}
        return cast("Redevelopment", self._ask("POST", "/redevelopments", json=body))

    def redevelopment(self, redevelopment_id: str) -> Redevelopment:
        """How far it has come. Raises Missing."""
        return cast("Redevelopment", self._ask("GET", f"/redevelopments/{segment(redevelopment_id)}"))

    def move_redevelopment(self, redevelopment_id: str, move: str) -> Redevelopment:
        """`pause`, `resume` or `cancel` it. Raises Missing, WrongState."""
        return cast("Redevelopment", self._ask("POST", f"/redevelopments/{segment(redevelopment_id)}/{move}"))
