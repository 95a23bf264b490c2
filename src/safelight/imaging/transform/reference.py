"""Reference: docs/reference/transforms.md, made of the table that the parser reads by. Called by docs/generate.py."""

from __future__ import annotations

from typing import Final

from safelight.imaging.transform.apply import STEPS
from safelight.imaging.transform.grammar import MAX_TEXT
from safelight.imaging.transform.options import EXTENSIONS, OPTIONS
from safelight.imaging.transform.plan import MAX_GIF_PIXELS, MAX_OUTPUT_PIXELS

_INTRODUCTION: Final = """\
# Transforms

`/i/{{id}}/{{option}}={{value}},{{option}}={{value}}.{{extension}}`

Any size, cut, colour and format of a picture. Options stand in any order, under their long or short names, each once; `full` stands for none.
An option that is unknown, given twice, empty or out of range is 400 `bad_option` with its name in `option`, never passed over.
The part behind the last slash has at most {max_text} characters and is percent-encoded where it needs to be.

`{{extension}}` is {extensions}. `auto` gives AVIF, WebP or JPEG, the first that the client's `Accept` header names (PNG instead of JPEG where the
result is clear somewhere).

## Options

| option | short | values | default | meaning | example |
|---|---|---|---|---|---|
"""

_RULES: Final = """
Numbers are plain decimals: no sign, no exponent, no leading zeros; two decimals count where nothing else is said.

## Fitting

The box is `width` x `height`. With one of them the other side follows the picture's aspect and may be as long as 8192; with none the
size stays.

| `fit` | size of the result | enlarges | cuts |
|---|---|---|---|
| `scale-down` | fits inside of the box, aspect kept | no | no |
| `contain` | as large as fits inside of the box | yes | no |
| `cover` | the box exactly | yes | at `gravity` |
| `crop` | the box exactly; a picture smaller than the box in some direction is only cut where it is larger | no | at `gravity` |
| `pad` | the box exactly: as `contain`, in the middle of bars of `background` | yes | no |
| `fill` | the box exactly, aspect not kept | yes | no |

With one side only, `cover`, `pad` and `fill` are `contain`, and `crop` is `scale-down`. `contain`, `cover`, `crop` and `pad` do as Cloudflare
documents them, `fill` as its `squeeze`.

Enlarged means: beyond our master, of which transforms are made: the upright original at no more than 2048 pixels a side, in sRGB, on white
where it was clear. `crop` and focal points are given in the original's coordinates all the same. Half a pixel is rounded up, no side is less
than one pixel, and no result has more than {max_pixels} pixels, a GIF {max_gif} (413 `too_many_pixels`).

## Order

Whatever the order in the URL: {steps}.

`crop` counts from what `trim` has left. Blur and sharpening see the picture at its final size and without its paper; `radius` rounds the
picture, not the padding around it. Up to 600 pixels a side, pictures are reduced in [linear light](../explanation/linear-light.md).

## One key for one picture

Whatever has no effect is removed, what can be said in two ways is said in one, and options are sorted: `width=300,dpr=2,fit=contain,g=auto`,
`fit=cover,w=600` and `w=600,fit=pad` are all `fit=contain,w=600` and share one cached file. A download's name is no part of the key.

## What it costs

CPU milliseconds from the master of a 12-megapixel photograph, mean of eight, least of five rounds (pyvips-binary 8.18.7, AMD EPYC), by
`python bench/transforms.py`:

| transform | CPU ms | kB |
|---|---|---|
| `w=300,h=300.webp` | 19 | 8.0 |
| `fit=cover,h=600,w=600.webp` | 53 | 34.2 |
| `fit=cover,g=auto,h=600,w=600.webp` | 63 | 34.2 |
| `h=600,w=600.avif` | 52 | 20.3 |
| `h=600,w=600.jpg` | 46 | 33.6 |
| `h=1200,w=1200.webp` | 42 | 79.0 |
| `h=300,t=10,w=300.webp` | 71 | 8.1 |

Most of the way to 600 pixels goes into averaging light: a decoder that halves the picture first would save 20 ms, and average stored values.

## What is not there yet

Animations: the master is a still, so `animation=keep` needs the stored original, decoded in the sandbox. Clear parts of originals: the master
has them on white. Results larger than the master, and small regions of large originals at their full sharpness, likewise need the original.
"""


def page() -> str:
    """Markdown without the notice that it is generated."""
    extensions = ", ".join(f"`{extension}`" for extension in sorted(EXTENSIONS))
    rows = [
        f"| `{option.name}` | {f'`{option.short}`' if option.short else ''} | {option.values} | {option.default} | {option.meaning} "
        f"| `{option.example}` |\n"
        for option in OPTIONS
    ]
    rules = _RULES.format(
        max_pixels=f"{MAX_OUTPUT_PIXELS:,}", max_gif=f"{MAX_GIF_PIXELS:,}", steps=", ".join(f"`{step}`" for step in STEPS)
    )
    return _INTRODUCTION.format(max_text=MAX_TEXT, extensions=extensions) + "".join(rows) + rules
