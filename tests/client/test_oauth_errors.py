"""An invalid response of an authorization server or a registry becomes an error of the client's."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ddr.client import (
    FileTokens,
    Grant,
    NoAnswerToThisRequest,
    NotFound,
    Pairing,
    PairingEnded,
    Refused,
    Started,
    Throttled,
    Unreachable,
    oauth,
)
from ddr.client.registry import Registry
from ddr.client.session import grant_of
from tests.client.foreign import DIGA

ISSUER = "https://recorder.example"


def over(answer: httpx.Response) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))


def error(status: int, name: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": name}, headers=headers)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (httpx.Response(500, text="away"), Unreachable, "the authorization server responds with 500"),
        (httpx.Response(200, text="<html>"), Unreachable, "the response is not a JSON object"),
        (httpx.Response(200, json=[]), Unreachable, "the response is not a JSON object"),
        (error(400, "invalid_grant"), PairingEnded, "the grant is no longer valid"),
        (httpx.Response(400, text="no"), Refused, "Bad Request"),
        (httpx.Response(200, text="[" * 100_000), Unreachable, "the response is not a JSON object"),
    ],
)
async def test_an_answer_that_is_no_good_is_told(answer: httpx.Response, kind: type[Exception], said: str) -> None:
    async with over(answer) as http:
        with pytest.raises(kind) as told:
            await oauth.post(http, f"{ISSUER}/oauth/token", {})
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (error(400, "slow_down", **{"retry-after": "7"}), 7),
        (error(400, "temporarily_unavailable"), 60),
        (error(400, "server_error", **{"retry-after": "nan"}), 60),
        (error(429, "any", **{"retry-after": "-1"}), 0),
        (error(503, "any", **{"retry-after": "9999999"}), 7 * 86_400),
        (error(503, "any", **{"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}), 60),
    ],
)
async def test_who_is_busy_is_asked_again_later(answer: httpx.Response, seconds: float) -> None:
    async with over(answer) as http:
        with pytest.raises(Throttled) as told:
            await oauth.post(http, f"{ISSUER}/oauth/token", {})
    assert told.value.retry_seconds == seconds


@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:51:17 GMT", "Sunday, 06-Nov-94 08:51:17 GMT", "Sun Nov  6 08:51:17 1994"]
)
def test_a_date_is_in_utc_in_each_of_its_three_forms(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 section 5.6.7. Before: the one without a zone was taken for local time."""
    monkeypatch.setattr(time, "time", lambda: 784111777.0)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert oauth.seconds_told({"retry-after": date}) == 100
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize(
    ("date", "seconds"), [("Sun, 06 Nov 1994 08:46:17 GMT", 300), ("Sun, 06 Nov 1994 08:53:17 GMT", 0), ("soon", 100)]
)
def test_a_date_goes_by_the_clock_of_who_sent_it(date: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: by ours. When that was ahead a recorder was asked each second, for as long as the Grace-Period ran."""
    monkeypatch.setattr(time, "time", lambda: 784111777.0)
    answer = error(429, "any", **{"retry-after": "Sun, 06 Nov 1994 08:51:17 GMT", "date": date})
    assert oauth.retry_seconds(answer) == seconds


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), "certificate verify failed"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"), "alert unknown ca"),
        (httpx.ReadTimeout(""), "ReadTimeout"),
    ],
)
async def test_why_there_is_no_answer_is_told(error: Exception, said: str) -> None:
    """Before: "ConnectError", whether the certificate, the authority or the name was wrong."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(broken)) as http:
        with pytest.raises(Unreachable, match=said):
            await oauth.metadata(http, ISSUER)


async def test_metadata_are_of_the_issuer_that_was_asked() -> None:
    async with over(httpx.Response(200, json={"issuer": "https://other.example"})) as http:
        with pytest.raises(Refused, match="the metadata names another issuer"):
            await oauth.metadata(http, ISSUER)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (httpx.Response(403, json={}), Refused, "403"),
        (httpx.Response(500), Unreachable, "the HIIS-VZ does not return the complete list"),
        (
            httpx.Response(
                200, json={"resourceType": "Bundle", "link": [{"relation": "next", "url": "https://other.example/x"}]}
            ),
            Refused,
            "a link to a page leads to another server",
        ),
        (
            httpx.Response(
                200, json={"resourceType": "Bundle", "link": [{"relation": "next", "url": "/DeviceDefinition?again"}]}
            ),
            Unreachable,
            "the HIIS-VZ does not return the complete list",
        ),
        (httpx.Response(200, json={"resourceType": "OperationOutcome"}), Unreachable, "is not a Bundle"),
        (
            httpx.Response(200, json={"resourceType": "Bundle"}),
            NotFound,
            "no recorder in the HIIS-VZ supports this device",
        ),
    ],
)
async def test_a_registry_is_read_as_a_whole_or_not_at_all(
    answer: httpx.Response, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.client.registry.MOST_PAGES", 2)
    async with over(answer) as http:
        with pytest.raises(kind) as told:
            await Registry(http, "https://hiis.example").find("1")
    assert said in str(told.value)


GOOD = {"access_token": "a", "refresh_token": "r", "sub": "p", "expires_in": 600}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    "answer", [without("access_token"), {**GOOD, "access_token": None}, {**GOOD, "access_token": "ä\n"}, without("sub")]
)
def test_tokens_that_are_none_are_an_error_of_the_client(answer: dict[str, object]) -> None:
    with pytest.raises(Unreachable, match="the response has no valid"):
        grant_of(answer, 0.0)


