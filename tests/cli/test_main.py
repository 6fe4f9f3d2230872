"""Commands: their messages and exit status when something is wrong."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ddr import __version__
from ddr.cli.errors import CommandError
from ddr.cli.serve import check_state
from ddr.demo.recorder import free_ports
from tests.cli.recorder import ddr, settings_for
from tests.support.database import fresh_database


def complaint(*arguments: str, **settings: object) -> str:
    """The one line on stderr of a command that must fail."""
    done = ddr(*arguments, settings=settings)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ddr: ")
    return lines[0]


@pytest.mark.parametrize(
    ("command", "named"),
    [(("credentials", "assign", "x"), "bridge"), (("patient", "proxy", "add", "--relation", "x"), "parent")],
)
def test_words_to_choose_from_are_those_to_type(command: tuple[str, ...], named: str) -> None:
    done = ddr(*command, settings={})
    assert done.returncode == 2
    assert f"'{named}'" in done.stderr and "<" not in done.stderr


def test_wrong_settings() -> None:
    assert "setting workers" in complaint("serve", workers="none")
    assert "demonstration only" in complaint("serve")


def test_a_command_to_which_nothing_is_set_says_so() -> None:
    assert "DDR_SETTINGS names no file" in complaint("audit", "verify")
    assert "DDR_SETTINGS" not in complaint("audit", "verify", workers=2)


def test_openssl_without_ciphers_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("openssl_conf = all", "[all]", "providers = some", "[some]", "base = one", "[one]", "activate = 1")
    (tmp_path / "openssl.cnf").write_text("\n".join(lines) + "\n")
    own = settings_for(tmp_path)
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "openssl.cnf"))
    assert "OpenSSL has no ciphers" in complaint("serve", **own)
    assert "OpenSSL has no ciphers" in complaint("serve", **own, registry_ca=own["server_cert"])


@pytest.mark.parametrize("command", [("serve",), ("db", "migrate")])
def test_no_database_is_made_that_nobody_asked_for(tmp_path: Path, command: tuple[str, ...]) -> None:
    line = complaint(*command, **settings_for(tmp_path, embedded=False))
    assert "DDR_DATABASE_URL" in line and "DDR_EMBEDDED" in line
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("command", [("serve",), ("db", "migrate")])
def test_an_unreachable_database(tmp_path: Path, command: tuple[str, ...]) -> None:
    (port,) = free_ports(1)
    url = f"postgresql://user:secret@127.0.0.1:{port}/ddr"
    line = complaint(*command, **settings_for(tmp_path, database_url=url, database_wait_seconds=0))
    assert line == f"ddr: database 127.0.0.1:{port}/ddr: cannot connect: no server listens there"


def test_a_database_whose_socket_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://ddr@/ddr?host={tmp_path}"
    line = complaint("db", "migrate", database_url=url, allow_builtin_accounts=True)
    assert line == "ddr: database local socket/ddr: cannot connect: no server listens there"


@pytest.mark.parametrize("url", ["nonsense", "mysql://127.0.0.1/ddr", "postgresql://127.0.0.1:port/ddr"])
def test_a_malformed_database_url(url: str) -> None:
    assert "database" in complaint("db", "migrate", database_url=url, allow_builtin_accounts=True)


def test_a_database_that_does_not_exist(database_url: str) -> None:
    url = database_url.replace("/ddr_test_", "/absent_")
    assert "does not exist" in complaint("db", "migrate", database_url=url, allow_builtin_accounts=True)


def test_a_missing_server_certificate(tmp_path: Path) -> None:
    line = complaint("serve", **settings_for(tmp_path, server_cert=tmp_path / "absent.pem"))
    assert "server certificate" in line


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = complaint("serve", **settings_for(tmp_path, gateway_port=port))
    assert f"gateway listener: cannot bind 127.0.0.1:{port}: Address already in use" in line


def test_a_host_that_nobody_knows(tmp_path: Path) -> None:
    line = complaint("serve", **settings_for(tmp_path, host="no host", diga_port=8443))
    assert re.search("diga listener: cannot bind no host:8443: .*[Nn]ame", line)  # also where no resolver answers


async def test_migrating_twice(database_url: str) -> None:
    async with fresh_database(database_url) as url:
        for expected in ("applied 0001_core", "up to date"):
            done = ddr("db", "migrate", settings={"database_url": url, "allow_builtin_accounts": True})
            assert done.returncode == 0
            assert expected in done.stdout


def test_settings_are_listed() -> None:
    done = ddr("settings", settings={})
    assert "state_dir (default `.ddr`)" in done.stdout


def test_the_version() -> None:
    assert ddr("--version", settings={}).stdout == f"{__version__}\n"


def test_a_state_directory_of_somebody_else(tmp_path: Path) -> None:
    with patch("os.access", return_value=False), pytest.raises(CommandError, match=f"{tmp_path} cannot be written"):
        check_state(tmp_path)


def test_a_server_certificate_that_has_ended(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name, ended = x509.Name([]), datetime(2026, 1, 2, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, ended - timedelta(days=90), ended)
    (tmp_path / "ended.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (tmp_path / "ended.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    own = {"server_cert": tmp_path / "ended.pem", "server_key": tmp_path / "ended.key"}
    assert "it ended on 2026-01-02" in complaint("serve", **settings_for(tmp_path) | own)


def test_misuse_shows_the_usage() -> None:
    done = ddr("nonsense", settings={})
    assert done.returncode == 2
    assert "usage: ddr" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (("demo", "--port-bose", "9000"), "usage: ddr demo "),
        (("registry-sandbox", "retire", "00001", "--now"), "usage: ddr registry-sandbox "),
        (("serve", "fast"), "usage: ddr serve "),
    ],
)
def test_a_misused_command_shows_its_own_usage(arguments: tuple[str, ...], usage: str) -> None:
    done = ddr(*arguments, settings={})
    assert done.returncode == 2
    assert done.stderr.startswith(usage)
    assert "unrecognized arguments" in done.stderr


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = complaint("demo", "--once", "--ports", "auto", "--state-dir", str(tmp_path / "file" / "state"))
    assert line == f"ddr: state directory {tmp_path}/file/state cannot be created: Not a directory"


def test_check_without_more_checks_what_there_is(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    line = complaint("check", **settings_for(tmp_path, diga_base_url=f"https://localhost:{port}"))
    assert line.startswith("ddr: DiGA listener: ")


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (("serve",), "state directory {folder}/file/state cannot be created: Not a directory"),
        (("registry-sandbox", "add", "00777", "N", "https://x.example/cb", "{folder}/absent"), "absent: No such file"),
        (("gateway", "add-certificate", "{folder}/absent", "--name", "x"), "{folder}/absent: No such file"),
    ],
)
def test_files_are_told_in_words(tmp_path: Path, arguments: tuple[str, ...], about: str) -> None:
    (tmp_path / "file").write_text("")
    settings = settings_for(tmp_path) | {"state_dir": tmp_path / "file" / "state"}
    line = complaint(*(part.format(folder=tmp_path) for part in arguments), **settings)
    assert about.format(folder=tmp_path) in line
    assert "Errno" not in line
