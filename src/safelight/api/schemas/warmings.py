"""Warmings on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from safelight.api.schemas.common import Id, In, Out
from safelight.domain.warmings import MAX_TRANSFORMS, Warming, WarmingState

Transforms = Annotated[
    list[Annotated[str, Field(max_length=512)]],
    Field(
        min_length=1,
        max_length=MAX_TRANSFORMS,
        description="As URLs say them; presets too.",
        examples=[["w=300,h=200,fit=cover.webp", "thumb_300.avif"]],
    ),
]


class WarmImageIn(In):
    """Transforms to make of an image before somebody asks for them."""

    transforms: Transforms


class WarmFilter(In):
    """Which images; both narrow."""

    album: Id | None = Field(None, description="In this album.", max_length=26)
    tag: str = Field("", description="With this tag.", max_length=200)


class WarmIn(WarmImageIn):
    """Transforms to make of several images before somebody asks for them."""

    filter: WarmFilter


class WarmingOut(Out):
    """What is made ahead, and how far that has come."""

    id: str
    state: WarmingState
    transforms: list[str]
    images: int = Field(description="That it is about, as counted when it was asked for.")
    images_done: int
    made: int = Field(description="Renditions that were made.")
    present: int = Field(description="Renditions that were there already.")
    failed: int = Field(description="Renditions that cannot be made.")
    cause: str = Field(description="Why the last of these cannot, or why all ended.")
    created_at: datetime
    updated_at: datetime


def warming_out(warming: Warming) -> WarmingOut:
    """The warming as who asked for it gets it."""
    return WarmingOut(**{name: getattr(warming, name) for name in WarmingOut.model_fields})
