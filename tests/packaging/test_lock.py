"""The locked requirements: complete, at the versions of constraints.txt, each file with a hash. Nothing is fetched."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.utils import canonicalize_name

from tools.closure import LOCKED, ROOT, closure, locked, serving

NEEDED = serving(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
}
OLD = "nothing is locked for it: run make lock"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_everything_that_a_recorder_needs_is_locked(python: str, machine: str) -> None:
    there = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    needed = closure(NEEDED, there)
    assert len(needed) > len(NEEDED) and {"starlette", "anyio", "cffi"} <= needed.keys()
    assert not needed.keys() - locked(LOCKED.read_text()).keys(), OLD


def test_nothing_else_is_locked() -> None:
    assert locked(LOCKED.read_text()).keys() == closure(NEEDED, {"python_version": "3.11"}).keys()


def test_the_versions_are_those_that_the_tests_ran_with() -> None:
    pins = locked(LOCKED.read_text())
    assert {name: one.version for name, one in pins.items()} == {name: PINS[name] for name in pins}, OLD


def test_no_requirement_is_without_a_hash_or_names_where_to_look() -> None:
    text = LOCKED.read_text()
    assert all(one.hashes for one in locked(text).values())
    assert not re.search(r"^\s*-(?!-hash=)|://", text, re.MULTILINE)
    with pytest.raises(ValueError, match="1 of them pinned and hashed"):
        locked(f"idna==3.20\nh11==0.16.0 \\\n    --hash=sha256:{'0' * 64}\n")
