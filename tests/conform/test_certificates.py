"""The kit's findings about a server's certificate and about who may issue one, which only a public name can show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dns.resolver
import pytest

from ddr.conform.check import all_checks
from ddr.conform.checks import transport
from ddr.conform.verdict import Failed, NotApplicable, NotRun
from ddr.tls.scan import Findings
from ddr.tls.server_certificate import Properties

CHECKS = {one.name: one.run for one in all_checks()}
HOST = "ddr.muster.de"
GOOD = Properties((HOST,), "EC 384", True, "sha384", False, False, True, datetime.now(UTC) + timedelta(days=60), 2)
NXDOMAIN, NO_ANSWER, TIMEOUT = dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.LifetimeTimeout
Zone = dict[str, Sequence[bytes] | type[Exception]]


def kit(host: str = HOST, private: bool = False) -> Any:
    """As much of a kit as these checks need."""
    base = f"https://{host}"
    return SimpleNamespace(
        target=SimpleNamespace(fhir_base=f"{base}/fhir", issuer=base, private=private),
        server_metadata=SimpleNamespace(json={}),
        scans={},
        scanner=lambda *_: Findings((), (), (), (), b""),
    )


@pytest.mark.requirement("TLS-003")
@pytest.mark.parametrize(
    ("check", "wrong", "text"),
    [
        ("certificate-is-valid", {"self_signed": True}, "self-signed"),
        ("certificate-is-valid", {"not_after": datetime.now(UTC) - timedelta(days=1)}, "expired"),
        ("certificate-has-timestamps", {"timestamps": 0}, "carries 0"),
        ("certificate-has-timestamps", {"timestamps": 1}, "carries 1"),
    ],
)
def test_a_certificate_that_browsers_refuse_is_found(
    monkeypatch: pytest.MonkeyPatch, check: str, wrong: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr(transport, "properties", lambda _: GOOD)
    CHECKS[check](kit())
    monkeypatch.setattr(transport, "properties", lambda _: replace(GOOD, **wrong))
    with pytest.raises(Failed, match=text):
        CHECKS[check](kit())


@pytest.mark.requirement("TLS-004")
@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((HOST, True), (HOST.upper(), True), ("*.muster.de", True), ("muster.de", False), ("www.muster.de", False)),
        *(("*.de", False), ("*.ddr.muster.de", False), ("ddr.muster.de.evil.example", False), ("*", False)),
    ],
)
def test_a_certificate_names_the_host_or_one_label_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, good: bool
) -> None:
    monkeypatch.setattr(transport, "properties", lambda _: replace(GOOD, names=(name,)))
    with nullcontext() if good else pytest.raises(Failed, match="does not name it"):
        CHECKS["certificate-names-the-host"](kit())


def test_an_authority_of_ones_own_needs_no_timestamps() -> None:
    with pytest.raises(NotApplicable):
        CHECKS["certificate-has-timestamps"](kit(private=True))


@pytest.mark.requirement("TLS-007")
@pytest.mark.parametrize(
    ("zone", "error"),
    [
        ({HOST: [b"issue"]}, None),
        ({"muster.de": [b"iodef", b"ISSUE"]}, None),
        ({}, Failed),
        ({HOST: [b"iodef", b"issuewild"]}, Failed),
        ({HOST: [b"iodef"], "muster.de": [b"issue"]}, Failed),
        ({HOST: NXDOMAIN, "muster.de": [b"issue"]}, None),
        ({HOST: TIMEOUT}, NotRun),
    ],
)
def test_the_nearest_name_with_records_must_say_who_issues(
    monkeypatch: pytest.MonkeyPatch, zone: Zone, error: type[Exception] | None
) -> None:
    def resolve(name: str, kind: str, lifetime: float) -> list[Any]:
        assert kind == "CAA"
        found = zone.get(name, NO_ANSWER)
        if isinstance(found, type):
            raise found.__new__(found)
        return [SimpleNamespace(tag=tag) for tag in found]

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    if error is None:
        CHECKS["caa-record"](kit())
    else:
        with pytest.raises(error):
            CHECKS["caa-record"](kit())


@pytest.mark.parametrize("host", ["localhost", "ddr.test", "10.0.0.1", "recorder"])
def test_a_name_that_is_not_public_has_no_record(host: str) -> None:
    with pytest.raises(NotApplicable):
        CHECKS["caa-record"](kit(host))
