"""What an authorization server or a registry answers that is no good becomes an error of the client's."""

from __future__ import annotations

import httpx
import pytest

from ddr.client import NotFound, PairingEnded, Refused, Throttled, Unreachable, oauth
from ddr.client.registry import Registry

ISSUER = "https://recorder.example"


def over(answer: httpx.Response) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))


def error(status: int, name: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": name}, headers=headers)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (httpx.Response(500, text="away"), Unreachable, "the authorization server answers 500"),
        (httpx.Response(200, text="<html>"), Unreachable, "an answer that is no JSON object"),
        (httpx.Response(200, json=[]), Unreachable, "an answer that is no JSON object"),
        (error(400, "invalid_grant"), PairingEnded, "the grant is not valid any more"),
        (httpx.Response(400, text="no"), Refused, "Bad Request"),
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
    ],
)
async def test_who_is_busy_is_asked_again_later(answer: httpx.Response, seconds: float) -> None:
    async with over(answer) as http:
        with pytest.raises(Throttled) as told:
            await oauth.post(http, f"{ISSUER}/oauth/token", {})
    assert told.value.retry_seconds == seconds


async def test_metadata_are_of_the_issuer_that_was_asked() -> None:
    async with over(httpx.Response(200, json={"issuer": "https://other.example"})) as http:
        with pytest.raises(Refused, match="the metadata is of another issuer"):
            await oauth.metadata(http, ISSUER)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (httpx.Response(403, json={}), Refused, "403"),
        (httpx.Response(500), Unreachable, "the HIIS-VZ does not answer as a whole"),
        (
            httpx.Response(
                200, json={"resourceType": "Bundle", "link": [{"relation": "next", "url": "https://other.example/x"}]}
            ),
            Refused,
            "a page's link leads to another server",
        ),
        (
            httpx.Response(
                200, json={"resourceType": "Bundle", "link": [{"relation": "next", "url": "/DeviceDefinition?again"}]}
            ),
            Unreachable,
            "the HIIS-VZ does not answer as a whole",
        ),
        (httpx.Response(200, json={"resourceType": "Bundle"}), NotFound, "no recorder of the HIIS-VZ has this device"),
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
