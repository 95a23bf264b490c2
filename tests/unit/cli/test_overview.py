"""`safelight --help`: quick, and in the words of the commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safelight.cli import COMMANDS, app, main, overview

ALL = {name: summary for commands in COMMANDS.values() for name, (_, summary) in commands.items()}


@pytest.mark.parametrize("name", ALL)
def test_the_overview_says_what_the_command_says_of_itself(name: str) -> None:
    command = app[name]
    docstring = command.default_command.__doc__ if command.default_command else command.help

    assert docstring.strip().startswith(ALL[name])


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])

    assert left.value.code == 0
    assert capsys.readouterr().out == overview() + "\n"
    assert [name for name in ALL if f"\n  {name} " not in overview()] == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, safelight.cli\n"
        "try: safelight.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'httpx', 'rich.console', 'pydantic', 'sqlalchemy', 'fastapi', 'numpy', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    (
        ["nonsense"],
        ["search", "--nonsense"],
        ["upload"],
        ["failures", "retry"],
        ["failures", "retry", "x", "--all"],
        ["import", "/nowhere"],
    ),
)
def test_wrong_usage_leaves_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    said = capsys.readouterr()
    assert left.value.code == 2
    assert said.err and not said.out


@pytest.mark.parametrize("shell", ("bash", "zsh", "fish"))
def test_completion_can_be_installed(shell: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "completion"
    with pytest.raises(SystemExit) as left:
        main(["--install-completion", "--shell", shell, "--output", str(script)])

    assert left.value.code == 0
    assert "reindex" in script.read_text()
