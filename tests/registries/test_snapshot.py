"""Making the registry's content unambiguous, and the consequences of its changes."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from ddr.demo import certs
from ddr.registries.certificates import expires_ms, fingerprint
from ddr.registries.health_app import Entry
from ddr.registries.snapshot import from_json, reconcile, snapshot, to_json
from tests.support.clock import Clock
from tests.tls.support import ask, client_context, listening, live_context

NOW = Clock().ms
NUMBERS = count()


@pytest.fixture
def first(der: dict[str, bytes]) -> Entry:
    return Entry("urn:diga:bfarm:00001", "Eins", "GmbH", "https://eins.example/cb", frozenset({"x"}), (der["a"],))


@pytest.fixture
def second(der: dict[str, bytes]) -> Entry:
    return Entry("urn:diga:bfarm:00002", "Zwei", "AG", "https://zwei.example/cb", frozenset({"y"}), (der["b"],))


def test_look_up_by_certificate_and_client_id(first: Entry, second: Entry, der: dict[str, bytes]) -> None:
    shot = snapshot([second, first])
    diga = shot.by_client_id[first.client_id]
    assert shot.by_certificate[fingerprint(der["a"])] is diga
    assert diga.active and diga.valuesets == {"x"} and diga.certificates == {fingerprint(der["a"])}
    assert set(shot.certificates) == {der["a"], der["b"]}


def test_a_retired_diga_stays_known_as_inactive(first: Entry, der: dict[str, bytes]) -> None:
    shot = snapshot(reconcile([replace(first, listed=False)], [first], NOW))
    assert not shot.by_client_id[first.client_id].active
    assert shot.certificates == (der["a"],)


def test_a_vanished_diga_stays_known_until_its_certificate_expires(first: Entry, second: Entry) -> None:
    gone = replace(first, listed=False, absent=True)
    assert reconcile([second], [first, second], NOW) == [second, gone]
    assert reconcile([second], [gone, second], NOW) == [second, gone]
    expired_ms = expires_ms(first.certificates[0])
    assert gone not in reconcile([second], [gone, second], expired_ms)
    assert gone in reconcile([second], [first, second], expired_ms), "the end of its listing is always told"


def test_a_doubled_client_id_disables_only_that_diga(first: Entry, second: Entry, der: dict[str, bytes]) -> None:
    shot = snapshot(reconcile([first, replace(first, certificates=(der["c"],)), second], [], NOW))
    assert [diga.active for diga in shot.by_client_id.values()] == [False, True]


def test_a_certificate_in_two_digas_stays_with_its_former_holder(first: Entry, second: Entry) -> None:
    greedy = replace(second, certificates=(*first.certificates, *second.certificates))
    shot = snapshot(reconcile([first, greedy], [first], NOW))
    assert shot.by_certificate[fingerprint(first.certificates[0])].client_id == first.client_id
    assert shot.by_client_id[second.client_id].certificates == {fingerprint(second.certificates[0])}
    assert all(diga.active for diga in shot.by_client_id.values())


def test_a_certificate_in_two_new_digas_identifies_none(first: Entry, second: Entry) -> None:
    shot = snapshot(reconcile([first, replace(second, certificates=first.certificates)], [], NOW))
    assert shot.by_certificate == {}
    assert not any(diga.active for diga in shot.by_client_id.values())


def test_a_retired_diga_gives_its_certificate_to_the_one_that_is_listed_with_it(first: Entry, second: Entry) -> None:
    """The same backend under a new number: the registry says whose the certificate is."""
    heir, retired = replace(second, certificates=first.certificates), replace(first, listed=False)
    for known in ([first], [first, heir], []):
        entries = reconcile([retired, heir], known, NOW)
        shot = snapshot(entries)
        assert shot.by_certificate[fingerprint(first.certificates[0])].client_id == second.client_id
        assert shot.by_client_id[second.client_id].active
    back = snapshot(reconcile([first, heir], entries, NOW))
    assert back.by_certificate[fingerprint(first.certificates[0])].client_id == second.client_id


def test_a_diga_that_is_not_mentioned_gives_its_certificate_to_nobody(first: Entry, second: Entry) -> None:
    """It may be there again with the next reading."""
    greedy = replace(second, certificates=first.certificates)
    shot = snapshot(reconcile([greedy], [first], NOW))
    assert shot.by_certificate[fingerprint(first.certificates[0])].client_id == first.client_id


def test_entries_survive_storage(first: Entry) -> None:
    entry = replace(first, problems=("one",), usable=False)
    assert from_json(to_json(entry)) == entry


def test_an_expired_certificate_authenticates_nobody(first: Entry, der: dict[str, bytes]) -> None:
    expired_ms = expires_ms(der["a"])
    (entry,) = reconcile([first], [], expired_ms)
    shot = snapshot([entry])
    assert shot.by_certificate == {}
    assert not shot.by_client_id[first.client_id].active
    assert entry.problems == ("a certificate has expired",)


def certificate(
    folder: Path,
    name: str,
    issuer: certs.Signer | None = None,
    *more: x509.ExtensionType,
    ca: bool = False,
    key: Any = None,
) -> certs.Pair:
    """One whose extensions say nothing of keys, as `openssl x509 -req` makes it, but for what `more` says."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, now = issuer or certs.Signer(subject, key), datetime.now(UTC)
    builder = x509.CertificateBuilder(
        signer.name, subject, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + certs.VALID
    )
    for extension in (x509.BasicConstraints(ca=ca, path_length=None), *more):
        builder = builder.add_extension(extension, critical=False)
    number = next(NUMBERS)
    pair = certs.Pair(folder / f"{number}.pem", folder / f"{number}.key")
    signs = isinstance(signer.key, ec.EllipticCurvePrivateKey)
    certs._write(pair, builder.sign(signer.key, SHA256() if signs else None), key)
    return pair


