"""helm's output for our chart: stored beside the tests, so that they need no helm, and tied to the chart's digest.

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
URLS = ("postgresql://ddr:geheim@db/ddr", "postgresql://:geheim@db/ddr", "postgresql://db/ddr?user=ddr&password=geheim")
# What must not stand in a ConfigMap, for each setting that may be a secret.
CLEAR = {
    **dict.fromkeys(("database_url", "database_migration_url", "database_replica_url"), URLS),
    **dict.fromkeys(
        ("key_encryption_key", "key_encryption_key_old", "oidc_client_secret", "registry_token"), ("geheim",)
    ),
}


def digest() -> str:
    """Of every file that helm reads."""
    found = hashlib.sha256()
    for file in (*sorted(path for path in CHART.rglob("*") if path.is_file()), VALUES):
        found.update(f"{file.name}\0{len(file.read_bytes())}\0".encode() + file.read_bytes())
    return found.hexdigest()


def rendered(helm: str) -> str:
    """Its manifests, after the linter said nothing and secrets in the clear were refused. Raises CalledProcessError."""
    subprocess.run([helm, "lint", "--strict", CHART, "-f", VALUES], check=True, stdout=subprocess.DEVNULL)
    template = (helm, "template", "ddr", str(CHART), "-f", str(VALUES))
    for name, values in CLEAR.items():
        for value in values:
            clear = subprocess.run([*template, "--set", f"settings.{name}={value}"], capture_output=True, text=True)
            assert clear.returncode != 0 and f"settings.{name} is a secret" in clear.stderr, (value, clear.stderr)
            assert value not in clear.stderr
    for value in ("postgresql://ddr@db1:5432/ddr?sslmode=verify-full", "file:/run/ddr/database_replica_url"):
        assert value in _output(*template, "--set", f"settings.database_replica_url={value}")
    return _output(*template)


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
