"""`ddr keys rotate-encryption`: a new key-encryption key while a recorder serves, and what it seals."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.store.database.secrets import NAMES
from tests.cli.recorder import START_SECONDS, Recorder, ddr, settings_for

pytestmark = pytest.mark.slow

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """What a vault writes; the setting names it."""
    file = tmp_path / "key"
    file.write_text(OLD + "\n")
    return file


@pytest.fixture
def settings(own_url: str, tmp_path: Path, key_file: Path) -> dict[str, Any]:
    return settings_for(tmp_path, database_url=own_url, key_encryption_key=f"file:{key_file}")


@contextmanager
def serving(settings: dict[str, Any]) -> Iterator[Recorder]:
    recorder = Recorder(settings)
    try:
        yield recorder
    finally:
        recorder.stop()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reload(recorder: Recorder, key_file: Path, *keys: str) -> None:
    """Give it new workers, which find these keys in the file."""
    key_file.write_text("\n".join(keys))
    before = [event["event"] for event in recorder.events()].count("serve.reloaded")
    recorder.process.send_signal(signal.SIGHUP)
    until(lambda: [event["event"] for event in recorder.events()].count("serve.reloaded") > before)


def kids(recorder: Recorder) -> set[str]:
    url = f"https://localhost:{recorder.settings['public_port']}/oauth/jwks"
    answer = httpx.get(url, verify=False, trust_env=False)
    return {key["kid"] for key in answer.json()["keys"]}


async def sealed(url: str) -> dict[str, bytes]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT kid AS name, sealed_private AS sealed FROM signing_key UNION ALL SELECT name, sealed FROM secret"
    )
    await connection.close()
    return {row["name"]: row["sealed"] for row in rows}


async def test_a_recorder_goes_on_while_everything_is_sealed_anew(
    settings: dict[str, Any], own_url: str, key_file: Path
) -> None:
    with serving(settings) as recorder:
        known, before = kids(recorder), await sealed(own_url)

        reload(recorder, key_file, NEW, OLD)
        assert kids(recorder) == known
        done = ddr("keys", "rotate-encryption", settings=settings)
        assert (done.returncode, done.stdout) == (
            0,
            f"1 signing keys and {len(NAMES)} secrets are sealed by key_encryption_key alone\n",
        )
        after = await sealed(own_url)
        assert after.keys() == before.keys() and not [name for name in after if after[name] == before[name]]
        (worker,) = recorder.workers()
        os.kill(worker, signal.SIGKILL)  # the next one opens what is sealed now
        until(lambda: recorder.workers() not in ([worker], []) and recorder.figures() != {})
        assert kids(recorder) == known

        reload(recorder, key_file, NEW)
        assert kids(recorder) == known
    trail = ddr("audit", "export", "--event", "operator:encryption-key", settings=settings).stdout
    assert f'"detail":{{"keys":1,"secrets":{len(NAMES)}}}' in trail and trail.count("\n") == 1
    refused = ddr("serve", settings={**settings, "key_encryption_key": OLD})
    assert refused.returncode == 1 and "does not open" in refused.stderr


async def test_the_former_key_in_a_setting_of_its_own(settings: dict[str, Any], own_url: str) -> None:
    with serving(settings):
        before = await sealed(own_url)
    new = {**settings, "key_encryption_key": NEW}
    missing = ddr("keys", "rotate-encryption", settings=new)
    assert missing.returncode == 1 and "does not open" in missing.stderr and await sealed(own_url) == before
    assert ddr("keys", "rotate-encryption", settings={**new, "key_encryption_key_old": OLD}).returncode == 0
    assert ddr("keys", "rotate", settings=new).returncode == 0, "the former one is not needed any more"


@pytest.mark.parametrize("name", ["key_encryption_key", "key_encryption_key_old"])
def test_what_is_no_key_is_said_before_anything_else(tmp_path: Path, name: str) -> None:
    done = ddr("serve", settings=settings_for(tmp_path, **{name: "short"}))
    assert done.returncode == 1
    assert f"ddr: setting {name}: must be 32 bytes in base64" in done.stderr
