"""Jobs: what a child of the zygote does with the file that it was given. Imported by the zygote, named to it as text.

A job is a function of (data, argument, limits): the file as a read-only buffer, what the caller sent, the limits. It gives a
Reply or raises one of our errors. Whatever it imports must be imported by now: a child can open no file.
"""

from __future__ import annotations

import codecs
import signal
from collections.abc import Mapping
from typing import Any

from safelight.imaging import pipeline, probe
from safelight.imaging.formats import Format
from safelight.imaging.sandbox import wire
from safelight.imaging.spec import Limits, Preset, Recipe
from safelight.imaging.tiles import tiled
from safelight.imaging.transform import parse
from safelight.imaging.transform.from_original import transform_original

# Codecs are modules found by name on first use: those of metadata and of common SVG declarations, loaded while we may.
for _name in ("ascii", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso8859-15"):
    codecs.lookup(_name)


def probe_file(data: bytes, _argument: Any, limits: Limits) -> wire.Reply:
    """The header."""
    return wire.Reply(wire.header_value(probe.probe(data, limits)))


def transform_file(data: bytes, argument: Mapping[str, Any], limits: Limits) -> wire.Reply:
    """One transform of the original: {"spec": its canonical text, "xmp": a packet or ''}, and beside it its watermark's PNG."""
    mark = argument.get("beside", b"")
    file = transform_original(data, parse(argument["spec"]), limits, xmp=argument["xmp"].encode(), mark=mark)
    return wire.transformed_reply(file)


def tile_file(data: bytes, _argument: Any, limits: Limits) -> wire.Reply:
    """The original's pyramid, one blob."""
    return wire.Reply(None, [tiled(data, limits)])


def develop_file(data: bytes, argument: Mapping[str, Any], limits: Limits) -> wire.Reply:
    """Everything that the recipe asks for, and beside it its watermark's PNG."""
    said = dict(argument)
    mark = said.pop("beside", b"")
    presets, formats = tuple(Preset(**preset) for preset in said["presets"]), tuple(map(Format, said["formats"]))
    sizes = tuple((name, text) for name, text in said["sizes"])
    recipe = Recipe(**{**said, "presets": presets, "formats": formats, "sizes": sizes})
    header = probe.probe(data, limits)
    # CPU seconds of all threads together; at the end SIGPROF ends the process, as SIGXCPU does where the kernel's own limit is.
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_s_of(header))
    return wire.developed_reply(pipeline.develop(data, recipe, limits, header=header, mark=mark))
