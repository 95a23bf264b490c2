"""Hints: what a browser tells of its screen, where a URL leaves it to it (`dpr=auto`, `width=auto`). Pure; called by grammar.

Values are rounded up to few steps, so that a thousand window sizes are a dozen renditions. What cannot be read was not said: a
header never refuses a picture. Client Hints are RFC 8942; the names are those of the WHATWG's responsive image hints, widths
physical pixels; Save-Data is from the WICG.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DPR: Final = "Sec-CH-DPR"
WIDTH: Final = "Sec-CH-Width"
SAVE_DATA: Final = "Save-Data"

RATIOS: Final = (1.0, 1.5, 2.0, 3.0)
STEP: Final = 160
WIDEST: Final = 3840
WITHOUT: Final = 1280
"""How wide a picture is for a browser that does not tell."""
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Hints:
    """The headers as they came; '' = not there."""

    dpr: str = ""
    width: str = ""
    save_data: str = ""

    @property
    def ratio(self) -> float:
        """Pixels of the screen for one of the page: the least step that is enough. 1 for who saves data."""
        if self.save_data.strip().lower() == "on" or not _NUMBER.fullmatch(self.dpr):
            return 1.0
        return next((ratio for ratio in RATIOS if ratio >= float(self.dpr)), RATIOS[-1])

    @property
    def pixels(self) -> int:
        """How wide the picture is shown, in pixels of the screen: the least step that is enough."""
        if not _NUMBER.fullmatch(self.width) or float(self.width) <= 0:
            return WITHOUT
        return min(WIDEST, int(-(-float(self.width) // STEP)) * STEP)


NO_HINTS: Final = Hints()
