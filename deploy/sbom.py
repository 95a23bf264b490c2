"""A bill of materials (CycloneDX 1.6, JSON) of what `make serve` installs: `make sbom` writes `dist/safelight.cdx.json`.

Taken from an environment that was made of `requirements.lock` and nothing else, so that licences and who needs whom are those of the
very files that the lock's hashes name. Addresses are left out: the package URLs (purl) say what each part is, wherever it came from.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main(environment: str, target: str) -> None:
    command = [sys.executable, "-m", "cyclonedx_py", "environment", environment, "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--mc-type", "application", "--output-reproducible", "--spec-version", "1.6"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    document = without_addresses(json.loads(told))
    Path(target).parent.mkdir(exist_ok=True)
    Path(target).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    print(f"{target}: {len(document['components'])} components")


def without_addresses(part: Any) -> Any:
    """The same document without its external references and the texts of licences, in which addresses stand."""
    if isinstance(part, dict):
        return {name: without_addresses(value) for name, value in part.items() if name not in ("externalReferences", "text")}
    return [without_addresses(each) for each in part] if isinstance(part, list) else part


if __name__ == "__main__":
    main(*sys.argv[1:])
