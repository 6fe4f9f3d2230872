"""The request log is exported, filtered, encrypted and verified (HDDT operational-requirements.md, Proof and Audit
Capability), with the operator's commands."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ddr.cli.main import main
from ddr.operations import housekeeping
from ddr.operations.request_log import policy, sealing
from ddr.operations.request_log.verifying import findings
from tests.spec.conftest import received
from tests.support.recorder import Recorder, TestDiga

Json = dict[str, Any]
__all__ = ["received"]
DAY_MS = 86_400_000


@dataclass
class Desk:
    """An operator at the command line of a recorder that has answered a few requests of two DiGA."""

    ddr: Recorder
    one: TestDiga
    other: TestDiga
    pairing_id: str
    folder: Path
    capsys: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> tuple[int, str]:
        """The exit status and the output."""
        status = await asyncio.to_thread(main, ("logs", *arguments))
        said = self.capsys.readouterr()
        return status, said.out + said.err

    async def file(self, *options: str) -> Path:
        """Run an export."""
        path = self.folder / "export.jsonl"
        assert await self.run("export", "--output", str(path), *options) == (0, "")
        return path

    async def records(self, *options: str) -> list[Json]:
        """The records of an export, after it was verified as whole."""
        path = await self.file(*options)
        status, said = await self.run("verify", str(path))
        assert (status, said.splitlines()[-1]) == (0, "the file is complete and unchanged")
        *lines, last = map(json.loads, path.read_text().splitlines())
        assert last.keys() == {"manifest"}
        assert last["manifest"]["records"] == len(lines)
        return lines


@pytest.fixture
async def desk(
    alone: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Desk]:
    """The clock of this recorder advances by a second with each request."""
    monkeypatch.setenv("DDR_DATABASE_URL", alone.settings.database_url)
    monkeypatch.setenv("DDR_STATE_DIR", str(alone.settings.state_dir))
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    patient = await alone.patient()
    one, other = await alone.diga(), await alone.diga()
    tokens = await alone.pair(one, patient)
    header = {"authorization": f"Bearer {tokens.access_token}"}
    for path in ("Device", "DeviceMetric", "Device?foo=1", "Device/unknown"):
        alone.clock.ms += 1000
        await one.http.get(path, headers={**header, "x-request-id": f"id-{len(path)}"})
    await other.http.get("Device", headers=header)
    yield Desk(alone, one, other, tokens.pairing_id, tmp_path, capsys)


@pytest.mark.requirement("OPS-022", "OPS-023")
async def test_filters(desk: Desk) -> None:
    everything = await desk.records()
    assert len(everything) > 10
    assert all(datetime.fromisoformat(record["timestamp"]).tzinfo for record in everything)
    middle = sorted(record["timestamp"] for record in everything)[-3]
    filters: list[tuple[list[str], Callable[[Json], bool]]] = [
        (["--client", desk.one.entry.client_id], lambda one: one["client_id"] == desk.one.entry.client_id),
        (["--client", desk.other.entry.client_id], lambda one: one["client_id"] == desk.other.entry.client_id),
        (["--pairing", desk.pairing_id], lambda one: one["pairing_id"] == desk.pairing_id),
        (["--endpoint", "/fhir/Device"], lambda one: one["partner_id"] == "localhost/fhir/Device"),
        (["--endpoint", "localhost/fhir/Device/{id}"], lambda one: one["partner_id"] == "localhost/fhir/Device/{id}"),
        (["--status", "400"], lambda one: one["status"] == 400),
        (["--transaction", "id-6"], lambda one: one["transaction_id"] == "id-6"),
        (["--since", middle], lambda one: one["timestamp"] >= middle),
        (["--until", middle], lambda one: one["timestamp"] < middle),
        (["--since", middle, "--status", "404"], lambda one: one["timestamp"] >= middle and one["status"] == 404),
        (["--client", "nobody"], lambda one: False),
    ]
    for options, fits in filters:
        wanted = [record for record in everything if fits(record)]
        assert wanted or options == ["--client", "nobody"]
        assert await desk.records(*options) == wanted


@pytest.mark.parametrize(
    "path", ["/fhir/Device/4711", "/fhir/Device/", "fhir/Device", "https://localhost:8443/fhir/Device", "/Device"]
)
async def test_an_endpoint_that_no_record_names_is_refused(desk: Desk, path: str) -> None:
    """It would select nothing, and the manifest would prove that there was nothing."""
    with pytest.raises(SystemExit):
        await desk.run("export", "--endpoint", path)
    assert "/fhir/Device/{id}" in desk.capsys.readouterr().err


async def test_each_endpoint_that_a_record_names_can_be_asked_for(desk: Desk) -> None:
    for name in {record["partner_id"] for record in await desk.records()}:
        assert await desk.records("--endpoint", name)


@pytest.mark.requirement("OPS-001")
async def test_an_export_is_evidence_of_downtime(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines as written, with the line that proves them."""

    async def away(*_: object) -> None:
        raise ConnectionError

    async def asked() -> int:
        desk.ddr.clock.ms += 30_000
        return (await desk.one.http.get("Device", headers={"authorization": "Bearer x.y.z"})).status_code

    begun = datetime.fromtimestamp(desk.ddr.clock.ms / 1000, UTC)
    with monkeypatch.context() as patched:
        patched.setattr("ddr.diga_api.app._FhirServer._answer", away)
        assert [await asked() for _ in range(6)] == [503] * 6
    assert await asked() == 401
    month = begun.astimezone(ZoneInfo(desk.ddr.settings.time_zone)).strftime("%Y-%m")
    path = await desk.file("--since", begun.isoformat())
    status = await asyncio.to_thread(main, ("availability", "--month", month, "--log", str(path)))
    said = desk.capsys.readouterr()
    assert (status, said.err) == (0, "")
    assert "log: 6 calls of data failed in a row" in said.out
    assert re.search(r"down +0:03:00 h", said.out)


