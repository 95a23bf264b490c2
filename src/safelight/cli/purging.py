"""`purge`: what a server's caches, and CDNs in front of it, are to let go of."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.waiting import ended

purge = App(name="purge", help="What caches are to let go of, and how far that has come.")

Wait = Annotated[bool, Parameter(help="Come back when it has ended; the exit code is 1 when it failed.")]


@purge.command
def image(image: str, /, *, wait: Wait = False, server: Server = HERE, json: Json = False) -> int:
    """Let go of one image: what was made of it on request, and at CDNs its presets too.

    Parameters
    ----------
    image
        Its id.

    """
    return _ask(server, wait=wait, json=json, image=image)


@purge.command
def tag(tag: str, /, *, wait: Wait = False, server: Server = HERE, json: Json = False) -> int:
    """Let go of every image with a tag, some at a time.

    Parameters
    ----------
    tag
        The tag.

    """
    return _ask(server, wait=wait, json=json, tag=tag)


@purge.command
def source(source: str, /, *, wait: Wait = False, server: Server = HERE, json: Json = False) -> int:
    """Let go of what is kept of a picture that lies elsewhere: it is fetched anew when somebody asks for it.

    Parameters
    ----------
    source
        Its address.

    """
    return _ask(server, wait=wait, json=json, source=source)


@purge.command
def tenant(*, wait: Wait = False, server: Server = HERE, json: Json = False) -> int:
    """Let go of everything. Before Safelight that is every tenant's, and all of it is fetched anew."""
    return _ask(server, wait=wait, json=json, tenant=True)


@purge.command(name="list")
def list_purges(
    *,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=200))] = 50,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """List purges of the last 30 days, newest first, those that Safelight began by itself among them.

    Parameters
    ----------
    limit
        How many, at most.

    """
    with server.connect() as client:
        found = client.purges(limit=limit)
    if json:
        output.say_json({"purges": found})
        return 0
    rows = output.table("id", "what", "asked", "state", "images", "tries", "cause", right=("tries",))
    for each in found:
        done = f"{each['images_done']} of {each['images']}"
        what = output.text(f"{each['what']} {each['value']}".strip())
        rows.add_row(
            each["id"],
            what,
            output.minute(each["created_at"]),
            each["state"],
            done,
            str(each["attempts"]),
            output.text(each["cause"]),
        )
    output.listing(found, rows, "Nothing was purged.")
    return 0


def _ask(
    server: Server, *, wait: bool, json: bool, image: str = "", tag: str = "", source: str = "", tenant: bool = False
) -> int:
    with server.connect() as client:
        asked = client.purge(image=image, tag=tag, source=source, tenant=tenant)
        if wait:
            asked = ended(asked, client.purge_state)
    done = f"{asked['images_done']} of {output.many(asked['images'], 'image')}"
    cause = (f"The last try failed: {asked['cause']}",) if asked["cause"] else ()
    output.say(asked, f"Purge {asked['id']} is {asked['state']}: {done}.", *cause, as_json=json)
    return 1 if asked["state"] == "failed" else 0
