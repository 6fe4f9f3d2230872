"""The authorization endpoint passes a valid request on, and redirects nobody else."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from ddr.http.core import Core
from ddr.operations.pairing import refuse
from ddr.store.authorization import par
from tests.oauth.backend import DigaBackend, events, public
from tests.support.clock import Clock
from tests.support.trust import FakeTrust


async def ask(core: Core, accept: str = "*/*", **parameters: str) -> httpx.Response:
    async with public(core) as anyone:
        return await anyone.get("/oauth/authorize", params=parameters, headers={"Accept": accept})


async def test_a_good_request_goes_on_to_the_consent_page(core: Core, diga: DigaBackend) -> None:
    handle = await diga.request_uri()
    for _ in range(2):  # a reload does no harm
        response = await ask(core, client_id=diga.diga.client_id, request_uri=handle)
        assert response.status_code == 303
        assert urlsplit(response.headers["location"]).path == "/consent"
        assert parse_qs(urlsplit(response.headers["location"]).query) == {"request_uri": [handle]}
    assert await par.load(core.pool, handle, core.clock()) is not None


async def test_parameters_beside_the_pushed_ones_change_nothing(core: Core, diga: DigaBackend) -> None:
    handle = await diga.request_uri()
    response = await ask(
        core,
        client_id=diga.diga.client_id,
        request_uri=handle,
        redirect_uri="https://evil.example",
        scope="patient/*.rs",
        state="evil",
    )
    assert "evil" not in response.headers["location"]


async def test_plain_parameters_are_refused(core: Core, diga: DigaBackend) -> None:
    response = await ask(
        core,
        client_id=diga.diga.client_id,
        response_type="code",
        redirect_uri=diga.diga.redirect_uri,
        scope=diga.scopes.text,
        state="x",
    )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert "location" not in response.headers


async def test_the_pair_must_fit(core: Core, diga: DigaBackend, other: DigaBackend) -> None:
    handle = await diga.request_uri()
    response = await ask(core, client_id=other.diga.client_id, request_uri=handle)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request_uri")
    assert response.json() == (await ask(core, client_id=other.diga.client_id, request_uri="urn:x")).json()
    assert await events(core, other.diga) == ["diga:pairing:refused"]
    assert core.strangers.counts == {("authorize.invalid_request_uri", other.diga.client_id): 1}


async def test_strangers_write_nothing(core: Core, diga: DigaBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they make up, and in whoever's name: one log entry a minute says how often."""
    handle = await diga.request_uri()
    assert await refuse(core, handle, uuid4())
    before = await _rows(core)
    for number in range(20):
        answer = await ask(core, client_id=diga.diga.client_id, request_uri=f"urn:junk{number}")
        assert answer.status_code == 400
    assert await _rows(core) == before
    for _ in range(20):  # a request that was pushed is recorded, once
        await ask(core, client_id=diga.diga.client_id, request_uri=handle)
    assert await _rows(core) == before + 1
    assert len(core.strangers.counts) == 1
    with caplog.at_level("WARNING", logger="ddr"):
        core.strangers.flush()
    (line,) = [line for line in caplog.records if line.msg == "refused.counted"]
    assert (vars(line)["client_id"], vars(line)["count"]) == (diga.diga.client_id, 39)


async def _rows(core: Core) -> int:
    """The number of rows in all tables."""
    tables = await core.pool.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return sum([await core.pool.fetchval(f'SELECT count(*) FROM "{row["relname"]}"') for row in tables])


async def test_an_expired_or_decided_request_is_refused(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    expired, decided = await diga.request_uri(), await diga.request_uri()
    assert await refuse(core, decided, patient_id)
    assert (await ask(core, client_id=diga.diga.client_id, request_uri=decided)).status_code == 400
    clock.advance(core.settings.par_seconds)
    assert (await ask(core, client_id=diga.diga.client_id, request_uri=expired)).status_code == 400


@pytest.mark.parametrize("change", [{"active": False}, {"redirect_uri": "https://new.example/cb"}])
async def test_the_registry_is_asked_again(
    core: Core, diga: DigaBackend, trust: FakeTrust, change: dict[str, object]
) -> None:
    handle = await diga.request_uri()
    trust.add(replace(diga.diga, **change))  # type: ignore[arg-type]
    response = await ask(core, client_id=diga.diga.client_id, request_uri=handle)
    assert response.status_code == 400 and "location" not in response.headers


async def test_a_request_of_which_nothing_may_be_read_any_more_goes_back(
    core: Core, diga: DigaBackend, trust: FakeTrust
) -> None:
    """RFC 6749 section 4.1.2.1: only an invalid client or address keeps the browser here."""
    handle = await diga.request_uri()
    trust.add(replace(diga.diga, valuesets=frozenset({"https://gematik.de/fhir/hddt/ValueSet/heart-rate"})))
    for _ in range(2):
        response = await ask(core, client_id=diga.diga.client_id, request_uri=handle)
        told = parse_qs(urlsplit(response.headers["location"]).query)
        assert response.status_code == 303 and response.headers["location"].startswith(diga.diga.redirect_uri)
        assert told.keys() == {"error", "state", "iss"} and told["error"] == ["invalid_scope"]
    assert await events(core, diga.diga) == ["diga:pairing:refused"]
    assert core.strangers.counts == {("authorize.invalid_scope", diga.diga.client_id): 1}  # the second time
    trust.add(diga.diga)
    again = await ask(core, client_id=diga.diga.client_id, request_uri=handle)
    assert urlsplit(again.headers["location"]).path == "/consent"


async def test_an_unknown_client_is_refused(core: Core) -> None:
    response = await ask(core, client_id="urn:diga:bfarm:00000", request_uri="urn:x")
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client")
    assert response.json()["error_description"] == "This app is not known here"  # words (RFC 6749 section 4.1.2.1)


async def test_data_that_is_too_old_is_not_decided_on(core: Core, diga: DigaBackend, trust: FakeTrust) -> None:
    handle = await diga.request_uri()
    trust.is_stale = True
    answer = await ask(core, client_id=diga.diga.client_id, request_uri=handle)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_a_repeated_parameter_is_refused(core: Core, diga: DigaBackend) -> None:
    handle = await diga.request_uri()
    async with public(core) as anyone:
        response = await anyone.get(
            "/oauth/authorize",
            params=[("client_id", diga.diga.client_id), ("request_uri", handle), ("request_uri", handle)],
        )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_a_browser_gets_a_page_that_repeats_nothing(core: Core) -> None:
    response = await ask(core, accept="text/html,*/*;q=0.8", client_id="<script>alert(1)</script>", request_uri="urn:x")
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "alert" not in response.text


async def test_a_foreign_host_header_changes_no_address(core: Core, diga: DigaBackend) -> None:
    handle = await diga.request_uri()
    async with public(core) as anyone:
        response = await anyone.get(
            "/oauth/authorize",
            params={"client_id": diga.diga.client_id, "request_uri": handle},
            headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"},
        )
        document = await anyone.get("/.well-known/oauth-authorization-server", headers={"Host": "evil.example"})
    assert "evil" not in response.headers["location"] and "evil" not in document.text
