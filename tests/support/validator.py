"""HAPI's FHIR validator with the HDDT profiles, as an independent judge of what the server sends.

A development tool: `make validator` builds it with Maven, DDR_HDDT_ARTIFACTS names the folder with the specification's
artifacts. What it cannot check: membership in LOINC and SNOMED CT beyond the ValueSets of the profiles (no terminology
server), and references that leave the resource or Bundle at hand. The HL7 CGM profiles of the summary are not among the
artifacts; tests/support/cgm_profiles.py writes them from their published rules.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent.parent / "validator"
JARS = HERE / "target" / "dependency"
CLASSES = HERE / "target" / "classes"


class Validator:
    """One Java process that validates resource after resource; use as a context manager."""

    def __init__(self, *artifacts: Path) -> None:
        command = ["java", "-Xmx1g", "-cp", f"{CLASSES}:{JARS}/*", "Validator", *map(str, artifacts)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if self._line() != "ready":
            raise RuntimeError("the validator did not start; run make validator")

    def __enter__(self) -> Validator:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def errors(self, resource: dict[str, Any]) -> list[str]:
        """The findings of severity error or worse, empty when the resource is valid."""
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(resource) + b"\n")
        self._process.stdin.flush()
        answer = self._line()
        return [] if answer == "valid" else answer.split(" | ")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()
