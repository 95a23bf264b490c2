"""`user`: the users of a tenant, and by `user key` their API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, naming, output, privacy
from safelight.cli.api_keys import user_key
from safelight.cli.connection import HERE, Json, Server

user = App(name="user", help="Users and their API keys.")
user.command(user_key)


@user.command(name="list")
def list_users(*, server: Server = HERE, json: Json = False) -> int:
    """List users."""
    with server.connect() as client:
        people = client.users()
    if json:
        output.say_json({"users": people})
        return 0
    rows = output.table("name", "role", "since", "state", "id")
    for each in people:
        state = "disabled" if each["disabled_at"] else ""
        rows.add_row(output.text(each["name"]), each["role"], output.date(each["created_at"]), state, output.text(each["id"]))
    output.listing(people, rows, "There is no user.")
    return 0


@user.command(name="add")
def add_user(
    name: str,
    /,
    *,
    role: Literal["user", "admin", "operator"] = "user",
    email: str = "",
    language: str = "",
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Add a user. Give them a key with `user key add`, or invite them with --email to sign in.

    Parameters
    ----------
    name
        What to call them.
    role
        user: own images; admin: everything of the tenant; operator: the installation.
    email
        Send an invitation there: they choose a password and sign in.
    language
        Of their letters, as `de` or `pt-BR`. Default: English.

    """
    with server.connect() as client:
        made = client.add_user(name, role=role, email=email, language=language)
    output.say(made, f"{made['name']} is {made['role']} {made['id']}.", as_json=json)
    return 0


@user.command(name="export")
def export_user(user: str, file: Path, /, *, server: Server = HERE, json: Json = False) -> int:
    """Write everything that is kept of a user to a ZIP: originals, metadata, albums, account, their audit trail.

    Parameters
    ----------
    user
        Name or id.
    file
        Where to.

    """
    with server.connect() as client:
        whose = naming.user(client, user)
        privacy.exported(client.export_user(whose["id"]), file, {"user": whose["id"]}, as_json=json)
    return 0


@user.command(name="erase")
def erase_user(
    user: str,
    /,
    *,
    yes: bool = False,
    wait: Annotated[int, Parameter(validator=Number(gte=0))] = 60,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Erase a user with everything of theirs, for good, and print the certificate.

    Parameters
    ----------
    user
        Name or id.
    yes
        Do it. Without it, say whom it would be.
    wait
        Seconds to wait for the certificate; the erasure goes on without us.

    """
    with server.connect() as client:
        whose = naming.user(client, user)
        if not yes:
            raise WrongUsage(f"This erases {whose['name']} ({whose['id']}) with every image of theirs, for good. Say --yes.")
        erasure = privacy.awaited(client, client.erase_user(whose["id"]), wait)
    privacy.say_erasure(erasure, as_json=json)
    return 0


@user.command(name="invite")
def invite_user(user: str, email: str, /, *, language: str = "", server: Server = HERE, json: Json = False) -> int:
    """Invite a user who has no password yet, or send the invitation again.

    Parameters
    ----------
    user
        Name or id.
    email
        With which they will sign in.
    language
        Of their letters, as `de` or `pt-BR`. Default: English.

    """
    with server.connect() as client:
        whose = naming.user(client, user)
        client.invite_user(whose["id"], email, language=language)
    output.say({"user": whose["id"], "email": email}, f"An invitation is on its way to {email}.", as_json=json)
    return 0


@user.command(name="reset-mfa")
def reset_mfa(user: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Take authenticator app, recovery codes and passkeys from a user who has lost them. Their sessions end; they get a mail.

    Parameters
    ----------
    user
        Name or id.

    """
    with server.connect() as client:
        whose = naming.user(client, user)
        client.reset_mfa(whose["id"])
    output.say({"user": whose["id"]}, f"{whose['name']} signs in with the password alone now.", as_json=json)
    return 0


@user.command(name="disable")
def disable_user(user: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Let nobody in as this user: sessions end, keys and tokens open nothing. Images and albums stay.

    Parameters
    ----------
    user
        Name or id.

    """
    with server.connect() as client:
        whose = client.disable_user(naming.user(client, user)["id"])
    output.say(whose, f"Nobody comes in as {whose['name']} any more.", as_json=json)
    return 0


@user.command(name="enable")
def enable_user(user: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Let a disabled user in again, with the API keys that they had.

    Parameters
    ----------
    user
        Name or id.

    """
    with server.connect() as client:
        whose = client.enable_user(naming.user(client, user)["id"])
    output.say(whose, f"{whose['name']} may come in again.", as_json=json)
    return 0