@pytest.mark.parametrize(
    ("expires_in", "end"),
    [
        (600, 600),
        ("600", 600),
        (None, 60),
        ("soon", 60),
        ([], 60),
        (float("nan"), 60),
        (float("inf"), 60),
        (10**400, 60),
    ],
)
def test_a_lifetime_that_is_none_is_a_minute(expires_in: object, end: float) -> None:
    assert grant_of({**GOOD, "expires_in": expires_in}, 0.0).expires_at == end


def test_a_refresh_leaves_the_pairing_what_it_was() -> None:
    former = Grant("pairing", "scope", "r0", "a0", 0.0)
    assert grant_of(GOOD, 0.0, former).pairing_id == "pairing"
    odd = grant_of({**GOOD, "refresh_token": {}, "scope": ["x"]}, 0.0, former)
    assert (odd.refresh_token, odd.scope) == ("r0", "scope")


@pytest.mark.parametrize("address", ["http://[x?state=s", "https://x?state=\ud800", "", "nonsense"])
async def test_what_is_no_address_is_no_answer(address: str, tmp_path: Path) -> None:
    """A person pastes it. Before: an error of Python."""
    async with over(httpx.Response(200, json={})) as http:
        with pytest.raises(NoAnswerToThisRequest):
            await Pairing(DIGA, http, FileTokens(tmp_path)).finish(Started("", "s", "v"), address)


async def test_a_pairing_id_that_is_none_is_an_error_of_the_client(tmp_path: Path) -> None:
    """Before: an error of Python, of the store that keeps a file of that name."""
    answer = {"issuer": DIGA.issuer, "token_endpoint": f"{DIGA.issuer}/token", **GOOD, "sub": "a b"}
    async with over(httpx.Response(200, json=answer)) as http:
        started = Started("", "s", "v")
        with pytest.raises(Refused, match="the Pairing ID in the response is not valid"):
            await Pairing(DIGA, http, FileTokens(tmp_path)).finish(
                started, f"https://x?state=s&iss={DIGA.issuer}&code=c"
            )


def test_secrets_are_in_no_text_of_a_grant_or_of_a_pairing_under_way() -> None:
    shown = f"{Grant('pairing', 'scope', 'secret-r', 'secret-a', 0.0)} {Started('https://x', 'secret-s', 'secret-v')}"
    assert "secret" not in shown and "pairing" in shown


async def test_metadata_that_lack_an_address_are_an_error_of_the_client(tmp_path: Path) -> None:
    async with over(httpx.Response(200, json={"issuer": DIGA.issuer})) as http:
        with pytest.raises(Unreachable, match="no valid pushed_authorization_request_endpoint"):
            await Pairing(DIGA, http, FileTokens(tmp_path)).start([])


class Dripping(httpx.AsyncByteStream):
    """A body that goes on for ever: slowly, or fast."""

    def __init__(self, piece: bytes, held: asyncio.Event | None) -> None:
        self._piece, self._held = piece, held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self._piece
            if self._held:
                await self._held.wait()


@pytest.mark.parametrize("slow", [True, False])
async def test_an_answer_without_end_is_none(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: whoever asked waited for ever, or took all of the memory; a Watch stood still after sixteen of them."""
    monkeypatch.setattr(oauth, "ANSWER_SECONDS", 0.05 if slow else 3600.0)
    monkeypatch.setattr(oauth, "MOST_BYTES", 10_000)
    body = Dripping(b" " * (1 if slow else 1000), asyncio.Event() if slow else None)
    async with over(httpx.Response(200, stream=body)) as http:
        with pytest.raises(Unreachable, match="too long" if slow else "more than"):
            await oauth.metadata(http, ISSUER)


async def test_an_answer_that_is_packed_is_unpacked() -> None:
    packed = gzip.compress(json.dumps({"issuer": ISSUER}).encode())
    answer = httpx.Response(200, content=packed, headers={"content-encoding": "gzip", "x-y": "z"})
    async with over(answer) as http:
        assert await oauth.metadata(http, ISSUER) == {"issuer": ISSUER}
        assert (await oauth.ask(http, "GET", ISSUER)).headers["x-y"] == "z"
