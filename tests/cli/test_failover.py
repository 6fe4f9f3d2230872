"""A recorder on a primary with a synchronous standby, under load: the primary is killed, hangs, or is switched over in
order, and returns unfenced. The recorder keeps serving by itself, and everything that it acknowledged is there.

Real servers with streaming replication; `ddr serve` with two workers; an app that sends one measurement after another.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.cli.recorder import COMMAND_SECONDS, Recorder, command, environment, settings_for
from tests.support.postgres import Server

pytestmark = pytest.mark.packaging

PATIENCE_SECONDS = 120.0
KILLED_SECONDS, HUNG_SECONDS = 5.0, 10.0  # from the promotion of the standby to an acknowledged measurement
PACES = 10  # so many pauses of the same run more, for a machine that is slow or busy
METER = {"serialNumber": "S-1", "name": "Meter", "manufacturer": "M", "type": "337414009"}
VALUE = {"code": "2339-0", "device": "meter", "effective": "2026-11-20T10:00:00Z", "value": 120, "unit": "mg/dL"}


def ask(server: Server, query: str) -> Any:
    """The first value of the answer of this server."""

    async def asked() -> Any:
        connection = await asyncpg.connect(server.url, timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(asked())


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def synchronous(primary: Server) -> None:
    """From now on a commit is acknowledged when the standby has it, too."""
    ask(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    ask(primary, "SELECT pg_reload_conf()")
    until(lambda: ask(primary, "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"), "no standby")


def alone(former: Server) -> None:
    """It acknowledges what it is sent without asking another one, from now on."""
    ask(former, "ALTER SYSTEM RESET synchronous_standby_names")
    ask(former, "SELECT pg_reload_conf()")
    until(lambda: ask(former, "SHOW synchronous_standby_names") == "", "not reloaded")


class App:
    """A gateway app with threads that send measurements; knows which of them were acknowledged, and when."""

    def __init__(self, recorder: Recorder, token: str) -> None:
        self._base = f"https://localhost:{recorder.settings['gateway_port']}/gateway/v1/"
        self._headers = {"authorization": f"Bearer {token}"}
        self._keys = itertools.count()
        self.acknowledged: dict[str, float] = {}
        self.statuses: set[int] = set()

    def client(self) -> httpx.Client:
        return httpx.Client(verify=False, trust_env=False, base_url=self._base, headers=self._headers, timeout=30)

    def put(self, client: httpx.Client, key: str) -> int:
        return client.put(f"measurements/{key}", json=VALUE).status_code

    @contextmanager
    def sending(self) -> Iterator[None]:
        stop = threading.Event()

        def send() -> None:
            with self.client() as client:
                while not stop.is_set():
                    key = f"m{next(self._keys)}"
                    status = self.put(client, key)
                    self.statuses.add(status)
                    if status == 201:
                        self.acknowledged[key] = time.monotonic()
                    stop.wait(0.05)

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def more_than(self, before: int) -> None:
        """Wait until ten more are acknowledged."""
        until(lambda: len(self.acknowledged) >= before + 10, "nothing is acknowledged")

    def after(self, instant: float) -> float:
        """Seconds from this instant until the next acknowledgement."""
        until(lambda: any(at > instant for at in self.acknowledged.values()), "nothing is acknowledged")
        return min(at for at in self.acknowledged.values() if at > instant) - instant

    def pace(self) -> float:
        """The longest pause between two acknowledgements so far: what this machine takes when nothing is wrong."""
        times = sorted(self.acknowledged.values())
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def lost(self) -> list[str]:
        """What was acknowledged and is not known any more: the recorder takes it as new."""
        with self.client() as client:
            return [key for key in self.acknowledged if self.put(client, key) != 200]


class House:
    """Two servers and the recorder on both."""

    def __init__(self, first: Server, second: Server, folder: Path) -> None:
        self.first, self.second = first, second
        url = f"postgresql://ddr@/postgres?host={first.run_dir},{second.run_dir}"
        settings = settings_for(folder, embedded=False, database_url=url, workers=2, database_pool_size=4)
        self.recorder = Recorder(settings)
        try:
            self.app = App(self.recorder, self._patient())
            with self.app.client() as client:
                given = {**METER, "startedAt": "2026-11-01T00:00:00Z"}
                assert client.put("devices/meter", json=given).status_code == 201
        except BaseException:
            self.recorder.stop()
            raise

    def _patient(self) -> str:
        added = subprocess.run(
            command("patient", "add", "--username", "berta", "--password-stdin"),
            env=environment(self.recorder.settings), input="correct horse battery\n", capture_output=True, text=True,
            timeout=COMMAND_SECONDS,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        return added.stdout.strip()

    def hosts(self) -> dict[str, str]:
        """What /readyz of one of the workers says of the servers."""
        told: dict[str, str] = self.recorder.admin("/readyz").json()["database-hosts"]
        return told

    def ready(self, deadline: float) -> None:
        """All workers are at this instant, as ten answers say."""
        until(lambda: all(self.recorder.admin("/readyz").status_code == 200 for _ in range(10)), "not ready")
        assert time.monotonic() < deadline

    def refuses_the_former(self) -> None:
        """It is back and would take everything; what is acknowledged meanwhile is on the other one."""
        former, second = str(self.first.run_dir), str(self.second.run_dir)
        alone(self.first)
        rows = ask(self.first, "SELECT count(*) FROM measurement")
        until(lambda: self.hosts().get(former, "").startswith("refused"), "the former primary is not refused")
        self.app.more_than(len(self.app.acknowledged))
        assert self.hosts()[second] == "in use"
        assert ask(self.first, "SELECT count(*) FROM measurement") == rows
        refused = [event for event in self.recorder.events() if event["event"] == "database.host_refused"]
        assert {event["host"] for event in refused} == {former}
        assert "former primary" in refused[0]["reason"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A primary and its synchronous standby, with a recorder."""
    first, second = Server(tmp_path / "first"), Server(tmp_path / "second")
    assert (first.installation.bin / "pg_basebackup").exists()
    recorder = None
    try:
        first.start()
        second.copy(first)
        second.start()
        synchronous(first)
        house = House(first, second, tmp_path / "recorder")
        recorder = house.recorder
        yield house
    finally:
        if recorder is not None:
            recorder.stop()
        first.dispose()
        second.dispose()
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.requirement("OPS-015")
def test_a_primary_that_dies(house: House) -> None:
    app = house.app
    with app.sending():
        app.more_than(0)
        pace = app.pace()
        house.first.kill()
        house.second.promote()
        assert app.after(time.monotonic()) < KILLED_SECONDS + PACES * pace
        house.first.start()
        house.refuses_the_former()
    assert app.lost() == []
    assert app.statuses <= {201, 503}


