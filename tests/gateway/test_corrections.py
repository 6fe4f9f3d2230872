"""The status that an upload gives to a measurement that is already stored."""

from __future__ import annotations

import pytest

from ddr.gateway.corrections import next_status
from ddr.gateway.problem import Problem

BEFORE = {"valueQuantity": {"value": 1}}
RESULT = {"valueQuantity": {"value": 2}}
REMARK = {**BEFORE, "note": [{"text": "a"}]}


@pytest.mark.parametrize(
    ("stored", "wanted", "after", "expected"),
    [
        ("final", "final", BEFORE, None),
        ("final", "preliminary", BEFORE, None),
        ("final", "final", RESULT, "corrected"),
        ("final", "final", REMARK, "amended"),
        ("final", "preliminary", RESULT, "corrected"),
        ("final", "amended", RESULT, "amended"),
        ("final", "corrected", BEFORE, "corrected"),
        ("final", "entered-in-error", BEFORE, "entered-in-error"),
        ("preliminary", "preliminary", BEFORE, None),
        ("preliminary", "preliminary", RESULT, "preliminary"),
        ("preliminary", "final", BEFORE, "final"),
        ("preliminary", "final", RESULT, "final"),
        ("corrected", "final", BEFORE, None),
        ("corrected", "corrected", BEFORE, None),
        ("corrected", "final", REMARK, "amended"),
        ("amended", "final", RESULT, "corrected"),
        ("entered-in-error", "entered-in-error", BEFORE, None),
    ],
)
def test_next_status(stored: str, wanted: str, after: dict[str, object], expected: str | None) -> None:
    assert next_status(stored, wanted, BEFORE, after) == expected


@pytest.mark.parametrize(("wanted", "after"), [("final", BEFORE), ("corrected", RESULT), ("entered-in-error", RESULT)])
def test_entered_in_error_is_the_end(wanted: str, after: dict[str, object]) -> None:
    with pytest.raises(Problem) as caught:
        next_status("entered-in-error", wanted, BEFORE, after)
    assert caught.value.status == 409
