"""HAPI's FHIR validator with the HDDT profiles, as an independent judge of what the server sends.

A development tool: `make validator` builds it with Maven, DDR_HDDT_ARTIFACTS names the folder with the specification's
artifacts. It cannot check membership in LOINC and SNOMED CT beyond the ValueSets of the profiles (no terminology
server), or references that leave the resource or Bundle. The HL7 CGM profiles of the summary are not among the
artifacts; tests/support/cgm_profiles.py writes them from their published rules.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent.parent / "validator"
JARS = HERE / "target" / "dependency"
CLASSES = HERE / "target" / "classes"


class Validator:
    """One Java process that validates resource after resource; use as a context manager."""

    def __init__(self, *artifacts: Path) -> None:
        # Two resources at a time do not fit into 1 GB: it would spend its time collecting garbage.
        command = ["java", "-Xmx2g", "-cp", f"{CLASSES}:{JARS}/*", "Validator", *map(str, artifacts)]
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

    def all_errors(self, resources: Sequence[dict[str, Any]]) -> list[list[str]]:
        """For each resource, in this order, the findings of severity error or worse; empty when it is valid.

        Two are validated at a time.
        """
        sender = threading.Thread(target=self._send, args=(resources,), daemon=True)
        sender.start()  # in parallel: the validator accepts no more while nobody reads its results
        answers = [self._line() for _ in resources]
        sender.join()
        assert all(answers), "the validator has ended"
        return [[] if answer == "valid" else answer.split(" | ") for answer in answers]

    def _send(self, resources: Iterable[dict[str, Any]]) -> None:
        assert self._process.stdin is not None
        for resource in resources:
            self._process.stdin.write(orjson.dumps(resource) + b"\n")
            self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()
