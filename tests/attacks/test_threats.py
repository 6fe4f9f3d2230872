"""docs/security.md maps threats to tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "security.md"


def test_every_named_test_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", DOCUMENT.read_text())
    assert len(named) > 40
    for path, name in named:
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_attack_is_named() -> None:
    document = DOCUMENT.read_text()
    for path in ("test_pairing.py", "test_tokens.py", "test_browser.py", "test_requests.py"):
        for name in re.findall(r"^async def (test_\w+)\(", (TESTS / "attacks" / path).read_text(), re.MULTILINE):
            assert f"`attacks/{path}::{name}`" in document
