"""Start: from exec to the first 200 of /health/ready, on a fresh data directory and on one that holds something."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from processes import Server, cpu, load, scratch, spread

TARGET_S = 2.0
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")


def imports(statement: str) -> dict[str, Any]:
    """Milliseconds of `python -X importtime`: the whole, the largest packages by what their own modules cost, and the
    dearest single imports with all that they pull in."""
    ended = subprocess.run([sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True)
    own: dict[str, int] = {}
    whole: dict[str, int] = {}
    total = 0
    for line in ended.stderr.splitlines():
        if match := LINE.match(line):
            self_us, below_us, _indent, module = int(match[1]), int(match[2]), match[3], match[4]
            package = module.split(".")[0]
            own[package] = own.get(package, 0) + self_us
            if module.count(".") <= 3:
                whole[module] = max(whole.get(module, 0), below_us)
            total += self_us

    def largest(by: dict[str, int], count: int) -> dict[str, float]:
        return {name: round(us / 1000, 1) for name, us in sorted(by.items(), key=lambda pair: -pair[1])[:count]}

    return {"total_ms": round(total / 1000, 1), "by_package_ms": largest(own, 20), "with_all_below_ms": largest(whole, 40)}


def measure(*, quick: bool) -> dict[str, Any]:
    """The section's result."""
    rounds = 3 if quick else 7
    cells: dict[str, list[dict[str, float]]] = {"fresh": [], "existing": []}
    with scratch() as folder:
        with Server(folder / "existing"):
            pass
        for number in range(rounds):
            for name, data_dir in (("fresh", folder / f"fresh-{number}"), ("existing", folder / "existing")):
                busy = load()
                with Server(data_dir) as server:
                    spent = cpu(server.pid)
                    cell = {"ready_s": server.started_s, "cpu_s": spent.total, "cpu_parts": spent.parts(1)}
                cells[name].append(cell | busy)
                print(f"  {name} {number + 1}/{rounds}: {cell['ready_s']:.2f} s, {cell['cpu_s']:.2f} CPU s", flush=True)
    # In the order in which `serve` imports them.
    statement = "import safelight.wiring, safelight.adapters.catalog.sql, safelight.adapters.storage.local"
    statement += ", safelight.adapters.search.sqlite, safelight.adapters.workflows.dbos"
    statement += ", granian, safelight.api.app, safelight.console.routes"
    return {
        "target_s": TARGET_S,
        "ready_s": {name: spread([cell["ready_s"] for cell in rows]) for name, rows in cells.items()},
        "cpu_s": {name: spread([cell["cpu_s"] for cell in rows]) for name, rows in cells.items()},
        "imports": {"server": imports(statement), "zygote": imports("import safelight.imaging.sandbox.jobs")},
        "rounds": cells,
    }


if __name__ == "__main__":
    import json

    print(json.dumps(measure(quick=True), indent=1))
