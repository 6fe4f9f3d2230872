"""A valid certificate stays in force while the files contain something worse."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ddr.cli.serving.handed import handed_pair, taken_pair
from ddr.demo import certs
from ddr.demo.certs import Pair, authority, client_certificate, server_certificate
from ddr.tls import pair as module
from ddr.tls.context import LiveContext, TlsError, check_usable
from ddr.tls.pair import PairFiles, ServerPair, read_pair
from tests.tls.support import ask, client_context, listening


@pytest.fixture
def files(tmp_path: Path) -> Pair:
    """A good pair."""
    return server_certificate(tmp_path, authority(tmp_path))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, timedelta], ServerPair]:
    """Another pair of the same authority, which ends so much from now on."""

    def make(name: str, left: timedelta) -> ServerPair:
        with monkeypatch.context() as patch:
            patch.setattr(certs, "VALID", left)
            other = server_certificate(tmp_path / name, authority(tmp_path))
        return ServerPair(other.cert.read_bytes(), other.key.read_bytes())

    return make


def install(files: Pair, pair: ServerPair) -> None:
    files.key.write_bytes(pair.key)
    files.cert.write_bytes(pair.chain)


async def test_a_pair_that_is_over_replaces_no_good_one(
    files: Pair, made: Callable[[str, timedelta], ServerPair], caplog: pytest.LogCaptureFixture
) -> None:
    followed = PairFiles(files.cert, files.key)
    await followed.begin()
    good = followed.pair
    over, renewed = made("over", timedelta(minutes=-1)), made("renewed", timedelta(days=90))
    install(files, over)
    for _ in range(2):
        with pytest.raises(TlsError, match="it ended on"):
            await followed.step()
    assert followed.pair == good
    assert caplog.text.count("tls.context_kept") == 1
    install(files, renewed)
    await followed.step()
    assert followed.pair == renewed


def useless(folder: Path, kind: str) -> ServerPair:
    """A pair that no client of a server takes."""
    if kind == "for clients":
        made = client_certificate(folder, "client")
        return ServerPair(made.cert.read_bytes(), made.key.read_bytes())
    key = Ed25519PrivateKey.generate() if kind == "Ed25519" else ec.generate_private_key(ec.SECP224R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=9))
    certificate = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256())
    return ServerPair(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


@pytest.mark.parametrize("kind", ["for clients", "Ed25519", "secp224r1"])
async def test_a_pair_that_no_client_takes_replaces_no_good_one(files: Pair, tmp_path: Path, kind: str) -> None:
    followed = PairFiles(files.cert, files.key)
    await followed.begin()
    good = followed.pair
    install(files, useless(tmp_path, kind))
    with pytest.raises(TlsError, match=r"extended key usage|kind of its key"):
        await followed.step()
    assert followed.pair == good
    with pytest.raises(TlsError, match=r"extended key usage|kind of its key"):
        check_usable(files.cert, datetime.now(UTC))


async def test_where_there_is_none_that_is_good_what_the_files_have_is_taken(
    files: Pair, made: Callable[[str, timedelta], ServerPair]
) -> None:
    over, later = made("over", timedelta(minutes=-1)), made("later", timedelta(minutes=-2))
    install(files, over)
    followed = PairFiles(files.cert, files.key)
    await followed.begin()
    assert followed.pair == over, "a worker is replaced although it ended"
    install(files, later)
    await followed.step()
    assert followed.pair == later


@pytest.mark.parametrize("fault", ["missing", "of another", "half"])
async def test_a_worker_begins_with_what_was_in_force(
    files: Pair, made: Callable[[str, timedelta], ServerPair], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = read_pair(files.cert, files.key), made("other", timedelta(days=90))
    match fault:
        case "missing":
            files.key.unlink()
        case "of another":
            files.key.write_bytes(other.key)
        case _:
            files.cert.write_bytes(good.chain[:100])
    followed = PairFiles(files.cert, files.key, taken_pair(handed_pair(good)))
    await followed.begin()
    assert followed.pair == good
    install(files, other)
    await followed.step()
    assert followed.pair == other
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.0)
    files.key.unlink()
    with pytest.raises(TlsError, match=r"server\.key"):
        await PairFiles(files.cert, files.key).begin()


@pytest.mark.parametrize("without", ["", "a path", "leave"])
async def test_a_pair_in_memory_serves(
    files: Pair, tmp_path: Path, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system has no files in memory, or lets nobody make them."""

    def refused(_: str) -> int:
        raise PermissionError

    if without == "a path":
        monkeypatch.setattr(module, "OPEN_FILES", Path("/nowhere"))
    elif without:
        monkeypatch.setattr(os, "memfd_create", refused)
    pair = read_pair(files.cert, files.key)
    files.key.unlink()
    files.cert.unlink()
    async with listening(LiveContext(pair.context())) as port:
        assert await ask(port, client_context(tmp_path / "authority.pem")) == "none"
    with pytest.raises(ssl.SSLError):
        ServerPair(pair.chain, b"nothing").context()
