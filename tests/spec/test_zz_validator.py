"""The last word: HAPI's validator checks every FHIR resource that any black-box test of this run received."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.spec.conftest import received
from tests.support.cgm_profiles import write_cgm_profiles
from tests.support.validator import Validator


@pytest.mark.validator
@pytest.mark.requirement("RS-001", "RS-013", "OBS-002")
def test_every_resource_received_is_valid(tmp_path: Path) -> None:
    resources = received.resources()
    assert resources, "run together with the tests that receive something"
    with Validator(Path(os.environ["DDR_HDDT_ARTIFACTS"]), write_cgm_profiles(tmp_path)) as validator:
        found = {origin: errors for origin, resource in resources if (errors := _errors(validator, resource))}
    assert not found


def _errors(validator: Validator, resource: dict[str, Any]) -> list[str]:
    return validator.errors(resource)
