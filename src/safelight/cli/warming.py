"""`warm`: renditions made before somebody asks for them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.waiting import ended


def warm(
    *transforms: str,
    image: Annotated[str, Parameter(help="Of this image.")] = "",
    album: Annotated[str, Parameter(help="Of the images in this album.")] = "",
    tag: Annotated[str, Parameter(help="Of the images with this tag.")] = "",
    detach: Annotated[bool, Parameter(help="Come back at once; it goes on by itself.")] = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Make transforms in the background, before somebody asks for them, and show how far that is.

    Parameters
    ----------
    transforms
        As URLs say them: w=300,h=200,fit=cover.webp; presets too: thumb_300.avif.

    """
    if not transforms:
        raise WrongUsage("Which transforms? For example w=300,h=200,fit=cover.webp", field="transforms")
    if bool(image) == bool(album or tag):
        raise WrongUsage("Of which images? Give --image, or --album, --tag or both of these.", field="filter")
    with server.connect() as client:
        warming = client.warm(transforms, image=image, album=album, tag=tag)
        if not detach:
            warming = ended(warming, client.warming)
    told = f"{warming['images_done']} of {output.many(warming['images'], 'image')}"
    counts = f"{warming['made']} made, {warming['present']} there already, {warming['failed']} failed"
    cause = (f"The last failure: {warming['cause']}",) if warming["cause"] else ()
    output.say(warming, f"Warming {warming['id']} is {warming['state']}: {told}; {counts}.", *cause, as_json=json)
    return 1 if warming["state"] == "failed" or warming["failed"] else 0
