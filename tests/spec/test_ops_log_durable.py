"""No record of an answered request is lost: workers and database are killed while clients send requests."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import orjson
import pytest

from tests.cli.recorder import START_SECONDS, Recorder, settings_for
from tests.support.postgres import own_server
from tests.support.request_log import fresh_lines

pytestmark = pytest.mark.slow
PATHS = ("/oauth/jwks", "/fhir/metadata", "/oauth/authorize?client_id=x&request_uri=y", "/status")
CLIENTS = 4


@contextmanager
def asking(recorder: Recorder) -> Iterator[Counter[int]]:
    """Clients that send requests without a pause and keep the ids of all responses; yields how many, by status."""
    context = ssl.create_default_context(cafile=Path(recorder.settings["state_dir"]) / "authority.pem")
    base, stop, counted = f"https://localhost:{recorder.settings['public_port']}", threading.Event(), Counter[int]()

    def ask(number: int) -> list[str]:
        ids = []
        with httpx.Client(base_url=base, verify=context, timeout=30, trust_env=False) as http:
            while not stop.is_set():
                for path in PATHS:
                    try:
                        answer = http.get(path)
                    except httpx.TransportError:
                        time.sleep(0.02)
                        continue
                    ids.append(answer.headers["x-request-id"])
                    counted[answer.status_code] += 1
        return ids

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(ask, number) for number in range(CLIENTS)]
        try:
            yield counted
        finally:
            stop.set()
        recorder.answered = [name for one in running for name in one.result()]  # type: ignore[attr-defined]


def until(counted: Counter[int], more: int) -> None:
    """Wait for this many further responses."""
    wanted, deadline = counted.total() + more, time.monotonic() + START_SECONDS
    while counted.total() < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def recorded(url: str) -> Counter[str]:
    """The ids in the log, sealed or not, and how often each occurs."""
    connection = await asyncpg.connect(url)
    try:
        fresh = await fresh_lines(connection)
        seals = await connection.fetch("SELECT packed FROM request_log_seal")
    finally:
        await connection.close()
    sealed = [line for row in seals for line in zlib.decompress(row["packed"]).splitlines()]
    return Counter(orjson.loads(line)["transaction_id"] for line in fresh + sealed)


@pytest.mark.requirement("OPS-017")
@pytest.mark.requirement("OPS-019")
async def test_no_record_of_an_answer_is_lost(tmp_path: Path) -> None:
    """While the database is away or hangs, documents are served, and their records wait on the disk."""
    with own_server(tmp_path / "postgres") as server:
        recorder = Recorder(settings_for(tmp_path, workers=2, database_url=server.url))
        try:
            with asking(recorder) as counted:
                until(counted, 40)
                os.kill(recorder.workers()[0], signal.SIGKILL)
                until(counted, 40)
                server.kill()
                until(counted, 40)
                server.start()
                until(counted, 40)
                server.pause()
                until(counted, 20)
                server.resume()
                until(counted, 40)
            answered = recorder.answered  # type: ignore[attr-defined]
            folder = tmp_path / "request-log"
            assert "request_log.spooled" in recorder.log()
            deadline = time.monotonic() + START_SECONDS
            while any(folder.glob("*.spool")):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        finally:
            recorder.stop()
        found = await recorded(server.url)
    assert len(answered) > 160
    missing = [name for name in answered if name not in found]
    assert not missing, f"{len(missing)} of {len(answered)} answers have no record"
    assert {found[name] for name in answered} == {1}
