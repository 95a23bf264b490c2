"""Makes `docs/reference/cli.md` from the commands themselves: `python -m safelight.cli.reference`. A test keeps the two equal."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Final

from cyclopts import App, Argument

from safelight.cli import COMMANDS, SUMMARY, app, overview
from safelight.cli.connection import SERVER

HEAD: Final = "<!-- Made by `python -m safelight.cli.reference`; change the code instead. -->\n"

EXIT_CODES: Final = """\
| exit code | meaning |
|---|---|
| 0 | done |
| 1 | refused, wholly or in part; standard error says what, with the code of the refusal |
| 2 | wrong usage |
| 3 | the server cannot be reached, or cannot serve at the moment |
| 130 | interrupted |
"""

COMPLETION: Final = """\
## Completion

Commands and options are completed in bash, zsh and fish, also in PowerShell:

```console
$ safelight --install-completion
```

writes the script to where your shell looks for it; open a new shell then. `--shell` names another shell than the one
in use, `--output` another file.
"""


def page() -> str:
    """The page, whole."""
    parts = [HEAD, "# Command line\n", f"{SUMMARY}\n", f"```text\n{overview()}\n```\n", EXIT_CODES, _common()]
    for title, commands in COMMANDS.items():
        parts.append(f"## {title}\n")
        for name in commands:
            parts += _command(app[name], f"safelight {name}")
    parts.append(COMPLETION)
    return "\n".join(parts)


def _common() -> str:
    rows = [row for argument in _arguments(app["reindex"]) if _is_shared(argument) for row in _row(argument)]
    return "\n".join(
        [
            "Every command takes `--json`: standard output is then one JSON document, or one on each line, and nothing else.",
            "Progress and remarks go to standard error.",
            "",
            "Commands that use or operate a server take these, too:",
            "",
            "| option | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _command(command: App, path: str) -> Iterator[str]:
    children = [name for name in command if not name.startswith("-")]
    if children:
        yield f"### `{path}`\n"
        yield f"{command.help.strip()}\n"
        for name in children:
            yield from _command(command[name], f"{path} {name}")
        return
    arguments = [each for each in _arguments(command) if not _is_shared(each) and each.name != "--json"]
    positional = [argument for argument in arguments if not argument.name.startswith("--")]
    usage = [path, *(_placeholder(argument) for argument in positional)]
    if len(positional) < len(arguments):
        usage.append("[OPTIONS]")
    yield f"### `{' '.join(usage)}`\n"
    yield f"{_description(command)}\n"
    if arguments:
        rows = [row for argument in arguments for row in _row(argument)]
        yield "\n".join(["| argument or option | default | meaning |", "|---|---|---|", *rows, ""])


def _arguments(command: App) -> list[Argument]:
    return [
        argument for argument in command.assemble_argument_collection(parse_docstring=True) if argument.parse and argument.show
    ]


def _is_shared(argument: Argument) -> bool:
    groups = argument.parameter.group
    return isinstance(groups, tuple) and SERVER in groups


def _placeholder(argument: Argument) -> str:
    name = argument.name.upper()
    shown = f"{name}..." if _is_many(argument) else name
    return shown if argument.required else f"[{shown}]"


def _is_many(argument: Argument) -> bool:
    return argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL


def _description(command: App) -> str:
    function = command.default_command
    text = inspect.getdoc(function) if function is not None else None
    return re.split(r"\n\s*Parameters\n\s*-+\n", text or "")[0].strip()


def _row(argument: Argument) -> Iterator[str]:
    name = argument.name if argument.name.startswith("--") else argument.name.upper()
    value = "" if argument.hint is bool or not argument.name.startswith("--") else f" {argument.name.strip('-').upper()}"
    choices = argument.get_choices()
    if choices and value:
        value = " " + "\\|".join(choices)
    default = argument.field_info.default
    is_plain = default in ("", (), False, None) or default is inspect.Parameter.empty
    shown = "" if is_plain else f"`{' '.join(map(str, default)) if isinstance(default, tuple) else default}`"
    meaning = " ".join((argument.parameter.help or "").split())
    variables = argument.parameter.env_var or ()
    if variables:
        meaning += f" Environment: {', '.join(f'`{name}`' for name in variables)}."
    yield f"| `{name}{value}` | {shown} | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(page())
