"""Two concurrent commands that write to the same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddr.drafts import alone_in
from ddr.store.database.pool import Pool
from tests.cli.held_up import export, held_up, own, own_settings, run

__all__ = ["own", "own_settings"]


async def test_two_copies_into_one_folder_never_mix(own: Pool, own_settings: dict[str, Any], tmp_path: Path) -> None:
    """Else one patient gets what is another's."""
    folder = tmp_path / "copy"
    async with held_up(own, "chunk", *export(folder), settings=own_settings):
        with pytest.raises(BlockingIOError), alone_in(folder):
            pass
    (folder / "messwerte.json.part").write_bytes(b"of a command that was killed, or of another one")
    with alone_in(folder):
        status, out, error = await run(*export(folder), settings=own_settings)
    assert (status, out, error) == (1, "", f"ddr: {folder}: somebody else writes into it just now\n")
    assert (folder / "messwerte.json.part").read_bytes()[:2] == b"of", "nothing of the other is touched"
    assert (await run(*export(folder), settings=own_settings))[0] == 0
    assert len(list(folder.iterdir())) == 4
