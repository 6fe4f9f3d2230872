"""Certificates as registries contain them: base64 of DER or of PEM, which BfArM leaves open."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ddr.tls.server_certificate import RSA_BITS, signs

E = TypeVar("E", bound=x509.ExtensionType)
Folded = tuple[frozenset[tuple[x509.ObjectIdentifier, bytes]], ...]

PEM_START = b"-----BEGIN CERTIFICATE-----"


class BadCertificate(ValueError):
    """The registered certificate cannot be used; the message says why."""


def decode(text: str) -> bytes:
    """The DER of a registered certificate. Raises BadCertificate if it is invalid or not for TLS clients."""
    certificate = _parse(_unwrap(text))
    usages, key_usage = _extension(certificate, x509.ExtendedKeyUsage), _extension(certificate, x509.KeyUsage)
    if usages is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise BadCertificate("the certificate is not meant for TLS clients")
    if key_usage is not None and not (key_usage.digital_signature or key_usage.key_agreement):
        raise BadCertificate("the certificate is not meant for TLS clients: its key must not sign (keyUsage)")
    return certificate.public_bytes(Encoding.DER)


@lru_cache(maxsize=256)
def fingerprint(der: bytes) -> str:
    """SHA-256 of the DER, lowercase hex: certificates are compared by identity (HDDT security-and-privacy.md)."""
    return hashlib.sha256(der).hexdigest()


def expires_ms(der: bytes) -> int:
    """End of validity, in milliseconds since 1970."""
    return int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() * 1000)


def shut_out(every: Collection[bytes]) -> dict[bytes, set[bytes]]:
    """The certificates that OpenSSL would reject if `every` one were a trust anchor, and which others cause that.

    OpenSSL finds an issuer by name, and rejects the certificate if that issuer has another key or is not a CA.
    """
    known = {x509.load_der_x509_certificate(der): der for der in every}
    called: dict[Folded, list[x509.Certificate]] = {}
    for one in known:
        with suppress(ValueError):  # an unreadable name
            called.setdefault(_folded(one.subject), []).append(one)
    found = {
        der: {known[by] for by in _supposed_issuers(one, called) if not _issued(one, by)} for one, der in known.items()
    }
    return {der: others for der, others in found.items() if others}


def _supposed_issuers(
    certificate: x509.Certificate, called: Mapping[Folded, list[x509.Certificate]]
) -> list[x509.Certificate]:
    try:
        issuer = _folded(certificate.issuer)
        named = [] if issuer == _folded(certificate.subject) else called.get(issuer, [])
    except ValueError:
        return []
    key = _extension(certificate, x509.AuthorityKeyIdentifier)
    kind = _kind(certificate.signature_algorithm_oid)
    return [by for by in named if _is_that_key(key, by) and _kind(by.public_key_algorithm_oid) == kind]


def _is_that_key(key: x509.AuthorityKeyIdentifier | None, by: x509.Certificate) -> bool:
    """Whether all that a certificate says about its issuer is consistent with this one (RFC 5280 section 4.2.1.1)."""
    own = _extension(by, x509.SubjectKeyIdentifier)
    if key is None:
        return True
    same_key = not (key.key_identifier and own) or key.key_identifier == own.digest
    return same_key and key.authority_cert_serial_number in (None, by.serial_number)


def _kind(algorithm: x509.ObjectIdentifier) -> list[str]:
    """The first four numbers of the OID, which keys and signatures share: for RSA, elliptic curves, and Ed25519
    each."""
    return algorithm.dotted_string.split(".")[:4]


def _folded(name: x509.Name) -> Folded:
    """`name` as OpenSSL compares it: ignoring case (of ASCII) and repeated spaces."""
    return tuple(frozenset((part.oid, _folded_text(part.value)) for part in parts) for parts in name.rdns)


def _folded_text(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else b" ".join(value.encode().lower().split())


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    limits = _extension(by, x509.BasicConstraints)
    if limits is None or not limits.ca:
        return False
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def weakness(der: bytes) -> list[str]:
    """A warning for the operator about the key of a certificate: a kind that TLS refuses, or RSA shorter than BSI
    requires."""
    certificate = x509.load_der_x509_certificate(der)
    if not signs(certificate):
        return [
            "a certificate cannot connect: the TLS profile has no signature for the kind of its key (take secp384r1)"
        ]
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        return [f"a certificate has an RSA key of {key.key_size} bits; BSI TR-02102 asks for {RSA_BITS}: to be renewed"]
    return []


def _unwrap(text: str) -> bytes:
    if text.lstrip().startswith(PEM_START.decode()):
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadCertificate("the certificate is not base64") from None


def _parse(raw: bytes) -> x509.Certificate:
    try:
        if raw.lstrip().startswith(PEM_START):
            return x509.load_pem_x509_certificate(raw)
        return x509.load_der_x509_certificate(raw)
    except ValueError:
        raise BadCertificate("the certificate is neither DER nor PEM") from None
    except x509.InvalidVersion:
        raise BadCertificate("the certificate is not of version 3") from None


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None
