"""Only what the provider signed for this recorder, in time, counts as proof (OpenID Connect Core 1.0, RFC 8725)."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import tracemalloc
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import OKPKey

from ddr.demo.certs import authority, server_certificate
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.logout import read_logout_token
from ddr.identity.provider import AGAIN_MS, FRESH_MS, GOOD_MS, LARGEST_BYTES, Description, Provider
from ddr.identity.tokens import LEEWAY_MS, LONGEST, read_access_token, read_id_token
from ddr.settings import Settings
from ddr.store.database.clock import steady_ms
from ddr.tls.context import public_context
from tests.support.clock import Clock
from tests.support.openid import AUDIENCE, CLIENT_ID, OpenIdProvider, new_key


def id_token(openid: OpenIdProvider, **changes: Any) -> str:
    """An ID token for us with these claims; None leaves one out."""
    claims = {**openid.claims("anna"), "aud": CLIENT_ID, "nonce": "n", "preferred_username": "anna", **changes}
    return openid.sign({name: value for name, value in claims.items() if value is not None})


def raw(body: bytes, encoding: str = "identity") -> httpx.Response:
    """An answer of the provider's whose body is yet to be read."""
    return httpx.Response(200, headers={"content-encoding": encoding}, stream=httpx.ByteStream(body))


def document(content: dict[str, Any]) -> httpx.Response:
    """What the provider publishes."""
    return raw(json.dumps(content).encode())


def by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token that a library would not make."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    return b".".join([*parts, urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")]).decode()


def rs256(openid: OpenIdProvider) -> Callable[[bytes], bytes]:
    """Signs as the provider does."""

    def sign(text: bytes) -> bytes:
        assert openid.key.private_key
        return openid.key.private_key.sign(text, PKCS1v15(), SHA256())

    return sign


