"""`ddr check api`: a poll from outside, with certificate and refresh token from files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ddr.cli.main import main
from tests.client.conftest import Backend
from tests.spec.conftest import strict_ddr
from tests.spec.world import BP
from tests.support.recorder import Recorder

__all__ = ["strict_ddr"]

Output = pytest.CaptureFixture[str]


@pytest.fixture
def ddr(strict_ddr: Recorder) -> Recorder:
    """The recorder with the specification's Grace-Periods."""
    return strict_ddr


def settings_of(backend: Backend) -> dict[str, str]:
    """Variables for the command."""
    settings = {"DDR_PUBLIC_BASE_URL": backend.diga.issuer, "DDR_ALLOW_BUILTIN_ACCOUNTS": "true"}
    return settings | {"DDR_DIGA_BASE_URL": backend.diga.fhir_base.removesuffix("/fhir")}


async def checked(backend: Backend, token: Path, **files: Path) -> int:
    """The exit status of the command."""
    given = {"certificate": backend.diga.certificate, "key": backend.diga.key, "refresh-token": token, **files}
    arguments = [part for name, file in given.items() for part in (f"--{name}", str(file))]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings_of(backend).items():
            patch.setenv(name, value)
        identity = ["--client-id", backend.diga.client_id, "--ca", backend.diga.ca]
        return await asyncio.to_thread(main, ["check", "api", *identity, *arguments])


@pytest.fixture
async def token(backend: Backend, tmp_path: Path) -> Path:
    """The file with the refresh token of a patient who has a blood pressure."""
    patient = await backend.ddr.patient()
    device = {"serialNumber": "S-1", "name": "Cuff", "manufacturer": "M", "type": "70665002"}
    put = await patient.gateway.put("devices/cuff", json={**device, "startedAt": "2026-11-01T00:00:00Z"})
    assert put.status_code == 201, put.text
    parts = [{"code": code, "value": value, "unit": "mm[Hg]"} for code, value in (("8480-6", 124), ("8462-4", 82))]
    one = {"code": "85354-9", "device": "cuff", "effective": "2026-11-20T10:00:00Z", "components": parts}
    assert (await patient.gateway.put("measurements/m-1", json=one)).status_code == 201
    grant = await backend.tokens.load(await backend.pair(patient, BP))
    assert grant is not None
    file = tmp_path / "refresh-token"
    file.write_text(grant.refresh_token + "\n")
    return file


def content(file: Path) -> str:
    """What is in it."""
    return file.read_text()


async def test_a_whole_poll_and_the_token_of_the_next(backend: Backend, token: Path, capsys: Output) -> None:
    first = content(token)
    assert await checked(backend, token) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    for request in ("POST /oauth/token", "GET  /fhir/metadata", "GET  /fhir/Observation "):
        assert f"  {request}" in said and " 200 " in said
    assert said.count("GET  /fhir/Observation/") == 1 and " ms\n" in said
    second = content(token)
    assert second not in ("", first)
    assert first.strip() not in said and second.strip() not in said
    assert await checked(backend, token) == 0, "the Grace-Period is no fault"
    assert "the Grace-Period still runs" in capsys.readouterr().out
    assert content(token) != second


async def test_a_recorder_that_does_not_serve(backend: Backend, token: Path, capsys: Output) -> None:
    backend.ddr.trust.is_stale = True
    try:
        assert await checked(backend, token) == 1
    finally:
        backend.ddr.trust.is_stale = False
    assert "PROBLEM" in capsys.readouterr().out
    assert await checked(backend, token) == 0


async def test_what_is_wrong_is_one_line_and_status_1(
    backend: Backend, token: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "other").write_text("x" * 130)
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "encrypted").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    for files, complaint in (
        ({"refresh-token": tmp_path / "absent"}, "absent: No such file"),
        ({"key": tmp_path / "absent"}, "No such file"),
        ({"key": tmp_path / "other"}, "certificate, key or CA: not valid PEM"),
        ({"key": tmp_path / "encrypted"}, "or a key with a password"),
        ({"refresh-token": tmp_path / "other"}, "1 problem found"),
    ):
        assert await checked(backend, token, **files) == 1
        error = capsys.readouterr().err
        assert complaint in error and error.count("\n") == 1, error


async def test_a_token_whose_successor_could_not_be_kept_is_not_used(
    backend: Backend, token: Path, capsys: Output
) -> None:
    """The next check would use it a second time, which ends the pairing."""
    first, blocked = content(token), token.with_name("refresh-token.new")
    blocked.mkdir()
    assert await checked(backend, token) == 1
    told = capsys.readouterr()
    assert "POST" not in told.out and told.err == f"ddr: {blocked}: Is a directory\n"
    blocked.rmdir()
    assert content(token) == first and await checked(backend, token) == 0


async def test_a_link_leads_to_the_next_token_and_what_keeps_none_is_left_alone(
    backend: Backend, token: Path, tmp_path: Path, capsys: Output
) -> None:
    """Who follows the link next must not find the token that was used: that ends the pairing."""
    first, link, device = content(token), tmp_path / "link", tmp_path / "device"
    link.symlink_to(token)
    assert await checked(backend, link) == 0, capsys.readouterr()
    assert link.is_symlink() and content(token) not in ("", first)
    assert await checked(backend, token) == 0, capsys.readouterr()
    device.symlink_to("/dev/null")
    assert await checked(backend, device) == 1
    assert "/dev/null: is not a file that can hold the next token\n" in capsys.readouterr().err
    assert device.is_symlink() and device.is_char_device()
    endless = tmp_path / "endless"
    endless.symlink_to(endless)
    assert await checked(backend, endless) == 1
    assert f"{endless}: Too many levels of symbolic links\n" in capsys.readouterr().err


async def test_checks_with_one_token_come_one_after_the_other(
    backend: Backend, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_of(backend).items():
        monkeypatch.setenv(name, value)
    assert await asyncio.gather(*(checked(backend, token) for _ in range(3))) == [0, 0, 0]
    assert await checked(backend, token) == 0
