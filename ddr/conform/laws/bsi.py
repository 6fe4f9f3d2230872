"""What BSI TR-02102-2 allows in TLS, by the names that the scan gives: wider than the profile of our own server."""

from __future__ import annotations

from ddr.tls.scan import Findings

VERSIONS = frozenset({"TLS 1.2", "TLS 1.3"})
_AUTH = ("ECDHE-ECDSA", "ECDHE-RSA", "DHE-RSA", "DHE-DSS")
_CIPHERS = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-CCM", "AES256-CCM", "AES128-SHA256", "AES256-SHA384")
SUITES = frozenset(
    {f"{auth}-{cipher}" for auth in _AUTH for cipher in _CIPHERS}
    | {"DHE-RSA-AES256-SHA256", "DHE-DSS-AES256-SHA256"}
    | {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_AES_128_CCM_SHA256"}
)
GROUPS = frozenset(
    {"secp256r1", "secp384r1", "secp521r1", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"}
    | {"brainpoolP256r1tls13", "brainpoolP384r1tls13", "brainpoolP512r1tls13", "ffdhe3072", "ffdhe4096"}
    | {"ffdhe6144", "ffdhe8192", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"}
)
SIGNATURES = frozenset(
    {f"rsa_{kind}_sha{size}" for kind in ("pkcs1", "pss_rsae", "pss_pss") for size in (256, 384, 512)}
    | {"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512"}
)


def versions(found: Findings) -> list[str]:
    """Protocol versions that are not allowed."""
    return [name for name in found.versions if name not in VERSIONS]


def suites(found: Findings) -> list[str]:
    """Cipher suites that are not allowed."""
    return [name for name in found.suites if name not in SUITES]


def groups(found: Findings) -> list[str]:
    """Groups that are not allowed."""
    return [name for name in found.groups if name not in GROUPS]


def signatures(found: Findings) -> list[str]:
    """Signature algorithms that are not allowed."""
    return [name for name in found.signatures if name not in SIGNATURES]