def numbered(issuer: certs.Pair) -> x509.AuthorityKeyIdentifier:
    """Names the issuer by its number instead of its key."""
    found = x509.load_pem_x509_certificate(issuer.cert.read_bytes())
    return x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(found.issuer)], found.serial_number)


@pytest.mark.parametrize(
    ("mimic", "told"),
    [
        ("named so", True),
        ("in capitals", True),
        ("authority", True),
        ("of another number", False),
        ("with another kind of key", False),
        ("issuer", False),
        ("", False),
    ],
)
async def test_a_certificate_that_another_one_shuts_out_is_told(
    first: Entry, second: Entry, tmp_path: Path, mimic: str, told: bool
) -> None:
    """What is told is what TLS does: OpenSSL looks for an issuer by its name, and finds the other one."""
    issuer = certificate(tmp_path, "Maker", ca=True)
    named = [numbered(issuer)] if mimic == "of another number" else []
    issued = certificate(tmp_path, "issued", certs._signer(issuer), *named)
    other = {
        "named so": certificate(tmp_path, "Maker"),
        "in capitals": certificate(tmp_path, " MAKER "),
        "authority": certificate(tmp_path, "Maker", ca=True),
        "of another number": certificate(tmp_path, "Maker"),
        "with another kind of key": certificate(tmp_path, "Maker", key=Ed25519PrivateKey.generate()),
        "issuer": issuer,
        "": certificate(tmp_path, "other"),
    }[mimic]
    entries = [replace(first, certificates=(issued.der,)), replace(second, certificates=(other.der,))]
    found, _ = reconcile(entries, [], NOW)
    assert found.usable and [problem.partition(":")[0] for problem in found.problems] == (
        ["the issuer of a certificate is called like another certificate of the registry"] if told else []
    )
    shot = snapshot(reconcile(entries, entries[:1], NOW))
    assert set(shot.certificates) == ({issued.der} if told else {issued.der, other.der}), "a newcomer shuts out nobody"
    assert shot.by_client_id[second.client_id].active is not told
    renewed = replace(first, certificates=(certificate(tmp_path, "renewed", certs._signer(issuer), *named).der,))
    exchanged = reconcile([renewed, entries[1]], entries[:1], NOW)
    assert [entry.usable for entry in exchanged] == [True, not told] and exchanged[0].problems == ()
    ca = certs.authority(tmp_path)
    async with listening(live_context(certs.server_certificate(tmp_path, ca), issued, other)) as port:
        context = client_context(ca.cert, issued)
        if told:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await ask(port, context)
        else:
            assert await ask(port, context) == fingerprint(issued.der)


def test_no_certificate_is_left_out_for_one_that_is_over(first: Entry, second: Entry, tmp_path: Path) -> None:
    """Of a DiGA that is retired, or of the same DiGA, which exchanges it for the other one."""
    issued = certificate(tmp_path, "issued", certs._signer(certificate(tmp_path, "Maker", ca=True)))
    other = certificate(tmp_path, "Maker").der
    known = replace(first, certificates=(issued.der,))
    for now in (
        [replace(known, listed=False), replace(second, certificates=(other,))],
        [replace(known, certificates=(other,))],
    ):
        assert snapshot(reconcile(now, [known], NOW)).by_certificate[fingerprint(other)].active
    assert (
        fingerprint(other)
        not in snapshot(reconcile([replace(second, certificates=(other,))], [known], NOW)).by_certificate
    )
