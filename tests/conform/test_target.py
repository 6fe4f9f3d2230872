"""Descriptions of a recorder to be tested: invalid files, and the operator's own terms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddr.conform.browser import Person
from ddr.conform.kit import Kit
from ddr.conform.pacing import Patience
from ddr.conform.target import MIV, Target, TargetError, Terms, limits, read_target, with_terms
from ddr.conform.wire import Wire

CGM, BP = MIV + "continuous-glucose-measurement", MIV + "blood-pressure-value"
DIGA = {"client_id": "d", "redirect_uri": "https://d.example", "cert": "d.pem", "key": "d.key", "mivs": [CGM]}
WHOLE = {"oauth_issuer": "https://r.example/", "fhir_base": "https://r.example/fhir/", "digas": [DIGA]}


def read(folder: Path, content: Any) -> Target:
    (file := folder / "target.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_target(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Expecting property name"),
        ({}, "'digas' is missing or invalid"),
        ({**WHOLE, "digas": [{"key": "d.key"}]}, "'cert' is missing or invalid"),
        ([], "is missing or invalid"),
        ('{"x": "\ufeff', "Unterminated string"),
        (
            json.dumps({**WHOLE, "terms": {CGM: vars(Terms(30, 900, 900)) | {"grace_seconds": float("inf")}}}),
            "infinity",
        ),
        ({**WHOLE, "pairings": [[0, 1]]}, "there is no DiGA 0 with patient 1; the first is 0"),
    ],
)
def test_what_describes_no_recorder_is_one_line(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError) as refused:
        read(tmp_path, content)
    assert str(refused.value).startswith(f"{tmp_path / 'target.json'}: ") and said in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"No such file or directory$"):
        read_target(tmp_path / "none.toml")


def test_without_pairings_every_diga_meets_every_patient_six_at_most(tmp_path: Path) -> None:
    patients = [{"username": name} for name in ("anna", "bernd", "clara", "dora")]
    found = read(tmp_path, {**WHOLE, "digas": [DIGA, DIGA], "patients": patients})
    assert list(found.pairings) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert list(read(tmp_path, "\ufeff" + json.dumps(WHOLE)).pairings) == [(0, 0)]
    assert (found.issuer, found.fhir_base) == ("https://r.example/", "https://r.example/fhir")
    assert found.metadata == "https://r.example/.well-known/oauth-authorization-server"


def test_the_operator_may_know_another_grace_period(tmp_path: Path) -> None:
    terms = {BP: {"historic_days": 40, "grace_seconds": 200, "delay_seconds": 5}}
    found = read(tmp_path, {**WHOLE, "terms": terms})
    assert with_terms(found, None) is found
    known = with_terms(found, 0)
    assert (known.terms, known.grace_seconds) == ({BP: Terms(40, 0, 5)}, 0), "nothing is made up of other MIVs"
    kit = Kit(known, Wire(known), Person(print, str), Patience(0))
    assert kit.terms(CGM) == Terms(limits(CGM).historic_days, 0, limits(CGM).delay_seconds)
