"""`ddr client` as a person uses it: pair, pull into files, watch, unpair."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json
import os
import signal
from asyncio.subprocess import PIPE
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from ddr.cli.main import main
from ddr.client import Busy, FileTokens, Grant, Recorder, ScopeRefused, Throttled, Unanswered, Unreachable
from ddr.client.registry import (
    AUTHORIZATION,
    ENDPOINT,
    ENDPOINT_LINK,
    FHIR,
    HIIS_ID,
    MIV_SET,
    RECORDER,
)
from ddr.demo import certs
from ddr.demo.registry import HIIS_PATH, create_registry
from ddr.demo.registry_state import RegistryState
from ddr.demo.server import serving
from tests.cli.recorder import COMMAND_SECONDS, command, environment
from tests.client.conftest import Backend
from tests.spec.world import CGM, HOUR, Home
from tests.support.signals import not_ignored

Output = pytest.CaptureFixture[str]


@pytest.fixture
def config(backend: Backend, tmp_path: Path) -> Path:
    """The DiGA's file."""
    diga = backend.diga
    names = ("client_id", "redirect_uri", "issuer", "fhir_base", "certificate", "key", "ca")
    file = tmp_path / "diga.toml"
    file.write_text("".join(f"{name} = {json.dumps(str(getattr(diga, name)))}\n" for name in names))
    return file


async def client(*words: str | Path) -> int:
    """The exit status, from a thread: the recorder runs here."""
    return await asyncio.to_thread(main, ["client", *map(str, words)])


async def paired(backend: Backend, home: Home, config: Path, capsys: Output, patch: pytest.MonkeyPatch) -> str:
    """A pairing made by the command; a person copies addresses."""
    loop = asyncio.get_running_loop()

    class Person:
        """Reads the address on the screen, and types where the browser landed."""

        def readline(self) -> str:
            url = capsys.readouterr().err.splitlines()[1]
            browsed = asyncio.run_coroutine_threadsafe(backend.browse(url, home.patient, (CGM,)), loop)
            return browsed.result() + "\n"

    patch.setattr("sys.stdin", Person())
    assert await client("pair", "continuous-glucose-measurement", "--config", config) == 0
    return capsys.readouterr().out.strip()


async def test_pair_pull_and_part(
    backend: Backend, home: Home, config: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = home.ddr.clock() - 4 * HOUR
    await home.device("d", serialNumber="SER-1")
    await home.cgm("d", start)
    await home.readings("d", start, [100, "U"])
    pairing_id = await paired(backend, home, config, capsys, monkeypatch)
    assert await client("pairings", "--config", config) == 0
    assert capsys.readouterr().out == pairing_id + "\n"
    table, lines, folder = tmp_path / "news.csv", tmp_path / "news.jsonl", tmp_path / "news.parquet"
    assert await client("pull", "--config", config, "--out", table) == 0
    assert capsys.readouterr().err == "1 of 1 pairings, 2 rows\n"
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(row["change"], row["value"], row["sign"], row["limit"], row["serial"]) for row in rows] == [
        ("new", "100", "", "", "SER-1"),
        ("new", "", "U", "400", "SER-1"),
    ]
    assert {row["pairing"] for row in rows} == {pairing_id}
    assert await client("pull", pairing_id, "--config", config, "--out", lines) == 0
    assert not lines.exists(), "nothing is new"
    await home.readings("d", start + HOUR, [120])
    watching = ["--interval", "0.2", "--seconds", "1"]
    assert await client("watch", "--config", config, "--out", lines, *watching) == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["change"], row["value"]) for row in found][-1] == ("changed", 120.0)
    await home.readings("d", start + 2 * HOUR, [130])
    assert await client("pull", "--config", config, "--out", folder) == 0
    assert parquet.read_table(folder).column("value").to_pylist() == [100.0, None, 120.0, 130.0]
    capsys.readouterr()
    assert await client("unpair", pairing_id, "--config", config) == 0
    assert await client("pairings", "--config", config) == 0
    assert capsys.readouterr().out == ""


