"""What helm makes of our chart: kept beside the tests, so that they need no helm, and known by the chart's digest.

python -m tests.packaging.chart HELM    # lints and renders with this program, and writes helm/rendered.yaml
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "ddr"
VALUES = Path(__file__).parent / "helm" / "values.yaml"
RENDERED = Path(__file__).parent / "helm" / "rendered.yaml"


def digest() -> str:
    """Of every file that helm reads."""
    found = hashlib.sha256()
    for file in (*sorted(path for path in CHART.rglob("*") if path.is_file()), VALUES):
        found.update(f"{file.name}\0{len(file.read_bytes())}\0".encode() + file.read_bytes())
    return found.hexdigest()


def rendered(helm: str) -> str:
    """Its manifests, after the linter had nothing to say. Raises CalledProcessError."""
    subprocess.run([helm, "lint", "--strict", CHART, "-f", VALUES], check=True, stdout=subprocess.DEVNULL)
    return _output(helm, "template", "ddr", str(CHART), "-f", str(VALUES))


def known() -> tuple[str, str]:
    """The digest of the chart that was rendered, and what came out."""
    head, _, manifests = RENDERED.read_text().partition("\n")
    found = re.search(r"[0-9a-f]{64}$", head)
    assert found is not None
    return found[0], manifests


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(arguments: list[str]) -> int:
    """Write the file."""
    (helm,) = arguments
    version = _output(helm, "version", "--template", "{{.Version}}")
    RENDERED.write_text(f"# Rendered by helm {version} from the chart with the digest {digest()}\n{rendered(helm)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
