"""The command line: `safelight --help`. A command is a few lines over wiring (serve, worker, migrate, doctor) or over the client.

Commands are imported when they are called, so that `--help` and completion stay quick: `COMMANDS` says where each one is and
what it does, in the words of its own docstring (held by a test). Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the server
cannot be reached, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final, NoReturn

from cyclopts import App, CycloptsError, Parameter

from safelight import __version__
from safelight.errors import BadField, SafelightError, Unavailable

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130

SUMMARY: Final = "The image backend that a team owns."
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Run a server": {
        "serve": ("safelight.cli.server:serve", "Serve the API, delivery and the work behind them, until interrupted."),
        "worker": ("safelight.cli.server:worker", "Take part in the work of a server: run flows, relay events, keep the clock."),
        "migrate": ("safelight.cli.server:migrate", "Bring the catalog's schema up to date."),
        "move": ("safelight.cli.moving:move", "Copy a whole installation to other backends, and verify every byte."),
        "backup": ("safelight.cli.care:backup", "Backups of records and objects: make, list, verify, give back, prune."),
        "reconcile": (
            "safelight.cli.care:reconcile",
            "Hold records, objects and search against each other, and mend what differs.",
        ),
        "scrub": (
            "safelight.cli.care:scrub",
            "Read every stored byte, compare it with its checksum, and make again what can be.",
        ),
        "doctor": (
            "safelight.cli.doctor:doctor",
            "Look whether this machine and what it keeps here and elsewhere can serve. Changes nothing.",
        ),
    },
    "Use a server": {
        "upload": ("safelight.cli.remote:upload", "Send image files, and print their records with the URLs of their renditions."),
        "import": (
            "safelight.cli.importing:import_",
            "Bring every image of a folder, a bucket or an account elsewhere that is not there yet.",
        ),
        "search": ("safelight.cli.remote:search", "Find images by their words."),
        "url": ("safelight.cli.remote:url", "Signed delivery URLs of any transforms of an image."),
        "album": ("safelight.cli.albums:album", "Albums: list them, lend them to users, and make links to them."),
        "export": ("safelight.cli.exporting:export", "Write every original into a folder, by year and month, and verify each."),
    },
    "Operate a server": {
        "audit": ("safelight.cli.audit:audit", "Who did what: list the audit trail, export it, verify that nothing was altered."),
        "bucket": (
            "safelight.cli.bucket:bucket",
            "Buckets on S3: set versioning, encryption, policy and lifecycle, and find drift.",
        ),
        "failures": ("safelight.cli.failures:failures", "Work that was given up: look, try again, forget."),
        "issuer": (
            "safelight.cli.issuers:issuer",
            "Outside issuers whose tokens are believed: Cognito, Auth0, Keycloak, any OpenID provider.",
        ),
        "keys": ("safelight.cli.keys:keys", "Keys that sign delivery URLs, and those that sign access tokens."),
        "mail": (
            "safelight.cli.mail:mail",
            "Letters of a server that sends none: with SAFELIGHT_MAIL__HOST unset they are files.",
        ),
        "tenant": ("safelight.cli.tenants:tenant", "Tenants: make, limit, suspend, export and erase them."),
        "user": ("safelight.cli.users:user", "Users and their API keys."),
        "webhook": (
            "safelight.cli.webhooks:webhook",
            "Whom to tell of what happens: webhook endpoints, and the log of what they were told.",
        ),
        "recipe": (
            "safelight.cli.recipes:recipe",
            "How the tenant's pictures are developed: recipes, and which pictures they are for.",
        ),
        "redevelop": (
            "safelight.cli.redeveloping:redevelop",
            "Develop pictures again, and watch until that is done. It goes on without being watched.",
        ),
        "purge": ("safelight.cli.purging:purge", "What caches are to let go of, and how far that has come."),
        "warm": (
            "safelight.cli.warming:warm",
            "Make transforms in the background, before somebody asks for them, and show how far that is.",
        ),
        "reindex": ("safelight.cli.remote:reindex", "Build the search index anew from the catalog, then switch to it."),
    },
}


class WrongUsage(BadField):
    """The command does not make sense as it is written."""


def _worth_telling(default: Any) -> str | None:
    """A default as help shows it; none for what everybody assumes."""
    if default in ("", (), False, None):
        return None
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


app = App(
    name="safelight",
    help=SUMMARY,
    version=__version__,
    help_on_error=False,
    help_format="plaintext",  # the other formats load a Markdown parser for the sake of a backtick, 80 ms of every --help
    default_parameter=Parameter(negative=(), show_default=_worth_telling),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _number, (_group, _commands) in enumerate(COMMANDS.items()):
    for _name, (_where, _) in _commands.items():
        app.command(_where, name=_name)
app.register_install_completion_command()


def overview() -> str:
    """What `safelight --help` prints, made without importing any command."""
    width = max(len(name) for commands in COMMANDS.values() for name in commands)
    lines = [SUMMARY, "", "Usage: safelight COMMAND [OPTIONS]"]
    for title, commands in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {summary}" for name, (_, summary) in commands.items())]
    lines += [
        "",
        "`safelight COMMAND --help` tells the rest; --version prints the version, --install-completion completes",
        "commands and options in your shell. Commands that use or operate a server ask the one that --url or",
        "SAFELIGHT_URL names, with the key in SAFELIGHT_API_KEY; without either, the one on this machine.",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code; a refusal is one line on standard error, never a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    if given in ([], ["--help"], ["-h"]):
        print(overview())
        sys.exit(0)
    try:
        result = app(given, exit_on_error=False)
        sys.stdout.flush()
    except CycloptsError:
        sys.exit(EXIT_USAGE)  # it has been printed
    except SafelightError as error:
        print(f"safelight: {error.detail} [{error.code}]", file=sys.stderr)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`). The interpreter flushes once more at exit, into nothing then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_REFUSED)
    sys.exit(result if isinstance(result, int) else 0)


def _exit_code(error: SafelightError) -> int:
    if isinstance(error, WrongUsage):
        return EXIT_USAGE
    return EXIT_UNREACHABLE if isinstance(error, Unavailable) else EXIT_REFUSED
