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
    lines = ["# Endpoints", "", "The same as `/openapi.json` and `/docs`, in short; delivery is beside it.", "", "| method | path | what it does |", "|---|---|---|"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            first = operation.get("description", operation.get("summary", "")).split("\n")[0]
            lines.append(f"| {method.upper()} | `{path}` | {first} |")
    lines.append("| POST | `/tus/` | Create a resumable upload, tus 1.0; the answer's `Location` takes its bytes. |")
    lines.append("| HEAD, PATCH, DELETE | `/tus/{id}` | How far it has come, more of its bytes, give it up. |")
    lines.append("| OPTIONS | `/tus/` | Which version, extensions and size. |")
    lines.append("| GET, HEAD | `/i/{id}/{preset}.{ext}` | Deliver a rendition: presets as `webp`, `jpg` or `avif`, signed by `kid`, `exp` and `sig` unless the image is public or unlisted. |")
    lines.append("| GET, HEAD | `/imgproxy/{signature}/{options}/{source}` | The same for a URL that was written for imgproxy. |")
    lines.append("| GET, HEAD | `/thumbor/{signature}/{options}/{source}` | The same for a URL that was written for thumbor. |")
    lines.append("| GET, HEAD | `/iiif/3/{id}/{region}/{size}/{rotation}/{quality}.{format}` | A picture by IIIF's Image API 3.0, level 2; under `/iiif/2/` by 2.1. |")
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
        "| `method_not_allowed` | 405 | The address does not answer this method. |",
        "| `range_not_satisfiable` | 416 | The range lies outside. |",
        "| `internal` | 500 | Something went wrong; the log has the cause under `request_id`. |",
    ]
    return "\n".join(lines) + "\n"


def transforms() -> str:
    from safelight.imaging.transform.reference import page

    return page()


def grammars() -> str:
    from safelight.imaging.transform.foreign_reference import page

    return page()


PAGES = {"grammars.md": grammars, "settings.md": settings, "endpoints.md": endpoints, "errors.md": errors, "transforms.md": transforms}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (ROOT / "reference" / name).write_text(HEAD + make())
        print(f"docs/reference/{name}", file=sys.stderr)
