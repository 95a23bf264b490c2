"""Pixels: bytes in, bytes out. Usable alone; knows nothing of tenants, storage or the web.

What a server needs to talk about pictures is here at once. What decodes them (`safelight.imaging.pipeline`, `probe`) is
imported by name, by those who mean it: it brings libvips and numpy, and a stranger's bytes belong into the `Sandbox`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safelight.imaging.formats import Format, sniff
    from safelight.imaging.sandbox.client import Sandbox
    from safelight.imaging.spec import PRESETS, Developed, Facts, File, Header, Limits, Location, Preset, Recipe

__all__ = [
    "PRESETS",
    "Developed",
    "Facts",
    "File",
    "Format",
    "Header",
    "Limits",
    "Location",
    "Preset",
    "Recipe",
    "Sandbox",
    "sniff",
]

_HOMES = {
    "Format": "formats",
    "sniff": "formats",
    "Sandbox": "sandbox.client",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'spec')}"), name)
    globals()[name] = value
    return value
