"""The product's figures, measured on this machine beside its peers in the same run. `make bench`.

    $ python bench/run.py [develop|uploads|metadata|delivery|memory|start|all ...] [--quick]

Each section leaves bench/results/<section>.json; docs/explanation/figures.md and the plots in docs/images are then made from
all sections that have been measured. A target that is missed is reported as such, here and there; it does not fail the run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

SECTIONS = ("develop", "uploads", "metadata", "delivery", "memory", "start")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure Safelight beside its peers and write the page of figures.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}, all (default), or report")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not figures to publish")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - {*SECTIONS, "all", "report"}:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    wanted = SECTIONS if not chosen.sections or "all" in chosen.sections else chosen.sections

    import report

    results = HERE / "results"
    results.mkdir(exist_ok=True)
    for section in wanted:
        if section == "report":
            continue
        print(section, flush=True)
        started = time.perf_counter()
        result = importlib.import_module(section).measure(quick=chosen.quick)
        result |= {"machine": report.machine(), "is_quick": chosen.quick, "took_s": round(time.perf_counter() - started, 1)}
        (results / f"{section}.json").write_text(json.dumps(result, indent=1) + "\n")
    found = {name: json.loads(path.read_text()) for name in SECTIONS if (path := results / f"{name}.json").exists()}
    report.write(found, HERE.parent / "docs")
    for line in report.verdicts(found):
        print(line)


if __name__ == "__main__":
    main()
