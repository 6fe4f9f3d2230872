"""Reading BfArM's profiles: what is accepted, what disables one DiGA, and what is ignored."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from ddr.demo import certs
from ddr.demo.registry_fhir import catalog_entry, health_app, manufacturer
from ddr.demo.registry_state import ListedDiga
from ddr.registries.health_app import Entry, Found, read_entries
from tests.registries.conftest import BLOOD_GLUCOSE

USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def read_one(diga: ListedDiga, app: dict[str, Any] | None = None) -> Entry:
    found = read_entries([app or health_app(diga)], [catalog_entry(diga)], [manufacturer(diga)])
    assert found.notes == [] and found.certain
    return found.entries[0]


def trust(app: dict[str, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = app["extension"][0]["extension"]
    return parts


def test_entry_has_everything_that_the_recorder_needs(diga: ListedDiga, der: dict[str, bytes]) -> None:
    assert read_one(diga) == Entry(
        client_id="urn:diga:bfarm:00001",
        name="Eins",
        manufacturer="Eins GmbH",
        redirect_uri="https://eins.example/cb",
        valuesets=frozenset({BLOOD_GLUCOSE}),
        certificates=(der["a"],),
    )


@pytest.mark.parametrize("pem", [False, True])
def test_certificates_may_be_der_or_pem_and_several(diga: ListedDiga, der: dict[str, bytes], pem: bool) -> None:
    diga.pem, diga.certificates = pem, [der["a"], der["c"], der["a"]]
    assert read_one(diga).certificates == (der["a"], der["c"])


@pytest.mark.parametrize(("status", "listed"), [("active", True), ("draft", True), ("retired", False)])
def test_provisionally_listed_counts_as_listed(diga: ListedDiga, status: Any, listed: bool) -> None:
    diga.status = status
    assert read_one(diga).listed is listed


@pytest.mark.parametrize("status", ["unknown", "Retired", "", None, 1])
def test_only_retired_says_that_a_diga_is_retired(diga: ListedDiga, status: Any) -> None:
    """Refused until the status can be read; but nothing ends by it."""
    entry = read_entries([health_app(diga)], [{**catalog_entry(diga), "status": status}]).entries[0]
    assert (entry.usable, entry.listed, entry.doubtful) == (False, True, True)
    assert entry.problems == ("the catalogue status cannot be read",)


def test_without_catalogue_entry_a_diga_is_disabled_but_not_unlisted(diga: ListedDiga) -> None:
    (entry,) = read_entries([health_app(diga)], []).entries
    assert (entry.usable, entry.listed, entry.problems) == (False, True, ("no catalogue entry",))


def test_unknown_parts_order_and_value_types_do_not_matter(diga: ListedDiga, der: dict[str, bytes]) -> None:
    app = health_app(diga)
    app["extension"].reverse()
    parts = app["extension"][-1]["extension"]
    parts.reverse()
    parts.insert(0, {"url": "future", "valueBoolean": True})
    parts[1] = {"url": "redirectUri", "valueUrl": diga.redirect_uri}
    app["extension"].insert(0, {"url": "https://fhir.bfarm.de/StructureDefinition/HealthAppHandbook"})
    app["surprise"] = {"a": [1]}
    assert read_one(diga, app) == read_one(diga)


def test_apps_without_trust_attributes_are_no_clients(diga: ListedDiga) -> None:
    app = {**health_app(diga), "extension": []}
    assert read_entries([app], [catalog_entry(diga)]) == Found([], [], frozenset({diga.client_id}))


@pytest.mark.parametrize("part", ["clientCertificates", "redirectUri"])
def test_a_missing_part_disables_the_diga(diga: ListedDiga, part: str) -> None:
    app = health_app(diga)
    app["extension"][0]["extension"] = [item for item in trust(app) if item["url"] != part]
    assert not read_one(diga, app).usable


@pytest.mark.parametrize("client_id", ["00001", "urn:diga:bfarm:1", "urn:diga:bfarm:00001x", "urn:diga:bfarm:00002"])
def test_the_client_id_must_be_well_formed_and_the_own_one(diga: ListedDiga, client_id: str) -> None:
    diga.client_id = client_id
    assert not read_one(diga).usable


@pytest.mark.parametrize("redirect_uri", ["/cb", "//host/cb", "https://h.example/cb#fragment", "http://[broken"])
def test_the_redirect_uri_must_be_absolute(diga: ListedDiga, redirect_uri: str) -> None:
    diga.redirect_uri = redirect_uri
    assert not read_one(diga).usable


@pytest.mark.parametrize("broken", ["no base64!", base64.b64encode(b"no certificate").decode(), ""])
def test_a_broken_certificate_spoils_neither_the_others_nor_the_diga(
    diga: ListedDiga, der: dict[str, bytes], broken: str
) -> None:
    app = health_app(diga)
    trust(app).append({"url": "clientCertificates", "valueBase64Binary": broken or "AAAA"})
    entry = read_one(diga, app)
    assert entry.usable and entry.certificates == (der["a"],) and len(entry.problems) == 1


@pytest.mark.parametrize("version", [1, 8])
def test_a_certificate_of_an_odd_version_spoils_nothing_else(
    diga: ListedDiga, der: dict[str, bytes], version: int
) -> None:
    odd = der["c"].replace(bytes.fromhex("a003020102"), bytes.fromhex("a0030201") + bytes([version]), 1)
    diga.certificates = [odd, der["a"]]
    entry = read_one(diga)
    assert entry.usable and entry.certificates == (der["a"],)
    assert entry.problems == ("the certificate is not of version 3",)


def test_a_name_of_a_kind_that_nobody_uses_is_no_fault_of_a_certificate(diga: ListedDiga) -> None:
    x400 = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a3020500"))
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    signed = builder.add_extension(x400, critical=False).sign(key, hashes.SHA256())
    diga.certificates = [signed.public_bytes(serialization.Encoding.DER)]
    assert read_one(diga).certificates == tuple(diga.certificates)


def test_a_server_certificate_authenticates_no_client(diga: ListedDiga, folder: Path, authority: certs.Pair) -> None:
    diga.certificates = [certs.server_certificate(folder, authority).der]
    assert not read_one(diga).usable


@pytest.mark.parametrize(
    ("usage", "good"),
    [("digital_signature", True), ("key_agreement", True), ("key_cert_sign", False), ("key_encipherment", False)],
)
def test_a_key_that_must_not_sign_authenticates_no_client(diga: ListedDiga, usage: str, good: bool) -> None:
    """TLS refuses it (RFC 8446 section 4.4.2.2), and nobody here would be told."""
    usages = x509.KeyUsage(**(dict.fromkeys(USAGES, False) | {usage: True}))
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    signed = builder.add_extension(usages, critical=True).sign(key, hashes.SHA256())
    diga.certificates = [signed.public_bytes(serialization.Encoding.DER)]
    assert read_one(diga).usable is good


def test_what_cannot_be_read_is_told(diga: ListedDiga) -> None:
    app = health_app(diga)
    app["extension"][0]["extension"] = [{"url": "clientId", "valueUri": 7}, {"url": "redirectUri"}, "nonsense"]
    malformed: list[dict[str, Any]] = [app, {}, {"extension": "x", "identifier": 3, "deviceName": None}]
    found = read_entries(malformed, [{"referencedItem": []}, {"status": 1}])
    assert found.entries == [] and not found.certain, "whose the others are nobody knows"
    assert found.listed == {"urn:diga:bfarm:00001"}
    assert found.notes == ["DiGA 00001: trust attributes without client id", "an entry holds no resource"]


def test_an_entry_belongs_to_the_diga_whose_number_it_has(diga: ListedDiga) -> None:
    diga.client_id = "urn:diga:bfarm:00002"
    entry = read_one(diga)
    assert (entry.client_id, entry.usable, entry.doubtful) == ("urn:diga:bfarm:00001", False, True)


@pytest.mark.parametrize("written", ["%%%", 7, None, "", "https://x.example/a b"])
def test_a_miv_set_that_cannot_be_read_is_no_lost_permission(diga: ListedDiga, written: object) -> None:
    app = health_app(diga)
    app["extension"][1]["valueReference"]["reference"] = written
    entry = read_one(diga, app)
    assert (entry.usable, entry.doubtful, entry.problems) == (True, True, ("a MIV set cannot be read",))


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://glukobuch.example/cb",
        "http://localhost/cb",
        "https://glukobuch.example@evil.example/cb",
        "https://user:secret@glukobuch.example/cb",
        "https://x.example /cb",
        "https://x.example/c b",
        "http://x.example;script-src *;/cb",
        "https://x.example;script-src/cb",
        "https://x.example:99999/cb",
        "https://x.example:/cb",
        "https:///cb",
        "https:/cb",
        "https://x.example/%zz",
        "https://x.example/\u202ecb",
        "https://x.example/cb\r\nSet-Cookie: a=b",
        "https://x.example\\@evil.example/cb",
        "https://x.example/cb#fragment",
        "https://[::1]evil.example/cb",
        "https://[v1.a]/cb",
        "https://x.example/cb?a[]=1",
        "com.example.app://[::1]evil/cb",
        "https://*/cb",
        "myapp:/cb",
        "com.example.app://us er/cb",
        "com.example.app://user@host/cb",
        "https://x.example/" + "a" * 2000,
    ],
)
def test_redirect_uris_that_no_browser_should_be_sent_to(diga: ListedDiga, redirect_uri: str) -> None:
    diga.redirect_uri = redirect_uri
    entry = read_one(diga)
    assert not entry.usable and entry.redirect_uri == ""


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://glukobuch.example/cb",
        "https://GlukoBuch.example:8443/cb;a=1?tenant=1&b=%20",
        "https://[2001:db8::1]/cb",
        "https://xn--mller-kva.example/cb",
        "com.example.app:/oauth2redirect",
        "de.glukobuch.app://callback",
        "http://127.0.0.1:8123/cb",
        "http://[::1]/cb",
    ],
)
def test_redirect_uris_of_the_two_good_kinds(diga: ListedDiga, redirect_uri: str) -> None:
    diga.redirect_uri = redirect_uri
    entry = read_one(diga)
    assert entry.usable and entry.redirect_uri == redirect_uri


def test_names_hold_nothing_that_nobody_sees_and_are_not_endless(diga: ListedDiga) -> None:
    diga.name, diga.manufacturer = "Glu\u202eko\u200bBuch\x1b[31m\n\u2066 plus", "x" * 3000
    entry = read_one(diga)
    assert entry.name == "GlukoBuch[31m plus"
    assert len(entry.manufacturer) == 120


@pytest.mark.parametrize(
    ("key", "noted"),
    [
        (rsa.generate_private_key(65537, 2048), "2048 bits"),
        (rsa.generate_private_key(65537, 3072), ""),
        (ed25519.Ed25519PrivateKey.generate(), "cannot connect"),
        (ec.generate_private_key(ec.SECP256K1()), "cannot connect"),
        (ec.generate_private_key(ec.SECP384R1()), ""),
        (ec.generate_private_key(ec.BrainpoolP256R1()), ""),
    ],
    ids=["rsa-2048", "rsa-3072", "ed25519", "secp256k1", "secp384r1", "brainpool"],
)
def test_a_key_that_is_short_or_that_tls_refuses_is_noted(
    diga: ListedDiga, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, noted: str
) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    diga.certificates = [certificate]
    entry = read_one(diga)
    assert entry.usable and entry.certificates == (certificate,)
    assert bool(entry.problems) == bool(noted) and noted in str(entry.problems)
