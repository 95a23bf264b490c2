"""Reference: docs/reference/transforms.md, made of the table that the parser reads by. Called by docs/generate.py."""

from __future__ import annotations

from typing import Final

from safelight.imaging.transform.apply import STEPS
from safelight.imaging.transform.grammar import MAX_TEXT
from safelight.imaging.transform.hints import RATIOS, STEP, WIDEST, WITHOUT
from safelight.imaging.transform.options import EXTENSIONS, OPTIONS
from safelight.imaging.transform.original import MAX_PLAYED_GIF_PIXELS
from safelight.imaging.transform.plan import MAX_GIF_PIXELS, MAX_OUTPUT_PIXELS
from safelight.imaging.transform.seek import SOUGHT, TARGET
from safelight.imaging.transform.watermark import MARK_SIDE, MIN_SIDE

_INTRODUCTION: Final = """\
# Transforms

`/i/{{id}}/{{option}}={{value}},{{option}}={{value}}.{{extension}}`

Any size, cut, colour and format of a picture. Options stand in any order, under their long or short names, each once; `full` stands for none.
An option that is unknown, given twice, empty or out of range is 400 `bad_option` with its name in `option`, never passed over.
The part behind the last slash has at most {max_text} characters and is percent-encoded where it needs to be.

`{{extension}}` is {extensions}. `original` keeps the original's format (PNG for TIFF and SVG, JPEG for HEIC). `auto` gives AVIF, WebP or JPEG, the first that the client's `Accept` header names (PNG instead of JPEG where the
result is clear somewhere).

## Options

| option | short | values | default | meaning | example |
|---|---|---|---|---|---|
"""

