"""Limits how many TLS sessions a listener keeps for clients that do not keep them themselves.

Clients with TLS 1.3, or with tickets, keep their own. Of the others, with TLS 1.2, OpenSSL keeps the last 20,480 for
two hours, each with the client's certificate: 6 KB, so one client can take 120 MB per listener.

Tickets are encrypted with a key that OpenSSL creates and keeps with a context: whoever obtains it can read all TLS 1.2
connections that used one of them. RFC 5077 section 5.5 recommends a new key each day.

Python's `ssl` cannot set either, so the underlying library is called.
"""

from __future__ import annotations

import _ssl
import ctypes
import secrets
import ssl
import sys
from collections.abc import Callable

LAYOUT_KNOWN = sys.implementation.name == "cpython" and sys.version_info < (3, 15)  # of the objects of `ssl`
MOST = 200  # a client beyond these makes a full handshake when it comes back, which costs 2 ms
_SET_CACHE_SIZE, _SET_TICKET_KEYS = 42, 59  # SSL_CTRL_SET_SESS_CACHE_SIZE, _TLSEXT_TICKET_KEYS of <openssl/ssl.h>
_TICKET_KEYS = 80  # bytes: a name, a key for the HMAC, one for AES


def _control() -> Callable[..., int] | None:
    """SSL_CTX_ctrl(3) of the OpenSSL that `ssl` uses; None if it cannot be reached, as when linked statically.

    CPython does not guarantee where it stores the address of its SSL_CTX, so unknown versions are left alone.
    """
    if not LAYOUT_KNOWN or not ssl.OPENSSL_VERSION.startswith("OpenSSL"):
        return None
    try:
        control = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    except (AttributeError, OSError):
        return None
    control.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
    control.restype = ctypes.c_long
    return control


_told = _control()


def keep_few(context: ssl.SSLContext) -> None:
    """Let `context` keep only MOST sessions; does nothing where the library cannot be called."""
    if _told is not None:
        _told(_beneath(context), _SET_CACHE_SIZE, MOST, None)


def forget_tickets(context: ssl.SSLContext) -> None:
    """Give `context` a new key for tickets, so that former ones resume nothing, if the library can be called."""
    if _told is not None:
        _told(_beneath(context), _SET_TICKET_KEYS, _TICKET_KEYS, secrets.token_bytes(_TICKET_KEYS))


def _beneath(context: ssl.SSLContext) -> ctypes.c_void_p:
    """CPython's context begins with the object header, followed by the library's context."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
