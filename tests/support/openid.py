"""An OpenID provider as patients know one: a login form, a remembered session, codes, tokens; for tests only.

It is written from OpenID Connect Core 1.0 and RFC 7636 and shares no code with ddr/identity, so that both have to
agree.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ddr.http.clock import now_ms

CLIENT_ID, CLIENT_SECRET = "ddr", "s3cret/with:signs"
AUDIENCE = "urn:ddr:gateway"
PASSWORD = "at the provider"
COOKIE = "op"
LOGIN_FORM = """<!doctype html><html lang="de"><title>Konto</title><link rel="icon" href="data:,">
<h1>Hersteller-Konto</h1>
<form method="post">
<label>Name <input name="user" autocomplete="username"></label>
<label>Passwort <input name="secret" type="password" autocomplete="current-password"></label>
<button>Weiter</button></form>"""

Claims = dict[str, Any]


@dataclass
class Issued:
    """The data behind a code."""

    parameters: Mapping[str, str]
    user: str
    auth_time: int
    sid: str


@dataclass
class OpenIdProvider:
    """The provider at `issuer`; all user names share one PASSWORD. `change` may spoil ID tokens."""

    issuer: str
    clock: Callable[[], int] = now_ms
    change: Callable[[Claims], None] = lambda claims: None
    key: RSAKey = field(default_factory=lambda: new_key("op-1"))
    codes: dict[str, Issued] = field(default_factory=dict)
    sessions: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    down: bool = False
    names_sessions: bool = True

    def app(self) -> Starlette:
        """The provider as an ASGI application."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/auth", self.authorize, methods=["GET", "POST"]),
                Route("/token", self.token, methods=["POST"]),
                Route("/logout", self.logout),
            ]
        )

    async def configuration(self, request: Request) -> Response:
        """OpenID Connect Discovery 1.0."""
        self.requests.append(request.url.path)
        if self.down:
            return Response(status_code=503)
        endpoints = {"authorization": "auth", "token": "token", "end_session": "logout"}
        return JSONResponse(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
                "authorization_response_iss_parameter_supported": True,
                **{f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in endpoints.items()},
            }
        )

    async def keys(self, request: Request) -> Response:
        """The key set, including a key of an unknown type."""
        self.requests.append(request.url.path)
        public = {**self.key.as_dict(private=False), "use": "sig"}
        return JSONResponse({"keys": [{"kty": "NEW", "kid": "future"}, {**public, "kid": "enc", "use": "enc"}, public]})

    async def authorize(self, request: Request) -> Response:
        """The login form, unless this browser is remembered; then a redirect with a code."""
        asked = dict(request.query_params)
        if (asked["client_id"], asked["response_type"], asked["scope"]) != (CLIENT_ID, "code", "openid profile"):
            return Response(status_code=400)
        remembered = None if asked.get("prompt") == "login" else self.sessions.get(request.cookies.get(COOKIE, ""))
        if request.method == "POST":
            form = await request.form()
            if form["secret"] != PASSWORD:
                return HTMLResponse(LOGIN_FORM, 401)
            remembered = str(form["user"]), self.clock() // 1000, secrets.token_urlsafe(16)
        if remembered is None:
            return HTMLResponse(LOGIN_FORM)
        return self._back(asked, *remembered)

    def _back(self, asked: Mapping[str, str], user: str, auth_time: int, sid: str) -> Response:
        code, cookie = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self.codes[code] = Issued(asked, user, auth_time, sid)
        self.sessions[cookie] = user, auth_time, sid
        answer = {"code": code, "state": asked["state"], "iss": self.issuer}
        response = RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)
        response.set_cookie(COOKIE, cookie, secure=True, httponly=True, samesite="lax")
        return response

    async def token(self, request: Request) -> Response:
        """Tokens for a code: client, redirect_uri and PKCE must match, and a code is valid once."""
        form = await request.form()
        given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        client, _, secret = (unquote(part) for part in given.partition(":"))
        issued = self.codes.pop(str(form["code"]), None)
        if (client, secret) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client"}, 401)
        if issued is None or not _fits(issued.parameters, form):
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {"aud": CLIENT_ID, "nonce": issued.parameters["nonce"], "auth_time": issued.auth_time}
        claims |= {"sid": issued.sid} if self.names_sessions else {}
        return JSONResponse(
            {
                "token_type": "Bearer",
                "access_token": self.access_token(issued.user),
                "id_token": self.sign({**self.claims(issued.user), **claims, "preferred_username": issued.user}),
            }
        )

    async def logout(self, request: Request) -> Response:
        """RP-Initiated Logout 1.0."""
        self.sessions.pop(request.cookies.get(COOKIE, ""), None)
        back, state = request.query_params["post_logout_redirect_uri"], request.query_params.get("state")
        return RedirectResponse(back if state is None else f"{back}&{urlencode({'state': state})}", 303)

    def claims(self, user: str) -> Claims:
        """The claims of both kinds of tokens; the subject is not the user name."""
        now = self.clock() // 1000
        subject = hashlib.sha256(user.encode()).hexdigest()
        return {"iss": self.issuer, "sub": subject, "iat": now, "exp": now + 300}

    def access_token(self, user: str, **claims: Any) -> str:
        """The token that a gateway app of this user presents (RFC 9068)."""
        return self.sign({**self.claims(user), "aud": [AUDIENCE, "other"], **claims}, typ="at+jwt")

    def logout_token(self, user: str | None, **changes: Any) -> str:
        """The token that this provider sends when a login of `user` ends (Back-Channel Logout 1.0); None leaves a claim
        out."""
        event: dict[str, Claims] = {"http://schemas.openid.net/event/backchannel-logout": {}}
        claims = {**self.claims(user or ""), "aud": CLIENT_ID, "jti": secrets.token_urlsafe(16), "events": event}
        claims |= {"sub": claims["sub"] if user else None, **changes}
        typ = claims.pop("typ", "logout+jwt")
        return self.sign({name: value for name, value in claims.items() if value is not None}, typ=typ)

    def sid_of(self, user: str) -> str:
        """The newest session of this user."""
        return [sid for name, _, sid in self.sessions.values() if name == user][-1]

    def sign(self, claims: Claims, **header: Any) -> str:
        """A token signed by this provider."""
        self.change(claims)
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, **header}, claims, self.key)


def new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "alg": "RS256"})


def _fits(asked: Mapping[str, str], form: Any) -> bool:
    digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return (
        asked["code_challenge_method"] == "S256"
        and challenge == asked["code_challenge"]
        and form["redirect_uri"] == asked["redirect_uri"]
        and form["grant_type"] == "authorization_code"
    )
