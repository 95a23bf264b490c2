"""`failures`: work that a running server gave up, looked at, tried again or forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from safelight.client import Mended

failures = App(name="failures", help="Work that was given up: look, try again, forget.")


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
    output.say({"count": count}, f"{verb}: {count}.", as_json=as_json)
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
