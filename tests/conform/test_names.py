"""A login name is found only as a separate word, and not where it is a word of the recorder's."""

from __future__ import annotations

import json
from dataclasses import replace

import httpx
import pytest

from ddr.conform.run import run
from ddr.conform.target import Account
from ddr.conform.verdict import Verdict
from tests.conform.test_endings import CHECKS, FHIR, bundle, check, kit

DEVICE = {"resourceType": "Device", "id": "1", "note": [{"text": "of Hanna, anna-2 and anna.b"}]}


@pytest.mark.parametrize(
    ("username", "verdict"),
    [
        ("anna", Verdict.FAILED),
        ("anna-2", Verdict.FAILED),
        ("hann", Verdict.PASSED),
        ("Hann", Verdict.PASSED),
        ("recorder", Verdict.NOT_APPLICABLE),  # as its address has it
        ("Bundle", Verdict.NOT_APPLICABLE),  # as its documents have it
        ("", Verdict.NOT_APPLICABLE),
    ],
)
def test_a_name_that_is_part_of_a_word_is_none(username: str, verdict: Verdict) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        public = request.url.path.endswith(("metadata", "server"))
        return httpx.Response(200, headers=FHIR, content=json.dumps(bundle() if public else bundle(DEVICE)))

    found = kit(answer)
    found.target = replace(found.target, patients=(Account(username),))
    (result,) = run(found, [check(CHECKS["nothing-names-the-patient"].run)])
    assert result.verdict is verdict, result.text
