"""`redevelop`: pictures of the tenant are developed again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import album_id

if TYPE_CHECKING:
    from safelight.client import Client, Redevelopment

_LOOK_S: Final = 1.0
_ENDED: Final = ("done", "cancelled", "failed")


def redevelop(
    redevelopment: str = "",
    /,
    *,
    filter: tuple[str, ...] = (),
    recipe: str = "",
    rate: Annotated[float, Parameter(validator=Number(gte=0.01, lte=100))] = 2.0,
    dry_run: bool = False,
    detach: bool = False,
    pause: bool = False,
    resume: bool = False,
    cancel: bool = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Develop pictures again, and watch until that is done. It goes on without being watched.

    What there is of a picture is delivered until the new renditions are whole. The exit
    code is 1 when it or pictures failed.

    Parameters
    ----------
    redevelopment
        Id of one that was begun before, to watch it further.
    filter
        Which pictures: album=TITLE, tag=TAG, status=ready, after=2026-01-01, before=2026-02-01. May be repeated; all must fit.
    recipe
        By this recipe, or a version of it. Default: the one that is for each picture now.
    rate
        At most so many begun a second.
    dry_run
        Only count them.
    detach
        Print the id and come back at once.
    pause
        Begin no more of this one for now.
    resume
        Go on with it.
    cancel
        Begin no more of it at all.

    """
    moves = [name for name, is_wanted in (("pause", pause), ("resume", resume), ("cancel", cancel)) if is_wanted]
    if len(moves) > 1 or (moves and not redevelopment):
        raise WrongUsage("Name one redevelopment by its id, and one of --pause, --resume and --cancel.")
    if redevelopment and (filter or recipe or dry_run):
        raise WrongUsage("What is developed again was said when that redevelopment was begun.")
    with server.connect() as client:
        if moves:
            one = client.move_redevelopment(redevelopment, moves[0])
        elif redevelopment:
            one = client.redevelopment(redevelopment)
        else:
            one = client.redevelop(_chosen(client, filter), recipe=recipe, rate=rate, dry_run=dry_run)
        if not detach and moves in ([], ["resume"]):
            if not redevelopment and not json:
                output.err().print(f"Redevelopment {one['id']}; `safelight redevelop {one['id']}` watches it further.")
            one = _watched(client, one)
    cause = (f"It cannot go on: {one['cause']}",) if one["cause"] else ()
    output.say(one, _told(one), *cause, as_json=json)
    return EXIT_REFUSED if one["failed"] or one["state"] == "failed" else 0


def _chosen(client: Client, filters: tuple[str, ...]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for each in filters:
        name, equals, value = each.partition("=")
        if not equals or not value or (name in chosen and name != "tags"):
            raise WrongUsage(f"{each!r} is no filter like tag=sale, or is there twice.")
        match name:
            case "album":
                chosen["album"] = album_id(client, value)
            case "tag":
                chosen.setdefault("tags", []).append(value)
            case "status":
                chosen["status"] = value
            case "after" | "before":
                chosen[name] = _moment(value).isoformat()
            case _:
                raise WrongUsage(f"There is no filter {name!r}: there are album, tag, status, after and before.")
    return chosen


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(f"{text!r} is no time like 2026-01-31 or 2026-01-31T12:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _watched(client: Client, one: Redevelopment) -> Redevelopment:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with output.progress(*columns, console=output.err()) as bar:
        task = bar.add_task(one["state"], total=None)
        while one["state"] not in (*_ENDED, "paused"):
            time.sleep(_LOOK_S)
            one = client.redevelopment(one["id"])
            ended = one["done"] + one["failed"] + one["skipped"]
            bar.update(task, description=one["state"], completed=ended, total=one["total"] if one["is_counted"] else None)
    return one


def _told(one: Redevelopment) -> str:
    if one["dry_run"] and one["state"] == "done":
        return f"{output.many(one['total'], 'picture')} would be developed again."
    more = {"under way": one["under_way"], "failed": one["failed"], "skipped": one["skipped"]}
    counts = [f"{one['done']} done", *(f"{count} {word}" for word, count in more.items() if count)]
    return f"Redevelopment {one['id']} is {one['state']}: {', '.join(counts)} of {output.many(one['total'], 'picture')}."
