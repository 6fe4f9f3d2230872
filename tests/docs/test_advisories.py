"""Advisories are CSAF 2.0, profile Security Advisory or VEX: required members are there, references have targets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "advisories"
FILES = sorted(FOLDER.glob("*.json"))
TRACKING = {"current_release_date", "id", "initial_release_date", "revision_history", "status", "version"}
Json = dict[str, Any]


def products(branches: list[Json]) -> Iterator[Json]:
    """The products of a product_tree, at any depth (CSAF 2.0 section 3.1.2)."""
    for one in branches:
        assert {"category", "name"} < one.keys()
        yield from products(one.get("branches", []))
        if "product" in one:
            yield one["product"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_has_what_the_standard_demands(file: Path) -> None:
    found = json.loads(file.read_text())
    document = found["document"]
    assert document["csaf_version"] == "2.0" and document["title"]
    assert document["category"] in ("csaf_security_advisory", "csaf_vex")
    assert document["publisher"].keys() >= {"category", "name", "namespace"}
    tracking = document["tracking"]
    assert tracking.keys() >= TRACKING and tracking["status"] in ("draft", "interim", "final")
    assert file.stem in (tracking["id"], "TEMPLATE") and re.fullmatch(r"ddr-\d{4}-\d{4}", tracking["id"])
    history = tracking["revision_history"]  # sections 6.1.16, 6.1.21: in order, the newest is the version
    assert [one["number"] for one in history] == [str(number) for number in range(1, len(history) + 1)]
    assert history[-1]["number"] == tracking["version"]
    assert history[-1]["date"] == tracking["current_release_date"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_product_is_defined_once_and_used(file: Path) -> None:
    judge(json.loads(file.read_text()))


def judge(found: Json) -> None:
    """The products of one advisory, and what is said of each."""
    listed = list(products(found["product_tree"]["branches"]))
    defined = {one["product_id"] for one in listed}
    assert len(defined) == len(listed)
    assert all(one["product_identification_helper"]["purl"].startswith("pkg:pypi/") for one in listed)
    assert found["vulnerabilities"]
    for one in found["vulnerabilities"]:
        assert one["notes"] and ("cve" in one or one["ids"])
        named = {name for names in one["product_status"].values() for name in names}
        remedied = {name for remedy in one.get("remediations", ()) for name in remedy["product_ids"]}
        scored = {name for score in one.get("scores", []) for name in score["products"]}
        assert named == defined and remedied | scored <= defined  # sections 6.1.1, 6.1.3
        assert set(one["product_status"].get("known_affected", ())) <= remedied  # section 4.4: what to do about it
        spared = set(one["product_status"].get("known_not_affected", ()))
        impacts = (threat for threat in one.get("threats", ()) if threat["category"] == "impact")
        explained = {name for why in (*one.get("flags", ()), *impacts) for name in why.get("product_ids", spared)}
        assert spared <= explained  # section 6.1.27.9: why not


def vex(reason: Json) -> Json:
    """An anomaly of a dependency that does not reach the recorder."""
    found: Json = json.loads((FOLDER / "TEMPLATE.json").read_text())
    (one,) = found["vulnerabilities"]
    one["product_status"] = {
        "known_not_affected": [product["product_id"] for product in products(found["product_tree"]["branches"])]
    }
    for member in ("remediations", "scores", "threats"):
        del one[member]
    found["document"]["category"], found["vulnerabilities"] = "csaf_vex", [one | reason]
    return found


def test_what_does_not_reach_the_recorder_says_why() -> None:
    judge(vex({"threats": [{"category": "impact", "details": "The function is never called."}]}))
    with pytest.raises(AssertionError):
        judge(vex({}))
