"""`user key`: the API keys of a tenant's users."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, naming, output
from safelight.cli.connection import HERE, Json, Server

user_key = App(name="key", help="API keys of users.")


@user_key.command(name="list")
def list_api_keys(*, server: Server = HERE, json: Json = False) -> int:
    """List API keys, newest first, without their tokens."""
    with server.connect() as client:
        found = client.api_keys()
        people = {each["id"]: each["name"] for each in client.users()}
    if json:
        output.say_json({"keys": found})
        return 0
    rows = output.table("id", "user", "name", "scopes", "from", "made", "last used", "state")
    for key in found:
        rows.add_row(
            output.text(key["id"]),
            output.text(people.get(key["user"], key["user"])),
            output.text(key["name"]),
            ", ".join(key["scopes"]),
            output.text(", ".join(key["networks"]) or "anywhere"),
            output.date(key["created_at"]),
            output.minute(key["last_used_at"]),
            "revoked" if key["revoked_at"] else output.life(key["expires_at"], "expires", "expired"),
        )
    output.listing(found, rows, "There is no API key.")
    return 0


@user_key.command(name="add")
def add_api_key(
    user: str,
    /,
    *,
    name: str = "",
    scope: tuple[Literal["read", "write", "admin"], ...] = ("read", "write"),
    days: Annotated[int | None, Parameter(validator=Number(gte=1, lte=36_500))] = None,
    network: tuple[str, ...] = (),
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Make an API key for a user. Its token is shown only now.

    Parameters
    ----------
    user
        Name or id.
    name
        What the key is for.
    scope
        What it may be used for. May be repeated.
    days
        Days until it expires. Default: never.
    network
        Address or network (192.0.2.0/24, 2001:db8::/32) that it may be used from. May be repeated. Default: anywhere.

    """
    expires_at = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    with server.connect() as client:
        whose = naming.user(client, user)
        key = client.add_api_key(whose["id"], name=name, scopes=scope, expires_at=expires_at, networks=network)
    sentence = f"Key {key['id']} of {whose['name']} ({', '.join(key['scopes'])}). Its token, shown only now:"
    output.say(key, sentence, key["token"], as_json=json)
    return 0


@user_key.command(name="change")
def change_api_key(
    key: str,
    /,
    *,
    name: str | None = None,
    network: tuple[str, ...] = (),
    anywhere: bool = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Give an API key another name, or other networks to be used from.

    Parameters
    ----------
    key
        Its id, as `user key list` shows.
    name
        What the key is for.
    network
        Address or network that it may be used from, in place of those it has. May be repeated.
    anywhere
        It may be used from anywhere.

    """
    if (name is None and not network and not anywhere) or (network and anywhere):
        raise WrongUsage("Say --name, --network or --anywhere.")
    with server.connect() as client:
        changed = client.change_api_key(key, name=name, networks=network if network or anywhere else None)
    where = ", ".join(changed["networks"]) or "anywhere"
    output.say(changed, f"Key {key} is called {changed['name']!r} and may be used from {where}.", as_json=json)
    return 0


@user_key.command(name="revoke")
def revoke_api_key(key: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """End an API key now.

    Parameters
    ----------
    key
        Its id, as `user key list` shows.

    """
    with server.connect() as client:
        client.revoke_api_key(key)
    output.say({"id": key}, f"Key {key} is revoked.", as_json=json)
    return 0
