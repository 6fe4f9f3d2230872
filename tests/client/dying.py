"""A DiGA's process that dies between response and `save`: python -m tests.client.dying CONFIG FOLDER PAIRING."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from ddr.client import Diga, FileTokens, Grant
from ddr.client.session import Session


class Dying(FileTokens):
    """Does not live to save."""

    async def save(self, grant: Grant) -> None:
        before = await self.load(grant.pairing_id)
        assert before is not None
        if grant == before:  # the store is tried before the token is used up
            return
        os.kill(os.getpid(), signal.SIGKILL)


async def refresh(config: Path, folder: Path, pairing_id: str) -> None:
    """Does not come back."""
    diga = Diga.from_file(config)
    async with diga.http() as http:
        await Session(diga, http, Dying(folder), pairing_id).token()


if __name__ == "__main__":
    asyncio.run(refresh(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
