"""/admin/presets: a tenant's own names for transforms, which delivery takes like the built-in ones."""

from __future__ import annotations

from fastapi import Response

from safelight.api.auth import Asking, Hall
from safelight.api.refusals import refuses
from safelight.api.routes.room import room
from safelight.api.schemas.tenants import PresetIn, PresetOut, preset_out
from safelight.errors import BadOption, WrongState

router = room("presets", "/admin/presets")


@router.get("", response_model=list[PresetOut], name="list")
async def presets(hall: Hall, actor: Asking) -> list[PresetOut]:
    """Your tenant's own presets with every version."""
    return [preset_out(name, versions) for name, versions in sorted((await hall.tenants.presets(actor)).items())]


@router.put("/{name}", response_model=PresetOut, name="set")
@refuses(BadOption, WrongState)
async def set_preset(hall: Hall, actor: Asking, name: str, body: PresetIn) -> PresetOut:
    """What the name stands for from now on. Other options than before are a new version; the earlier ones can still be asked for."""
    versions = await hall.tenants.set_preset(actor, name, body.options)
    hall.delivery.forget_rings()
    return preset_out(name, versions)


@router.delete("/{name}", status_code=204, name="remove")
async def remove_preset(hall: Hall, actor: Asking, name: str) -> Response:
    """Take the name away, and every version of it."""
    await hall.tenants.remove_preset(actor, name)
    hall.delivery.forget_rings()
    return Response(status_code=204)
