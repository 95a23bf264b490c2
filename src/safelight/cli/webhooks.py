"""`webhook`: whom the tenant wants told of what happens, and what became of each telling."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import EXIT_REFUSED, WrongUsage, output
from safelight.cli.connection import HERE, Json, Server

if TYPE_CHECKING:
    from safelight.client import Webhook, WebhookDelivery

webhook = App(name="webhook", help="Whom to tell of what happens: webhook endpoints, and the log of what they were told.")

_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}


@webhook.command(name="list")
def list_endpoints(*, server: Server = HERE, json: Json = False) -> int:
    """List the endpoints, newest first."""
    with server.connect() as client:
        found = client.webhooks()
    if json:
        output.say_json({"webhooks": found})
        return 0
    rows = output.table("id", "url", "events", "description", "made", "state")
    for each in found:
        rows.add_row(
            output.text(each["id"]),
            output.text(each["url"]),
            output.text(" ".join(each["events"]) or "all"),
            output.text(each["description"]),
            output.date(each["created_at"]),
            _state(each),
        )
    output.listing(found, rows, "There is no webhook endpoint.")
    return 0


@webhook.command
def add(url: str, /, *, event: tuple[str, ...] = (), description: str = "", server: Server = HERE, json: Json = False) -> int:
    """Add an endpoint. The secret that signs what it is sent is shown only now.

    Parameters
    ----------
    url
        Where to send to, `https://…`.
    event
        A type like `image.ready`, or a family like `image.*`. May be repeated. Default: everything.
    description
        What it is for.

    """
    with server.connect() as client:
        made = client.add_webhook(url, events=event, description=description)
    output.say(made, f"Endpoint {made['id']} is told from now on. Its secret, shown only now:", made["secret"], as_json=json)
    return 0


@webhook.command
def edit(
    endpoint: str,
    /,
    *,
    to: str | None = None,
    event: tuple[str, ...] = (),
    every_event: bool = False,
    description: str | None = None,
    on: bool = False,
    off: bool = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Change an endpoint, or switch it on or off.

    Parameters
    ----------
    endpoint
        Its id.
    to
        The URL to send to from now on.
    event
        The types or families that it wants, instead of those it has. May be repeated.
    every_event
        Everything again.
    description
        What it is for.
    on
        Switch it on. What happened while it was off was not written down for it.
    off
        Switch it off.

    """
    if (on and off) or (event and every_event):
        raise WrongUsage("Say --on or --off, and --event or --every-event.")
    changes: dict[str, Any] = {"url": to, "description": description, "is_enabled": True if on else False if off else None}
    changes = {name: value for name, value in changes.items() if value is not None}
    if event or every_event:
        changes["events"] = [*event]
    if not changes:
        raise WrongUsage("Say what to change.")
    with server.connect() as client:
        changed = client.edit_webhook(endpoint, **changes)
    output.say(changed, f"Endpoint {endpoint} is {_state(changed)}.", as_json=json)
    return 0


