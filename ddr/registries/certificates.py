"""Certificates as registries hold them: base64 of DER or of PEM, which BfArM leaves open."""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

RSA_BITS = 3000  # BSI TR-02102-1 section 2.3: from 2024 on

PEM_START = b"-----BEGIN CERTIFICATE-----"


class BadCertificate(ValueError):
    """The registered certificate cannot be used; the text says why."""


def decode(text: str) -> bytes:
    """The DER of a registered certificate. Raises BadCertificate when it is none or not for TLS clients."""
    certificate = _parse(_unwrap(text))
    usages = _extended_usages(certificate)
    if usages is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise BadCertificate("the certificate is not meant for TLS clients")
    return certificate.public_bytes(Encoding.DER)


@lru_cache(maxsize=256)
def fingerprint(der: bytes) -> str:
    """SHA-256 of the DER, lowercase hex: certificates are compared by identity (HDDT security-and-privacy.md)."""
    return hashlib.sha256(der).hexdigest()


def expires_ms(der: bytes) -> int:
    """End of validity in milliseconds since 1970."""
    return int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() * 1000)


def weakness(der: bytes) -> list[str]:
    """What the operator should know of a certificate that can still be used: an RSA key that BSI finds too short."""
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return []
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


def _extended_usages(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None
    return extension.value if isinstance(extension.value, x509.ExtendedKeyUsage) else None
