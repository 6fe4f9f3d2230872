"""Pushed authorization requests: who may push what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from ddr.http.core import Core
from ddr.scopes.parse import DEVICE, scope_of
from ddr.store.authorization import par
from tests.oauth.backend import STATE, DigaBackend, events, public
from tests.support.clock import Clock
from tests.support.trust import FakeTrust

REQUIRED = [
    "client_id",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "state",
    "response_type",
]


async def test_a_good_request_gets_a_handle(core: Core, diga: DigaBackend) -> None:
    response = await diga.push()
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    content = response.json()
    assert content.keys() == {"request_uri", "expires_in"}
    assert content["expires_in"] == core.settings.par_seconds
    request = await par.load(core.pool, content["request_uri"], core.clock())
    assert request is not None
    assert (request.client_id, request.state, request.scope) == (diga.diga.client_id, STATE, diga.scopes.text)


async def test_handles_differ_and_are_long(diga: DigaBackend) -> None:
    one, two = await diga.request_uri(), await diga.request_uri()
    assert one != two
    assert one.startswith("urn:ietf:params:oauth:request_uri:") and len(one) >= 34 + 43


async def test_a_handle_expires(core: Core, diga: DigaBackend, clock: Clock) -> None:
    handle = await diga.request_uri()
    clock.advance(core.settings.par_seconds)
    assert await par.load(core.pool, handle, core.clock()) is None


@pytest.mark.parametrize("value", ["Glükobuch", "x" * 5000, "a\nb"])
async def test_a_parameter_that_nobody_knows_is_ignored(diga: DigaBackend, value: str) -> None:
    """Whatever it says (RFC 6749 section 3.1)."""
    assert (await diga.push(client_name=value)).status_code == 201


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""])
async def test_each_parameter_is_required(diga: DigaBackend, name: str, value: str | None) -> None:
    response = await diga.push(**{name: value})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/cb"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "too-short"}, "invalid_request"),
        ({"code_challenge": "+" * 43}, "invalid_request"),
        ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
        ({"state": "line\nbreak"}, "invalid_request"),
        ({"state": "nul\x00"}, "invalid_request"),
        ({"state": "ä"}, "invalid_request"),
        ({"state": "x" * 4097}, "invalid_request"),
    ],
)
async def test_what_is_not_supported(diga: DigaBackend, change: dict[str, str], error: str) -> None:
    response = await diga.push(**change)
    assert (response.status_code, response.json()["error"]) == (400, error)


@pytest.mark.parametrize("change", [str.upper, str.title, "{}/".format, "{}|1.0.1".format, " {}".format])
async def test_the_valueset_is_compared_exactly(diga: DigaBackend, change: Callable[[str], str]) -> None:
    response = await diga.push(scope=scope_of(change(diga.scopes.valuesets[0])))
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize("scope", ["patient/device.rs", "patient/Observation.cruds", "openid", DEVICE])
async def test_malformed_and_useless_scopes_are_refused(diga: DigaBackend, scope: str) -> None:
    answer = (await diga.push(scope=scope)).json()
    assert answer["error"] == "invalid_scope"
    told = "it names no kind of data" if scope == DEVICE else "number 1 of 1 is none of patient/Observation.rs?code:in="
    assert answer["error_description"].startswith(f"The requested scope is malformed or unknown: {told}")


async def test_a_scope_beyond_the_registry_entry_is_refused(
    register: Callable[..., DigaBackend], diga: DigaBackend
) -> None:
    foreign = register("lung-function-testing")
    response = await diga.push(scope=f"{diga.scopes.text} {foreign.scopes.text}")
    assert response.status_code == 400
    assert response.json() == {
        "error": "invalid_scope",
        "error_description": "The requested scope exceeds the scope granted to the client: "
        f"{scope_of(foreign.scopes.valuesets[0])} is not listed for the client in the DiGA directory",
    }


async def test_a_valueset_that_the_recorder_does_not_serve_is_refused(diga: DigaBackend, trust: FakeTrust) -> None:
    elsewhere = "https://gematik.de/fhir/hddt/ValueSet/heart-rate"
    trust.add(replace(diga.diga, valuesets=diga.diga.valuesets | {elsewhere}))
    answer = (await diga.push(scope=scope_of(elsewhere))).json()
    assert answer["error"] == "invalid_scope"
    assert answer["error_description"].endswith(f"{scope_of(elsewhere)} is not served here")


async def test_a_refusal_is_recorded_without_what_was_sent(core: Core, diga: DigaBackend) -> None:
    await diga.push(scope="secret-word")
    assert await events(core, diga.diga) == ["diga:pairing:refused"]
    detail = await core.pool.fetchval("SELECT detail FROM audit WHERE client_id = $1", diga.diga.client_id)
    assert detail["error"] == "invalid_scope" and "secret-word" not in repr(detail)


async def test_only_so_many_requests_are_open_at_once(core: Core, diga: DigaBackend, other: DigaBackend) -> None:
    """The bound is per DiGA; the refusal says when there is room again, and is counted but not recorded."""
    core.settings = replace(core.settings, par_max_open=3)
    handles = [await diga.request_uri() for _ in range(3)]
    recorded = await events(core, diga.diga)
    for _ in range(3):
        refused = await diga.push()
        assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
        assert 0 < int(refused.headers["retry-after"]) <= core.settings.par_seconds
    assert await events(core, diga.diga) == recorded
    assert (await other.push()).status_code == 201
    assert await par.consume(core.pool, handles[0], uuid4(), core.clock())
    assert (await diga.push()).status_code == 201


async def test_room_comes_back_with_time(core: Core, diga: DigaBackend, clock: Clock) -> None:
    core.settings = replace(core.settings, par_max_open=1)
    await diga.request_uri()
    clock.advance(60)
    wait = int((await diga.push()).headers["retry-after"])
    assert wait == core.settings.par_seconds - 60
    clock.advance(wait)
    assert (await diga.push()).status_code == 201


@pytest.mark.parametrize(("back_seconds", "lasts"), [(1, True), (86_400, False)])
async def test_a_request_does_not_last_by_a_clock_that_was_set_back(
    core: Core, diga: DigaBackend, clock: Clock, back_seconds: int, lasts: bool
) -> None:
    """Nor does it count as open: the DiGA would have to wait until the clock has caught up."""
    core.settings = replace(core.settings, par_max_open=1)
    asked = {"client_id": diga.diga.client_id, "request_uri": await diga.request_uri()}
    clock.advance(-back_seconds)
    async with public(core) as browser:
        assert (await browser.get("/oauth/authorize", params=asked)).status_code == (303 if lasts else 400)
    assert (await diga.push()).status_code == (429 if lasts else 201)
    assert bool(await par.consume(core.pool, asked["request_uri"], uuid4(), core.clock())) is lasts


async def test_a_decision_is_known_to_who_made_it_and_for_a_while(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    handle, then = await diga.request_uri(), clock()
    assert await par.decided(core.pool, handle, patient_id, 0) is None
    assert await par.consume(core.pool, handle, patient_id, then)
    assert await par.decided(core.pool, handle, patient_id, then - 1)
    assert await par.decided(core.pool, handle, patient_id, then) is None
    assert await par.decided(core.pool, handle, uuid4(), then - 1) is None
