"""Development certificates: usable, private, kept while they are fresh."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from ddr.demo import certs


def test_keys_are_private_and_files_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    authority = certs.authority(folder)
    before = authority.cert.read_bytes()
    assert authority.key.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert certs.authority(folder).cert.read_bytes() == before


def test_both_kinds_of_client_certificates(tmp_path: Path) -> None:
    issuer = certs.authority(tmp_path)
    for pair in (certs.client_certificate(tmp_path, "own"), certs.client_certificate(tmp_path, "issued", issuer)):
        certificate = x509.load_der_x509_certificate(pair.der)
        self_signed = certificate.issuer == certificate.subject
        assert self_signed is (pair.cert.name == "own.pem")
        days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
        assert 365 <= days <= 398


def test_server_certificate_is_accepted_for_localhost(tmp_path: Path) -> None:
    authority = certs.authority(tmp_path)
    pair = certs.server_certificate(tmp_path, authority)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pair.cert, pair.key)
    client = ssl.create_default_context(cafile=str(authority.cert))
    assert handshake(client, server, "localhost")
    assert handshake(client, server, "127.0.0.1")


def handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext, host: str) -> bool:
    """Whether both sides finish a handshake in memory; raises when one refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    return not waiting
