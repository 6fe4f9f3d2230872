"""The OpenID provider ends logins itself, at once and everywhere (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

import logging
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.http.core import Core
from ddr.identity.errors import LoginRefused
from ddr.identity.provider import Provider
from ddr.identity.tokens import LEEWAY_MS, read_access_token, read_id_token
from ddr.patient_pages.app import create_consent
from ddr.store.authorization.representations import SetBy, open_of
from ddr.store.patients import identities, logouts
from tests.patient_pages.test_provider_login import Traveller
from tests.patient_pages.test_provider_relations import CLAIM, child, subject
from tests.support.clock import Clock
from tests.support.openid import CLIENT_ID, OpenIdProvider
from tests.support.openid_fixtures import ISSUER

EVENT = "http://schemas.openid.net/event/backchannel-logout"


async def tell(core: Core, token: str, **form: str) -> httpx.Response:
    """The provider's server speaks to a worker of its own."""
    transport = httpx.ASGITransport(create_consent(core), client=("198.51.100.4", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="https://recorder.example") as client:
        return await client.post("/login/ended", data={"logout_token": token, **form})


async def there(traveller: Traveller) -> bool:
    """Whether this browser is logged in."""
    return (await traveller.here.get("/me/access")).status_code == 200


async def two_browsers(core: Core, openid: OpenIdProvider, user: str) -> tuple[Traveller, Traveller]:
    """The same user twice, in a session each at the provider."""
    one, two = Traveller(core, openid), Traveller(core, openid)
    for traveller in (one, two):
        await traveller.login(user=user)
        assert await there(traveller)
    return one, two


async def test_all_sessions_of_a_user_end(oidc_core: Core, openid: OpenIdProvider, clock: Clock) -> None:
    one, two = await two_browsers(oidc_core, openid, "all-anna")
    other = Traveller(oidc_core, openid)
    await other.login(user="all-other")
    told = await tell(oidc_core, openid.logout_token("all-anna"))
    assert (told.status_code, told.content, told.headers["cache-control"]) == (200, b"", "no-store")
    assert [await there(traveller) for traveller in (one, two, other)] == [False, False, True]
    clock.advance(1)
    await one.login(user="all-anna")
    assert await there(one), "who comes again is welcome"


@pytest.mark.parametrize("with_subject", [True, False])
async def test_one_session_ends(oidc_core: Core, openid: OpenIdProvider, with_subject: bool) -> None:
    user = f"one-{with_subject}"
    one, two = await two_browsers(oidc_core, openid, user)
    token = openid.logout_token(user if with_subject else None, sid=openid.sid_of(user))
    assert (await tell(oidc_core, token)).status_code == 200
    assert [await there(traveller) for traveller in (one, two)] == [True, False]


async def test_a_session_of_another_user_does_not_end(oidc_core: Core, openid: OpenIdProvider) -> None:
    victim, mallory = Traveller(oidc_core, openid), Traveller(oidc_core, openid)
    await victim.login(user="mix-victim")
    await mallory.login(user="mix-mallory")
    await tell(oidc_core, openid.logout_token("mix-mallory", sid=openid.sid_of("mix-victim")))
    assert await there(victim)


async def test_a_session_whose_name_was_not_kept_ends_with_any_of_its_user(
    oidc_core: Core, openid: OpenIdProvider
) -> None:
    """Sessions from before an upgrade, and of a provider that names none in its ID tokens."""
    openid.names_sessions = False
    one, two = await two_browsers(oidc_core, openid, "unnamed")
    await tell(oidc_core, openid.logout_token("unnamed", sid="whichever"))
    assert [await there(traveller) for traveller in (one, two)] == [False, False]


async def test_who_acts_for_a_child_is_out_at_once(
    oidc_core: Core, openid: OpenIdProvider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The mother's account ends at the provider while she looks at her child's pages in two browsers."""
    assert isinstance(oidc_core.identity, Provider)
    oidc_core.identity.represents_claim = CLAIM
    openid.change = lambda claims: claims.update({CLAIM: [child("ended-mia")]})
    browsers = await two_browsers_acting(oidc_core, openid)
    stale = [await browser.here.get("/me/devices") for browser in browsers]
    openid.change = lambda claims: None
    with caplog.at_level(logging.INFO):
        assert (await tell(oidc_core, openid.logout_token("ended-mother"))).status_code == 200
    (said,) = [record for record in caplog.records if record.message == "logout.by_provider"]
    assert said.__dict__["count"] == 2
    assert subject("ended-mother") not in caplog.text
    for browser, page in zip(browsers, stale, strict=True):
        assert not await there(browser)
        assert (await browser.here.post("/me/devices/connect", page)).status_code == 403
    mia = await identities.find(oidc_core.pool, ISSUER, subject("ended-mia"))
    assert await oidc_core.pool.fetchval("SELECT count(*) FROM gateway_code WHERE patient_id = $1", mia) == 0
    clock.advance(1)
    await browsers[0].login(user="ended-mother")  # if she comes again, the claim that she lost is gone
    mother = await identities.find(oidc_core.pool, ISSUER, subject("ended-mother"))
    assert mother is not None
    assert [one for one in await open_of(oidc_core.pool, mother) if one.set_by is SetBy.PROVIDER] == []


async def two_browsers_acting(core: Core, openid: OpenIdProvider) -> list[Traveller]:
    """A mother in two browsers, at her child's pages in both."""
    found = [Traveller(core, openid), Traveller(core, openid)]
    for traveller in found:
        await traveller.login(user="ended-mother")
        await traveller.here.act_for("Mia")
        assert "<bdi>Mia</bdi>" in (await traveller.here.get("/me/access")).text
    return found


BAD: list[tuple[str, dict[str, Any]]] = [
    ("typ", {"typ": "at+jwt"}), ("typ", {"typ": "dpop+jwt"}),
    ("iss", {"iss": "https://other.example"}), ("aud", {"aud": "other"}), ("aud", {"aud": None}),
    ("exp", {"exp": None}), ("exp", {"exp": 1_000_000_000}), ("iat", {"iat": None}),
    ("iat", {"iat": 1_000_000_000, "exp": 99_000_000_000}), ("not yet", {"iat": 40_000_000_000}),
    ("events", {"events": None}), ("events", {"events": {}}), ("events", {"events": [EVENT]}),
    ("events", {"events": {EVENT: True}}), ("events", {"events": EVENT}), ("nonce", {"nonce": "n"}),
    ("jti", {"jti": None}), ("jti", {"jti": ""}), ("jti", {"jti": 7}), ("sub", {"sub": ""}), ("sub", {"sub": 7}),
    ("sid", {"sid": ""}), ("sid", {"sid": 7}), ("neither sub nor sid", {"sub": None}),
]  # fmt: skip


async def test_any_flaw_refuses_and_changes_nothing(
    oidc_core: Core, openid: OpenIdProvider, caplog: pytest.LogCaptureFixture
) -> None:
    anna = Traveller(oidc_core, openid)
    await anna.login(user="flaw-anna")
    for check, changes in BAD:
        caplog.clear()
        answer = await tell(oidc_core, openid.logout_token("flaw-anna", **changes))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), (check, changes)
        assert answer.headers["cache-control"] == "no-store"
        (said,) = [record for record in caplog.records if record.message == "logout.refused"]
        assert said.__dict__["check"] == check, changes
    good = openid.logout_token("flaw-anna")
    header, claims, signature = good.split(".")
    forged = f"{header}.{openid.logout_token('flaw-other').split('.')[1]}.{signature}"
    for token in ("", "x", "a.b.c", "é", "a" * 16_000, f"{header}.{claims}.", forged):
        assert (await tell(oidc_core, token)).status_code == 400
    assert await there(anna)
    assert (await tell(oidc_core, good)).status_code == 200
    assert not await there(anna)


async def test_what_is_no_form_is_refused(oidc_core: Core, openid: OpenIdProvider) -> None:
    transport = httpx.ASGITransport(create_consent(oidc_core))
    async with httpx.AsyncClient(transport=transport, base_url="https://recorder.example") as client:
        token = openid.logout_token("form-anna")
        form = {"content-type": "application/x-www-form-urlencoded"}
        for content, headers in (
            (f"logout_token={token}", {}), (f"logout_token={token}&logout_token={token}", form),
            ("x" * 20_000, form), ("\xff", form), ("", form),
        ):  # fmt: skip
            answer = await client.post("/login/ended", content=content.encode("latin-1"), headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert (await client.get("/login/ended")).status_code == 405


async def test_a_token_counts_once(oidc_core: Core, openid: OpenIdProvider, clock: Clock) -> None:
    anna, token = Traveller(oidc_core, openid), openid.logout_token("once-anna")
    assert (await tell(oidc_core, token)).status_code == 200
    clock.advance(1)
    await anna.login(user="once-anna")
    again = await tell(oidc_core, token)
    assert again.status_code == 400 and "replay" in again.json()["error_description"]
    assert await there(anna)
    await logouts.sweep(oidc_core.pool, clock() + 300_000 + LEEWAY_MS - 1)
    assert (await tell(oidc_core, token)).status_code == 400, "it is remembered for as long as it is good"


async def test_a_token_that_met_a_fault_may_come_again(
    oidc_core: Core, openid: OpenIdProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, token = Traveller(oidc_core, openid), openid.logout_token("fault-anna")
    await anna.login(user="fault-anna")

    async def fails(*_: object) -> int:
        raise asyncpg.PostgresConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(logouts, "_end_sessions", fails)
        with pytest.raises(asyncpg.PostgresConnectionError):  # the guard around answers 503
            await tell(oidc_core, token)
    assert await there(anna)
    assert (await tell(oidc_core, token)).status_code == 200
    assert not await there(anna)


@pytest.mark.parametrize(("names_session", "in_id_token"), [(True, True), (False, True), (True, False)])
async def test_a_login_that_ends_while_it_is_under_way_does_not_begin(
    oidc_core: Core, openid: OpenIdProvider, monkeypatch: pytest.MonkeyPatch, names_session: bool, in_id_token: bool
) -> None:
    """The end arrives after the ID token was given and before the session is written down."""
    openid.names_sessions = in_id_token
    anna, user = Traveller(oidc_core, openid), f"race-{names_session}-{in_id_token}"
    callback = await anna.prove(await anna.ask(), user)
    known, patient_of = openid.sid_of(user), identities.patient_of

    async def ended_meanwhile(*arguments: Any) -> Any:
        await tell(oidc_core, openid.logout_token(user, sid=known if names_session else None))
        return await patient_of(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(identities, "patient_of", ended_meanwhile)
        assert (await anna.here.get(callback)).status_code == 400
    assert not await there(anna)
    login_id = await identities.find(oidc_core.pool, ISSUER, subject(user))
    sessions = "SELECT count(*) FROM browser_session WHERE patient_id = $1"
    assert await oidc_core.pool.fetchval(sessions, login_id) == 0


async def test_no_kind_of_token_is_another(
    oidc_core: Core, provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    """RFC 8725 section 3.12: what ends a login begins none, and the other way round."""
    token = openid.logout_token("kind-anna", typ="JWT")
    with pytest.raises(LoginRefused, match="nonce"):
        await read_id_token(provider, token, "n", clock())
    provider.access_token_type, provider.audience = "JWT", CLIENT_ID
    with pytest.raises(LoginRefused, match="id token"):
        await read_access_token(provider, token, clock())
    login = openid.sign({**openid.claims("kind-anna"), "aud": CLIENT_ID, "nonce": "n", "jti": "1"})
    assert (await tell(oidc_core, login)).status_code == 400
    assert (await tell(oidc_core, openid.access_token("kind-anna"))).status_code == 400


async def test_while_the_keys_are_unknown_the_provider_may_send_it_again(
    oidc_core: Core, openid: OpenIdProvider
) -> None:
    openid.down = True
    answer = await tell(oidc_core, openid.logout_token("down-anna"))
    assert (answer.status_code, answer.json()) == (503, {"error": "temporarily_unavailable"})
    assert int(answer.headers["retry-after"]) > 0


async def test_without_a_provider_there_is_no_such_address(core: Core) -> None:
    assert (await tell(core, "x")).status_code == 404


async def test_who_acts_for_somebody_keeps_the_name_of_the_session(
    oidc_core: Core, openid: OpenIdProvider, clock: Clock
) -> None:
    """Choosing a person gives another cookie, and confirming a login another session: the provider ends both."""
    assert isinstance(oidc_core.identity, Provider)
    oidc_core.identity.represents_claim = CLAIM
    openid.change = lambda claims: claims.update({CLAIM: [child("kept-child")]})
    mother = Traveller(oidc_core, openid)
    await mother.login(user="kept-mother-too")
    await mother.here.act_for("Mia")
    clock.advance(5)
    await mother.login("/login/confirm", user="kept-mother-too")
    assert await there(mother)
    openid.change = lambda claims: None
    await tell(oidc_core, openid.logout_token(None, sid=openid.sid_of("kept-mother-too")))
    assert not await there(mother)
