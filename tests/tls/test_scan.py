"""The TLS scan finds what a listener really accepts: compared with `openssl s_client`, on good and on bad listeners."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.tls import bsi
from ddr.tls.context import LiveContext, public_context
from ddr.tls.scan import Findings, ScanError, problems, scan
from ddr.tls.server_certificate import properties
from tests.tls.support import listening
from tests.tls.test_bsi import Scanned, scanned

__all__ = ["scanned"]

HAND_PICKED = "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:@SECLEVEL=0"


def test_a_listener_with_the_profile_has_no_problem(scanned: Scanned) -> None:
    findings = scan("localhost", scanned.port)
    assert problems(findings) == []
    assert findings.versions == ("TLS 1.2", "TLS 1.3")
    ecdsa = {suite for suite in bsi.TLS12_SUITES if "ECDSA" in suite}  # its certificate has no RSA key
    assert set(findings.suites) == {*ecdsa, *bsi.TLS13_SUITES}
    # The certificate's own curve must be offered in TLS 1.2, and OpenSSL has no Brainpool in TLS 1.3.
    assert set(findings.groups) == {group for group in bsi.GROUPS if group.startswith("secp")}
    assert set(findings.signatures) == {name for name in bsi.SIGNATURES if name.startswith("ecdsa")}


def test_every_suite_that_was_found_is_one_that_openssl_gets_too(scanned: Scanned) -> None:
    for suite in scan("localhost", scanned.port).suites:
        option = "-ciphersuites" if suite.startswith("TLS_") else "-cipher"
        assert scanned.accepts("-tls1_3" if suite.startswith("TLS_") else "-tls1_2", option, suite)


async def test_what_is_beyond_the_profile_is_found(tmp_path: Path) -> None:
    """A listener of a process without the profile: OpenSSL's defaults, and a suite that was switched on by hand."""
    identity = server_certificate(tmp_path, authority(tmp_path))
    context = public_context(identity.cert, identity.key)
    context.set_ciphers(HAND_PICKED)
    async with listening(LiveContext(context)) as port:
        findings = await asyncio.to_thread(scan, "localhost", port)
    found = problems(findings)
    assert {
        "cipher suite ECDHE-ECDSA-AES128-SHA256",
        "cipher suite TLS_CHACHA20_POLY1305_SHA256",
        "group x25519",
        "group x448",
    } <= set(found)
    assert not any(problem.startswith("protocol version") for problem in found)


def test_a_listener_that_answers_in_drops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: each drop began the time anew, and the scan lasted for hours."""
    monkeypatch.setattr("ddr.tls.scan.TIMEOUT_SECONDS", 0.3)
    over = threading.Event()

    def drop(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while not over.wait(0.02):
                connection.sendall(b"\x16")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dropping = threading.Thread(target=drop, args=(listener,))
        dropping.start()
        try:
            with pytest.raises(ScanError, match="timed out"):
                scan("127.0.0.1", listener.getsockname()[1])
        finally:
            over.set()
            dropping.join()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_old_versions_are_found(tmp_path: Path) -> None:
    identity = server_certificate(tmp_path, authority(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with listening(LiveContext(context)) as port:
        findings = await asyncio.to_thread(scan, "localhost", port)
    assert findings.versions == ("TLS 1.0", "TLS 1.1", "TLS 1.2")
    assert {"protocol version TLS 1.0", "protocol version TLS 1.1"} <= set(problems(findings))


async def test_a_chain_that_no_authority_of_the_machine_vouches_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = authority(tmp_path)
    identity = server_certificate(tmp_path, ca)
    async with listening(LiveContext(public_context(identity.cert, identity.key))) as port:
        unknown = await asyncio.to_thread(scan, "localhost", port)
        monkeypatch.setenv("SSL_CERT_FILE", str(ca.cert))
        known = await asyncio.to_thread(scan, "localhost", port)
    assert unknown.distrust == "unable to get local issuer certificate"
    assert known.distrust == ""


def test_a_place_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ScanError, match=f"127.0.0.1:{port}: .*refused"):
        scan("127.0.0.1", port)


def test_properties_of_certificates(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issued = properties(server_certificate(tmp_path, authority(tmp_path)).der)
    assert issued.names[0] == "localhost"
    assert issued.problems("localhost", now) == ["certificate: 0 signed certificate timestamps, 2 are needed"]
    assert "certificate: does not name ddr.example" in issued.problems("ddr.example", now)
    assert "certificate: expires within 30 days" in issued.problems("localhost", issued.not_after - timedelta(days=9))
    assert "certificate: expired" in issued.problems("localhost", issued.not_after)
    own = properties(client_certificate(tmp_path, "own").der)
    assert "certificate: self-signed" in own.problems("own", now)
    assert "certificate: extended key usage is not that of a server" in own.problems("own", now)
    assert "certificate: does not name own" not in own.problems("own", now)


def test_findings_of_a_bad_server() -> None:
    findings = Findings(("TLS 1.0",), ("RC4-SHA",), ("secp192r1",), ("rsa_pkcs1_sha1",), b"")
    assert len(problems(findings)) == 4
