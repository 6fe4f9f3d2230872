"""The previous version, checked out beside this one: named by the newest tag, else by docs/releases.toml."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def previous_commit() -> str:
    """The commit of the version before this one. Fails when this is no repository that has it: it must be tested."""
    tags = git("tag", "--list", "v*", "--merged", "HEAD~1", "--sort=-version:refname").split()
    named = tomllib.loads((ROOT / "docs" / "releases.toml").read_text("utf-8"))["previous"]["commit"]
    return git("rev-parse", "--verify", f"{tags[0] if tags else named}^{{commit}}").strip()


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Its files in `folder`, which shares the repository; gone afterwards."""
    git("worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*arguments: str) -> str:
    """What git says about this repository."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout
