"""MIV packages: the four of HDDT load, contradictions are refused, a new one needs no code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ddr.miv.loader import load_catalog
from ddr.miv.model import MivError
from ddr.miv.valuesets import expand
from ddr.settings import MivSettings

PACKAGES = Path(__file__).parents[2] / "miv_packages"

OXYGEN = """
valueset = "https://example.org/fhir/ValueSet/miv-oxygen"
continuous = false
title = "Oxygen saturation"
title_de = "Sauerstoffsättigung"
description = "Oxygen in your blood."
description_de = "Sauerstoff in Ihrem Blut."
search_parameters = ["value-quantity"]
operations = []

[limits]
min_historic_days = 30
max_grace_seconds = 600
vendor_holdup_seconds = 60

[[codes]]
code = "59408-5"
kind = "reading"
profile = "https://example.org/fhir/StructureDefinition/oxygen"
unit = "%"
"""


def write_package(
    root: Path, toml: str = OXYGEN, name: str = "oxygen", version: str = "1.0.0", **valueset: Any
) -> Path:
    """A package with one ValueSet; keyword arguments replace elements of the ValueSet."""
    package = root / name / "package"
    package.mkdir(parents=True)
    (root / name / "miv.toml").write_text(toml)
    (package / "package.json").write_text(json.dumps({"name": f"test.{name}", "version": version}))
    resource = {
        "resourceType": "ValueSet",
        "url": "https://example.org/fhir/ValueSet/miv-oxygen",
        "version": "1.0.0",
        "compose": {"include": [{"system": "http://loinc.org", "concept": [{"code": "59408-5", "display": "SpO2"}]}]},
    }
    (package / "ValueSet-miv.json").write_text(json.dumps(resource | valueset))
    return root


@pytest.mark.requirement("OPS-012", "OBS-039")
def test_the_four_mivs_with_their_limits() -> None:
    catalog = load_catalog(PACKAGES, {})
    limits = {m.name: (m.min_historic_days, m.max_grace_seconds, m.vendor_holdup_seconds) for m in catalog.mivs}
    assert limits == {
        "blood-glucose-measurement": (30, 900, 60),
        "blood-pressure-value": (30, 300, 60),
        "continuous-glucose-measurement": (30, 900, 900),
        "lung-function-testing": (14, 900, 60),
    }
    assert [m.name for m in catalog.mivs if m.continuous] == ["continuous-glucose-measurement"]


def test_texts_are_the_same_in_every_locale() -> None:
    """An operator's terminal may be set to ASCII or Latin-1: the packages are UTF-8 wherever `ddr` is started."""
    code = (
        "import sys, pathlib; from ddr.miv.loader import load_catalog;"
        " print(ascii([miv.description_de for miv in load_catalog(pathlib.Path(sys.argv[1]), {}).mivs]))"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(PACKAGES)], env=ascii_only, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ascii([miv.description_de for miv in load_catalog(PACKAGES, {}).mivs])
    assert "\\x" in done.stdout, "there is a text that another locale would spoil"


def test_codes_carry_their_units() -> None:
    catalog = load_catalog(PACKAGES, {})
    found = catalog.code("http://loinc.org", "99504-3")
    assert found is not None
    assert (found[0].name, found[1].unit) == ("continuous-glucose-measurement", "mg/dL")
    assert catalog.code("http://loinc.org", "nonsense") is None


