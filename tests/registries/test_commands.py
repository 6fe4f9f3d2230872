"""The operator's commands about the registries: `ddr registry`, `ddr miv`, `ddr hiis`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.cli.operator import shown_instant
from ddr.demo import certs
from ddr.demo.recorder import free_ports
from ddr.demo.registry_state import Package, RegistryState
from ddr.demo.registry_zts import PACKAGE, archive
from ddr.demo.server import serving
from ddr.durations import DAY_MS
from ddr.fhir.instants import instant
from ddr.http.asgi import json_reply
from ddr.http.clock import now_ms
from ddr.http.guard import constant
from ddr.miv.loader import load_catalog
from ddr.registries.certificates import expires_ms, fingerprint
from ddr.registries.diga_vz import SOURCE, DigaVz
from ddr.registries.hiis import resources
from ddr.settings import Settings
from ddr.store.registries import losses
from ddr.store.registries import sources as store
from ddr.store.registries.losses import WHOLE, Loss
from tests.registries.test_terminology import BG
from tests.registries.test_terminology import resources as valuesets

Run = Callable[..., Awaitable[int]]
CLIENT = "urn:diga:bfarm:00001"
PRESSURE = "blood-pressure-value"


@pytest.fixture
def operator(registry_settings: Settings, folder: Path, authority: certs.Pair, empty_store: asyncpg.Pool) -> Settings:
    """Settings of a registered recorder that does not run."""
    server = certs.server_certificate(folder, authority)
    port = free_ports(1)[0]
    return replace(
        registry_settings,
        diga_base_url=f"https://localhost:{port}",
        public_base_url=f"https://localhost:{port}",
        server_cert=server.cert,
        server_key=server.key,
        hiis_id="00374",
        manufacturer="Muster AG",
    )


@pytest.fixture
def ddr(operator: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a thread, so that the stand-in goes on; gives the exit status."""
    for field in fields(Settings):
        if field.name != "miv":
            monkeypatch.setenv(f"DDR_{field.name.upper()}", str(getattr(operator, field.name)))

    def run(*arguments: str) -> Awaitable[int]:
        return asyncio.to_thread(main, arguments)

    return run


@pytest.fixture
async def followed(operator: Settings, empty_store: asyncpg.Pool) -> DigaVz:
    """A worker that has read the DiGA-VZ."""
    vz = DigaVz(operator, empty_store, now_ms)
    await vz.start()
    return vz


async def read_again(vz: DigaVz) -> None:
    await asyncio.sleep(0.002)
    await vz.read_now()
    await vz.step()


