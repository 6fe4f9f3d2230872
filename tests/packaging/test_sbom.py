"""The software bill of materials: valid by the library's schema, complete, the same bytes each time."""

from __future__ import annotations

import json

import pytest

from tools import sbom
from tools.closure import LOCKED, locked


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    parsed: dict[str, object] = json.loads(sbom.text())
    return parsed


def test_it_names_every_package_with_hashes_and_licence(document: dict[str, list[dict[str, object]]]) -> None:
    pins = locked(LOCKED.read_text())
    parts = {str(part["purl"]): part for part in document["components"]}
    assert parts.keys() == {f"pkg:pypi/{one.name}@{one.version}" for one in pins.values()}
    assert all(part["hashes"] and part["licenses"] for part in parts.values())


def test_it_tells_who_needs_whom(document: dict[str, list[dict[str, list[str]]]]) -> None:
    needs = {str(one["ref"]).partition("==")[0]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert {one.partition("==")[0] for one in needs["httpcore"]} == {"certifi", "h11"}
    reached, waiting = set(), ["ddr"]
    while waiting:
        reached.add(name := waiting.pop())
        waiting += [one for ref in needs[name] if (one := ref.partition("==")[0]) not in reached]
    assert reached == needs.keys()


def test_the_same_state_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    first = sbom.text()
    assert first == sbom.text() and "2026-11-18T" in first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795086400")
    assert first != sbom.text()


def test_what_is_not_valid_is_not_written() -> None:
    with pytest.raises(ValueError, match="not valid CycloneDX"):
        sbom._valid('{"bomFormat": "CycloneDX", "specVersion": "1.6", "nonsense": 1}')
