"""Lettering: words drawn as a mark, by fonts that are named and no others. Runs in a thread of the server.

The sandbox could not do it: no file can be opened there. It is given the finished mark.
"""

from __future__ import annotations

import os
import tempfile
import threading
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Final

import pyvips

from safelight.imaging import encode
from safelight.imaging.transform.fonts import Fonts
from safelight.imaging.transform.stamp import edged
from safelight.imaging.transform.values import Rgba
from safelight.imaging.transform.watermark import Edge, Watermark

MAX_WIDTH: Final = 2048
"""Pixels of a drawn text: enough for a quarter of the widest result."""
MAX_SIZE: Final = 160
"""Pixels of its letters, which few of them would otherwise exceed."""
_TRIAL_SIZE: Final = 40
_FAMILY: Final = "Noto Sans Bold"
_NO_FONTS: Final = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>'
_at_first: Final = threading.Lock()


def drawn(mark: Watermark, fonts: Fonts) -> bytes:
    """A mark's words in their colour, with their edge and nothing around it, as a PNG. Raises BadOption."""
    fonts.check(mark.text)
    return _drawn(fonts.paths, mark.text, mark.colour, mark.edge)


@lru_cache(maxsize=64)
def _drawn(paths: tuple[Path, ...], text: str, colour: Rgba, edge: Edge | None) -> bytes:
    _load(paths)
    trial = _mask(paths[0], text, _TRIAL_SIZE)
    size = max(1, min(MAX_SIZE, _TRIAL_SIZE * MAX_WIDTH // trial.width))
    mask = _mask(paths[0], text, size)
    ground = (pyvips.Image.black(mask.width, mask.height, bands=3) + list(colour.rgb)).cast("uchar")
    letters = ground.bandjoin(mask).copy(interpretation="srgb").copy_memory()
    return encode.png(edged(letters, edge, lines=text.count("\n") + 1))


def _mask(path: Path, text: str, size: int) -> pyvips.Image:
    # Pango reads markup; escaped, it is what it looks like.
    font = f"{_FAMILY} {size}"
    return pyvips.Image.text(escape(text, quote=False), font=font, fontfile=str(path), dpi=72, align="centre")


@cache
def _load(paths: tuple[Path, ...]) -> None:
    """Let Pango know these fonts and none of the machine's: fontconfig reads its configuration once, before the first text."""
    with _at_first, tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(_NO_FONTS)
        config.flush()
        usual = os.environ.get("FONTCONFIG_FILE")
        os.environ["FONTCONFIG_FILE"] = config.name
        try:
            for path in paths:
                pyvips.Image.text("a", font=_FAMILY, fontfile=str(path), dpi=72).avg()
        finally:
            del os.environ["FONTCONFIG_FILE"]
            if usual is not None:
                os.environ["FONTCONFIG_FILE"] = usual