_RULES: Final = """
Numbers are plain decimals: no sign (but in `lift` and of a watermark), no exponent, no leading zeros; two decimals count where nothing else is said.

## Fitting

The box is `width` x `height`. With one of them the other side follows the picture's aspect and may be as long as 8192; with none the
size stays.

| `fit` | size of the result | enlarges | cuts |
|---|---|---|---|
| `scale-down` | fits inside of the box, aspect kept | no | no |
| `contain` | as large as fits inside of the box | yes | no |
| `cover` | the box exactly | yes | at `gravity` |
| `crop` | the box exactly; a picture smaller than the box in some direction is only cut where it is larger | no | at `gravity` |
| `aspect-crop` | the box exactly; a picture smaller than the box in some direction is cut to the box's aspect | no | at `gravity` |
| `pad` | the box exactly: as `contain`, in the middle of bars of `background` | yes | no |
| `fill` | the box exactly, aspect not kept | yes | no |

With one side only, `cover`, `pad` and `fill` are `contain`, `crop` and `aspect-crop` are `scale-down`. `contain`, `cover`, `crop` and `pad` do as Cloudflare
documents them, `fill` as its `squeeze`.

Most results are made of our master: the upright original at no more than 2048 pixels a side, in sRGB, on white where it was clear; or of the
lesser one of 1200 or 600 pixels where that is enough ([ADR 33](../adr/0033-masters-of-three-sizes.md)). Where the master
has fewer pixels than the result, where the picture is clear somewhere and stays so, plays, shows another page or keeps its own colours, the
original itself is decoded, in the [sandbox](../adr/0005-libvips-in-a-sandbox.md). `crop` and focal points are given in the original's coordinates
either way. Half a pixel is rounded up, no side is less than one pixel, and no result has more than {max_pixels} pixels, a GIF {max_gif} (413
`too_many_pixels`). What takes longer than `SAFELIGHT_DELIVERY__RENDER_S` is 422 `decode_budget_exceeded`.

## Order

Whatever the order in the URL: {steps}.

`crop` counts from what `trim` has left. Blur and sharpening see the picture at its final size and without its paper; `radius` rounds the
picture, not the padding around it. Up to 600 pixels a side, pictures are reduced in [linear light](../explanation/linear-light.md).

## Watermarks

`watermark` lays a picture over, `watermark_text` words; the other options of a watermark say how. [How to](../howto/watermark-pictures.md) has examples.

The picture is another image of the same tenant, by its id. Its newest version counts, with its clear parts, at no more than {mark_side} pixels a
side, and of what plays the first frame. `POST /images/{{id}}/urls` takes only one that whoever asks may see. One that is missing, trashed or
another tenant's is 400 `bad_option`: nothing is delivered without its mark.

`SAFELIGHT_WATERMARK__NAMED` gives watermarks names. A name stands for its options, and options in the URL go before them:
`wm=logo,wmo=30`, and `wm=draft,wmt=Sold` for other words in the same dress. A picture behind a name may be laid over by whoever may make
URLs. `default` is what imgproxy's `watermark` means.

Words are drawn in Noto Sans Bold (SIL Open Font License 1.1; Latin, Greek, Cyrillic, Devanagari), which comes with Safelight, and what it
lacks by the files of `SAFELIGHT_WATERMARK__FONTS`. The fonts of the machine take no part. Letters that none of these has are 400
`bad_option` and named in the answer, rather than boxes in the picture. Markup is not read: `<b>` is three characters.

The mark is turned, then brought to its size, then laid, after blur and colour and before `radius`, or on the `canvas` at the very end. `1x`
is its own size, never more than the picture's. Where the picture, or the canvas, has a side below {min_side} pixels there is no mark; such files are
those without one. Frames of an animation all carry it. With `icc=keep` its levels are taken as those of the picture's colours.

The id and version of the mark's picture are part of the key, and of the `v` of URLs that Safelight makes. When it gets new bytes, or a name
another meaning, URLs made afterwards are others; older ones show the new mark and may not be kept. Neither the original nor the master
is ever touched.

## One key for one picture

Whatever has no effect is removed, what can be said in two ways is said in one, and options are sorted: `width=300,dpr=2,fit=contain,g=auto`,
`fit=cover,w=600` and `w=600,fit=pad` are all `fit=contain,w=600` and share one cached file. A download's name is no part of the key.

## Quality and bytes

`quality=auto` is the smallest file that reaches a score: {targets} points of SSIMULACRA2 (70 is high quality, 90 cannot be told from the
picture), found by at most six encodings, of nine tiles if the picture is large, between quality {sought}. While someone waits the score is worked
out from the terms that carry it; `python bench/quality_auto.py` compares: of 84 files each, 0.57 (JPEG), 0.51 (WebP) and 0.35 points (AVIF) away
from the whole in the mean near the target. Pictures below 128 pixels a side get the default quality. What was found is kept with the rendition.

`max_bytes` lowers quality, from what was asked to 10, until the file fits; at most eight more encodings. It never changes the size: where
nothing fits, also of PNG and GIF, it is 422 `over_max_bytes`, and the answer says how small it would get.

## Animations

An animated GIF or WebP goes on playing as WebP or GIF, every frame cut, turned and coloured alike, delays and rounds kept; `.auto` then chooses
WebP or else GIF. All frames together, before and after, may have `SAFELIGHT_DELIVERY__MAX_ANIMATION_PIXELS` pixels, as GIF {max_played}. Of a
larger one the first frame is shown, and the header `Safelight-Animation: first-frame` says so.

## Focal point

`PATCH /images/{{id}}` with `{{"focal_point": {{"x": 0.3, "y": 0.7}}}}` stores a point with the image, null takes it away; it stays when the bytes are
replaced. `gravity=focal` is then that point, and without one the centre. The point is part of the URL's `v` and of the cache's key, so URLs made
after a change are others, and nothing needs to be purged.

## Client hints

`dpr=auto` takes the pixel ratio from `Sec-CH-DPR`, rounded up to {ratios}, and 1 for who sends `Save-Data: on`; `width=auto` takes the width in
pixels of the screen from `Sec-CH-Width`, rounded up to a multiple of {step}, at most {widest}, and {without} where nothing is told. Only such URLs
answer with `Vary` by these headers. Browsers send them where the page asks: `Accept-CH: Sec-CH-DPR, Sec-CH-Width` in its own answer, and
`Permissions-Policy: ch-dpr=("https://images.example"), ch-width=("https://images.example")` where pictures come from another host; a CDN has to
have them in its key.

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
        max_pixels=f"{MAX_OUTPUT_PIXELS:,}",
        max_gif=f"{MAX_GIF_PIXELS:,}",
        steps=", ".join(f"`{step}`" for step in STEPS),
        mark_side=MARK_SIDE,
        min_side=MIN_SIDE,
        max_played=f"{MAX_PLAYED_GIF_PIXELS:,}",
        ratios=", ".join(f"{ratio:g}" for ratio in RATIOS),
        step=STEP,
        widest=WIDEST,
        without=WITHOUT,
        targets=" and ".join(f"{points:g}" for points in sorted(set(TARGET.values()))),
        sought=", ".join(f"{low} and {high} ({format.name})" for format, (low, high) in SOUGHT.items()),
    )
    return _INTRODUCTION.format(max_text=MAX_TEXT, extensions=extensions) + "".join(rows) + rules
