"""`issuer`: outside issuers (Cognito, Auth0, Keycloak, any OpenID provider) whose tokens a running server believes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import the_one

if TYPE_CHECKING:
    from safelight.client import Client, Issuer

issuer = App(name="issuer", help="Outside issuers whose tokens are believed: Cognito, Auth0, Keycloak, any OpenID provider.")


@issuer.command(name="list")
def list_issuers(*, server: Server = HERE, json: Json = False) -> int:
    """List them, oldest first; to an operator also those of the server's settings."""
    with server.connect() as client:
        found = client.issuers()
    if json:
        output.say_json({"issuers": found})
        return 0
    rows = output.table("id", "issuer", "audiences", "roles from", "since")
    for each in found:
        rows.add_row(
            output.text(each["id"]),
            output.text(each["issuer"]),
            output.text(", ".join(each["audiences"])),
            output.text(each["role_claim"] or "here"),
            "settings" if each["id"].startswith("settings-") else output.date(each["created_at"]),
        )
    output.listing(found, rows, "No outside issuer is trusted.")
    return 0


@issuer.command(name="add")
def add_issuer(
    iss: str,
    /,
    *,
    audience: tuple[str, ...],
    jwks_url: str = "",
    algorithm: tuple[str, ...] = ("RS256",),
    authorized_party: tuple[str, ...] = (),
    token_use: tuple[str, ...] = (),
    skew: Annotated[int, Parameter(validator=Number(gte=0, lte=300))] = 30,
    name_claim: tuple[str, ...] = (),
    role_claim: str = "",
    role: tuple[str, ...] = (),
    default_role: Literal["user", "admin", "none"] = "user",
    scope_claim: str = "scope",
    scope: tuple[str, ...] = (),
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Believe an issuer's tokens. Its users become users here when they are first seen.

    Parameters
    ----------
    iss
        Its name, exactly as its tokens have it in `iss`.
    audience
        Whom the tokens are for: an API's identifier or a client's id. May be repeated.
    jwks_url
        Where its keys are. Default: where its openid-configuration says.
    algorithm
        Signatures that are taken. May be repeated.
    authorized_party
        Clients whose tokens are taken, by `azp`. May be repeated. Default: any.
    token_use
        Cognito: access, id. May be repeated. Default: any.
    skew
        Seconds by which its clock and the server's may differ.
    name_claim
        What a new user is called by. May be repeated; the first that is there counts.
    role_claim
        Claim with groups or roles, such as cognito:groups or realm_access.roles.
    role
        GROUP=ROLE, such as photo-admins=admin. May be repeated.
    default_role
        For who is in none of those groups; none: they stay out.
    scope_claim
        Claim with the token's scopes.
    scope
        THEIRS=OURS, such as images/read=read. May be repeated. Default: what the user's role allows.

    """
    terms: dict[str, object] = {
        "jwks_url": jwks_url,
        "algorithms": [*algorithm],
        "authorized_parties": [*authorized_party],
        "token_use": [*token_use],
        "skew_s": skew,
        "role_claim": role_claim,
        "roles": _pairs(role, "--role"),
        "default_role": None if default_role == "none" else default_role,
        "scope_claim": scope_claim,
        "scopes": _pairs(scope, "--scope"),
    }
    if name_claim:
        terms["name_claims"] = [*name_claim]
    with server.connect() as client:
        made = client.add_issuer(iss, audience, **terms)
    output.say(made, f"Tokens of {made['issuer']} are believed. Try it: safelight issuer check {made['id']}", as_json=json)
    return 0


@issuer.command(name="set")
def change_issuer(
    name: str,
    /,
    *,
    audience: tuple[str, ...] = (),
    jwks_url: str | None = None,
    algorithm: tuple[str, ...] = (),
    authorized_party: tuple[str, ...] = (),
    token_use: tuple[str, ...] = (),
    skew: Annotated[int | None, Parameter(validator=Number(gte=0, lte=300))] = None,
    name_claim: tuple[str, ...] = (),
    role_claim: str | None = None,
    role: tuple[str, ...] = (),
    default_role: Literal["user", "admin", "none"] | None = None,
    scope_claim: str | None = None,
    scope: tuple[str, ...] = (),
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Change the terms that are named; what may be repeated replaces all that was there.

    Parameters
    ----------
    name
        Its `iss` or id.
    audience
        Whom the tokens are for.
    jwks_url
        Where its keys are; empty: where its openid-configuration says.
    algorithm
        Signatures that are taken.
    authorized_party
        Clients whose tokens are taken.
    token_use
        Cognito: access, id.
    skew
        Seconds by which its clock and the server's may differ.
    name_claim
        What a new user is called by.
    role_claim
        Claim with groups or roles.
    role
        GROUP=ROLE.
    default_role
        For who is in none of those groups; none: they stay out.
    scope_claim
        Claim with the token's scopes.
    scope
        THEIRS=OURS.

    """
    lists = {
        "audiences": audience,
        "algorithms": algorithm,
        "authorized_parties": authorized_party,
        "token_use": token_use,
        "name_claims": name_claim,
    }
    words = {"jwks_url": jwks_url, "skew_s": skew, "role_claim": role_claim, "scope_claim": scope_claim}
    pairs = {"roles": _pairs(role, "--role"), "scopes": _pairs(scope, "--scope")}
    terms: dict[str, object] = {name: value for name, value in words.items() if value is not None}
    terms |= {name: [*value] for name, value in lists.items() if value} | {name: value for name, value in pairs.items() if value}
    if default_role is not None:
        terms["default_role"] = None if default_role == "none" else default_role
    if not terms:
        raise WrongUsage("Say what to change.")
    with server.connect() as client:
        changed = client.change_issuer(_issuer(client, name)["id"], **terms)
    output.say(changed, f"Tokens of {changed['issuer']} are believed on these terms now.", as_json=json)
    return 0


@issuer.command(name="remove")
def remove_issuer(name: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Believe an issuer's tokens no more. Its users stay, and come back with it.

    Parameters
    ----------
    name
        Its `iss` or id.

    """
    with server.connect() as client:
        found = _issuer(client, name)
        client.remove_issuer(found["id"])
    output.say({"id": found["id"]}, f"Tokens of {found['issuer']} are believed no more.", as_json=json)
    return 0


@issuer.command(name="check")
def check_issuer(name: str, /, *, token_file: Path | None = None, server: Server = HERE, json: Json = False) -> int:
    """Ask an issuer for its keys now, as the server reaches it; and tell what a token of it would be taken for, or why not.

    Parameters
    ----------
    name
        Its `iss` or id.
    token_file
        File with a token.

    """
    token = token_file.read_text().strip() if token_file is not None else ""
    with server.connect() as client:
        found = client.check_issuer(_issuer(client, name)["id"], token=token)
    reading = found["token"]
    refused = reading is not None and not reading["is_taken"]
    if json:
        output.say_json(found)
        return 1 if refused else 0
    console = output.out()
    rows = output.table("key", "algorithm")
    for key in found["keys"]:
        rows.add_row(output.text(key["kid"]), output.text(key["algorithm"]))
    console.print(output.text(f"Keys at {found['jwks_url']}"))
    output.listing(found["keys"], rows, "There is no key that could verify anything.")
    if reading is not None and refused:
        console.print(output.text(f"The token opens nothing: {reading['refusal']}."))
    elif reading is not None:
        scopes = ", ".join(reading["scopes"]) or "nothing"
        console.print(output.text(f"The token stands for {reading['name']} ({reading['role']}), for {scopes}."))
    return 1 if refused or not found["keys"] else 0


def _pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = [word.rpartition("=") for word in words]
    if not all(left and right for left, _, right in pairs):
        raise WrongUsage(f"{option} is THEIRS=OURS.")
    return {left: right for left, _, right in pairs}


def _issuer(client: Client, name: str) -> Issuer:
    return the_one([each for each in client.issuers() if name in (each["id"], each["issuer"])], name, "issuer")
