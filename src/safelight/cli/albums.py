"""`album`: whom albums are lent to, and links to them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import album_id, user_id

album = App(name="album", help="Albums: list them, lend them to users, and make links to them.")

Days = Annotated[int | None, Parameter(validator=Number(gte=1, lte=36_500))]


@album.command(name="list")
def list_albums(*, shared: bool = False, server: Server = HERE, json: Json = False) -> int:
    """List your albums, newest first.

    Parameters
    ----------
    shared
        Those that others have lent to you, instead of yours.

    """
    with server.connect() as client:
        found = list(client.albums(shared=shared))
    if json:
        output.say_json({"albums": found})
        return 0
    rows = output.table("id", "title", "images", "made", "you may")
    for each in found:
        lent = each["lent"]
        rows.add_row(
            output.text(each["id"]),
            output.text(each["title"]),
            str(each["image_count"]),
            output.date(each["created_at"]),
            lent["level"] if lent else "everything",
        )
    output.listing(found, rows, "There is no album.")
    return 0


@album.command(name="share")
def share_album(
    album: str,
    user: str,
    /,
    *,
    level: Literal["view", "contribute"] = "view",
    originals: bool = False,
    days: Days = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Let a user see an album, or put images of theirs into it.

    Parameters
    ----------
    album
        Title or id.
    user
        Id, or for an admin also the name.
    level
        view: see it; contribute: put their own images into it, too.
    originals
        The files as they came in, too.
    days
        Days until it ends. Default: never.

    """
    expires_at = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    with server.connect() as client:
        grant = client.share_album(
            album_id(client, album), user_id(client, user), level=level, originals=originals, expires_at=expires_at
        )
    until = f" until {output.minute(grant['expires_at'])} UTC" if grant["expires_at"] else ""
    output.say(grant, f"{user} may {grant['level']}{until}.", as_json=json)
    return 0


@album.command(name="unshare")
def unshare_album(album: str, user: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Take back what a user has of an album.

    Parameters
    ----------
    album
        Title or id.
    user
        Id, or for an admin also the name.

    """
    with server.connect() as client:
        which, whose = album_id(client, album), user_id(client, user)
        client.unshare_album(which, whose)
    output.say({"album": which, "user": whose}, f"{user} sees it no more.", as_json=json)
    return 0


@album.command(name="shares")
def list_shares(album: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """List whom an album is lent to.

    Parameters
    ----------
    album
        Title or id.

    """
    with server.connect() as client:
        found = client.album_grants(album_id(client, album))
    if json:
        output.say_json({"grants": found})
        return 0
    rows = output.table("user", "may", "originals", "since", "until")
    for each in found:
        originals = "yes" if each["originals"] else ""
        until = output.minute(each["expires_at"])
        rows.add_row(output.text(each["user"]), each["level"], originals, output.date(each["created_at"]), until)
    output.listing(found, rows, "It is lent to nobody.")
    return 0


@album.command(name="link")
def link_album(
    album: str,
    /,
    *,
    days: Annotated[int, Parameter(validator=Number(gte=1, lte=366))] = 30,
    password_file: Path | None = None,
    originals: bool = False,
    note: str = "",
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Make a link to an album, for whoever has it. Its address is shown only now.

    Parameters
    ----------
    album
        Title or id.
    days
        Days until it ends.
    password_file
        Ask for the password in the first line of this file; - reads it from the input.
    originals
        Give the files as they came in, too.
    note
        For you: whom it was given to, say.

    """
    expires_at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    password = _password(password_file) if password_file else ""
    with server.connect() as client:
        link = client.add_link(album_id(client, album), expires_at=expires_at, password=password, originals=originals, note=note)
    sentence = f"Link {link['id']}, until {output.minute(link['expires_at'])} UTC. Its address, shown only now:"
    output.say(link, sentence, link["url"], as_json=json)
    return 0


@album.command(name="links")
def list_links(album: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """List the links to an album, newest first, without their addresses.

    Parameters
    ----------
    album
        Title or id.

    """
    with server.connect() as client:
        found = client.album_links(album_id(client, album))
    if json:
        output.say_json({"links": found})
        return 0
    rows = output.table("id", "note", "password", "originals", "made", "until")
    for each in found:
        rows.add_row(
            output.text(each["id"]),
            output.text(each["note"]),
            "yes" if each["has_password"] else "",
            "yes" if each["originals"] else "",
            output.date(each["created_at"]),
            output.minute(each["expires_at"]),
        )
    output.listing(found, rows, "There is no link.")
    return 0


@album.command(name="unlink")
def unlink_album(album: str, link: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Let a link lead nowhere.

    Parameters
    ----------
    album
        Title or id.
    link
        Its id.

    """
    with server.connect() as client:
        which = album_id(client, album)
        client.remove_link(which, link)
    output.say({"album": which, "link": link}, f"Link {link} leads nowhere any more.", as_json=json)
    return 0


def _password(file: Path) -> str:
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {error}.") from None
    return text.partition("\n")[0].rstrip("\r")
