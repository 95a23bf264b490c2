"""Fuzz by coverage, with atheris (libFuzzer): `make fuzz ARGS="--minutes 5 --only cursors"`.

Each target has a process of its own, since libFuzzer ends the one that it runs in. What is new to the coverage is gathered under
`.fuzz/`; `--keep` then takes the smallest set that reaches all of it into `tests/fuzz/corpus`, where CI replays it. A finding is
written to `.fuzz/findings/` and printed as a line that can be put into the corpus.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
WORK: Final = ROOT / ".fuzz"
HANGS_AFTER_S: Final = 5
MOST_MB: Final = 1024
MOST_KEPT: Final = 80
"""Inputs of a target in the repository, and the longest one: enough to reach what is reached, little enough to be read."""
LONGEST_KEPT: Final = 500
INSTRUMENTED: Final = ("safelight", "python_multipart", "email", "urllib", "json", "idna", "ipaddress")


def main() -> int:
    """Exit status 1 where something was found."""
    if sys.argv[1:2] == ["--one"]:
        _become(sys.argv[2], sys.argv[3:])
    from tests.fuzz.targets import TARGETS

    arguments = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=10.0, help="in all, divided among the targets (default: 10)")
    arguments.add_argument("--only", action="append", metavar="TARGET", choices=sorted(TARGETS), help="this one; may be repeated")
    arguments.add_argument("--keep", action="store_true", help="take what was reached into tests/fuzz/corpus")
    given = arguments.parse_args()
    names = given.only or sorted(TARGETS)
    found = [name for name in names if not _fuzzed(name, seconds=max(1, int(60 * given.minutes / len(names))))]
    for name in names if given.keep else ():
        _keep(name)
    print(f"{len(names)} targets, findings in {', '.join(found) or 'none'}")
    return 1 if found else 0


def _fuzzed(name: str, *, seconds: int) -> bool:
    """Whether all that time brought nothing wrong."""
    from tests.fuzz import kept
    from tests.fuzz.targets import TARGETS

    target, gathered, findings = TARGETS[name], WORK / "corpus" / name, WORK / "findings" / name
    for folder in (gathered, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(kept.load(name)):
        (gathered / f"kept-{number}").write_bytes(data)
    words = WORK / f"{name}.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words))
    before = set(findings.iterdir())
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANGS_AFTER_S}",
        f"-rss_limit_mb={MOST_MB}",
        f"-max_len={target.max_bytes}",
    ]
    options += [f"-dict={words}", f"-artifact_prefix={findings}/", "-print_final_stats=1", "-verbosity=0"]
    ran = _atheris(name, *options, str(gathered))
    told = dict(line.removeprefix("stat::").split(":", 1) for line in ran.stderr.splitlines() if line.startswith("stat::"))
    print(
        f"{name}: {told.get('number_of_executed_units', '?').strip()} inputs in {seconds} s, {len(list(gathered.iterdir()))} gathered"
    )
    for path in sorted(set(findings.iterdir()) - before):
        print(f"  FOUND {path}\n    {kept.escaped(path.read_bytes())}")
    if ran.returncode:
        print(ran.stdout[-4000:], "\n".join(line for line in ran.stderr.splitlines() if not line.startswith("INFO"))[-2000:])
    return ran.returncode == 0


def _keep(name: str) -> None:
    """The smallest set of inputs, of those that are short, that reaches what all of them reach."""
    from tests.fuzz import kept

    gathered, short, least = WORK / "corpus" / name, WORK / "short" / name, WORK / "least" / name
    for folder in (short, least):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    for path in gathered.iterdir():
        if len(data := path.read_bytes()) <= LONGEST_KEPT:
            (short / path.name).write_bytes(data)
    _atheris(name, "-merge=1", str(least), str(short))
    reached = sorted((path.read_bytes() for path in least.iterdir()), key=len)
    kept.save(name, [*kept.load(name), *reached[: max(0, MOST_KEPT - len(kept.load(name)))]])


def _atheris(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)


def _become(name: str, options: list[str]) -> None:
    """Hand this process over to libFuzzer. Nothing of ours has been imported yet: what is, is watched."""
    import atheris

    atheris.enabled_hooks.add("str")  # before anything is imported: what texts begin and end with guides it too
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS
    run = TARGETS[name].accepts
    atheris.Setup([sys.argv[0], *options], lambda data: run(data) and None)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    return "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