async def test_what_is_wrong_is_one_line(config: Path, tmp_path: Path, capsys: Output) -> None:
    numbers = count()
    (tmp_path / "half.toml").write_text('client_id = "urn:diga:bfarm:00001"\n')
    (tmp_path / "broken.toml").write_text("= 1\n")
    (tmp_path / "diga.tokens").mkdir()
    (tmp_path / "diga.tokens" / "torn.json").write_text("{")

    def other(name: str, value: object) -> Path:
        """The DiGA's file with another value, behind a byte order mark."""
        file = tmp_path / f"other-{next(numbers)}.toml"
        lines = [line for line in config.read_text().splitlines() if not line.startswith(f"{name} =")]
        file.write_text("\n".join(["\ufeff" + f"{name} = {json.dumps(value)}", *lines]))
        return file

    for words, complaint in (
        (["unpair", "x" * 64, "--config", config], "there are no tokens for this pairing"),
        (["pull", "--config", tmp_path / "absent.toml"], "absent.toml"),
        (["pull", "--config", tmp_path / "half.toml"], "redirect_uri, issuer"),
        (["pull", "--config", tmp_path / "broken.toml"], "broken.toml"),
        (["pull", "--config", config, "--format", "parquet"], "--out FOLDER"),
        (["pull", "x" * 64, "--config", config], "pair anew"),
        (["pull", "torn", "--config", config], "the stored tokens of this pairing cannot be read"),
        (["unpair", "torn", "--config", config], "the stored tokens of this pairing cannot be read"),
        (["pull", "--config", config, "--out", tmp_path / "absent" / "x.csv"], "absent: No such file"),
        (["pull", "--config", other("ca", "absent.pem")], "absent.pem: No such file"),
        (["pull", "--config", other("ca", 5)], "ca must be the name of a file"),
        (["pull", "--config", other("key", "absent.key")], "absent.key: No such file"),
        (["pull", "--config", other("key", "broken.toml")], "certificate, key or CA"),
        (["pull", "--config", other("issuer", "https://localhost:99999")], "issuer must be a URL"),
        (["pull", "--config", other("fhir_base", "recorder.example/fhir")], "fhir_base must be a URL"),
        (["recorders", "--config", other("hiis", "https://[x")], "hiis must be a URL"),
        (["recorders", "--config", config], "hiis must be a URL"),
    ):
        assert await client(*map(str, words)) == 1, words
        error = capsys.readouterr().err.removesuffix("0 of 1 pairings, 0 rows\n")
        assert complaint in error and error.count("\n") == 1, error
    config.with_suffix(".sqlite").write_text("something else")
    assert await client("pull", "--config", config) == 1
    assert capsys.readouterr().err == f"ddr: {tmp_path / 'diga.sqlite'}: file is not a database\n"
    with pytest.raises(SystemExit):
        await client("pull", "a b", "--config", config)
    assert "is not a Pairing ID" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ScopeRefused(403, "forbidden", "not agreed to"), Unreachable("the response is not a valid FHIR Bundle")]
)
async def test_one_pairing_that_is_refused_keeps_no_other_from_being_pulled(
    error: Exception,
    backend: Backend,
    home: Home,
    config: Path,
    tmp_path: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before: the command ended there, and those behind it got nothing, every time."""
    await home.device("d")
    start = home.ddr.clock() - 4 * HOUR
    await home.cgm("d", start)
    await home.readings("d", start, [100])
    pairing_id = await paired(backend, home, config, capsys, monkeypatch)
    for name in ("-first", "~last"):
        await FileTokens(tmp_path / "diga.tokens").save(Grant(name, "", "r", "a", 4e9))

    class Refusing(Recorder):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.refused = given[3] != pairing_id

        async def get(self, url: str) -> dict[str, Any]:
            if self.refused:
                raise error
            return await super().get(url)

    monkeypatch.setattr("ddr.cli.clients.commands.Recorder", Refusing)
    assert await client("pull", "--config", config, "--out", tmp_path / "news.csv") == 1
    told = capsys.readouterr().err
    assert f"-first: {error}" in told and told.endswith("1 of 3 pairings, 1 rows\n"), told


async def test_what_a_recorder_does_not_show_is_told(
    backend: Backend, home: Home, config: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: a first answer that was cut looked like all there is."""
    await home.device("d")
    start = home.ddr.clock() - 4 * HOUR
    await home.cgm("d", start)
    await home.readings("d", start, [100])
    pairing_id = await paired(backend, home, config, capsys, monkeypatch)
    get = Recorder.get

    async def limited(self: Recorder, url: str) -> dict[str, Any]:
        return {**await get(self, url), "total": 3}

    monkeypatch.setattr(Recorder, "get", limited)
    assert await client("pull", "--config", config, "--out", tmp_path / "news.csv") == 0
    wanted = f"{pairing_id}: the recorder counts 2 more results, but returned neither them nor a next page\n"
    assert capsys.readouterr().err == f"{wanted}1 of 1 pairings, 1 rows\n"


async def test_a_recorder_that_answers_nobody_ends_a_pull(
    config: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Silent(Recorder):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.name = given[3]

        async def get(self, url: str) -> dict[str, Any]:
            asked.append(self.name)
            raise Unanswered(1.0) if self.name == "unanswered" else Unreachable("the recorder does not answer")

    monkeypatch.setattr("ddr.cli.clients.commands.Recorder", Silent)
    for names, last in ((("a", "b", "c"), "the recorder does not answer"), (("unanswered", "d"), "a refresh was sent")):
        asked.clear()
        for name in names:
            await FileTokens(tmp_path / "diga.tokens").save(Grant(name, "", "r", "a", 4e9))
        assert await client("pull", *names, "--config", config) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"ddr: {last}")
        assert asked == list(names[:-1])


@pytest.mark.parametrize(
    ("error", "said"), [(Busy(7), "the recorder is busy"), (Throttled(7), "the Grace-Period still runs")]
)
async def test_why_a_pull_has_to_wait_is_told(
    error: Throttled, said: str, config: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the Grace-Period, when the recorder was closed for maintenance, too."""

    async def get(_: Recorder, __: str) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(Recorder, "get", get)
    await FileTokens(tmp_path / "diga.tokens").save(Grant("a", "", "r", "a", 4e9))
    assert await client("pull", "--config", config) == 1
    assert f"a: {said}, try again in 7 s" in capsys.readouterr().err


async def test_ctrl_c_while_an_address_is_waited_for(backend: Backend, config: Path) -> None:
    words = ("client", "pair", "continuous-glucose-measurement", "--config", str(config))
    with not_ignored():
        process = await asyncio.create_subprocess_exec(
            *command(*words), env=environment({}), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
    assert process.stdin and process.stderr
    try:
        while "paste that address here" not in (line := (await process.stderr.readline()).decode()):
            assert line, "it has ended"
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), COMMAND_SECONDS) == 130
        assert await process.stderr.read() == b"ddr: interrupted\n"
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.kill()


async def test_a_watch_that_nobody_reads_any_more_ends(
    backend: Backend, home: Home, config: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.device("d")
    start = home.ddr.clock() - 4 * HOUR
    await home.cgm("d", start)
    await home.readings("d", start, [100])
    await paired(backend, home, config, capsys, monkeypatch)

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr("sys.stdout", Gone())
    bound = ("--interval", "0.2", "--seconds", str(COMMAND_SECONDS / 3))
    assert await client("watch", "--config", config, "--format", "jsonl", *bound) == 1
    assert capsys.readouterr().err.endswith("ddr: not all of the output could be written: Broken pipe\n")


async def test_recorders_are_listed(tmp_path: Path, capsys: Output) -> None:
    """From the stand-in of BfArM's registries."""
    authority = certs.authority(tmp_path / "certs")
    state = RegistryState(hiis=[DEFINITION, *ENDPOINTS])
    async with serving(create_registry(state, "t"), certs.server_certificate(tmp_path / "certs", authority)) as port:
        config = tmp_path / "diga.toml"
        names = {"hiis": f"https://localhost:{port}{HIIS_PATH}", "hiis_token": "t", "ca": str(authority.cert)}
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in names.items()))
        assert await client("recorders", "--config", config) == 0
        told = capsys.readouterr().out
        assert "DE-1  Muster AG, One" in told and "issuer     https://as.example" in told
        assert "hddt-miv-x: grace 900 s, history unknown, delay unknown" in told
        assert await client("recorders", "--config", config, "--device", "phd-9") == 1
        assert capsys.readouterr().err == "ddr: no recorder in the HIIS-VZ supports this device\n"


MIV = {"url": "mivSet", "valueReference": {"reference": "https://x.example/ValueSet/hddt-miv-x"}}
GRACE = {"url": "gracePeriod", "valueDuration": {"value": 15, "unit": "min"}}
LINKS = [{"url": ENDPOINT_LINK, "valueReference": {"reference": f"Endpoint/{kind}"}} for kind in (FHIR, AUTHORIZATION)]
DEFINITION = {
    "resourceType": "DeviceDefinition",
    "id": "one",
    "meta": {"profile": [RECORDER]},
    "identifier": [{"system": HIIS_ID, "value": "DE-1"}],
    "manufacturerString": "Muster AG",
    "deviceName": [{"name": "One"}],
    "extension": [*LINKS, {"url": MIV_SET, "extension": [MIV, GRACE]}],
}
ENDPOINTS = [
    {
        "resourceType": "Endpoint",
        "id": kind,
        "meta": {"profile": [ENDPOINT]},
        "connectionType": {"code": kind},
        "address": address,
    }
    for kind, address in ((FHIR, "https://data.example/fhir"), (AUTHORIZATION, "https://as.example/"))
]
