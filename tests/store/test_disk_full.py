"""A database on a full disk, a small file system of its own: needs the right to mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.settings import Settings
from ddr.store.database import binaries
from ddr.store.database.faults import READ_ONLY, fault_of
from ddr.store.database.pool import open_pool
from ddr.store.database.probe import Unfit
from tests.support.postgres import Server

SIZE = 120  # MiB


@pytest.fixture
def small() -> Iterator[Path]:
    """A directory on a file system of SIZE."""
    place = Path(tempfile.mkdtemp(prefix="ddr-small-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=755", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        place.rmdir()
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


@pytest.fixture(params=["of the machine", "of the wheel"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PostgreSQL that comes first, or the newer one that comes with the environment."""
    if request.param == "of the wheel":
        wheel = [folder for folder in binaries._candidates() if binaries.WHEEL in str(folder)]
        monkeypatch.setattr(binaries, "_candidates", lambda: iter(wheel))


@pytest.mark.requirement("OPS-015")
@pytest.mark.usefixtures("installed")
async def test_a_full_disk_is_noticed_and_its_end_too(small: Path, settings: Settings, tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    outside = server.home
    try:
        server.home, server.data = small, small / "data"
        server.account.own(small)
        server.start()
        own = replace(settings, database_url=server.url, state_dir=tmp_path)
        async with await open_pool(own) as pool:
            await pool.execute("CREATE TABLE filled (t text)")
            assert await pool.ready()
            ballast = small / "ballast"
            room = os.statvfs(small)
            with ballast.open("wb") as file:
                file.truncate(0)
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 64 * 1024)
            assert not await pool.ready() and pool.unfit == Unfit("DiskFullError", stores=False)
            with pytest.raises(asyncpg.PostgresError) as full:
                await pool.execute("INSERT INTO filled SELECT repeat(md5(g::text), 30) FROM generate_series(1, 2000) g")
            assert fault_of(full.value) == READ_ONLY
            ballast.unlink()
            assert await pool.ready()
    finally:
        server.dispose()
        shutil.rmtree(outside, ignore_errors=True)
