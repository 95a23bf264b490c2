"""Makes the reference pages that code already knows: settings, endpoints, errors. `make docs`; a test fails when they are stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent
HEAD = "<!-- Made by docs/generate.py; change the code instead. -->\n\n"


def settings() -> str:
    from safelight.settings import CLIENT_NAMES, names

    lines = [
        "# Settings",
        "",
        "Environment variables, read once at the start; command-line options come before them. A name that begins with",
        "`SAFELIGHT_` and is not on this page stops the start.",
        "",
        "| name | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, type_, default, meaning in names():
        shown = type_.replace("|", "\\|")
        lines.append(f"| `{name}` | {shown} | `{default}` | {meaning} |" if default else f"| `{name}` | {shown} | empty | {meaning} |")
    lines += ["", f"The command line also reads {' and '.join(f'`{name}`' for name in sorted(CLIENT_NAMES))}: which server, and the key for it."]
    return "\n".join(lines) + "\n"


def endpoints() -> str:
    from safelight.api.app import create_api
    from safelight.settings import Settings
    from safelight.wiring import build
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        document = create_api(build(Settings(data_dir=Path(folder)))).openapi()
    lines = ["# Endpoints", "", "The same as `/openapi.json` and `/docs`, in short; delivery is beside it. There every operation also has its parameters and shapes,",
        "the credentials it takes, and each `code` that it may refuse with as an example under its status ([all of them](errors.md)).", "An `operationId` such as `albums_create` is the resource and the verb, for generated clients.", "", "| method | path | what it does |", "|---|---|---|"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            first = operation.get("description", operation.get("summary", "")).split("\n")[0]
            lines.append(f"| {method.upper()} | `{path}` | {first} |")
    lines.append("| POST | `/tus/` | Create a resumable upload, tus 1.0; the answer's `Location` takes its bytes. |")
    lines.append("| HEAD, PATCH, DELETE | `/tus/{id}` | How far it has come, more of its bytes, give it up. |")
    lines.append("| OPTIONS | `/tus/` | Which version, extensions and size. |")
    lines.append("| GET, HEAD | `/i/{id}/{preset}.{ext}` | Deliver a rendition: presets as `webp`, `jpg` or `avif`, signed by `kid`, `exp` and `sig` unless the image is public or unlisted. |")
    lines.append("| GET, HEAD | `/i/remote/{address}/{preset}.{ext}` | The same of a picture that lies elsewhere, of a listed place; always signed. |")
    lines.append("| GET, HEAD | `/imgproxy/{signature}/{options}/{source}` | The same for a URL that was written for imgproxy. |")
    lines.append("| GET, HEAD | `/thumbor/{signature}/{options}/{source}` | The same for a URL that was written for thumbor. |")
    lines.append("| GET, HEAD | `/iiif/3/{id}/{region}/{size}/{rotation}/{quality}.{format}` | A picture by IIIF's Image API 3.0, level 2; under `/iiif/2/` by 2.1. |")
    lines.append("| GET, HEAD | `/iiif/albums/{id}/manifest.json` | An album by IIIF's Presentation API 3.0, as far as who asks may see it; one image under `/iiif/images/{id}/`. |")
    lines.append("| GET, HEAD | `/iiif/3/{id}/info.json` | What can be asked of it, for viewers; `/iiif/3/{id}` leads there. |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    from safelight import errors as module
    from safelight.api.problems import EXACT, STATUS
    from safelight.errors import SafelightError

    def walk(cls: type[SafelightError]) -> Iterator[type[SafelightError]]:
        for sub in cls.__subclasses__():
            yield sub
            yield from walk(sub)

    def status(cls: type[SafelightError]) -> int:
        return EXACT.get(cls.code, STATUS[cls.kind])

    lines = ["# Errors", "", "Every refusal is `application/problem+json` (RFC 9457) with one of these codes, which never change.", "", "| code | status | meaning |", "|---|---|---|"]
    for cls in sorted({c for c in walk(SafelightError) if c.__module__ == module.__name__}, key=lambda c: (status(c), c.code)):
        lines.append(f"| `{cls.code}` | {status(cls)} | {(cls.__doc__ or '').strip().splitlines()[0]} |")
    lines += [
        "| `internal` | 500 | Something went wrong; the log has the cause under `request_id`. |",
    ]
    return "\n".join(lines) + "\n"


def webhooks() -> str:
    import json
    from datetime import UTC, datetime

    from safelight.domain.ids import TenantId, UploadId, UserId
    from safelight.domain.images import Problem
    from safelight.domain.webhooks import FAMILIES, TYPES, WAITS, DisabledFor, album_data, endpoint_data, image_data, message, upload_data
    from safelight.domain.uploads import UploadState
    from safelight.testing.factories import make_album, make_endpoint, make_image, make_upload

    at = datetime(2026, 6, 21, 12, 0, tzinfo=UTC)
    tenant, owner = TenantId("01kvmrp3g0aaaaaaaaaaaaaaaa"), UserId("01kvmrp3g0bbbbbbbbbbbbbbbb")
    image = make_image(tenant, owner, id="01kvmrp3g0cccccccccccccccc", tags=("coast",), custom={"article": 7})
    upload = make_upload(tenant, owner, id=UploadId("01kvmrp3g0dddddddddddddddd"), state=UploadState.REJECTED,
                         problem=Problem(code="unsupported_format", detail="The file is not an image in a format that Safelight takes."))
    endpoint = make_endpoint(tenant, id="01kvmrp3g0eeeeeeeeeeeeeeee", disabled_at=at, disabled_for=DisabledFor.GONE, description="old CMS", failing_since=at)
    shown = [
        ("An image", "image.ready", image_data(image)),
        ("An album", "album.edited", album_data(make_album(tenant, owner, id="01kvmrp3g0ffffffffffffffff"))),
        ("An upload", "upload.rejected", upload_data(upload)),
        ("An endpoint", "endpoint.disabled", endpoint_data(endpoint)),
        ("A test", "ping", {"endpoint": endpoint.id}),
    ]

    def rest(seconds: float) -> str:
        for unit, size in (("h", 3600), ("min", 60)):
            if seconds >= size:
                return f"{seconds / size:g} {unit}"
        return f"{seconds:g} s"

    lines = ["# Webhooks", "", "What is sent, and when. How to receive it: [how-to](../howto/receive-webhooks.md).", "", "## Events", ""]
    lines += ["| type | what has happened |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in TYPES.values()]
    lines += ["| `ping` | Somebody tests the endpoint; it comes whatever the filter says. |", ""]
    lines += [f"A filter names types or families: {', '.join(f'`{family}`' for family in FAMILIES)}. Without one, everything is told.", ""]
    lines += [
        "## Messages",
        "",
        "A `POST` of JSON with `type`, `timestamp` (when it happened, RFC 3339) and `data`, and the headers of",
        "[Standard Webhooks](https://www.standardwebhooks.com) 1.0:",
        "",
        "| header | meaning |",
        "|---|---|",
        "| `webhook-id` | Of the message: the same in every attempt, in a replay, and at every endpoint. Keep it to know what you have had. |",
        "| `webhook-timestamp` | When this attempt was made, in seconds since 1970. |",
        "| `webhook-signature` | `v1,` and the base 64 of HMAC-SHA256 over id, timestamp and body, joined by dots; two of them, parted by a blank, while a secret is rotated. |",
        "",
        "`data` is the record as it was when the message was written, at the event or a moment later; `revision` counts its changes, so",
        "the higher one is the newer. It holds no URL that opens anything, and nothing of where a picture was taken: ask the API for more.",
        "",
    ]
    for title, name, data in shown:
        lines += [f"{title}:", "", "```json", json.dumps(message(name, at, data), indent=2, ensure_ascii=False), "```", ""]
    lines += [
        "## Attempts",
        "",
        "An answer of 2xx within `SAFELIGHT_WEBHOOKS__TIMEOUT_S` takes the message; its body does not matter. Anything else is a failed",
        "attempt, a redirect too: it is not followed. The rests between attempts, each up to a fifth longer by chance:",
        "",
        ", ".join(rest(wait.total_seconds()) for wait in WAITS) + f"; {len(WAITS) + 1} attempts within about a day.",
        "",
        "`Retry-After` makes a rest longer, up to a day. `410 Gone` ends it and switches the endpoint off. So does a delivery that is given up",
        "when everything has failed for `SAFELIGHT_WEBHOOKS__FAILING_DAYS`: the tenant's administrators get a letter, the other endpoints",
        "`endpoint.disabled`. What happens while an endpoint is off is not written down for it.",
        "",
        "A message comes at least once, and **in no particular order**. What was written down is sent even if every process dies. An endpoint",
        "gets `SAFELIGHT_WEBHOOKS__PER_ENDPOINT` attempts of a process at once, one while it fails, so that it holds up nobody else.",
        "",
        "The log has every delivery for `SAFELIGHT_WEBHOOKS__KEEP_DAYS`, with the last 20 attempts: time, duration, status, and the first 500",
        "characters of the answer.",
        "",
        "In `/metrics`: `safelight_webhook_deliveries_total{outcome}` (`delivered`, `failed`) and",
        "`safelight_webhook_attempt_seconds{outcome}`.",
    ]
    return "\n".join(lines) + "\n"


def flows() -> str:
    from safelight import flows as module
    from safelight.adapters.workflows.patience import rest_s

    def span(seconds: float) -> str:
        for unit, size in (("h", 3600), ("min", 60)):
            if seconds >= size and seconds % size == 0:
                return f"{seconds / size:g} {unit}"
        return f"{seconds:g} s"

    lines = [
        "# Flows",
        "",
        "Work behind the API: an event starts a flow, a flow is steps in order. A run survives the death of its process; finished steps",
        "are not repeated, the one in flight runs again. A step that failed is tried again when the error may pass, after rests; when it",
        "may not, or the tries are used up, the run is [a dead letter](../howto/retry-failures.md).",
        "",
        "| flow | started by | step | tries | rests | timeout | heartbeat |",
        "|---|---|---|---|---|---|---|",
    ]
    for flow in module.FLOWS.values():
        started = ", ".join(f"`{event.name}`" for event, started in module.STARTS.items() if started is flow)
        for number, step in enumerate(flow.steps):
            rests = ", ".join(span(rest_s(step.retry, tries)) for tries in range(1, step.retry.attempts))
            head = (f"`{flow.name}`", started) if number == 0 else ("", "")
            heartbeat = "" if step.heartbeat_s is None else span(step.heartbeat_s)
            lines.append(f"| {head[0]} | {head[1]} | `{step.name}` | {step.retry.attempts} | {rests} | {span(step.timeout_s)} | {heartbeat} |")
    lines += [
        "",
        "A try is broken off after its timeout, and after so long without a sign of life where a heartbeat is named; either is an error",
        "that may pass (`step_timed_out`).",
        "",
        "## Whose turn it is",
        "",
        "What somebody waits for goes before everything else: uploads, replacements and imports whose request waits for its answer. A",
        "request that does not wait (`Prefer: respond-async`, `wait=0`), or says that it is background work by `Priority: u=5` to `u=7`",
        "(RFC 9218; `safelight import` does), what the store's events and the drop folder bring, and what an operator retries, is developed",
        "when nobody waits. One place of each process is kept free for those who do.",
        "",
        "Within either, tenants take turns, one run of each, and a tenant has `SAFELIGHT_DEVELOP__WAITING_PER_TENANT` of the",
        "`SAFELIGHT_DEVELOP__WAITING` places of a process at most: one tenant's ten thousand imports do not hold up another's two. The same",
        "order holds at the decoder, where an upload that is retried counts as it did at first.",
        "",
        "## The clock",
        "",
        "| chore | every |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {span(every_s)} |" for name, every_s in module.CLOCK.items()]
    return "\n".join(lines) + "\n"


def transforms() -> str:
    from safelight.imaging.transform.reference import page

    return page()


def grammars() -> str:
    from safelight.imaging.transform.foreign_reference import page

    return page()


PAGES = {"webhooks.md": webhooks, "flows.md": flows, "grammars.md": grammars, "settings.md": settings, "endpoints.md": endpoints, "errors.md": errors, "transforms.md": transforms}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (ROOT / "reference" / name).write_text(HEAD + make())
        print(f"docs/reference/{name}", file=sys.stderr)
