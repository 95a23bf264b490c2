"""`keys`: the keys of a running server, those that sign delivery URLs and those that sign access tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server

keys = App(name="keys", help="Keys that sign delivery URLs, and those that sign access tokens.")
token_keys = App(name="tokens", help="Keys that sign access tokens; their public halves are published.")
keys.command(token_keys)


@keys.command(name="list")
def list_keys(*, server: Server = HERE, json: Json = False) -> int:
    """List the keys, newest first. The newest live one signs, every live one verifies."""
    with server.connect() as client:
        ring = client.signing_keys()
    if json:
        output.say_json({"keys": ring})
        return 0
    rows = output.table("key", "grammar", "made", "state")
    for key in ring:
        rows.add_row(
            output.text(key["kid"]),
            key["grammar"],
            output.minute(key["created_at"]),
            output.life(key["retired_at"], "retires", "retired"),
        )
    output.listing(ring, rows, "There is no signing key.")
    return 0


@keys.command(name="add")
def add_key(
    *,
    grammar: Literal["native", "imgproxy", "thumbor"] = "native",
    secret_file: Path | None = None,
    signature_bytes: Annotated[int, Parameter(validator=Number(gte=8, lte=32))] = 32,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Add a key; it signs from now on, and URLs signed before stay good. Its secret is shown only now.

    Parameters
    ----------
    grammar
        Whose URLs it is for: ours, imgproxy's or thumbor's.
    secret_file
        A key that imgproxy or thumbor has: IMGPROXY_KEY and IMGPROXY_SALT on a line each, or SECURITY_KEY. Default: made.
    signature_bytes
        imgproxy: IMGPROXY_SIGNATURE_SIZE.

    """
    secret, salt = "", ""
    if secret_file is not None:
        lines = secret_file.read_text().splitlines()
        if not lines or len(lines) != (2 if grammar == "imgproxy" else 1):
            raise WrongUsage("The file has imgproxy's key and salt on a line each, or thumbor's key.")
        secret, *salts = lines
        salt = "".join(salts)
    with server.connect() as client:
        key = client.add_signing_key(grammar=grammar, secret=secret, salt=salt, size_bytes=signature_bytes)
    whose = "" if grammar == "native" else f" {grammar}'s URLs"
    sentence = f"Key {key['kid']} signs{whose} from now on. Its secret, shown only now, for services that sign themselves:"
    output.say(key, sentence, *filter(None, (key["secret"], key["salt"])), as_json=json)
    return 0


@keys.command(name="retire")
def retire_key(
    key: str, /, *, after: Annotated[int, Parameter(validator=Number(gte=0))] = 0, server: Server = HERE, json: Json = False
) -> int:
    """Stop believing URLs that a key has signed. Add another one first, and give clients time with --after.

    Parameters
    ----------
    key
        Its id, as `keys list` shows.
    after
        Seconds from now.

    """
    with server.connect() as client:
        client.retire_signing_key(key, after_s=after)
    output.say(
        {"kid": key, "after_s": after},
        f"Key {key} is retired." if after == 0 else f"Key {key} retires in {after} s.",
        as_json=json,
    )
    return 0


@keys.command(name="cookies")
def cookies(*, server: Server = HERE, json: Json = False) -> int:
    """CloudFront cookies that open every stored rendition of the tenant, one a line as a browser sends them. Keep them secret."""
    with server.connect() as client:
        made = client.cloudfront_cookies()
    if json:
        output.say_json(made)
        return 0
    for name, value in made["cookies"].items():
        output.out().print(f"{name}={value}", soft_wrap=True, highlight=False, markup=False)
    return 0


@token_keys.command(name="list")
def list_token_keys(*, server: Server = HERE, json: Json = False) -> int:
    """List the keys, newest first. The newest that was published for five minutes signs, every live one verifies."""
    with server.connect() as client:
        ring = client.token_keys()
    if json:
        output.say_json({"keys": ring})
        return 0
    rows = output.table("key", "algorithm", "made", "state")
    for key in ring:
        life = output.life(key["retired_at"], "retires", "retired")
        rows.add_row(output.text(key["kid"]), output.text(key["algorithm"]), output.minute(key["created_at"]), life)
    output.listing(ring, rows, "There is no token key yet; the first sign-in makes one.")
    return 0


@token_keys.command(name="add")
def add_token_key(
    *, algorithm: Literal["EdDSA", "ES256", "RS256"] | None = None, server: Server = HERE, json: Json = False
) -> int:
    """Add a key. It is published at once and signs five minutes later, when verifiers have fetched it.

    Parameters
    ----------
    algorithm
        Default: as the server's settings say.

    """
    with server.connect() as client:
        key = client.add_token_key(algorithm)
    output.say(key, f"Key {key['kid']} ({key['algorithm']}) is published and signs in five minutes.", as_json=json)
    return 0


@token_keys.command(name="retire")
def retire_token_key(
    key: str,
    /,
    *,
    after: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Sign nothing with a key any more, and stop believing it when its last token has expired. Add another one first.

    Parameters
    ----------
    key
        Its id, as `keys tokens list` shows.
    after
        Stop believing it in so many seconds instead; 0 when it has leaked.

    """
    with server.connect() as client:
        retired = client.retire_token_key(key, after_s=after)
    sentence = f"Key {key} signs no more, and is believed until {output.minute(retired['retired_at'])} UTC."
    output.say(retired, sentence, as_json=json)
    return 0
