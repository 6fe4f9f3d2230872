"""Making what the registry says unambiguous, and what follows when it changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddr.registries.certificates import expires_ms, fingerprint
from ddr.registries.health_app import Entry
from ddr.registries.snapshot import from_json, reconcile, snapshot, to_json
from tests.support.clock import Clock

NOW = Clock().ms


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
        shot = snapshot(reconcile([retired, heir], known, NOW))
        assert shot.by_certificate[fingerprint(first.certificates[0])].client_id == second.client_id
        assert shot.by_client_id[second.client_id].active
    back = snapshot(reconcile([first, heir], shot.entries, NOW))
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
    shot = snapshot(reconcile([first], [], expired_ms))
    assert shot.by_certificate == {}
    assert not shot.by_client_id[first.client_id].active
    assert shot.entries[0].problems == ("a certificate has expired",)
