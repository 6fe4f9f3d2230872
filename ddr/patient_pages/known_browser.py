"""The cookie by which a browser shows that it has logged into an account before (OWASP: device cookies).

It proves nothing else: its holder may try passwords without being delayed by the wrong ones of strangers. It names no
account; for each of a few accounts it holds a random text and a MAC over text and account.
"""

from __future__ import annotations

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from ddr.base64url import encoded
from ddr.http.asgi import cookie
from ddr.store.database.names import account_name

COOKIE = "__Host-ddr-known"
DAYS = 180
MOST = 4  # accounts of one browser; the one unused for longest is forgotten
SECRET = "known-browsers"  # noqa: S105 - the name of one
_NONCE, _MAC = 22, 43  # characters of base64url


def device_of(request: Request, secret: bytes, username: str) -> str:
    """The random text under which this browser logged into this account before, or ""."""
    return next((nonce for nonce, mac in _entries(request) if _fits(secret, nonce, mac, username)), "")


def remember(request: Request, response: Response, secret: bytes, username: str) -> None:
    """Remember that this browser has just logged into this account."""
    others = [(nonce, mac) for nonce, mac in _entries(request) if not _fits(secret, nonce, mac, username)]
    nonce = secrets.token_urlsafe(16)
    kept = [(nonce, _mac(secret, nonce, username)), *others][:MOST]
    response.set_cookie(
        COOKIE,
        "".join(nonce + mac for nonce, mac in kept),
        max_age=DAYS * 86_400,
        path="/",
        secure=True,
        httponly=True,
        samesite="lax",
    )


def _entries(request: Request) -> list[tuple[str, str]]:
    text = cookie(request.scope, COOKIE)
    step = _NONCE + _MAC
    return [
        (text[at : at + _NONCE], text[at + _NONCE : at + step]) for at in range(0, min(len(text), MOST * step), step)
    ]


def _fits(secret: bytes, nonce: str, mac: str, username: str) -> bool:
    return hmac.compare_digest(mac.encode("utf-8", "surrogatepass"), _mac(secret, nonce, username).encode())


def _mac(secret: bytes, nonce: str, username: str) -> str:
    digest = hmac.digest(secret, f"{nonce}:{account_name(username)}".encode("utf-8", "surrogatepass"), "sha256")
    return encoded(digest)
