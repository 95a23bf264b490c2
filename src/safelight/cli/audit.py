"""`audit`: the audit trail of a running server, and the verifying of it, which asks the server for nothing but the entries."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.domain.audit import Broken, Checkpoint, Head, Verifier, anchor_from, sealed_from
from safelight.errors import BadField

audit = App(name="audit", help="Who did what: list the audit trail, export it, verify that nothing was altered.")

Chain = Annotated[Literal["installation"] | None, Parameter(help="The installation's chain instead of the tenant's.")]


@audit.command(name="list")
def list_entries(
    *,
    actor: str | None = None,
    action: str | None = None,
    object: str | None = None,
    result: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 50,
    chain: Chain = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """List entries, newest first.

    Parameters
    ----------
    actor
        A user's id, `system` or `nobody`.
    action
        Such as `image.trashed`, or `image.*`.
    object
        Such as `image/<id>` or `user/<id>`.
    result
        `done`, or the code of a refusal.
    since
        At or after this time, as RFC 3339 writes it.
    until
        Before this time.
    limit
        How many, at most.

    """
    filters = {"actor": actor, "action": action, "object": object, "result": result, "from": since, "to": until, "chain": chain}
    with server.connect() as client:
        entries = [entry for entry, _ in zip(client.audit(**filters, limit=min(limit, 1000)), range(limit), strict=False)]
    if json:
        for entry in entries:
            output.say_json(entry)
        return 0
    rows = output.table("number", "at", "who", "action", "object", "result", "times", "address", right=("number", "times"))
    for entry in entries:
        origin = entry["origin"]
        rows.add_row(
            str(entry["number"]),
            output.minute(entry["at"]),
            output.text(entry["user"] or entry["actor"]),
            output.text(entry["action"]),
            output.text(entry["object"]),
            output.text(entry["result"]),
            str(entry["count"]),
            output.text(origin["address"] if origin else ""),
        )
    output.listing(entries, rows, "There is no such entry.")
    return 0


@audit.command
def export(
    file: Path | None = None,
    /,
    *,
    format: Literal["ndjson", "csv"] = "ndjson",
    since: str | None = None,
    until: str | None = None,
    chain: Chain = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Write the trail to a file, oldest first. As NDJSON and whole, `safelight audit verify FILE` verifies it anywhere.

    Parameters
    ----------
    file
        Where to; standard output without one.
    format
        `csv` is for people, and cannot be verified.
    since
        Entries at or after this time.
    until
        Entries before this time.

    """
    if json and file is None:
        raise WrongUsage("Name a file: standard output cannot be the export and the result.")
    size = 0
    with server.connect() as client, contextlib.ExitStack() as stack:
        out = sys.stdout.buffer if file is None else stack.enter_context(output.whole_file(file))
        for piece in client.audit_export(format=format, **{"from": since, "to": until, "chain": chain}):
            size += out.write(piece)
    if file is not None:
        output.say({"file": str(file), "bytes": size}, f"{file}: {output.size(size)}.", as_json=json)
    return 0


@audit.command
def head(*, chain: Chain = None, server: Server = HERE, json: Json = False) -> int:
    """Print where the chain ends: note it where nobody of this installation can write, and give it to `verify` as --anchor."""
    with server.connect() as client:
        found = client.audit_head(chain=chain)
    output.say(found, found["head"], as_json=json)
    return 0


@audit.command
def verify(
    file: Path | None = None,
    /,
    *,
    anchor: tuple[str, ...] = (),
    chain: Chain = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Verify the chain, here and not on the server. Exit code 1, and the first broken entry, when it does not hold.

    Parameters
    ----------
    file
        An export as NDJSON; the server's trail without one.
    anchor
        A head that was noted before (`number:hash`), or several: the chain has to lead through it.

    """
    anchors = {place.number: place.hash for place in map(anchor_from, anchor)}
    with contextlib.ExitStack() as stack:
        lines: Iterable[bytes]
        if file is not None:
            lines = stack.enter_context(file.open("rb"))
        else:
            lines = _lines(stack.enter_context(server.connect()).audit_export(chain=chain))
        try:
            whose, last = verified(lines, anchors)
        except Broken as broken:
            if json:
                output.say_json({"is_whole": False, "number": broken.number, "why": broken.why})
            else:
                print(f"safelight: The chain is broken. {broken}.", file=sys.stderr)
            return EXIT_REFUSED
    output.say({"is_whole": True, "chain": whose, "head": str(last)}, f"The chain holds, up to {last}.", as_json=json)
    return 0


def verified(lines: Iterable[bytes], anchors: dict[int, str]) -> tuple[str, Checkpoint]:
    """Whose chain it is and where it ends. Raises Broken, BadField for lines that are no whole export."""
    found = map(_parsed, lines)
    first: Any = next(found, {})
    if "checkpoint" not in first:
        raise BadField("This is no whole export: it does not begin with a checkpoint.")
    start = anchor_from(str(first["checkpoint"]))
    verifier = Verifier(str(first.get("chain")), start, anchors)
    for line in found:
        if "head" in line:
            verifier.end(Head(anchor_from(str(line["head"])), start))
            return str(first["chain"]), verifier.last
        verifier.take(sealed_from(line))
    raise BadField(f"The export breaks off behind entry {verifier.last.number}.")


def _parsed(line: bytes) -> Any:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise BadField("A line of the export is not a JSON object.")
    return document


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest
