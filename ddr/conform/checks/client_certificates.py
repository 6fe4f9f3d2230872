"""Who is admitted with which certificate: none, an unknown one, one with the same name, that of another DiGA."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ddr.conform.authorization import push, request
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.target import Identity
from ddr.conform.verdict import expect

CERTIFICATE = (Need.CERTIFICATE,)


def _endpoints(kit: Kit) -> Iterator[tuple[str, str]]:
    names = ("pushed_authorization_request_endpoint", "token_endpoint", "revocation_endpoint")
    yield from (("POST", kit.endpoint(name)) for name in names)
    yield "GET", f"{kit.target.fhir_base}/Observation"


@check("TLS-001")
def no_certificate_no_service(kit: Kit) -> None:
    """PAR, token, revocation and FHIR are refused without a client certificate."""
    for method, url in _endpoints(kit):
        form = {"client_id": "urn:diga:bfarm:00000"} if method == "POST" else None
        answer = kit.wire.send(method, url, None, form=form)
        expect(answer.refused and answer.status not in (404, 405), "served without a certificate", answer)


@check("TLS-005", "AS-033", needs=CERTIFICATE)
def unknown_certificate_is_refused(kit: Kit) -> None:
    """A client with an unregistered certificate can neither push a request nor get data."""
    _expect_stranger_refused(kit, "ddr conform")


@check("TLS-005", needs=CERTIFICATE)
def same_name_other_key_is_refused(kit: Kit) -> None:
    """A certificate with the name of a registered one but another key is refused: the exact certificate counts."""
    own = x509.load_pem_x509_certificate(kit.diga.certificate.read_bytes())
    _expect_stranger_refused(kit, own.subject)


def _expect_stranger_refused(kit: Kit, name: str | x509.Name) -> None:
    with TemporaryDirectory(prefix="ddr-conform-") as folder:
        pair = _self_signed(Path(folder), name)
        stranger = replace(kit.diga, certificate=pair[0], key=pair[1])
        pushed = push(kit, request(kit, kit.diga).form, stranger)
        expect(_refused(pushed), "a pushed request is accepted with a certificate that is not registered", pushed)
        asked = kit.wire.send("GET", f"{kit.target.fhir_base}/Observation", stranger)
        expect(asked.status in (0, 400, 401, 495, 496), "data is served to an unknown certificate", asked)


def _refused(answer: Exchange) -> bool:
    return answer.status == 0 or answer.status in (400, 401, 495, 496)


def _self_signed(folder: Path, name: str | x509.Name) -> tuple[Path, Path]:
    """A new key with a certificate of its own for one hour: the files of both."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = name if isinstance(name, x509.Name) else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    certificate = builder.not_valid_after(now + datetime.timedelta(hours=1)).sign(key, hashes.SHA256())
    files = folder / "stranger.pem", folder / "stranger.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].touch(mode=0o600)
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@check("AS-011", "TLS-005", needs=(Need.TWO_DIGA,))
def certificate_and_client_belong_together(kit: Kit) -> None:
    """The certificate of one DiGA with the client_id of another is refused as invalid_client."""
    _expect_invalid_client(kit, kit.diga, kit.other_diga)
    _expect_invalid_client(kit, kit.other_diga, kit.diga)


def _expect_invalid_client(kit: Kit, claimed: Identity, presented: Identity) -> None:
    answer = push(kit, request(kit, claimed).form, presented)
    wrong = f"{presented.client_id} may act as {claimed.client_id}"
    expect(answer.status == 401 and answer.json.get("error") == "invalid_client", wrong, answer)


@check("AS-033", "REG-005", needs=CERTIFICATE)
def unlisted_client_is_refused(kit: Kit) -> None:
    """A client_id that is not in the DiGA-VZ, or is malformed, gets 401 invalid_client."""
    for client_id in ("urn:diga:bfarm:00000", "diga", "urn:diga:bfarm:123456", kit.diga.client_id.upper()):
        answer = push(kit, {**request(kit, kit.diga).form, "client_id": client_id}, kit.diga)
        good = answer.status == 401 and answer.json.get("error") == "invalid_client"
        expect(good, f"client_id {client_id} is not refused as invalid_client", answer)
