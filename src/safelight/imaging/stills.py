"""Stills: all sizes of one still picture, each made once, in the cheapest order that looks right. Called by the pipeline."""

from __future__ import annotations

from collections.abc import Iterable

from safelight.imaging import light
from safelight.imaging.libvips import Pixels

Size = tuple[int, int]


class Stills:
    """Derives sizes from a base in memory.

    Large sizes come from the base in gamma light. The small ones come from the smallest of the large ones in linear light,
    and from each other where one is twice the next: a second resampling from there is not seen and costs a quarter.
    """

    def __init__(self, base: Pixels, large: Iterable[Size]) -> None:
        """`base` is upright uint8 sRGB in memory; `large` are the sizes to be made in gamma light, whenever they are asked for."""
        self._made: dict[Size, Pixels] = {(base.width, base.height): base}
        self._linear: dict[Size, Pixels] = {}
        self._base = base
        for size in large:
            self._reduce(size)
        self._parent = min(self._made)

    @property
    def has_alpha(self) -> bool:
        """Whether some of it is clear."""
        return bool(self._base.hasalpha())

    def still(self, size: Size) -> Pixels:
        """The picture at this size, no larger than the base. Ask for large sizes first: small ones derive from them."""
        if size not in self._made:
            if size > self._parent:
                self._reduce(size)
            else:
                self._made[size] = light.from_linear(self._in_linear_light(size)).copy_memory()
        return self._made[size]

    def _reduce(self, size: Size) -> None:
        if size not in self._made:
            self._made[size] = light.reduced(self._base, *size).copy_memory()

    def _in_linear_light(self, size: Size) -> Pixels:
        if not self._linear:
            self._linear[self._parent] = light.to_linear(self._made[self._parent]).copy_memory()
        twice = [known for known in self._linear if known[0] >= 2 * size[0] and known[1] >= 2 * size[1]]
        source = self._linear[min(twice, default=self._parent)]
        self._linear[size] = light.resampled(source, *size).copy_memory()
        return self._linear[size]
