"""What BSI TR-02102-2 recommends for TLS, and until the end of which year, by the names in the scan.

This is not copied from the guideline, which was not at hand and takes precedence over this. Names of suites, groups and
signature algorithms are those known to the BSI's own test tool (github.com/BSI-Bund/TaSK, specification TR-02102-2
1.0). Years are from public summaries of version 2026-01 of 23 January 2026: classical key agreement and TLS 1.2 until
2031, DHE suites until 2029, RSA with PKCS#1 v1.5 until 2025. That groups of a recommended curve with ML-KEM are
acceptable is inferred from what they say about TR-02102-1. This is wider than the profile of our own server
(ddr.tls.bsi).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ddr.tls.scan import Findings

EDITION = "TR-02102-2, version 2026-01"
KNOWN_FROM = "by this kit's list: names of the BSI's test tool, years of public summaries; the guideline decides"
CLASSICAL, FINITE, PKCS1, OPEN = 2031, 2029, 2025, 9999

VERSIONS = {"TLS 1.2": CLASSICAL, "TLS 1.3": OPEN}

_GCM = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
_CCM = ("AES128-CCM", "AES256-CCM")
_EC_CBC, _CBC = ("AES128-SHA256", "AES256-SHA384"), ("AES128-SHA256", "AES256-SHA256")
_TLS12 = {
    "ECDHE-ECDSA": (*_EC_CBC, *_GCM, *_CCM),
    "ECDHE-RSA": (*_EC_CBC, *_GCM),
    "DHE-RSA": (*_CBC, *_GCM, *_CCM),
    "DHE-DSS": (*_CBC, *_GCM),
}
SUITES = {
    **{
        f"{exchange}-{cipher}": FINITE if exchange.startswith("DHE") else CLASSICAL
        for exchange, ciphers in _TLS12.items()
        for cipher in ciphers
    },
    **dict.fromkeys(("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_AES_128_CCM_SHA256"), OPEN),
}
GROUPS = {
    **dict.fromkeys(("secp256r1", "secp384r1", "secp521r1"), CLASSICAL),
    **dict.fromkeys(("brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"), CLASSICAL),
    **dict.fromkeys(("brainpoolP256r1tls13", "brainpoolP384r1tls13", "brainpoolP512r1tls13"), CLASSICAL),
    **dict.fromkeys(("ffdhe3072", "ffdhe4096"), CLASSICAL),
    **dict.fromkeys(("SecP256r1MLKEM768", "SecP384r1MLKEM1024"), OPEN),
}
_HASHES = ("sha256", "sha384", "sha512")
SIGNATURES = {
    **{f"rsa_pkcs1_{one}": PKCS1 for one in _HASHES},
    **{f"rsa_pss_{key}_{one}": OPEN for key in ("rsae", "pss") for one in _HASHES},
    **dict.fromkeys(("ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512"), OPEN),
}


def versions(found: Findings, year: int) -> list[str]:
    """Protocol versions that are not recommended in this year."""
    return _beyond(found.versions, VERSIONS, year)


def suites(found: Findings, year: int) -> list[str]:
    """Cipher suites that are not recommended in this year."""
    return _beyond(found.suites, SUITES, year)


def groups(found: Findings, year: int) -> list[str]:
    """Groups that are not recommended in this year."""
    return _beyond(found.groups, GROUPS, year)


def signatures(found: Findings, year: int) -> list[str]:
    """Signature algorithms that are not recommended in this year."""
    return _beyond(found.signatures, SIGNATURES, year)


def _beyond(names: Iterable[str], until: Mapping[str, int], year: int) -> list[str]:
    return [
        f"{name} (recommended until {until[name]})" if name in until else name
        for name in names
        if until.get(name, 0) < year
    ]
