"""`doctor`: whether this machine and what the settings name can serve, and what to do where they cannot. Needs no server.

`machine` is what it runs on, `here` what it keeps on its disk, `elsewhere` what other machines keep for it.

Nothing that is kept is changed: databases are opened for reading only, backends are asked and told nothing, and what must be tried
on the disk is tried with a file that has no name. A check that itself fails is a finding, never a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from safelight.cli import EXIT_REFUSED, output
from safelight.cli.connection import Json
from safelight.cli.doctor import elsewhere, here, machine
from safelight.cli.doctor.check import Check, Checks, State
from safelight.cli.server import DataDir, settings
from safelight.errors import SafelightError
from safelight.settings import PREFIX, Settings, unknown_names


def doctor(*, data_dir: DataDir = None, json: Json = False) -> int:
    """Look whether this machine and what it keeps here and elsewhere can serve. Changes nothing.

    Every backend that the settings name is asked, each for five seconds at most. Leaves with 1 when something has failed; warnings
    do not count.
    """
    from safelight.observability import configure_logging

    configure_logging(level="critical")  # what goes wrong is told as a finding
    checks = list(examined(data_dir))
    if json:
        states = {state: sum(check.state == state for check in checks) for state in ("ok", "warning", "failed")}
        output.say_json({"checks": [asdict(check) for check in checks], **states})
    else:
        _show(checks)
    return EXIT_REFUSED if any(check.state == "failed" for check in checks) else 0


def examined(data_dir: Path | None, *, only: str = "") -> Checks:
    """Every finding, in the order in which they are best read; `only` looks at one part, by its name in PARTS."""
    chosen, findings = _settings(data_dir)
    if not only:
        yield from findings
    for name, look in PARTS.items():
        if only not in ("", name):
            continue
        try:
            yield from look(chosen)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the operator has to know)
            yield Check(name, "failed", f"could not be examined: {type(error).__name__}: {error}")


def _settings(data_dir: Path | None) -> tuple[Settings, list[Check]]:
    """The settings, or the defaults where the environment is no good; with what is wrong with it."""
    findings = [
        Check("settings", "failed", f"{name} is not a setting", f"Did you mean {near}?" if near else f"Unset {name}.")
        for name, near in unknown_names(os.environ).items()
    ]
    if not findings:
        try:
            chosen = settings(data_dir=data_dir)
        except SafelightError as error:
            findings.append(
                Check("settings", "failed", error.detail, "Correct or unset it; docs/reference/settings.md has them all.")
            )
        else:
            given = sum(name.upper().startswith(PREFIX) for name in os.environ)
            return chosen, [Check("settings", "ok", f"{output.many(given, 'variable')} in the environment, all understood")]
    folder = data_dir or Path(os.environ.get("SAFELIGHT_DATA_DIR") or "safelight-data")
    return Settings.model_construct(data_dir=folder), findings


def _show(checks: list[Check]) -> None:
    rows = output.table("check", "", "found", "mend")
    styles: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for check in checks:
        rows.add_row(check.name, output.text(check.state, styles[check.state]), output.text(check.found), output.text(check.mend))
    console = output.out()
    console.print(rows)
    failed, warned = (sum(check.state == state for check in checks) for state in ("failed", "warning"))
    if failed or warned:
        console.print(f"{output.many(failed, 'check')} failed, {output.many(warned, 'warning')}.")
    else:
        console.print("Everything is in order.")


PARTS: Final[dict[str, Callable[[Settings], Checks]]] = {
    "versions": machine.versions,
    "decoding": machine.decoding,
    "server": here.server,
    "data directory": here.data_dir,
    "spool": here.spool,
    "keys": here.keys,
    "databases": here.databases,
    "backends": elsewhere.backends,
    "clock": machine.clock,
    "limits": machine.limits,
}
