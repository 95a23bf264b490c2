"""`failures`, `keys` and `user`: what operators and admins do with a running server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output, privacy
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import the_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from safelight.client import Client, Mended, User

failures = App(name="failures", help="Work that was given up: look, try again, forget.")
keys = App(name="keys", help="Keys that sign delivery URLs, and those that sign access tokens.")
token_keys = App(name="tokens", help="Keys that sign access tokens; their public halves are published.")
keys.command(token_keys)
user = App(name="user", help="Users and their API keys.")
user_key = App(name="key", help="API keys of users.")
user.command(user_key)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Which:
    """Which failures: those that fit whatever is said."""

    flow: str = ""
    """Of this flow; the reference of flows names them."""
    tenant: str = ""
    """Of the tenant with this id."""
    cause: str = ""
    """With this in their cause, whatever its case."""
    after: datetime | None = None
    """Given up at this time (UTC) or later."""
    before: datetime | None = None
    """Given up before this time (UTC)."""

    def filters(self) -> dict[str, str]:
        """As the client takes them."""
        words = {"flow": self.flow, "tenant": self.tenant, "cause": self.cause}
        times = {"after": self.after, "before": self.before}
        told = {name: at.replace(tzinfo=at.tzinfo or UTC).isoformat() for name, at in times.items() if at is not None}
        return {name: word for name, word in words.items() if word} | told


ALL = Which()


@failures.command(name="list")
def list_failures(
    *,
    which: Which = ALL,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 100,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """List work that was given up, newest first.

    Parameters
    ----------
    limit
        How many, at most.

    """
    with server.connect() as client:
        found = client.failures(limit=limit, **which.filters())
    if json:
        output.say_json({"failures": found})
        return 0
    rows = output.table("id", "flow", "image", "given up", "tries", "cause", right=("tries",))
    for each in found:
        image, cause = str(each["payload"].get("image", "")), _first_line(each["error"])
        given_up = output.minute(each["updated_at"])
        rows.add_row(
            output.text(each["id"]), output.text(each["flow"]), output.text(image), given_up, str(each["attempts"]), cause
        )
    output.listing(found, rows, "Nothing was given up.")
    return 0


@failures.command(name="show")
def show_failure(failure: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Show one with the steps it got through, and the whole cause.

    Parameters
    ----------
    failure
        Its id.

    """
    with server.connect() as client:
        found = client.failure(failure)
    if json:
        output.say_json(found)
        return 0
    console = output.out()
    console.print(
        output.text(f"{found['flow']} {found['id']}: {found['state']} after {output.many(found['attempts'], 'try', 'tries')}")
    )
    for name, value in found["payload"].items():
        console.print(output.text(f"  {name}: {value}"))
    rows = output.table("step", "began", "ended", "error")
    for step in found["steps"]:
        ended = output.minute(step["ended_at"])
        rows.add_row(output.text(step["name"]), output.minute(step["started_at"]), ended, output.text(step["error"]))
    if found["steps"]:
        console.print(rows)
    for line in found["log"]:
        console.print(output.text(f"  {line}"))
    for line in (found["error"] or "No cause is known.").splitlines():
        console.print(output.text(line))
    return 0


@failures.command
def retry(*failure: str, which: Which = ALL, all: bool = False, server: Server = HERE, json: Json = False) -> int:
    """Try again from the step that failed: the ones named, those that fit the filters, or all.

    What fails once more meanwhile is not met again.

    Parameters
    ----------
    failure
        Ids.
    all
        Every one there is.

    """
    return _each_failure(failure, which, all, server, json, "retry_failure", "Tried again")


@failures.command
def discard(*failure: str, which: Which = ALL, all: bool = False, server: Server = HERE, json: Json = False) -> int:
    """Forget work that was given up: the ones named, those that fit the filters, or all. The images stay as they are.

    Parameters
    ----------
    failure
        Ids.
    all
        Every one there is.

    """
    return _each_failure(failure, which, all, server, json, "discard_failure", "Forgotten")


AT_ONCE: Final = 100
"""Failures of one request: so often a bar moves."""


def _each_failure(
    named: tuple[str, ...],
    which: Which,
    is_all: bool,  # noqa: FBT001 (handed on from two commands)
    server: Server,
    as_json: bool,  # noqa: FBT001
    action: Literal["retry_failure", "discard_failure"],
    verb: str,
) -> int:
    if bool(named) + bool(which.filters()) + is_all != 1:
        raise WrongUsage("Name ids, or say which by --flow, --tenant, --cause, --after, --before, or say --all.")
    with server.connect() as client:
        for each in named:
            getattr(client, action)(each)
        count = len(named) if named else _each_batch(getattr(client, f"{action}s"), which)
    if as_json:
        output.say_json({"count": count})
    else:
        output.out().print(f"{verb}: {count}.")
    return 0


def _each_batch(mend: Callable[..., Mended], which: Which) -> int:
    """Batch after batch of what had been given up before now, so that what fails again is not met again."""
    filters = which.filters()
    filters.setdefault("before", datetime.now(UTC).isoformat())
    count = 0
    with output.err().status("0 so far") as status:  # says nothing where there is no terminal
        while True:
            mended = mend(limit=AT_ONCE, **filters)
            count += mended["count"]
            status.update(f"{count} so far")
            if not (mended["has_more"] and mended["count"]):
                return count


def _first_line(error: str | None) -> Any:
    lines = [line for line in (error or "").splitlines() if line.strip()]
    return output.text(lines[-1] if lines else "")  # of a traceback the last line says what it was


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
            _life(key["retired_at"], "retires", "retired"),
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
        life = _life(key["retired_at"], "retires", "retired")
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
    if json:
        output.say_json(retired)
    else:
        output.out().print(
            output.text(f"Key {key} signs no more, and is believed until {output.minute(retired['retired_at'])} UTC.")
        )
    return 0


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
        whose = _user(client, user)
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
        whose = _user(client, user)
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
        whose = _user(client, user)
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
        whose = _user(client, user)
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
        whose = client.disable_user(_user(client, user)["id"])
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
        whose = client.enable_user(_user(client, user)["id"])
    output.say(whose, f"{whose['name']} may come in again.", as_json=json)
    return 0


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
            "revoked" if key["revoked_at"] else _life(key["expires_at"], "expires", "expired"),
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
        whose = _user(client, user)
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
    if json:
        output.say_json(changed)
    else:
        where = ", ".join(changed["networks"]) or "anywhere"
        output.out().print(output.text(f"Key {key} is called {changed['name']!r} and may be used from {where}."))
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


def _user(client: Client, name: str) -> User:
    return the_one([each for each in client.users() if name in (each["id"], each["name"])], name, "user")


def _life(end: str | None, future: str, past: str) -> str:
    """What a time of expiry or retirement means now."""
    moment = output.when(end)
    if moment is None:
        return "live"
    return past if moment <= datetime.now(UTC) else f"{future} {output.minute(end)}"
