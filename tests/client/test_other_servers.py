"""Other vendors' authorization servers: what HDDT and the RFCs leave open must not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from ddr.client import ConsentDenied, FileTokens, Grant, NoAnswerToThisRequest, Pairing, SqliteTokens, Throttled
from ddr.client.tokens import PairingStore
from tests.client.foreign import DIGA

BASE = "https://oauth.example/v1"
TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 600, "scope": "s"}


@dataclass
class Server:
    """Answers at the addresses of its metadata; `revoked` is what it says to a revocation."""

    issuer: str = BASE
    sub: str = "p" * 32
    page: str = f"{BASE}/authorize"
    more: dict[str, Any] = field(default_factory=dict)
    revoked: Callable[[], httpx.Response] = lambda: httpx.Response(200)

    def answer(self, request: httpx.Request) -> httpx.Response:
        match str(request.url):
            case "https://oauth.example/v1/.well-known/oauth-authorization-server":
                names = ("token_endpoint", "revocation_endpoint", "pushed_authorization_request_endpoint")
                addresses = {name: f"{BASE}/{name}" for name in names}
                return httpx.Response(
                    200, json={"issuer": self.issuer, "authorization_endpoint": self.page, **addresses, **self.more}
                )
            case "https://oauth.example/v1/pushed_authorization_request_endpoint":
                return httpx.Response(201, json={"request_uri": "urn:x", "expires_in": 60})
            case "https://oauth.example/v1/token_endpoint":
                return httpx.Response(200, json={**TOKENS, "sub": self.sub})
            case "https://oauth.example/v1/revocation_endpoint":
                return self.revoked()
        return httpx.Response(404)

    def pairing(self, store: PairingStore, registered: str = BASE) -> Pairing:
        diga = replace(DIGA, issuer=registered)
        return Pairing(diga, httpx.AsyncClient(transport=httpx.MockTransport(self.answer)), store)


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


async def landed(pairing: Pairing, **said: str) -> Grant:
    """The grant of a patient who agrees, or does what is `said`."""
    started = await pairing.start(["continuous-glucose-measurement"])
    query = urlencode({"state": started.state, "code": "c", **said})
    return await pairing.finish(started, f"{DIGA.redirect_uri}?{query}")


async def test_a_redirect_need_not_name_its_server(tmp_path: Path) -> None:
    """HDDT does not ask for RFC 9207. Before: nobody could pair with a recorder that leaves it."""
    pairing = Server().pairing(FileTokens(tmp_path))
    assert (await landed(pairing)).pairing_id == "p" * 32
    with pytest.raises(ConsentDenied):
        await landed(pairing, error="access_denied")


async def test_a_server_that_says_that_it_names_itself_must(tmp_path: Path) -> None:
    told = Server(more={"authorization_response_iss_parameter_supported": True})
    with pytest.raises(NoAnswerToThisRequest):
        await landed(told.pairing(FileTokens(tmp_path)))
    for server in (told, Server()):
        with pytest.raises(NoAnswerToThisRequest):
            await landed(server.pairing(FileTokens(tmp_path)), iss="https://other.example")
        assert await landed(server.pairing(FileTokens(tmp_path)), iss=BASE)


@pytest.mark.parametrize("issuer", [BASE, f"{BASE}/"])
@pytest.mark.parametrize("registered", [BASE, f"{BASE}/"])
async def test_a_base_url_is_the_same_with_a_slash_at_its_end(issuer: str, registered: str, tmp_path: Path) -> None:
    """As one that the HIIS-VZ has. Before: "the metadata names another issuer", whatever the DiGA wrote."""
    pairing = Server(issuer=issuer).pairing(FileTokens(tmp_path), registered)
    assert await landed(pairing, iss=issuer)


async def test_what_the_authorization_endpoint_has_in_its_address_stays(tmp_path: Path) -> None:
    """RFC 6749 section 3.1."""
    pairing = Server(page=f"{BASE}/authorize?tenant=7").pairing(FileTokens(tmp_path))
    found = parse_qs(urlsplit((await pairing.start(["blood-glucose-measurement"])).url).query)
    assert (found["tenant"], found["request_uri"]) == (["7"], ["urn:x"])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="OK"),
        httpx.Response(200, text="<html>", headers={"content-type": "text/html"}),
        httpx.Response(200, json=[]),
        httpx.Response(400, json={"error": "invalid_grant"}),
    ],
)
async def test_a_pairing_that_is_revoked_has_ended_whatever_comes_with_it(
    answer: httpx.Response, tmp_path: Path
) -> None:
    """RFC 7009 section 2.2. Before: it could never be ended, and its tokens stayed."""
    store = FileTokens(tmp_path)
    pairing = Server(revoked=lambda: answer).pairing(store)
    await pairing.unpair((await landed(pairing)).pairing_id)
    assert await store.pairings() == []


async def test_a_pairing_that_cannot_be_revoked_now_is_kept(tmp_path: Path) -> None:
    store = FileTokens(tmp_path)
    pairing = Server(revoked=lambda: httpx.Response(503, text="later")).pairing(store)
    with pytest.raises(Throttled):
        await pairing.unpair((await landed(pairing)).pairing_id)
    assert await store.pairings() == ["p" * 32]


@pytest.mark.parametrize("kind", ["files", "sqlite"])
@pytest.mark.parametrize(
    "sub", ["mZ+/8w==", "urn:uuid:0b0d2a56-5d3c-4f3e-9d5c-0d6f0a6f4a11", "../p", ".", "..", "%2e", "a%"]
)
async def test_a_pairing_id_has_any_form(sub: str, kind: str, tmp_path: Path) -> None:
    """HDDT wants it long and not to be guessed. Before: the code was used up, and then it was refused."""
    store = FileTokens(tmp_path / "in") if kind == "files" else SqliteTokens(tmp_path / "in" / "tokens.sqlite")
    pairing = Server(sub=sub).pairing(store)
    assert (await landed(pairing)).pairing_id == sub
    found = await store.load(sub)
    assert found is not None and found.pairing_id == sub and await store.pairings() == [sub]
    assert names(tmp_path) == ["in"], "nothing lies elsewhere"
    await pairing.unpair(sub)
    assert await store.pairings() == []