async def test_a_good_token_tells_who_logged_in(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    identity = await read_id_token(provider, id_token(openid, auth_time=clock() // 1000), "n", clock())
    assert (identity.subject, identity.username) == (openid.claims("anna")["sub"], "anna")
    assert identity.authenticated_ms == clock()


@pytest.mark.parametrize("name", ["an\0na", "an\nna", 7, None])
async def test_a_name_that_cannot_be_shown_is_left_out(
    provider: Provider, openid: OpenIdProvider, clock: Clock, name: object
) -> None:
    token = id_token(openid, preferred_username=name)
    assert (await read_id_token(provider, token, "n", clock())).username == ""


async def test_several_audiences_need_the_authorized_party(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    token = id_token(openid, aud=[CLIENT_ID, "other"], azp=CLIENT_ID)
    assert (await read_id_token(provider, token, "n", clock())).username == "anna"


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("iss", {"iss": "https://other.example"}),
        ("iss", {"iss": None}),
        ("aud", {"aud": "other"}),
        ("aud", {"aud": None}),
        ("aud", {"aud": []}),
        ("azp", {"aud": [CLIENT_ID, "other"]}),
        ("azp", {"azp": "other"}),
        ("nonce", {"nonce": "other"}),
        ("nonce", {"nonce": None}),
        ("exp", {"exp": None}),
        ("exp", {"exp": True}),
        ("exp", {"exp": "never"}),
        ("exp", {"exp": 1_000_000_000}),
        ("iat", {"iat": None}),
        ("not yet", {"iat": 4_000_000_000, "exp": 4_000_000_300}),
        ("not yet", {"nbf": 4_000_000_000}),
        ("sub", {"sub": None}),
        ("sub", {"sub": ""}),
        ("sub", {"sub": "x" * 256}),
        ("sub", {"sub": "a\x00b"}),
        ("sub", {"sub": "anna\x1b[2J"}),  # ddr patient prints it to a terminal
        ("sub", {"sub": 7}),
    ],
)
async def test_any_flaw_refuses(
    provider: Provider, openid: OpenIdProvider, clock: Clock, check: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(LoginRefused, match=f"^{check}$"):
        await read_id_token(provider, id_token(openid, **changes), "n", clock())


async def test_a_header_may_bring_the_certificate(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    claims = {**openid.claims("anna"), "aud": CLIENT_ID, "nonce": "n"}
    header = {"alg": "RS256", "kid": "op-1", "x5c": ["M" * 2400]}
    assert await read_id_token(provider, by_hand(header, claims, rs256(openid)), "n", clock())


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
async def test_a_signature_with_ed25519_has_two_names(
    provider: Provider, openid: OpenIdProvider, clock: Clock, name: str
) -> None:
    """Providers use the first one (RFC 8037), the second is newer (RFC 9864)."""
    openid.key = key = OKPKey.generate_key("Ed25519", {"kid": "op-1", "alg": name})  # type: ignore[assignment]
    claims = {**openid.claims("anna"), "aud": CLIENT_ID, "nonce": "n"}
    token = jwt.encode({"alg": name, "kid": "op-1"}, claims, key, algorithms=[name])
    assert await read_id_token(provider, token, "n", clock())
    forged = jwt.encode({"alg": name, "kid": "op-1"}, claims, OKPKey.generate_key("Ed25519"), algorithms=[name])
    with pytest.raises(LoginRefused, match="signature"):
        await read_id_token(provider, forged, "n", clock())


DEEP = urlsafe_b64encode(b'{"alg":"RS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}").rstrip(b"=").decode()


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "a.b.c.d", ".." + "x" * 20_000, f"{DEEP}.e30.AAAA"])
async def test_what_is_no_token_refuses(provider: Provider, clock: Clock, token: str) -> None:
    with pytest.raises(LoginRefused):
        await read_id_token(provider, token, "n", clock())


async def test_signatures_of_others_refuse(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    """A key of one's own under the provider's name, its public key as an HMAC secret, and no signature at all."""
    claims = {**openid.claims("anna"), "aud": CLIENT_ID, "nonce": "n"}
    public = openid.key.as_pem(private=False)

    forged = [
        jwt.encode({"alg": "RS256", "kid": "op-1"}, claims, new_key("op-1")),
        by_hand({"alg": "HS256", "kid": "op-1"}, claims, lambda text: hmac.digest(public, text, "sha256")),
        by_hand({"alg": "none", "kid": "op-1"}, claims, lambda text: b""),
        jwt.encode({"alg": "RS256", "kid": "enc"}, claims, openid.key),
        by_hand({"alg": "RS256", "kid": "op-1", "crit": ["new"], "new": 1}, claims, rs256(openid)),
    ]
    unknown_member = by_hand({"alg": "RS256", "kid": "op-1", "new": 1}, claims, rs256(openid))
    assert await read_id_token(provider, unknown_member, "n", clock())
    for token in forged:
        with pytest.raises(LoginRefused):
            await read_id_token(provider, token, "n", clock())


async def test_claims_nested_without_end_refuse(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    header, claims = (
        urlsafe_b64encode(text).rstrip(b"=")
        for text in (b'{"alg":"RS256","kid":"op-1","typ":"logout+jwt"}', b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}")
    )
    signature = urlsafe_b64encode(rs256(openid)(header + b"." + claims)).rstrip(b"=")
    token = b".".join([header, claims, signature]).decode()
    provider.access_token_type = "logout+jwt"
    # Python reads 1,000, 10,000 or as many levels as its stack takes; there is no issuer then
    with pytest.raises(LoginRefused, match=r"form|iss"):
        await read_id_token(provider, token, "n", clock())
    with pytest.raises(LoginRefused, match=r"form|iss"):
        await read_access_token(provider, token, clock())
    with pytest.raises(LoginRefused, match=r"form|iss"):
        await read_logout_token(provider, token, clock())


@pytest.mark.parametrize("changes", [{"sub": "a\ud800"}, {"sid": "\udfff"}])
async def test_half_a_character_refuses(
    provider: Provider, openid: OpenIdProvider, clock: Clock, changes: dict[str, Any]
) -> None:
    claims = {**openid.claims("anna"), "aud": CLIENT_ID, "nonce": "n", **changes}
    with pytest.raises(LoginRefused, match="text"):
        await read_id_token(provider, by_hand({"alg": "RS256", "kid": "op-1"}, claims, rs256(openid)), "n", clock())


async def test_tokens_end_soon_after_they_say(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    token = id_token(openid)
    assert await read_id_token(provider, token, "n", clock() + 300_000 + LEEWAY_MS - 1)
    with pytest.raises(LoginRefused, match="exp"):
        await read_id_token(provider, token, "n", clock() + 300_000 + LEEWAY_MS)


async def test_an_id_token_is_no_access_token(provider: Provider, openid: OpenIdProvider, clock: Clock) -> None:
    assert await read_access_token(provider, openid.access_token("anna"), clock()) == openid.claims("anna")["sub"]
    with pytest.raises(LoginRefused, match="typ"):
        await read_access_token(provider, id_token(openid), clock())
    with pytest.raises(LoginRefused, match="aud"):
        await read_id_token(provider, openid.access_token("anna", nonce="n"), "n", clock())


async def test_a_new_key_is_learned_at_once_but_not_asked_for_again_and_again(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    await provider.description()
    clock.advance(AGAIN_MS / 1000)
    openid.key = new_key("op-2")
    assert await read_access_token(provider, openid.access_token("anna"), clock())
    asked = len(openid.requests)
    openid.key = new_key("op-3")
    for _ in range(5):
        with pytest.raises(LoginRefused):
            await read_access_token(provider, openid.access_token("anna"), clock())
    assert len(openid.requests) == asked
    clock.advance(AGAIN_MS / 1000)
    assert await read_access_token(provider, openid.access_token("anna"), clock())


@pytest.mark.parametrize("kid", ["op-1", "op-2"])
async def test_whoever_logs_in_brings_a_new_key_at_once(
    provider: Provider, openid: OpenIdProvider, clock: Clock, kid: str
) -> None:
    """The provider itself has given the ID token: nobody could invent its key. Logins were refused for a minute."""
    await provider.description()
    openid.key = new_key(kid)
    assert await read_id_token(provider, id_token(openid), "n", clock())
    asked = len(openid.requests)
    assert await read_access_token(provider, openid.access_token("anna"), clock()), "so is a gateway"
    assert await read_id_token(provider, id_token(openid), "n", clock())
    assert len(openid.requests) == asked


async def test_a_key_without_a_name_of_its_own_is_exchanged(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    """Nobody could log in for an hour, and gateways were told to log in again. One key needs no `kid` (OpenID Connect
    Core 1.0 section 10.1)."""
    await provider.description()
    asked = len(openid.requests)
    openid.key = new_key("op-1")
    for _ in range(3):
        with pytest.raises(LoginRefused, match="signature"):
            await read_access_token(provider, openid.access_token("anna"), clock())
    assert len(openid.requests) == asked, "not asked for again and again"
    clock.advance(AGAIN_MS / 1000)
    assert await read_access_token(provider, openid.access_token("anna"), clock())


async def test_keys_stay_good_for_a_day_while_the_provider_is_down(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    await provider.description()
    openid.down = True
    clock.advance(FRESH_MS / 1000)
    assert await read_id_token(provider, id_token(openid), "n", clock())
    clock.advance((GOOD_MS - FRESH_MS) / 1000)
    with pytest.raises(ProviderUnavailable):
        await read_id_token(provider, id_token(openid), "n", clock())


async def test_keys_are_good_for_no_longer_by_a_clock_that_was_set_back(
    provider: Provider, openid: OpenIdProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.description()
    openid.down = True
    clock.advance(-GOOD_MS / 1000)
    assert await read_access_token(provider, openid.access_token("anna", iat=clock() // 1000), clock())
    now = steady_ms() + GOOD_MS
    monkeypatch.setattr("ddr.identity.provider.steady_ms", lambda: now)
    clock.advance(GOOD_MS / 1000)
    with pytest.raises(ProviderUnavailable):
        await read_access_token(provider, openid.access_token("anna"), clock())


@pytest.mark.parametrize("answer", [{"keys": []}, {"keys": [{"kty": "NEW", "kid": "future"}]}, {"error": "busy"}])
async def test_keys_stay_good_while_the_provider_publishes_none(
    oidc_settings: Settings, openid: OpenIdProvider, clock: Clock, answer: dict[str, Any]
) -> None:
    """Every gateway was refused, with an error that tells an app to log its patient in again."""
    spoilt = list[bool]()

    async def answered(request: httpx.Request) -> httpx.Response:
        if spoilt and request.url.path == "/keys":
            return document(answer)
        return await httpx.ASGITransport(openid.app()).handle_async_request(request)

    provider = Provider(oidc_settings, clock, httpx.MockTransport(answered))
    await provider.description()
    spoilt.append(True)
    clock.advance(FRESH_MS / 1000)
    assert await read_access_token(provider, openid.access_token("anna"), clock())


async def test_a_provider_that_hangs_keeps_nobody_waiting_whom_its_former_keys_serve(
    provider: Provider, openid: OpenIdProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.description()
    asked, going_on = [0], asyncio.Event()
    read = provider._read

    async def hang() -> Description:
        asked[0] += 1
        await going_on.wait()
        return await read()

    monkeypatch.setattr(provider, "_read", hang)
    monkeypatch.setattr("ddr.identity.provider.PATIENCE_SECONDS", 0.01)
    clock.advance(FRESH_MS / 1000)
    async with asyncio.timeout(5):
        for _ in range(3):
            assert await read_id_token(provider, id_token(openid), "n", clock())
    openid.key = new_key("op-2")
    waiting = asyncio.create_task(read_id_token(provider, id_token(openid), "n", clock()))
    await asyncio.sleep(0.1)
    assert not waiting.done() and asked == [1], "a key that is not known is waited for"
    going_on.set()
    assert await waiting
    assert asked == [1]


async def test_an_answer_that_comes_drop_by_drop_is_none(
    oidc_settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    monkeypatch.setattr("ddr.identity.provider.LONGEST_SECONDS", 0.1)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drops()))
    async with asyncio.timeout(5):
        with pytest.raises(ProviderUnavailable):
            await Provider(oidc_settings, clock, transport).description()
    away = ("login.provider_away", "no answer: TimeoutError")
    assert [(one.message, vars(one)["fault"]) for one in caplog.records] == [away]


@pytest.mark.parametrize(
    ("body", "encoding", "fault"),
    [
        (b" " * (LARGEST_BYTES + 1), "identity", f"is larger than {LARGEST_BYTES} bytes"),
        (gzip.compress(b" " * 20_000_000), "gzip", f"is larger than {LARGEST_BYTES} bytes"),
        (gzip.compress(gzip.compress(b"{}")), "gzip, gzip", "is encoded otherwise than was asked for"),
    ],
    ids=["plain", "packed", "packed-twice"],
)
async def test_an_answer_is_read_no_further_than_memory_allows(
    oidc_settings: Settings,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    body: bytes,
    encoding: str,
    fault: str,
) -> None:
    """One megabyte that unpacked to one gigabyte held a worker up until it was killed, and refused its DiGA."""
    provider = Provider(oidc_settings, clock, httpx.MockTransport(lambda _: raw(body, encoding)))
    tracemalloc.start()
    with pytest.raises(ProviderUnavailable):
        await provider.description()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * LARGEST_BYTES
    assert vars(caplog.records[0])["fault"] == f"no answer: it {fault}"


async def test_what_comes_behind_a_packed_answer_is_not_kept(oidc_settings: Settings, clock: Clock) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield gzip.compress(b'{"issuer": "https://other.example"}')
        for _ in range(20):
            yield bytes(LARGEST_BYTES)

    packed = {"content-encoding": "gzip"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=packed, content=pieces()))
    provider = Provider(oidc_settings, clock, transport)
    tracemalloc.start()
    with pytest.raises(ProviderUnavailable, match="issuer"):
        await provider.description()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * LARGEST_BYTES


async def test_a_provider_whose_certificate_is_not_trusted_is_away_for_that_reason(
    oidc_settings: Settings, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = server_certificate(tmp_path, authority(tmp_path))
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=public_context(own.cert, own.key))
    issuer = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    provider = Provider(replace(oidc_settings, oidc_issuer=issuer), clock)
    async with server:
        with pytest.raises(ProviderUnavailable):
            await provider.description()
    await provider.close()
    assert "certificate verify failed" in vars(caplog.records[0])["fault"]


async def test_an_answer_that_is_no_http_is_not_quoted(
    oidc_settings: Settings, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that puts an answer together and goes on calling it chunked, for instance: there are tokens in it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{"id_token": "eyJhbGciOi"}\r\n')
        await writer.drain()
        writer.close()

    ca = authority(tmp_path)
    own = server_certificate(tmp_path, ca)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=public_context(own.cert, own.key))
    issuer = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    provider = Provider(replace(oidc_settings, oidc_issuer=issuer, oidc_ca=str(ca.cert)), clock)
    async with server:
        with pytest.raises(ProviderUnavailable):
            await provider.description()
    await provider.close()
    assert vars(caplog.records[0])["fault"] == "no answer: illegal chunk header"


@pytest.mark.parametrize(
    "jwks_uri",
    [
        *("https://[", "https://[v1.x]/", "https://x:99999/", "https://xn--/", "https://ä..b/", "https://x/\r\n"),
        *("https://x/\ud800", "https:///keys", "http://konto.example/keys", f"https://x/{'y' * 70_000}", None),
    ],
)
async def test_an_address_that_is_none_is_no_answer(oidc_settings: Settings, clock: Clock, jwks_uri: object) -> None:
    described = {"issuer": oidc_settings.oidc_issuer, "jwks_uri": jwks_uri}
    transport = httpx.MockTransport(lambda _: document(described))
    with pytest.raises(ProviderUnavailable, match="jwks_uri"):
        await Provider(oidc_settings, clock, transport).description()


async def test_a_provider_may_say_that_it_has_no_logout(
    oidc_settings: Settings, openid: OpenIdProvider, clock: Clock
) -> None:
    """With null; nobody could log in."""

    async def answer(request: httpx.Request) -> httpx.Response:
        response = await httpx.ASGITransport(openid.app()).handle_async_request(request)
        content = json.loads(await response.aread())
        return document({**content, "end_session_endpoint": None} if "issuer" in content else content)

    provider = Provider(oidc_settings, clock, httpx.MockTransport(answer))
    assert (await provider.description()).end_session_endpoint is None


async def test_no_cookie_of_the_provider_is_kept(oidc_settings: Settings, clock: Clock) -> None:
    """One patient's went along with the next one's code; of those with new names each time there was no end."""
    sent = list[str | None]()

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": f"n{len(sent)}=x; Path=/"}, stream=httpx.ByteStream(b"{}"))

    provider = Provider(oidc_settings, clock, httpx.MockTransport(answer))
    for _ in range(2):
        await provider.get_json(provider.issuer)
    assert sent == [None, None]


async def test_a_document_nested_without_end_is_no_answer(oidc_settings: Settings, clock: Clock) -> None:
    transport = httpx.MockTransport(lambda _: raw(b"[" * 3000 + b"]" * 3000))
    with pytest.raises(ProviderUnavailable):
        await Provider(oidc_settings, clock, transport).description()


async def test_a_claim_of_whom_one_acts_for_nested_without_end_is_none(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    provider.represents_claim = "children"
    token = id_token(openid, children="[" * 3000 + "]" * 3000)
    told = (await read_id_token(provider, token, "n", clock())).represents
    assert told in (("the claim is no array",), ("an entry is no object",))  # as deep as Python reads


@pytest.mark.parametrize("auth_time", ["now", True, None, -1, float("inf"), float("nan")])
async def test_a_time_of_login_that_is_none_is_none(
    provider: Provider, openid: OpenIdProvider, clock: Clock, auth_time: object
) -> None:
    token = id_token(openid, auth_time=auth_time)
    assert (await read_id_token(provider, token, "n", clock())).authenticated_ms is None


async def test_a_provider_that_was_never_reached_may_be_asked_at_once(
    provider: Provider, openid: OpenIdProvider
) -> None:
    openid.down = True
    with pytest.raises(ProviderUnavailable):
        await provider.description()
    openid.down = False
    assert (await provider.description()).token_endpoint == "https://konto.example/token"


async def test_a_provider_must_be_the_one_it_says(provider: Provider, openid: OpenIdProvider) -> None:
    openid.issuer = "https://other.example"
    with pytest.raises(ProviderUnavailable):
        await provider.description()


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
async def test_an_access_token_says_that_it_is_one(
    provider: Provider, openid: OpenIdProvider, clock: Clock, typ: str
) -> None:
    claims = {**openid.claims("anna"), "aud": AUDIENCE}
    assert await read_access_token(provider, openid.sign(claims, typ=typ), clock()) == claims["sub"]


async def test_what_comes_from_outside_is_not_longer_than_it_may_be(
    provider: Provider, openid: OpenIdProvider, clock: Clock
) -> None:
    with pytest.raises(LoginRefused, match="length"):
        await read_access_token(provider, openid.access_token("anna", more="x" * LONGEST), clock())
    with pytest.raises(LoginRefused, match="length"):
        await read_logout_token(provider, openid.logout_token("anna", more="x" * LONGEST), clock())


@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": ""}, {"typ": "dpop+jwt"}])
@pytest.mark.parametrize("marks", [{}, {"nonce": "n"}])
async def test_an_id_token_opens_no_gateway(
    provider: Provider, openid: OpenIdProvider, clock: Clock, header: dict[str, Any], marks: dict[str, Any]
) -> None:
    """Whatever its audience: providers let a client add to it."""
    token = openid.sign({**openid.claims("anna"), "aud": [CLIENT_ID, AUDIENCE], "azp": CLIENT_ID, **marks}, **header)
    with pytest.raises(LoginRefused, match="typ"):
        await read_access_token(provider, token, clock())


@pytest.mark.parametrize(
    "mark", [{"aud": [CLIENT_ID, AUDIENCE]}, {"nonce": "n"}, {"at_hash": "x"}, {"c_hash": "x"}, {"typ": "ID"}]
)
async def test_where_access_tokens_have_no_type_of_their_own(
    provider: Provider, openid: OpenIdProvider, clock: Clock, mark: dict[str, Any]
) -> None:
    """`oidc_access_token_type`: then a token must not have any mark of ID tokens."""
    provider.access_token_type = "JWT"
    claims = {**openid.claims("anna"), "aud": AUDIENCE}
    assert await read_access_token(provider, openid.sign(claims, typ="JWT"), clock()) == claims["sub"]
    with pytest.raises(LoginRefused, match="id token"):
        await read_access_token(provider, openid.sign({**claims, **mark}, typ="JWT"), clock())
