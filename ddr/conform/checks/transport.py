"""TLS of the FHIR server and of the authorization server, by our own scan (HDDT security-and-privacy.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import dns.exception
import dns.resolver

from ddr.conform.addresses import is_address
from ddr.conform.check import check
from ddr.conform.kit import Kit
from ddr.conform.laws import bsi
from ddr.conform.verdict import Failed, NeedsPerson, NotApplicable, NotRun, expect
from ddr.tls.scan import Findings, ScanError
from ddr.tls.server_certificate import Properties, properties


def _hosts(kit: Kit) -> list[tuple[str, int]]:
    """Host and port of every address that DiGA and browsers use, without duplicates."""
    urls = [kit.target.fhir_base, kit.target.issuer]
    found = kit.server_metadata.json
    urls += [str(value) for name, value in found.items() if name.endswith("_endpoint") and is_address(str(value))]
    parts = [urlsplit(url) for url in urls]
    return list(dict.fromkeys((one.hostname or "", one.port or 443) for one in parts))


def _scans(kit: Kit) -> Iterator[tuple[str, int, Findings]]:
    for host, port in _hosts(kit):
        key = (host, port)
        if key not in kit.scans:
            try:
                kit.scans[key] = kit.scanner(host, port)
            except ScanError as error:
                raise NotRun(str(error)) from None
        yield host, port, kit.scans[key]


def _judge(kit: Kit, wrong: Callable[[Findings, int], list[str]], what: str) -> None:
    year = datetime.fromtimestamp(kit.now_ms() / 1000, UTC).year
    for host, port, found in _scans(kit):
        if bad := wrong(found, year):
            accepted = f"{host}:{port} accepts the {what} {', '.join(bad)}"
            raise Failed(f"{accepted}, which {bsi.EDITION} does not recommend ({bsi.KNOWN_FROM})")


@check("TLS-002")
def tls_versions(kit: Kit) -> None:
    """TLS 1.2 and 1.3 are accepted; older versions are not."""
    _judge(kit, bsi.versions, "version")


@check("TLS-002")
def tls_cipher_suites(kit: Kit) -> None:
    """Only cipher suites that BSI TR-02102-2 recommends are accepted, by this kit's list of them."""
    _judge(kit, bsi.suites, "suite")


@check("TLS-002")
def tls_groups(kit: Kit) -> None:
    """Only groups that BSI TR-02102-2 recommends are accepted for the key exchange, by this kit's list of them."""
    _judge(kit, bsi.groups, "group")


@check("TLS-002")
def tls_signatures(kit: Kit) -> None:
    """Only signature algorithms that BSI TR-02102-2 recommends are accepted, by this kit's list of them."""
    _judge(kit, bsi.signatures, "signature algorithm")


def _judge_certificates(kit: Kit, wrong: Callable[[Properties, str], str]) -> None:
    for host, port, found in _scans(kit):
        if text := wrong(properties(found.certificate), host):
            raise Failed(f"{host}:{port}: the certificate {text}")


@check("TLS-004")
def certificate_names_the_host(kit: Kit) -> None:
    """The server certificate names the host, as SAN or common name."""

    def wrong(found: Properties, host: str) -> str:
        texts = [text for text in found.problems(host, datetime.now(UTC)) if "does not name" in text]
        return f"does not name it, but {', '.join(found.names)}" if texts else ""

    _judge_certificates(kit, wrong)


@check("TLS-003")
def certificate_is_valid(kit: Kit) -> None:
    """The server certificate is neither self-signed nor expired."""

    def wrong(found: Properties, host: str) -> str:
        if found.self_signed:
            return "is self-signed"
        return "" if found.not_after > datetime.now(UTC) else f"expired on {found.not_after:%Y-%m-%d}"

    _judge_certificates(kit, wrong)


@check("TLS-002")
def certificate_key_is_strong(kit: Kit) -> None:
    """Key and signature of the server certificate comply with BSI TR-02102-2."""

    def wrong(found: Properties, host: str) -> str:
        if not found.key_is_good:
            return f"has the key {found.key}"
        good = found.signature_hash in {"sha256", "sha384", "sha512"}
        return "" if good else f"is signed with {found.signature_hash}"

    _judge_certificates(kit, wrong)
    for host, port, found in _scans(kit):
        if properties(found.certificate).signature_is_pkcs1:
            raise NeedsPerson(
                f"{host}:{port}: the authority signs by RSA with PKCS#1 v1.5, which {bsi.EDITION} recommends"
                f" until {bsi.PKCS1} only ({bsi.KNOWN_FROM}); ask the authority whether it offers other signatures"
            )


@check("TLS-003")
def certificate_has_timestamps(kit: Kit) -> None:
    """The server certificate carries at least two signed certificate timestamps of CT logs."""
    if kit.target.private:
        raise NotApplicable(
            "the certificate comes from a private authority (--ca), whose certificates no CT log accepts"
        )

    def wrong(found: Properties, host: str) -> str:
        return "" if found.timestamps >= 2 else f"carries {found.timestamps} signed certificate timestamps"

    _judge_certificates(kit, wrong)


@check("TLS-007")
def caa_record(kit: Kit) -> None:
    """DNS states who may issue certificates for the host (CAA)."""
    for host in dict.fromkeys(host for host, _ in _hosts(kit)):
        if _local(host):
            raise NotApplicable(f"{host} is not a public name")
        expect(_has_caa(host), f"{host} and its parents have no CAA record with the tag issue")


def _local(host: str) -> bool:
    if host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".test", ".example")):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _has_caa(host: str) -> bool:
    """RFC 8659 section 3: the records of the name, else those of the nearest parent."""
    labels = host.split(".")
    for start in range(len(labels) - 1):
        try:
            records = list(dns.resolver.resolve(".".join(labels[start:]), "CAA", lifetime=10))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            continue
        except dns.exception.DNSException as error:
            raise NotRun(f"{host}: no answer about CAA: {type(error).__name__}") from None
        return any(record.tag.decode().lower() == "issue" for record in records)
    return False


@check("RS-049", "TLS-001")
def plain_http_serves_nothing(kit: Kit) -> None:
    """Without TLS, nothing is served at the address of the FHIR server."""
    url = "http" + kit.target.fhir_base.removeprefix("https") + "/metadata"
    answer = kit.wire.send("GET", url)
    expect(answer.status == 0 or answer.status >= 300, "the server answers over plain HTTP", answer)


@check("RS-049")
def addresses_are_https(kit: Kit) -> None:
    """FHIR base, issuer and all endpoints begin with https."""
    found = kit.server_metadata.json
    named = {name: str(value) for name, value in found.items() if name.endswith("_endpoint") or name == "issuer"}
    named["FHIR base"] = kit.target.fhir_base
    bad = [f"{name} {url}" for name, url in named.items() if not (url.startswith("https://") and is_address(url))]
    expect(not bad, f"not https URLs: {', '.join(bad)}", kit.server_metadata)
