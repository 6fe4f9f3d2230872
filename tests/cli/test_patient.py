"""`ddr patient add`."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.store.patients.accounts import verify

Run = Callable[[str, str], "asyncio.Future[int]"]


@pytest.fixture
def add(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `ddr patient add` for a name with a password on its standard input; gives the exit status."""
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")

    def run(username: str, password: str) -> asyncio.Future[int]:
        monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
        arguments = ["patient", "add", "--username", username, "--password-stdin"]
        return asyncio.get_running_loop().run_in_executor(None, main, arguments)

    return run


async def test_creates_a_patient_and_prints_the_gateway_token(
    add: Run, pool: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await add("berta", "correct horse battery") == 0
    patient_id = await verify(pool, "berta", "correct horse battery")
    digest = hashlib.sha256(capsys.readouterr().out.strip().encode()).digest()
    assert patient_id is not None
    found = "SELECT patient_id FROM gateway_token WHERE token_sha256 = $1"
    assert await pool.fetchval(found, digest) == patient_id


@pytest.mark.parametrize(
    ("username", "password", "complaint"),
    [
        ("carla", "short", "password must have 8 to 256 characters"),
        ("a\x00b", "correct horse battery", "username must have 1 to 256 characters, all printable"),
    ],
)
async def test_unusable_input_is_one_line(
    add: Run, capsys: pytest.CaptureFixture[str], username: str, password: str, complaint: str
) -> None:
    assert await add(username, password) == 1
    error = capsys.readouterr().err
    assert error.endswith(f"{complaint}\n")
    assert error.count("\n") == 1
    assert password not in error


async def test_a_name_is_taken_once(add: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert await add("dora", "correct horse battery") == 0
    assert await add("dora ", "another password") == 1
    assert "username is already taken" in capsys.readouterr().err


async def test_refused_without_builtin_accounts(
    add: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDR_PATIENT_LOGIN", "oidc")
    monkeypatch.setenv("DDR_OIDC_ISSUER", "https://konto.example")
    monkeypatch.setenv("DDR_OIDC_CLIENT_ID", "ddr")
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "false")
    assert await add("emma", "correct horse battery") == 1
    assert "demonstration only; set allow_builtin_accounts\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("patient find \udcff", "an argument is not UTF-8"),
        ("logs export --output=.", ""),
    ],
)
async def test_what_no_column_or_file_can_hold_is_one_line(
    add: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    line: str,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await asyncio.get_running_loop().run_in_executor(None, main, line.split()) == 1
    error = capsys.readouterr().err
    assert complaint in error and error.startswith("ddr: ") and error.count("\n") == 1


async def test_two_who_delete_the_same_account(
    add: Run, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await add("frieda", "correct horse battery") == 0
    capsys.readouterr()

    async def nothing_left(*_: object) -> bool:
        return False

    monkeypatch.setattr("ddr.cli.patient.delete_patient", nothing_left)
    words = ["patient", "delete", "frieda", "--yes"]
    assert await asyncio.get_running_loop().run_in_executor(None, main, words) == 1
    assert capsys.readouterr() == ("", "ddr: somebody else has deleted the account in the meantime\n")
