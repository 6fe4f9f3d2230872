"""An approval states everything that is required, and is valid today."""

from __future__ import annotations

from datetime import date

import pytest

from ddr.research.approval import ApprovalError, approval

TODAY = date(2026, 11, 22)
KNOWN = {"continuous-glucose-measurement", "blood-pressure-value"}
GOOD = """
title = "Glucose in everyday life"
reference = "Ethics committee Musterstadt, 2026-114"
recipient = "University of Musterstadt"
until = 2026-11-22
kinds = ["continuous-glucose-measurement"]
weeks = 12
"""


def test_a_good_one_holds_on_its_last_day() -> None:
    found = approval(GOOD.encode(), TODAY, KNOWN)
    assert (found.until, found.weeks, found.kinds) == (TODAY, 12, ("continuous-glucose-measurement",))
    assert found.recipient == "University of Musterstadt" and len(found.sha256) == 32
    assert approval(b"\xef\xbb\xbf" + GOOD.encode(), TODAY, KNOWN).title == found.title, "a byte order mark"


@pytest.mark.parametrize(
    ("line", "instead", "told"),
    [
        ("until = 2026-11-22", "until = 2026-11-21", "has ended on 2026-11-21"),
        ("until = 2026-11-22", 'until = "2026-11-22"', "until must be a day"),
        ("until = 2026-11-22", "until = 2026-11-22T00:00:00Z", "until must be a day"),
        ("weeks = 12", "", "weeks is missing"),
        ("weeks = 12", "weeks = 53", "from 1 to 52"),
        ("weeks = 12", "weeks = true", "from 1 to 52"),
        ("weeks = 12", "weeks = 12\nname = 1", "'name' is unknown"),
        ('kinds = ["continuous-glucose-measurement"]', "kinds = []", "kinds must be a list"),
        ('kinds = ["continuous-glucose-measurement"]', 'kinds = ["steps"]', "kinds names 'steps', which is unknown"),
        ('kinds = ["continuous-glucose-measurement"]', "kinds = [[1]]", "kinds must be a list"),
        ('"Glucose in everyday life"', '" "', "title must be a text"),
        ('"Glucose in everyday life"', '"a\\nb"', "title must be a text"),
        ('"University of Musterstadt"', "7", "recipient must be a text"),
        ("weeks = 12", "weeks = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said(line: str, instead: str, told: str) -> None:
    assert line in GOOD
    with pytest.raises(ApprovalError, match=told):
        approval(GOOD.replace(line, instead).encode(), TODAY, KNOWN)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ApprovalError, match="is not TOML"):
        approval(b"\xff\xfe", TODAY, KNOWN)