@pytest.mark.requirement("OPS-024")
async def test_what_was_done_to_a_file_is_found(desk: Desk) -> None:
    path = await desk.file("--client", desk.one.entry.client_id)
    lines = path.read_text().splitlines(keepends=True)

    async def said_of(changed: list[str]) -> str:
        path.write_text("".join(changed))
        status, said = await desk.run("verify", str(path))
        assert status == 1
        return said

    assert len(lines) > 5
    assert "line 3 was changed; it was" in await said_of(
        [*lines[:2], lines[2].replace('"status":', '"status":1'), *lines[3:]]
    )
    name = json.loads(lines[2])["transaction_id"]
    removed = await said_of([*lines[:2], *lines[3:]])
    assert "a line was removed before line 3" in removed
    assert name in removed
    assert f"a line was removed before line {len(lines) - 1}" in await said_of([*lines[:-2], lines[-1]])
    assert "line 2 was added" in await said_of([lines[0], lines[3].replace('"status":', '"status":1'), *lines[1:]])
    assert "line 2 was moved" in await said_of([lines[1], lines[0], *lines[2:]])
    assert "line 2 was added" in await said_of([lines[0], lines[0], *lines[1:]])
    assert "the last line is not a manifest" in await said_of(lines[:-1])
    narrower = lines[-1].replace('"since_ms":null', f'"since_ms":{desk.ddr.clock()}')
    assert "the manifest, was changed" in await said_of([*lines[:-1], narrower])


@pytest.mark.requirement("OPS-019")
@pytest.mark.requirement("OPS-024")
async def test_what_was_done_to_the_log_is_found(desk: Desk) -> None:
    await desk.file()
    assert (await desk.run("verify"))[0] == 0
    pool = desk.ddr.core.pool
    for statement in (
        "UPDATE request_log_seal SET entries = 0",
        "DELETE FROM request_log_seal",
        "TRUNCATE request_log_seal",
        "UPDATE request_log_policy SET since_ms = 0",
        "DELETE FROM request_log_key",
    ):
        with pytest.raises(Exception, match="append-only"):
            await pool.execute(statement)
    assert (await desk.run("verify"))[0] == 0
    await desk.other.http.get("metadata")
    await desk.file()
    head = next(line for line in (await desk.run("verify"))[1].splitlines() if line.startswith("head "))
    assert (await desk.run("verify", "--head", head[5:]))[0] == 0
    assert (await desk.run("verify", "--head", "1:00"))[0] == 1
    for attack, told in (
        ("UPDATE request_log_seal SET packed = (SELECT packed FROM request_log_seal WHERE seal_no = 2)", "changed"),
        ("UPDATE request_log_seal SET signature = replace(signature, '.', 'x.')", "signature"),
        ("DELETE FROM request_log_seal WHERE seal_no = 1", "does not follow"),
        ("UPDATE request_log_seal SET runs = '{}'", "was changed"),
    ):
        async with pool.acquire() as conn:
            change = conn.transaction()
            await change.start()
            for table in [
                row[0] for row in await conn.fetch("SELECT relname FROM pg_class WHERE relname ~ 'log_seal_2\\d+$'")
            ]:
                await conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            await conn.execute(attack)
            seen = (await findings(conn)).faults
            await change.rollback()
        assert any(told in fault for fault in seen), (attack, seen)


