"""`ddr check tls` finds what sslyze finds; sslyze runs as a separate program (make tls-scanner)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ddr.tls.scan import Findings, scan
from tests.tls.test_bsi import Scanned, scanned

__all__ = ["scanned"]

SSLYZE = Path(__file__).parent / ".sslyze" / "bin" / "sslyze"
VERSIONS = {
    f"TLS {version.replace('_', '.')}": f"tls_{version}_cipher_suites" for version in ("1_0", "1_1", "1_2", "1_3")
}
OPTIONS = "--tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --elliptic_curves --reneg --compression --heartbleed --early_data"


@pytest.fixture
def theirs(scanned: Scanned, tmp_path: Path) -> dict[str, Any]:
    """The results of sslyze by the names of its scans."""
    output = tmp_path / "sslyze.json"
    identity = [f"--cert={scanned.client.cert}", f"--key={scanned.client.key}"]
    command: list[str | Path] = [
        SSLYZE,
        f"--json_out={output}",
        *OPTIONS.split(),
        *identity,
        f"localhost:{scanned.port}",
    ]
    subprocess.run(command, check=True, capture_output=True)
    (server,) = json.loads(output.read_text())["server_scan_results"]
    return {name: scan["result"] for name, scan in server["scan_result"].items()}


@pytest.fixture
def ours(scanned: Scanned) -> Findings:
    """What `ddr check tls` works with."""
    return scan("localhost", scanned.port)


@pytest.mark.scanner
def test_both_find_the_same(ours: Findings, theirs: dict[str, Any]) -> None:
    suites = {
        version: {_name(each["cipher_suite"]) for each in theirs[key]["accepted_cipher_suites"]}
        for version, key in VERSIONS.items()
    }
    assert set(ours.versions) == {version for version, accepted in suites.items() if accepted}
    assert set(ours.suites) == set().union(*suites.values())
    assert set(ours.groups) == {curve["name"] for curve in theirs["elliptic_curves"]["supported_curves"]}


@pytest.mark.scanner
def test_known_weaknesses_are_absent(theirs: dict[str, Any]) -> None:
    assert not theirs["tls_compression"]["supports_compression"]
    assert not theirs["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    assert not theirs["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not theirs["tls_1_3_early_data"]["supports_early_data"]


def _name(suite: dict[str, str]) -> str:
    return suite.get("openssl_name") or suite["name"]
