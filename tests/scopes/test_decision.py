"""The access decision: each condition alone ends access, and nothing widens it (SCO-005, SCO-009)."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.scopes.decision import Allowed, Facts, Interaction, Reason, Refused, Standing, decide
from ddr.scopes.diga import Diga
from ddr.scopes.parse import DEVICE, DEVICE_METRIC, scope_of

CGM, BGM, LUNG = (f"https://gematik.de/fhir/hddt/ValueSet/{name}" for name in ("cgm", "bgm", "lung"))
NOW = 1_000_000
PATIENT = uuid.uuid4()
DIGA = Diga("urn:diga:bfarm:00001", "App", "Maker", True, "https://a.example/cb", frozenset(), frozenset({CGM, BGM}))
STANDING = Standing(PATIENT, DIGA.client_id, False, {CGM: NOW + 1, BGM: NOW + 1})
FACTS = Facts(
    diga=DIGA,
    registry_stale=False,
    token_client_id=DIGA.client_id,
    token_scope=f"{scope_of(CGM)} {scope_of(BGM)} {DEVICE} {DEVICE_METRIC}",
    standing=STANDING,
    resource_type="Observation",
    interaction=Interaction.SEARCH,
    now_ms=NOW,
)


def test_everything_in_order_is_allowed() -> None:
    assert decide(FACTS) == Allowed(PATIENT, (CGM, BGM), f"{scope_of(CGM)} {scope_of(BGM)}")


@pytest.mark.parametrize(("resource_type", "scope"), [("Device", DEVICE), ("DeviceMetric", DEVICE_METRIC)])
def test_device_data_is_allowed_by_its_scope_and_anchored_by_the_kinds_of_data(resource_type: str, scope: str) -> None:
    decision = decide(replace(FACTS, resource_type=resource_type))
    assert decision == Allowed(PATIENT, (CGM, BGM), f"{scope} {scope_of(CGM)} {scope_of(BGM)}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"registry_stale": True}, Reason.REGISTRY_STALE),
        ({"diga": None}, Reason.DIGA_UNKNOWN),
        ({"diga": replace(DIGA, active=False)}, Reason.DIGA_INACTIVE),
        ({"token_client_id": "urn:diga:bfarm:00002"}, Reason.TOKEN_FOREIGN),
        ({"diga": replace(DIGA, client_id="urn:diga:bfarm:00002")}, Reason.TOKEN_FOREIGN),
        ({"standing": None}, Reason.PAIRING_ENDED),
        ({"standing": replace(STANDING, ended=True)}, Reason.PAIRING_ENDED),
        ({"standing": replace(STANDING, client_id="urn:diga:bfarm:00002")}, Reason.PAIRING_ENDED),
        ({"standing": replace(STANDING, consents={})}, Reason.CONSENT_ENDED),
        ({"now_ms": NOW + 1}, Reason.CONSENT_ENDED),
        ({"token_scope": f"{DEVICE} {DEVICE_METRIC}"}, Reason.SCOPE_MISSING),
        ({"token_scope": DEVICE, "resource_type": "Device"}, Reason.SCOPE_MISSING),
        ({"token_scope": "patient/*.cruds"}, Reason.SCOPE_MISSING),
        ({"resource_type": "Patient"}, Reason.SCOPE_MISSING),
        ({"resource_type": "Device", "token_scope": scope_of(CGM)}, Reason.SCOPE_MISSING),
        ({"resource_type": "Device", "interaction": Interaction.OPERATION}, Reason.SCOPE_MISSING),
        ({"diga": replace(DIGA, valuesets=frozenset({LUNG}))}, Reason.MIV_WITHDRAWN),
    ],
)
def test_each_condition_alone_ends_access(change: dict[str, Any], reason: Reason) -> None:
    assert decide(replace(FACTS, **change)) == Refused(reason)


def test_every_reason_has_a_status() -> None:
    assert {reason.status for reason in Reason} == {401, 404, 503}


consents = st.dictionaries(st.sampled_from([CGM, BGM, LUNG]), st.integers(NOW - 5, NOW + 5))
scopes = st.lists(st.sampled_from([*map(scope_of, (CGM, BGM, LUNG)), DEVICE, DEVICE_METRIC, "patient/*.rs", ""]))


@given(scopes, consents, st.sets(st.sampled_from([CGM, BGM, LUNG])), st.sampled_from(["Observation", "Device"]))
def test_what_is_allowed_stands_in_token_consent_and_registry(
    words: list[str], consents: dict[str, int], permitted: set[str], resource_type: str
) -> None:
    facts = replace(
        FACTS,
        token_scope=" ".join(words),
        standing=replace(STANDING, consents=consents),
        diga=replace(DIGA, valuesets=frozenset(permitted)),
        resource_type=resource_type,
    )
    decision = decide(facts)
    expected = {url for url in permitted if scope_of(url) in words and consents.get(url, 0) > NOW}
    if isinstance(decision, Allowed):
        assert set(decision.valuesets) == expected != set()
        assert resource_type == "Observation" or DEVICE in words
    else:
        assert not expected or (resource_type == "Device" and DEVICE not in words)