@webhook.command
def rotate(
    endpoint: str,
    /,
    *,
    grace: Annotated[int, Parameter(validator=Number(gte=0, lte=30 * 86_400))] = 86_400,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Give an endpoint a new secret. The one before signs beside it for a while, so that the receiver can change over.

    Parameters
    ----------
    endpoint
        Its id.
    grace
        Seconds for which both sign; 0 when the secret has leaked.

    """
    with server.connect() as client:
        rotated = client.rotate_webhook(endpoint, grace_s=grace)
    output.say(rotated, f"Endpoint {endpoint} has a new secret, shown only now:", rotated["secret"], as_json=json)
    return 0


@webhook.command
def remove(endpoint: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Remove an endpoint and its log.

    Parameters
    ----------
    endpoint
        Its id.

    """
    with server.connect() as client:
        client.remove_webhook(endpoint)
    output.say({"id": endpoint}, f"Endpoint {endpoint} is removed.", as_json=json)
    return 0


@webhook.command(name="test")
def ping(
    endpoint: str,
    /,
    *,
    wait: Annotated[float, Parameter(validator=Number(gte=0, lte=600))] = 30.0,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Send an endpoint a `ping`, and tell what it answers to the first attempt. Exit code 1 when it does not take it.

    Parameters
    ----------
    endpoint
        Its id.
    wait
        Seconds to wait for the answer.

    """
    with server.connect() as client:
        delivery = client.test_webhook(endpoint)
        deadline = time.monotonic() + wait
        while not delivery["attempts"] and time.monotonic() < deadline:
            time.sleep(0.2)
            delivery = client.webhook_delivery(endpoint, delivery["id"])
    output.say(delivery, f"{delivery['type']} {delivery['id']}: {delivery['state']}; {_answer(delivery)}", as_json=json)
    return 0 if delivery["state"] == "delivered" else EXIT_REFUSED


@webhook.command
def deliveries(
    endpoint: str,
    delivery: str | None = None,
    /,
    *,
    state: Literal["waiting", "delivered", "failed"] | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=200))] = 50,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Show what an endpoint was told, newest first, or one delivery with every attempt.

    Parameters
    ----------
    endpoint
        Its id.
    delivery
        Id of one of them.
    state
        Only those in this state.
    limit
        How many, at most.

    """
    with server.connect() as client:
        found = (
            client.webhook_deliveries(endpoint, state=state, limit=limit)
            if delivery is None
            else [client.webhook_delivery(endpoint, delivery)]
        )
    if json:
        output.say_json({"deliveries": found} if delivery is None else found[0])
        return 0
    if delivery is not None:
        _show(found[0])
        return 0
    rows = output.table("id", "type", "made", "state", "tries", "last answer", "next try", right=("tries",))
    for each in found:
        rows.add_row(
            output.text(each["id"]),
            output.text(each["type"]),
            output.minute(each["created_at"]),
            each["state"],
            str(each["tries"]),
            output.text(_answer(each)),
            output.minute(each["next_attempt_at"]),
        )
    output.listing(found, rows, "It was told nothing.")
    return 0


@webhook.command
def replay(
    endpoint: str,
    /,
    *delivery: str,
    since: str | None = None,
    state: Literal["delivered", "failed"] | None = None,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Send again what an endpoint was told, under the same ids: some deliveries, or everything since a time.

    Parameters
    ----------
    endpoint
        Its id.
    delivery
        Ids, as `webhook deliveries` shows.
    since
        Everything that happened since then: `2026-11-21T08:00:00Z`, or `90m`, `6h`, `2d` ago.
    state
        With --since: only what ended so.

    """
    if bool(delivery) == (since is not None):
        raise WrongUsage("Name deliveries, or say --since.")
    with server.connect() as client:
        if since is not None:
            count = client.replay_webhooks(endpoint, since=_moment(since), state=state)
        else:
            for each in delivery:
                client.replay_webhook(endpoint, each)
            count = len(delivery)
    output.say({"deliveries": count}, f"Sent again: {count}.", as_json=json)
    return 0


def _show(delivery: WebhookDelivery) -> None:
    console = output.out()
    console.print(output.text(f"{delivery['type']} {delivery['message_id']}: {delivery['state']}"))
    rows = output.table("at", "ms", "answer", "how it began", right=("ms",))
    for each in delivery["attempts"]:
        said = str(each["status"] or each["error"])
        rows.add_row(output.minute(each["at"]), str(each["duration_ms"]), output.text(said), output.text(each["excerpt"][:120]))
    if delivery["attempts"]:
        console.print(rows)
    console.print(output.text(delivery["body"]))


def _answer(delivery: WebhookDelivery) -> str:
    if not delivery["attempts"]:
        return "no attempt yet"
    last = delivery["attempts"][-1]
    return f"answered {last['status']}" if last["status"] else f"no answer ({last['error']})"


def _state(endpoint: Webhook) -> str:
    if not endpoint["is_enabled"]:
        return f"off ({endpoint['disabled_for']})"
    return f"failing since {output.minute(endpoint['failing_since'])}" if endpoint["failing_since"] else "on"


def _moment(text: str) -> str:
    """An RFC 3339 time from one, or from how long ago it is. Raises WrongUsage."""
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1:] in _UNITS and len(text) < 8:
        return (datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])).isoformat()
    moment = output.when(text)
    if moment is None:
        raise WrongUsage(f"{text!r} is no time; write 2026-11-21T08:00:00Z, or 6h for six hours ago.")
    return moment.isoformat()