async def test_show_tells_state_notes_and_faults(
    ddr: Run, followed: DigaVz, state: RegistryState, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ddr("registry", "show") == 0
    printed = capsys.readouterr().out
    assert f"{CLIENT}  Eins: active, 1 certificates" in printed
    der = state.digas[0].certificates[0]
    assert f"  certificate sha256 {fingerprint(der)}, expires {shown_instant(expires_ms(der))}" in printed.splitlines()
    state.digas[0].certificates = []
    await read_again(followed)
    state.fault = "html"
    await read_again(followed)
    assert await ddr("registry", "show") == 1
    out = capsys.readouterr().out
    assert "the response is not JSON" in out and "disabled (no usable certificate)" in out


async def test_the_past_can_be_asked(
    ddr: Run, followed: DigaVz, state: RegistryState, capsys: pytest.CaptureFixture[str]
) -> None:
    before = instant(now_ms())
    state.digas[0].redirect_uri = "https://new.example/cb"
    await read_again(followed)
    assert await ddr("registry", "at", before) == 0
    assert "redirect https://eins.example/cb" in capsys.readouterr().out
    assert await ddr("registry", "at", instant(now_ms())) == 0
    assert "redirect https://new.example/cb" in capsys.readouterr().out
    assert await ddr("registry", "at", "2020") == 0
    assert "nothing was known" in capsys.readouterr().out
    assert await ddr("registry", "history", CLIENT) == 0
    told = capsys.readouterr().out
    assert told.count(CLIENT + "\n") == 2
    assert told.count(f'"certificates":["{fingerprint(state.digas[0].certificates[0])}"]') == 2
    assert await ddr("registry", "history", "urn:diga:bfarm:99999") == 1


async def test_of_what_is_deleted_no_part_is_told_as_the_whole(
    ddr: Run, followed: DigaVz, state: RegistryState, pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entries that still stand are kept, those that had ended are not: together they were what was believed."""
    first_ms = await pool.fetchval("SELECT min(applied_ms) FROM schema_migration")
    long_ago = now_ms() - 3 * 365 * DAY_MS
    await pool.execute("UPDATE registry_entry SET from_ms = $1", long_ago)
    assert await ddr("registry", "at", instant(long_ago + DAY_MS)) == 0, "a younger database has deleted nothing"
    await pool.execute("UPDATE schema_migration SET applied_ms = $1", long_ago)
    try:
        assert await ddr("registry", "at", instant(now_ms() - 700 * DAY_MS)) == 0
        assert CLIENT in capsys.readouterr().out
        for command in (("at", instant(long_ago + DAY_MS)), ("report", "--since", instant(long_ago))):
            assert await ddr("registry", *command) == 1
            told = capsys.readouterr()
            assert told.out == "" and "is too long ago: entries that ended before " in told.err
    finally:
        await pool.execute("UPDATE schema_migration SET applied_ms = $1", first_ms)


async def test_the_report_tells_what_changed_and_what_was_done(
    ddr: Run, followed: DigaVz, state: RegistryState, pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    state.digas[0].redirect_uri = "https://new.example/cb"
    removed = state.digas.pop()
    state.fault = "error"
    await read_again(followed)
    state.fault = ""
    await read_again(followed)
    await store.record_event(pool, SOURCE, now_ms(), "unpaired", {"client_id": removed.client_id, "pairings": 2})
    assert await ddr("registry", "report") == 0
    out = capsys.readouterr().out
    for words in (
        f"{CLIENT} changed redirect_uri",
        f"{removed.client_id} changed absent, listed",
        "fault",
        "recovered",
        "unpaired",
    ):
        assert words in out
    assert await ddr("registry", "report", "--json", "--since", "2026") == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["kind"] for one in found["events"]} == {"fault", "recovered", "unpaired"}


async def test_of_what_is_still_to_come_nothing_is_told(ddr: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("report", "--since"), ("at",)):
        assert await ddr("registry", *command, "2999") == 1
        told = capsys.readouterr()
        assert not told.out and told.err.endswith("2999-01-01T00:00:00Z is in the future\n")


async def test_an_operator_confirms_ends_that_wait(
    ddr: Run, followed: DigaVz, pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await losses.write(connection, [Loss(CLIENT, WHOLE, 0, 1, evidence="retired", held_ms=1)])
    assert await ddr("registry", "show") == 1
    assert f"the end waits for ddr registry confirm {CLIENT}" in capsys.readouterr().out
    assert await ddr("registry", "confirm") == 1
    assert await ddr("registry", "confirm", "urn:diga:bfarm:99999") == 1
    assert await ddr("registry", "confirm", CLIENT, "--all") == 1
    assert await losses.held(pool) == 1
    assert await ddr("registry", "confirm", CLIENT) == 0
    assert await losses.held(pool) == 0
    assert (await store.read_source(pool, SOURCE)).next_ms == 0, "a reading is due"
    assert [one["detail"]["ends"] for one in await store.events(pool, 0, now_ms() + 1, "confirmed")] == [1]


async def test_refresh_makes_all_readings_due(ddr: Run, followed: DigaVz, pool: asyncpg.Pool) -> None:
    assert (await store.read_source(pool, SOURCE)).next_ms > now_ms()
    assert await ddr("registry", "refresh") == 0
    assert (await store.read_source(pool, SOURCE)).next_ms == 0


async def test_versions_are_fetched_shown_and_put_in_force(
    ddr: Run, state: RegistryState, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ddr("miv", "check") == 0
    state.packages = [Package(PACKAGE, "1.1.0", valuesets(settings, "1.1.0", "2339-0"))]
    assert await ddr("miv", "update") == 0
    out = capsys.readouterr().out
    assert f"MIV {PRESSURE}: 1.0.1 in force, 1.1.0 from {PACKAGE}#1.1.0 waits" in out
    assert f"MIV {BG}: " not in out, "what only takes away is in force by itself"
    assert await ddr("miv", "check") == 1
    assert await ddr("miv", "activate", PRESSURE, "1.1.0") == 0
    capsys.readouterr()
    assert await ddr("miv", "list") == 0
    assert f"{BG} 1.1.0 in force, 5 codes" in capsys.readouterr().out
    assert await ddr("miv", "activate", BG, "1.0.1") == 0
    assert await ddr("miv", "activate", BG, "9.9.9") == 1
    assert await ddr("miv", "activate", "unknown", "1.0.1") == 1


async def test_an_archive_can_be_imported(
    ddr: Run, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hddt.tgz"
    file.write_bytes(archive(Package(PACKAGE, "1.2.0", valuesets(settings, "1.2.0"))))
    assert await ddr("miv", "import", str(file)) == 0
    assert "the codes are the same" in capsys.readouterr().out
    others = [one for one in valuesets(settings, "1.2.0") if "-miv-" not in one["url"]]
    file.write_bytes(archive(Package(PACKAGE, "1.2.0", others)))
    assert await ddr("miv", "import", str(file)) == 1
    assert "contains no ValueSet of a MIV" in capsys.readouterr().err
    file.write_bytes(b"<html>")
    assert await ddr("miv", "import", str(file)) == 1
    assert "not gzip" in capsys.readouterr().err


async def test_update_tells_a_fault_of_the_zts(
    ddr: Run, state: RegistryState, capsys: pytest.CaptureFixture[str]
) -> None:
    state.fault = "truncated"
    assert await ddr("miv", "update") == 1
    assert "ZTS: " in capsys.readouterr().err


async def test_an_answer_that_nobody_has_thought_of_is_one_line(
    ddr: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd(*_: object) -> None:
        raise KeyError("whatever stood there")

    monkeypatch.setattr("ddr.registries.terminology.Zts._read", odd)
    monkeypatch.setattr("ddr.cli.hiis.registered", odd)
    for command, source in ((("miv", "update"), "ZTS"), (("hiis", "diff"), "HIIS-VZ")):
        assert await ddr(*command) == 1
        assert capsys.readouterr().err == f"ddr: {source}: cannot be read: KeyError\n"


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_the_registration_is_written_when_it_is_fit(
    ddr: Run, operator: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ddr("hiis", "register", "--out", str(tmp_path)) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert written(tmp_path) == []
    assert await ddr("hiis", "register", "--out", str(tmp_path), "--offline") == 0
    bundle: dict[str, Any] = json.loads((tmp_path / "hiis-registration.json").read_text())
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds == ["DeviceDefinition", "Endpoint", "Endpoint"]
    sheet = (tmp_path / "hiis-registration.md").read_text()
    assert operator.fhir_base in sheet and "| 900 s | 30 d |" in sheet


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"implementation": [], "paths": {"/x": 5}, "scopes_supported": 5},
        {"rest": [5], "scopes_supported": None, "paths": []},
    ],
)
async def test_documents_of_somebody_else_are_one_line_each(
    ddr: Run,
    folder: Path,
    authority: certs.Pair,
    answer: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base URLs lead to something else that speaks JSON: an older version, a proxy, another product."""
    async with serving(constant(json_reply(answer)), certs.server_certificate(folder, authority)) as port:
        for listener in ("DIGA", "PUBLIC", "GATEWAY"):
            monkeypatch.setenv(f"DDR_{listener}_BASE_URL", f"https://localhost:{port}")
        trusted = ("--ca", str(authority.cert))
        assert await ddr("hiis", "register", "--out", str(tmp_path), *trusted) == 1
        told = capsys.readouterr().err
        assert f"https://localhost:{port}/fhir/metadata: " in told and written(tmp_path) == []
        assert await ddr("dossier", "--out", str(tmp_path), *trusted) == 1
        told = capsys.readouterr().err
        assert (
            f"missing: interface https://localhost:{port}/docs/openapi.json: is not a document of the expected form\n"
            in told
        )
        assert "dossier.html" in written(tmp_path)


async def test_diff_fails_when_the_registration_differs(
    ddr: Run, operator: Settings, state: RegistryState, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ddr("hiis", "diff") == 1
    state.hiis = resources(operator, load_catalog(operator.miv_packages, {}))
    assert await ddr("hiis", "diff") == 0
    state.hiis[1]["address"] = "https://old.example/fhir"
    assert await ddr("hiis", "diff") == 1
    assert "https://old.example/fhir" in capsys.readouterr().out
    state.fault = "html"
    assert await ddr("hiis", "diff") == 1
    assert "HIIS-VZ: " in capsys.readouterr().err