@pytest.mark.requirement("OPS-015")
def test_a_primary_that_hangs(house: House) -> None:
    app = house.app
    with app.sending():
        app.more_than(0)
        most = HUNG_SECONDS + PACES * app.pace()
        house.first.pause()
        house.second.promote()
        promoted = time.monotonic()
        assert app.after(promoted) < most
        house.ready(promoted + most)
        house.first.resume()
        house.refuses_the_former()
    assert app.lost() == []
    assert app.statuses <= {201, 503}


@pytest.mark.requirement("OPS-015")
def test_a_switch_in_order(house: House) -> None:
    """The primary is stopped, the standby promoted; the former one comes back as its standby, and is used again when
    it is promoted in turn."""
    app, first, second = house.app, house.first, house.second
    with app.sending():
        app.more_than(0)
        most = KILLED_SECONDS + PACES * app.pace()
        first.stop()
        second.promote()
        assert app.after(time.monotonic()) < most
        first.follow(second)
        synchronous(second)
        until(lambda: house.hosts().get(str(first.run_dir)) == "standby", "the former primary is no standby")
        app.more_than(len(app.acknowledged))
        alone(first)
        second.stop()
        first.promote()
        assert app.after(time.monotonic()) < most
    assert app.lost() == []
    assert app.statuses <= {201, 503}
    assert not [event for event in house.recorder.events() if event["event"] == "database.host_refused"]
