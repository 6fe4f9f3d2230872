"""Development certificates, made in the state directory: CA, server, clients. Never for production."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=390)  # HDDT allows client certificates 365 to 398 days
RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """A certificate (PEM chain) and its key (PEM, mode 0600) on disk."""

    cert: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The leaf certificate as DER."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class Signer:
    """What signs a certificate: the name and key of a CA."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey


def authority(folder: Path, name: str = "HDDT development CA") -> Pair:
    """The development CA of `folder`, made on first use."""
    pair = Pair(folder / "authority.pem", folder / "authority.key")
    if not _fresh(pair):
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
        builder = _builder(subject, Signer(subject, key), key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        _write(pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def server_certificate(folder: Path, issuer: Pair, hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")) -> Pair:
    """A server certificate for `hosts`, signed by `issuer`."""
    pair = Pair(folder / "server.pem", folder / "server.key")
    if not _fresh(pair):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _leaf(_name(hosts[0]), _signer(issuer), key, ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
        _write(pair, builder.sign(_signer(issuer).key, hashes.SHA256()), key)
    return pair


def client_certificate(folder: Path, name: str, issuer: Pair | None = None) -> Pair:
    """A client certificate called `name`, self-signed unless an `issuer` is given (HDDT allows both)."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    if not _fresh(pair):
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
        signer = _signer(issuer) if issuer else Signer(subject, key)
        _write(
            pair, _leaf(subject, signer, key, ExtendedKeyUsageOID.CLIENT_AUTH).sign(signer.key, hashes.SHA256()), key
        )
    return pair


def _fresh(pair: Pair) -> bool:
    if not pair.cert.exists() or not pair.key.exists():
        return False
    certificate = x509.load_pem_x509_certificate(pair.cert.read_bytes())
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _signer(issuer: Pair) -> Signer:
    key = serialization.load_pem_private_key(issuer.key.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{issuer.key}: not an elliptic curve key")
    return Signer(x509.load_pem_x509_certificate(issuer.cert.read_bytes()).subject, key)


def _builder(subject: x509.Name, signer: Signer, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )


def _leaf(
    subject: x509.Name, signer: Signer, key: ec.EllipticCurvePrivateKey, purpose: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    return (
        _builder(subject, signer, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pair.cert.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair.key.unlink(missing_ok=True)
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
