"""How many TLS sessions a listener keeps for clients that do not keep them themselves.

Clients with TLS 1.3, or with tickets, keep their own. Of the others, with TLS 1.2, OpenSSL keeps the last 20,480 for
two hours, with the client's certificate in each: 6 KB, so that one client may take 120 MB for each listener.

Tickets are sealed under a key that OpenSSL makes with a context and keeps with it: who gets hold of it can read what
was said under TLS 1.2 with any of them. RFC 5077 section 5.5 recommends another key each day.

Python's `ssl` has no word for it, so the library beneath is told.
"""

from __future__ import annotations

import _ssl
import ctypes
import secrets
import ssl
import sys
from collections.abc import Callable

LAYOUT_KNOWN = sys.implementation.name == "cpython" and sys.version_info < (3, 15)  # of the objects of `ssl`
MOST = 200  # who comes again later makes a whole handshake, which costs 2 ms
_SET_CACHE_SIZE, _SET_TICKET_KEYS = 42, 59  # SSL_CTRL_SET_SESS_CACHE_SIZE, _TLSEXT_TICKET_KEYS of <openssl/ssl.h>
_TICKET_KEYS = 80  # bytes: a name, a key for the HMAC, one for AES


def _control() -> Callable[..., int] | None:
    """SSL_CTX_ctrl(3) of the OpenSSL that `ssl` uses; None where it cannot be reached, as in one that is linked in.

    Where CPython puts the address of its SSL_CTX is no promise: versions that nobody looked at are left alone.
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
    """Let `context` keep MOST sessions; nothing where the library cannot be told."""
    if _told is not None:
        _told(_beneath(context), _SET_CACHE_SIZE, MOST, None)


def forget_tickets(context: ssl.SSLContext) -> None:
    """Give `context` another key for tickets, so that those of before resume nothing; nothing where the library cannot
    be told."""
    if _told is not None:
        _told(_beneath(context), _SET_TICKET_KEYS, _TICKET_KEYS, secrets.token_bytes(_TICKET_KEYS))


def _beneath(context: ssl.SSLContext) -> ctypes.c_void_p:
    """CPython's context begins, after what every object has, with the library's."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
