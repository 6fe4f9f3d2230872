"""Properties of the server certificate that HDDT security-and-privacy.md requires (TLS-003, TLS-004)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

RENEW_BEFORE = timedelta(days=30)  # a certificate that expires sooner should be replaced
CURVES = {"secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"}
RSA_BITS = 3000  # BSI TR-02102-1 section 2.3: from 2024 on
TIMESTAMPS = 2


def own(file: Path) -> x509.Certificate:
    """The server's own certificate in a PEM file, which is the first one. Raises OSError, ValueError."""
    return first_of(file.read_bytes())


def first_of(chain: bytes) -> x509.Certificate:
    """The server's own certificate in a PEM chain. Raises ValueError."""
    return x509.load_pem_x509_certificates(chain)[0]


@dataclass(frozen=True)
class Properties:
    """What can be read from a certificate."""

    names: tuple[str, ...]
    key: str
    key_is_good: bool
    signature_hash: str
    signature_is_pkcs1: bool  # RSA with PKCS#1 v1.5
    self_signed: bool
    for_servers: bool
    not_after: datetime
    timestamps: int

    def problems(self, host: str, now: datetime) -> list[str]:
        """What is wrong with it for a server with the name `host`."""
        found = {
            f"does not name {host}": not covers(self.names, host),
            f"key {self.key}": not self.key_is_good,
            f"signature with {self.signature_hash}": self.signature_hash not in {"sha256", "sha384", "sha512"},
            "self-signed": self.self_signed,
            "extended key usage is not that of a server": not self.for_servers,
            "expired": self.not_after <= now,
            f"expires within {RENEW_BEFORE.days} days": now < self.not_after <= now + RENEW_BEFORE,
            f"{self.timestamps} signed certificate timestamps, {TIMESTAMPS} are needed": self.timestamps < TIMESTAMPS,
        }
        return [f"certificate: {text}" for text, wrong in found.items() if wrong]


def properties(der: bytes) -> Properties:
    """Read a certificate."""
    certificate = x509.load_der_x509_certificate(der)
    key, good = _key(certificate)
    algorithm = certificate.signature_hash_algorithm
    return Properties(
        names=names_of(certificate),
        key=key,
        key_is_good=good,
        signature_hash=algorithm.name if algorithm else "none",
        signature_is_pkcs1=isinstance(certificate.signature_algorithm_parameters, padding.PKCS1v15),
        self_signed=certificate.issuer == certificate.subject,
        for_servers=for_servers(certificate),
        not_after=certificate.not_valid_after_utc,
        timestamps=_timestamps(certificate),
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses of the subjectAltName; without one, the common name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
        return (*names.get_values_for_type(x509.DNSName), *addresses)
    except x509.ExtensionNotFound:
        return tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))


def covers(names: Iterable[str], host: str) -> bool:
    """Whether one of these names matches `host`: equal, or with a wildcard as its first label (RFC 6125)."""
    wildcard = f"*.{host.partition('.')[2]}"
    return any(name.lower() in (host.lower(), wildcard.lower()) for name in names)


def signs(certificate: x509.Certificate) -> bool:
    """Whether its key can sign a handshake of the profile (ddr.tls.bsi)."""
    try:
        match certificate.public_key():
            case ec.EllipticCurvePublicKey(curve=curve):
                return curve.name in CURVES
            case key:
                return isinstance(key, rsa.RSAPublicKey)
    except (ValueError, UnsupportedAlgorithm):  # of an unknown type
        return False


def for_servers(certificate: x509.Certificate) -> bool:
    """Whether its extended key usage, if any, permits use by a server (RFC 5280, 4.2.1.12)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return True
    return not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(usage)


def _key(certificate: x509.Certificate) -> tuple[str, bool]:
    match certificate.public_key():
        case ec.EllipticCurvePublicKey(curve=curve):
            return f"EC {curve.name}", curve.name in CURVES
        case rsa.RSAPublicKey(key_size=bits):
            return f"RSA {bits}", bits >= RSA_BITS
        case other:
            return type(other).__name__, False


def _timestamps(certificate: x509.Certificate) -> int:
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS).value
    except x509.ExtensionNotFound:
        return 0
    assert isinstance(found, x509.PrecertificateSignedCertificateTimestamps)
    return len(found)
