"""Room: how the routers of the API are made, alike."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.routing import APIRoute


def room(tag: str, prefix: str = "") -> APIRouter:
    """A router of operations under this tag; their ids are what generated clients show: `albums_add`."""
    return APIRouter(prefix=prefix, tags=[tag], generate_unique_id_function=_spoken)


def _spoken(route: APIRoute) -> str:
    return f"{route.tags[0]}_{route.name}"
