"""`ddr gateway`: certificates of bridges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.http.clock import now_ms
from ddr.registries.certificates import fingerprint
from ddr.store.gateways.certificates import let_in

Run = Callable[..., "asyncio.Future[int]"]


@pytest.fixture
def ddr_gateway(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `ddr gateway` with these arguments; gives the exit status."""
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")

    def run(*arguments: object) -> asyncio.Future[int]:
        return asyncio.get_running_loop().run_in_executor(None, main, ["gateway", *map(str, arguments)])

    return run


async def test_a_certificate_from_registration_to_revocation(
    ddr_gateway: Run, pool: asyncpg.Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = client_certificate(tmp_path, "backend")
    assert await ddr_gateway("add-certificate", pair.cert, "--name", "backend") == 0
    assert fingerprint(pair.der) in capsys.readouterr().out
    assert await let_in(pool, pair.der, now_ms())
    assert await ddr_gateway("revoke-certificate", "backend") == 0
    assert not await let_in(pool, pair.der, now_ms())
    assert await ddr_gateway("list-certificates") == 0
    assert "revoked" in capsys.readouterr().out.split("backend: ")[1]
    assert await ddr_gateway("revoke-certificate", "backend") == 1
    assert await ddr_gateway("add-certificate", pair.cert, "--name", "backend") == 1
    assert "already been registered" in capsys.readouterr().err


async def test_two_of_a_name_are_good_while_one_follows_the_other(
    ddr_gateway: Run, pool: asyncpg.Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, third = [client_certificate(tmp_path, name) for name in ("old", "new", "third")]
    assert await ddr_gateway("add-certificate", old.cert, "--name", "one") == 0
    assert await ddr_gateway("add-certificate", new.cert, "--name", "one") == 0
    assert await ddr_gateway("add-certificate", third.cert, "--name", "one") == 1
    assert [await let_in(pool, one.der, now_ms()) for one in (old, new, third)] == [True, True, False]
    assert await ddr_gateway("revoke-certificate", "one") == 1
    assert "select one by its SHA-256" in capsys.readouterr().err
    assert await ddr_gateway("revoke-certificate", fingerprint(old.der)) == 0
    assert await ddr_gateway("revoke-certificate", "one") == 0
    assert [await let_in(pool, one.der, now_ms()) for one in (old, new, third)] == [False] * 3


async def test_what_is_no_client_certificate_is_one_line(
    ddr_gateway: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = server_certificate(tmp_path, authority(tmp_path))
    for file in (Path(__file__), tmp_path / "missing.pem", server.key, server.cert):
        assert await ddr_gateway("add-certificate", file, "--name", "x") == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert await ddr_gateway("add-certificate", client_certificate(tmp_path, "c").cert, "--name", "a\nb") == 1
