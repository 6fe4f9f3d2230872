"""The example gateway loses nothing when the server fails during its work."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import shutil
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ddr.demo.certs import authority
from ddr.fhir.instants import date_time
from tests.cli.recorder import Recorder
from tests.gateway.durability import Database, gateways, recorder, stored
from tests.support.processes import send

spec = importlib.util.spec_from_file_location("gateway_client", Path("examples/gateway_client.py"))
assert spec is not None and spec.loader is not None
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

START = 1_795_000_000_000
READINGS = [(date_time(START + at * 300_000), str(100 + at % 50)) for at in range(300)]


class Server:
    """Takes readings, but dies before or after it has stored them, or is overloaded, most of the time."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stored: dict[str, float] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        fate = self.chance.choice(("fine", "before", "after", "busy", "failed"))
        if fate == "busy":
            return httpx.Response(503, headers={"retry-after": "0"})
        if fate == "before":
            raise httpx.ConnectError("refused")
        answer = self.take(request)
        if fate == "after":
            raise httpx.ReadError("connection reset")
        return httpx.Response(500) if fate == "failed" else answer

    def take(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            return httpx.Response(200, json={})
        items: list[dict[str, Any]] = []
        for reading in orjson.loads(request.content)["readings"]:
            items.append({"status": "duplicate" if reading["time"] in self.stored else "accepted"})
            self.stored[reading["time"]] = reading["value"]
        counts = {name: sum(item["status"] == name for item in items) for name in ("accepted", "duplicate")}
        return httpx.Response(200, json={**counts, "items": items})


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(example, "BATCH", 20)
    server, outbox = Server(seed), example.Outbox(tmp_path / "outbox.sqlite")
    for reading in READINGS:
        outbox.add(*reading)
    with httpx.Client(transport=httpx.MockTransport(server), base_url="https://recorder") as client:
        example.sync(client, example.Outbox(tmp_path / "outbox.sqlite"), READINGS[0][0])
    assert server.stored == {at: float(value) for at, value in READINGS}
    assert outbox.next() == []


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7), ("Sun, 29 Nov 2026 12:00:30 GMT", 30), ("Sun, 29 Nov 2026 11:00:00 GMT", 1), ("soon", 0.5), ("", 0.5)],
)
def test_a_time_to_come_again_may_be_a_date(retry_after: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: a date, which RFC 9110 allows and a proxy in between may send, ended the gateway with a traceback."""
    waited: list[float] = []
    answers = [httpx.Response(503, headers={"retry-after": retry_after}), httpx.Response(200)]
    monkeypatch.setattr(example.time, "time", lambda: datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp())
    monkeypatch.setattr(example.time, "sleep", waited.append)
    transport = httpx.MockTransport(lambda request: answers.pop(0))
    with httpx.Client(transport=transport, base_url="https://recorder") as client:
        assert example.send(client, "PUT", "devices/cgm", {}).status_code == 200
    assert waited == [seconds]


def test_why_there_is_no_answer_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before: "no answer (ConnectError)" for ever, also where `--ca` was the wrong file."""
    faults = [httpx.ConnectError("certificate verify failed"), httpx.ReadTimeout("")]

    def recorder_of(_: httpx.Request) -> httpx.Response:
        if faults:
            raise faults.pop(0)
        return httpx.Response(200)

    monkeypatch.setattr(example.time, "sleep", lambda seconds: None)
    with httpx.Client(transport=httpx.MockTransport(recorder_of), base_url="https://recorder") as client:
        example.send(client, "PUT", "devices/cgm", {})
    assert capsys.readouterr().out == (
        "no answer (certificate verify failed), again in 0.5 s\nno answer (ReadTimeout), again in 1.0 s\n"
    )


def test_what_the_recorder_refuses_is_kept_apart(tmp_path: Path) -> None:
    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    outbox.add(*READINGS[0])
    outbox.settle(outbox.next(), [{"status": "rejected", "reason": "precision", "retry": False}])
    outbox.wake()
    assert outbox.next() == []
    assert outbox.db.execute("SELECT reason FROM refused").fetchall() == [("precision",)]


def test_what_is_not_stored_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before: "1 readings stored" of four in the file, and a traceback where the token is none."""
    (tmp_path / "day.csv").write_text("time,value\n" + "".join(f"{at},{value}\n" for at, value in READINGS[:4]))
    answers: list[dict[str, Any]] = [{"status": "accepted"}]
    for reason in ("precision", "precision", "future"):
        answers.append({"status": "rejected", "reason": reason, "retry": reason == "future"})

    def recorder_of(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] != "Bearer good":
            return httpx.Response(401, text="no such token")
        return httpx.Response(200, json={"accepted": 1, "items": answers})

    client = partial(httpx.Client, transport=httpx.MockTransport(recorder_of))
    monkeypatch.setattr(
        example.httpx, "Client", lambda base_url, headers, **_: client(base_url=base_url, headers=headers)
    )
    given = ["--base", "https://recorder/gateway/v1", "--ca", str(authority(tmp_path).cert)]
    given += ["--csv", str(tmp_path / "day.csv")]
    given += ["--outbox", str(tmp_path / "outbox.sqlite"), "--token"]
    monkeypatch.setattr("sys.argv", ["gateway_client.py", *given, "wrong"])
    with pytest.raises(SystemExit, match=r"^/gateway/v1/devices/cgm: 401 no such token$"):
        example.main()
    monkeypatch.setattr("sys.argv", ["gateway_client.py", *given, "good"])
    example.main()
    assert capsys.readouterr().out == "1 readings stored, 1 waiting, 2 refused: precision\n"


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_its_authority_is_named_in_a_way_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "sync", lambda *_: 0)
    (tmp_path / "day.csv").write_text("time,value\n")
    given = ["--base", "https://recorder", "--token", "t", "--ca", str(authority(tmp_path).cert)]
    given += ["--csv", str(tmp_path / "day.csv"), "--outbox", str(tmp_path / "outbox.sqlite")]
    monkeypatch.setattr("sys.argv", ["gateway_client.py", *given])
    example.main()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("csv", "needs the columns time and value"),
        ("absent", "No such file or directory"),
        ("ca", "NO_CERTIFICATE"),
        ("outbox", "file is not a database"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, told: str) -> None:
    (tmp_path / "day.csv").write_text("time,value\n")
    (wrong_one := tmp_path / "wrong").write_text("zeit;wert\n" * 100)
    files = {"csv": tmp_path / "day.csv", "ca": authority(tmp_path).cert, "outbox": tmp_path / "outbox.sqlite"}
    files |= {"csv": tmp_path / "absent.csv"} if wrong == "absent" else {wrong: wrong_one}
    given = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    monkeypatch.setattr("sys.argv", ["gateway_client.py", "--base", "https://recorder", "--token", "t", *given])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert told in str(ended.value) and "\n" not in str(ended.value)


def test_what_may_pass_waits_with_the_time_of_the_right_clock(tmp_path: Path) -> None:
    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    outbox.add("2026-11-28T10:00:00+01:00", "123")
    outbox.add("2026-11-22T10:00:00Z", "L")
    late, early = outbox.next()[::-1]
    answers = [{"status": "rejected", "reason": reason, "retry": True} for reason in ("future", "range")]
    outbox.settle([late, early], answers, 172_800)
    assert outbox.next() == []
    example.Outbox(tmp_path / "outbox.sqlite").wake()
    assert outbox.next() == [early, ("2026-11-26T10:00:00+01:00", "123")]


def test_a_later_file_does_not_cut_off_what_waits_since_an_earlier_one(tmp_path: Path) -> None:
    """Another day, or a phone that came home from another zone: the device still began with the first reading."""
    starts = []

    def recorder_of(request: httpx.Request) -> httpx.Response:
        starts.extend([orjson.loads(request.content)["startedAt"]] if request.url.path == "/devices/cgm" else [])
        return httpx.Response(200, json={})

    outbox = tmp_path / "outbox.sqlite"
    with httpx.Client(transport=httpx.MockTransport(recorder_of), base_url="https://recorder") as client:
        for first in ("2026-11-22T10:00:00+01:00", "2026-11-22T09:30:00Z", "2026-11-23T08:00:00Z"):
            example.sync(client, example.Outbox(outbox), first)
    assert starts == ["2026-11-22T10:00:00+01:00"] * 3


def test_no_device_begins_at_a_time_without_a_zone(tmp_path: Path) -> None:
    """The recorder refuses it: kept as the earliest time for ever, no reading would have gone out any more."""
    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    outbox.began("2026-11-22T09:00:00")
    assert outbox.began("2026-11-22T10:00:00Z") == "2026-11-22T10:00:00Z"


def test_what_is_no_number_keeps_no_other_reading_back(tmp_path: Path) -> None:
    sent: list[Any] = []

    def recorder_of(request: httpx.Request) -> httpx.Response:
        sent.extend(orjson.loads(request.content).get("readings", ()))
        items = [{"status": "accepted"} for _ in orjson.loads(request.content).get("readings", ())]
        return httpx.Response(200, json={"accepted": len(items), "items": items})

    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    for at, value in enumerate(("101", "LO?", "nan", "E")):
        outbox.add(READINGS[at][0], value)
    with httpx.Client(transport=httpx.MockTransport(recorder_of), base_url="https://recorder") as client:
        example.sync(client, outbox, READINGS[0][0])
    assert [reading["value"] for reading in sent] == [101, "LO?", "nan", "E"] and outbox.next() == []


@pytest.mark.slow
def test_nothing_is_lost_when_a_real_recorder_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "BATCH", 3)
    first_ms = time.time_ns() // 1_000_000 // 1000 * 1000 - 2000 * 300_000
    readings = {first_ms + at * 300_000: 100 + at % 50 for at in range(1500)}
    outbox = example.Outbox(tmp_path / "outbox.sqlite")
    for measured_ms, value in readings.items():
        outbox.add(date_time(measured_ms), str(value))
    database = Database(tmp_path)
    try:
        with database.stack, recorder(tmp_path, database) as running:
            gateway = asyncio.run(gateways(database, running))[0]
            gateway.client.event_hooks = {"request": [lambda request: time.sleep(0.01)]}  # so that it is still at it
            work = threading.Thread(
                target=lambda: example.sync(
                    gateway.client, example.Outbox(tmp_path / "outbox.sqlite"), date_time(first_ms)
                )
            )
            work.start()
            kill_under(work, running, database)
            work.join(200)
            assert not work.is_alive()
            assert asyncio.run(stored(database, gateway, "glucose")) == readings
            database.stack.close()
    finally:
        shutil.rmtree((tmp_path / "postgres").resolve(), ignore_errors=True)
    assert outbox.next() == []
    assert outbox.db.execute("SELECT * FROM refused").fetchall() == []


def kill_under(work: threading.Thread, running: Recorder, database: Database) -> None:
    """kill -9 workers, PostgreSQL, and all of `ddr serve`, while the gateway is sending."""
    for victim in ("worker", "serve", "worker", "database", "serve"):
        time.sleep(0.7)
        assert work.is_alive(), "the gateway was done before everything was killed"
        if victim == "worker":
            send(running.workers()[0])
        elif victim == "serve":
            running.kill()
        else:
            database.kill()
