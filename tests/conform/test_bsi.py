"""The kit's list of BSI TR-02102-2's recommendations: its names are those of the scan, and it respects the year."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddr.conform.laws import bsi
from ddr.tls import bsi as ours
from ddr.tls import codepoints
from ddr.tls.scan import Findings

OURS = Findings(("TLS 1.2", "TLS 1.3"), (*ours.TLS12_SUITES, *ours.TLS13_SUITES), ours.GROUPS, ours.SIGNATURES, b"")
LAWS = (bsi.versions, bsi.suites, bsi.groups, bsi.signatures)


@pytest.mark.parametrize("year", [2026, 2029, 2031])
def test_the_profile_of_our_server_is_recommended(year: int) -> None:
    assert [law(OURS, year) for law in LAWS] == [[], [], [], []]


def test_years_decide() -> None:
    old = replace(OURS, suites=("DHE-RSA-AES256-GCM-SHA384",), signatures=("rsa_pkcs1_sha256",))
    assert [law(old, 2025) for law in LAWS] == [[], [], [], []]
    assert bsi.signatures(old, 2026) == ["rsa_pkcs1_sha256 (recommended until 2025)"]
    assert bsi.suites(old, 2029) == [] and bsi.suites(old, 2030) != []
    assert bsi.versions(OURS, 2032) == ["TLS 1.2 (recommended until 2031)"]


def test_what_no_table_has_is_not_recommended() -> None:
    names = ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_AES_128_CCM_8_SHA256", "ECDHE-RSA-AES128-SHA", "DES-CBC3-SHA")
    assert bsi.suites(replace(OURS, suites=names), 2026) == list(names)
    groups = ("x25519", "X25519MLKEM768", "secp256k1", "ffdhe2048", "ffdhe8192", "secp224r1")
    assert bsi.groups(replace(OURS, groups=groups), 2026) == list(groups)
    signatures = ("rsa_pkcs1_sha1", "ecdsa_sha1", "ecdsa_sha224", "ed25519")
    assert bsi.signatures(replace(OURS, signatures=signatures), 2026) == list(signatures)


def test_names_are_those_of_the_scan() -> None:
    assert bsi.VERSIONS.keys() <= set(codepoints.VERSIONS.values())
    assert bsi.SUITES.keys() <= {*codepoints.older_suites().values(), *codepoints.TLS13_SUITES.values()}
    assert bsi.GROUPS.keys() <= set(codepoints.GROUPS.values())
    assert bsi.SIGNATURES.keys() <= set(codepoints.SIGNATURES.values())
