"""The files of FileTokens and SqliteTokens: one at a time, and nothing left of a pairing that has ended."""

from __future__ import annotations

import asyncio
import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddr.client import BrokenGrant, FileTokens, Grant, SqliteTokens, tokens

GRANT = Grant("one", "", "r", "a", 4e9)


def files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob("*") if one.is_file())


def crash(*given: object) -> None:
    raise InterruptedError


@pytest.mark.parametrize("kind", ["files", "sqlite"])
async def test_nothing_is_left_of_a_pairing_that_has_ended(kind: str, tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens") if kind == "files" else SqliteTokens(tmp_path / "tokens.sqlite")
    async with store.alone("one"):
        await store.save(GRANT)
    async with store.alone("one"):
        await store.forget("one")
    assert files(tmp_path) == ([] if kind == "files" else ["tokens.sqlite"])


async def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    assert await store.pairings() == []
    (tmp_path / "tokens").rmdir()
    (tmp_path / "tokens").touch()  # in place of missing rights, which root does not miss
    with pytest.raises(NotADirectoryError):
        await store.pairings()


async def test_a_draft_that_a_crash_has_left_goes_with_the_grant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: its refresh token stayed on the disk."""
    store = FileTokens(tmp_path)
    await store.save(GRANT)
    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(InterruptedError):
        await store.save(GRANT)
    assert files(tmp_path) == ["one.json", "one.new"]
    await store.forget("one")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        tokens.to_text(replace(GRANT, expires_at="soon")).encode(),  # type: ignore[arg-type]
        tokens.to_text(replace(GRANT, access_token=5)).encode(),  # type: ignore[arg-type]
    ],
)
async def test_what_is_no_grant_is_a_broken_one(content: bytes, tmp_path: Path) -> None:
    """Before: an error of Python, here or at the next request."""
    store = FileTokens(tmp_path)
    store._file("one").write_bytes(content)
    with pytest.raises(BrokenGrant):
        await store.load("one")


async def test_who_waits_for_a_lock_that_goes_is_not_in_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a lock goes with it: who has it open waits for the one that came in its place."""
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.0)
    stores, inside, most = [FileTokens(tmp_path) for _ in range(8)], 0, 0

    async def enter(store: FileTokens) -> None:
        nonlocal inside, most
        for _ in range(20):
            async with store.alone("one"):
                inside += 1
                most = max(most, inside)
                for _ in range(3):
                    await asyncio.sleep(0)
                inside -= 1

    await asyncio.gather(*map(enter, stores))
    assert most == 1


async def test_a_lock_on_a_file_that_has_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it its owner may have removed it."""
    beside, real = tmp_path / "one.lock", fcntl.flock

    def late(*given: Any) -> None:
        beside.unlink()
        monkeypatch.setattr(fcntl, "flock", real)
        real(*given)

    monkeypatch.setattr(fcntl, "flock", late)
    async with FileTokens(tmp_path).alone("one"):
        assert beside.exists() and tokens._locked(beside) is None
    assert not beside.exists()