@pytest.mark.requirement("OPS-024")
async def test_records_that_vanish_before_they_are_sealed_are_missed(desk: Desk) -> None:
    pool = desk.ddr.core.pool
    run, number = await pool.fetchrow("SELECT run, max(batch_no) - 1 FROM request_log_fresh GROUP BY run")
    await pool.execute("DELETE FROM request_log_fresh WHERE run = $1 AND batch_no = $2", run, number)
    await desk.file()
    status, said = await desk.run("verify")
    assert status == 1
    assert f"records of worker {str(run)[:8]} are missing (batch {number} to {number})" in said


@pytest.mark.requirement("OPS-022")
async def test_an_export_can_be_read_by_its_recipient_only(desk: Desk) -> None:
    key = rsa.generate_private_key(65537, 3072)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "DiGA")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (desk.folder / "recipient.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (desk.folder / "recipient.key").write_bytes(private)
    plain = [json.loads(line) for line in (await desk.file()).read_text().splitlines()]
    path = await desk.file("--encrypt-to", str(desk.folder / "recipient.pem"))
    assert b"Transfer" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    command = ("openssl", "cms", "-decrypt", "-inform", "PEM", "-in", str(path), "-inkey", "recipient.key")
    opened = (await asyncio.to_thread(subprocess.run, command, cwd=desk.folder, capture_output=True, check=True)).stdout
    assert [json.loads(line) for line in opened.splitlines()][:-1] == plain[:-1]
    status, said = await desk.run("export", "--encrypt-to", str(desk.one.certificate.cert))
    assert (status, "RSA" in said) == (1, True)


@pytest.mark.requirement("OPS-025")
async def test_changes_of_the_policy_are_kept_with_their_times(desk: Desk) -> None:
    pool, settings, now_ms = desk.ddr.core.pool, desk.ddr.settings, desk.ddr.clock()
    assert await policy.keep(pool, settings, now_ms) == 1
    assert await policy.keep(pool, settings, now_ms + 1000) == 1
    assert await policy.keep(pool, replace(settings, request_log_days=90), now_ms + 5000) == 2
    status, said = await desk.run("policy")
    first, second = map(json.loads, said.splitlines())
    assert (status, first["version"], second["version"]) == (0, 1, 2)
    assert first["until"] == second["since"]
    assert (first["retention_days"], second["retention_days"], second["until"]) == (30, 90, None)
    assert first["scope"] == second["scope"]
    assert first["masking"]
    assert datetime.fromisoformat(second["since"]).tzinfo


@pytest.mark.requirement("OPS-019")
async def test_days_are_dropped_when_their_time_is_over_and_not_before(desk: Desk) -> None:
    """The database's own clock guards the 30 days, so old records must be sealed in the past."""
    pool, signer, settings = desk.ddr.core.pool, desk.ddr.core.signer, desk.ddr.settings
    today_ms = await pool.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    for days in (40, 33, 29, 0):
        await desk.other.http.get("metadata")
        assert await sealing.seal(pool, signer, settings, today_ms - days * DAY_MS) == 1
    path = await desk.file("--client", desk.other.entry.client_id)
    await housekeeping.steps(desk.ddr.core, today_ms)["request-log-drop"]()
    assert await sealing.drop(pool, 1, today_ms) == 0, "30 days, whatever the setting"
    status, said = await desk.run("verify", str(path))
    assert status == 0, said
    assert [row[0] for row in await pool.fetch("SELECT seal_no FROM request_log_seal ORDER BY 1")] == [3, 4]
    path.write_text(path.read_text().replace("200 OK", "200 KO", 1))
    assert (await desk.run("verify", str(path)))[0] == 1