def test_a_new_dedicated_miv_needs_only_a_folder(tmp_path: Path) -> None:
    catalog = load_catalog(write_package(tmp_path), {})
    miv = catalog.by_name("oxygen")
    assert miv is not None
    assert miv.scope == "patient/Observation.rs?code:in=https://example.org/fhir/ValueSet/miv-oxygen"
    assert catalog.terms[miv.valueset].grace_seconds == 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"toml": OXYGEN.replace("59408-5", "2708-6")}, "not in the ValueSet"),
        ({"toml": OXYGEN.replace('unit = "%"', 'unit = "percent"')}, "unit"),
        ({"toml": OXYGEN.replace('unit = "%"', "")}, "needs a unit"),
        ({"toml": OXYGEN.replace("max_grace_seconds = 600", "max_grace_seconds = 0")}, "max_grace_seconds"),
        ({"toml": OXYGEN.replace('title = "Oxygen saturation"', "")}, "lacks title"),
        ({"toml": OXYGEN.replace('kind = "reading"', 'kind = "guess"')}, "kind"),
        ({"toml": "no toml at all ["}, "cannot be read"),
        ({"version": "2.0.0"}, "package version"),
        ({"url": "https://example.org/other"}, "is not in the package"),
        ({"compose": {"include": []}}, "has no codes"),
        ({"compose": {"include": [{"system": "http://loinc.org", "filter": [{}]}]}}, "only listed concepts"),
        (
            {
                "compose": {
                    "include": [{"system": "http://loinc.org", "concept": [{"code": "59408-5"}, {"code": "2708-6"}]}]
                }
            },
            "no entry in miv.toml",
        ),
    ],
)
def test_a_package_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(MivError, match=message):
        load_catalog(write_package(tmp_path, **change), {})


@pytest.mark.parametrize(
    ("toml", "valueset"),
    [
        (OXYGEN.replace('unit = "%"', "unit = 5"), {}),
        (OXYGEN.replace("[[codes]]", "[codes]"), {}),
        (OXYGEN.replace("operations = []", "operations = 5"), {}),
        (OXYGEN.replace("[limits]", "[other]").replace("operations", "limits = 5\noperations"), {}),
        (OXYGEN.replace('valueset = "https://example.org/fhir/ValueSet/miv-oxygen"', "valueset = []"), {}),
        (OXYGEN, {"url": []}),
        (OXYGEN, {"compose": []}),
        (OXYGEN, {"compose": {"include": [5]}}),
        (OXYGEN, {"compose": {"include": [{"system": "http://loinc.org", "concept": [{}]}]}}),
    ],
)
def test_a_member_of_another_type_is_one_line(tmp_path: Path, toml: str, valueset: dict[str, Any]) -> None:
    with pytest.raises(MivError, match=r"^MIV package oxygen: ") as refused:
        load_catalog(write_package(tmp_path, toml, **valueset), {})
    assert "\n" not in str(refused.value)


def test_a_valueset_that_is_no_object_is_one_line(tmp_path: Path) -> None:
    (write_package(tmp_path) / "oxygen/package/ValueSet-miv.json").write_text("[5]")
    with pytest.raises(MivError, match=r"^MIV package oxygen: cannot be read: "):
        load_catalog(tmp_path, {})


def test_two_packages_with_one_code_are_refused(tmp_path: Path) -> None:
    write_package(tmp_path)
    write_package(tmp_path, name="oxygen-again")
    with pytest.raises(MivError, match="both claim"):
        load_catalog(tmp_path, {})


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MivError, match="no MIV package"):
        load_catalog(tmp_path, {})


def test_a_valueset_that_includes_itself_is_refused() -> None:
    with pytest.raises(MivError, match="includes itself"):
        expand("a", {"a": {"compose": {"include": [{"valueSet": ["a"]}]}}})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        pytest.param(MivSettings(901, 30, 900), "grace period", marks=pytest.mark.requirement("OPS-012")),
        (MivSettings(-1, 30, 900), "grace period"),
        pytest.param(MivSettings(900, 29, 900), "historic data period", marks=pytest.mark.requirement("OBS-039")),
        (MivSettings(900, 30, 0), "delay"),
    ],
)
def test_settings_outside_the_limits_are_refused(chosen: MivSettings, message: str) -> None:
    with pytest.raises(MivError, match=message):
        load_catalog(PACKAGES, {"continuous-glucose-measurement": chosen})


def test_settings_for_an_unknown_miv_are_refused() -> None:
    with pytest.raises(MivError, match="unknown MIV: pacemaker"):
        load_catalog(PACKAGES, {"pacemaker": MivSettings(1, 1, 1)})


def test_settings_within_the_limits_are_taken() -> None:
    catalog = load_catalog(PACKAGES, {"continuous-glucose-measurement": MivSettings(60, 90, 600)})
    miv = catalog.by_name("continuous-glucose-measurement")
    assert miv is not None
    assert catalog.terms[miv.valueset].historic_days == 90
