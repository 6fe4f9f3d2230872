"""What an earlier run with the same state directory pulled, to see that replaying a trace changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "trace-chunks.json"


def recall(state_dir: Path, digest: str) -> dict[str, list[str]]:
    """Chunk id to [status, hash of the resource] in the last run with this trace; empty in the first."""
    return _all(state_dir).get(digest, {})


def remember(state_dir: Path, digest: str, chunks: Iterable[Mapping[str, Any]]) -> None:
    """Store the chunks of this run."""
    everything = {**_all(state_dir), digest: {chunk["id"]: _mark(chunk) for chunk in chunks}}
    (state_dir / FILE).write_text(json.dumps(everything, indent=1), "utf-8")


def changed(before: Mapping[str, list[str]], chunks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of former chunks that have changed or are gone; becoming final with time does not count."""
    now = {chunk["id"]: _mark(chunk) for chunk in chunks}
    return [
        name
        for name, (status, mark) in before.items()
        if name not in now or (now[name][0] == status and now[name][1] != mark)
    ]


def _mark(chunk: Mapping[str, Any]) -> list[str]:
    # Each run pairs again, and data that a consent makes visible is new to a client that polls.
    meta = {name: value for name, value in chunk["meta"].items() if name != "lastUpdated"}
    whole = json.dumps({**chunk, "meta": meta}, sort_keys=True).encode()
    return [chunk["status"], hashlib.sha256(whole).hexdigest()]


def _all(state_dir: Path) -> dict[str, dict[str, list[str]]]:
    file = state_dir / FILE
    found: dict[str, dict[str, list[str]]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return found
