"""Foreign reference: docs/reference/grammars.md, made of the tables that imgproxy's and thumbor's parsers read by. Called by docs/generate.py."""

from __future__ import annotations

from typing import Final

from safelight.imaging.transform import imgproxy, thumbor
from safelight.imaging.transform.foreign import MAX_PATH
from safelight.signing.imgproxy import FULL_BYTES, MIN_BYTES

_INTRODUCTION: Final = """\
# imgproxy's and thumbor's URLs

Safelight serves URLs that were written for imgproxy or thumbor and are signed with their keys. They are read into the same
[transforms](transforms.md) as our own, pass the same check of who may see the picture, and share one kept file with every other way to
write the same request. What cannot be done is 400 `bad_option` with the option's name in `option`, never passed over.

A tenant takes such URLs once its ring has a key for them: see [from imgproxy](../howto/move-from-imgproxy.md) and
[from thumbor](../howto/move-from-thumbor.md). They need their signature even for public pictures; `unsafe` is a wrong signature.

The source is the id of an image, bare or as `safelight://{{id}}`. The address of a picture elsewhere is fetched where
[an operator has listed it](../howto/deliver-remote-sources.md); any other is 403 `source_not_allowed`. A URL has no query: a
question mark of the source is written `%3F`. Behind the signature it has at most {max_path} characters.

Where the URL names no format, the client's `Accept` header chooses as for [`.auto`](transforms.md), and the answer says `Vary: Accept`.

## imgproxy

`/imgproxy/{{signature}}/{{option}}:{{argument}}:…/…/plain/{{source}}@{{extension}}`

`/imgproxy/{{signature}}/{{option}}:{{argument}}:…/…/{{base 64 source}}.{{extension}}`

The signature is URL-safe base 64 of HMAC-SHA256 over salt and path, as imgproxy documents it; with a size of {least} to {most} bytes
where the key has one. The path is the one on the wire: percent-encoding must arrive as it was signed. Base 64 may be padded and cut by
slashes; of `plain` sources a proxy may have merged `//`. Presets are `SAFELIGHT_IMGPROXY__PRESETS`.

| option | names | what becomes of it | example |
|---|---|---|---|
"""

_BETWEEN: Final = """
Options of imgproxy Pro are refused by name, and so are its security options, which are [settings](settings.md) here. Sizes follow
imgproxy: nothing is enlarged without `enlarge`, a later option goes over an earlier one, `auto`, `extend`, offsets and shares are reckoned
in the picture as it stands after `rotate` and `flip`. What needs the picture's size cannot be combined with `trim`.

## thumbor

`/thumbor/{signature}/trim:…/AxB:CxD/adaptive-full-fit-in/-Wx-H/{left|center|right}/{top|middle|bottom}/smart/filters:…/{source}`

The signature is URL-safe base 64 of HMAC-SHA1 over what stands behind it, as sent or unescaped. It never expires. Parts may be left out but
stand in this order; `debug` and `meta` are not available.

| part | what becomes of it |
|---|---|
| `trim`, `trim:top-left:{tolerance}` | `trim` at the tolerance over √3, at least 1; `bottom-right` is refused |
| `AxB:CxD` | `crop` |
| `WxH` | `fit=cover`; with one side, or the other 0, `contain`; `orig` is the picture's own side |
| `fit-in` | `fit=scale-down`, with `upscale()` `contain` |
| `full-fit-in` | the smallest size that covers the box, nothing cut |
| `adaptive-…` | the box is turned where picture and box lie differently |
| `-` before a side | `flip` |
| `left` `right` `top` `bottom`, `smart` | `gravity`; `smart` is `auto` |

| filter | what becomes of it | example |
|---|---|---|
"""

_END: Final = """
Other filters are refused by name. Filters work in [our order](transforms.md#order), whatever theirs is in the URL, each once.
"""


def page() -> str:
    """Markdown without the notice that it is generated."""
    options = [
        f"| `{option.names[0]}` | {' '.join(f'`{name}`' for name in option.names[1:])} | {option.becomes} "
        f"| {f'`{option.example}`' if option.example else ''} |\n"
        for option in imgproxy.TABLE
    ]
    options.append("| `preset` | `pr` | The options of these presets, here. | `pr:thumb` |\n")
    filters = [
        f"| `{name}` | {entry.becomes} | {f'`{entry.example}`' if entry.example else ''} |\n"
        for name, entry in thumbor.FILTERS.items()
    ]
    introduction = _INTRODUCTION.format(max_path=MAX_PATH, least=MIN_BYTES, most=FULL_BYTES)
    return introduction + "".join(options) + _BETWEEN + "".join(filters) + _END
