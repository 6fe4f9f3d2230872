"""Texts of a registry are untrusted: what may appear on a page, a terminal or in a log, and which URIs may be used."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

LONGEST_NAME = 120  # characters; patients read the name where they decide
LONGEST_NOTE = 400
LONGEST_ADDRESS = 2000
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, bidi and other format characters, and unassigned ones

_ADDRESS = re.compile(r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")  # RFC 3986 section 2, no fragment
_HOST = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}")
_LITERAL = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")  # an IPv6 address and a port; brackets occur nowhere else
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+")  # RFC 8252 section 7.1: a domain name, reversed
_LOOPBACK = ("127.0.0.1", "::1")  # RFC 8252 section 7.3; `localhost` may lead elsewhere (section 8.3)


def clean(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` on one line, without invisible characters, and no longer than `longest` characters."""
    spaced = "".join(" " if character.isspace() else character for character in text[: longest * 8])
    visible = "".join(character for character in spaced if unicodedata.category(character) not in _INVISIBLE)
    short = " ".join(unicodedata.normalize("NFC", visible).split())
    return short if len(short) <= longest else short[: longest - 1].rstrip() + "…"


def redirect_problem(address: str) -> str:
    """Why the redirect URI cannot be used, or "" (RFC 9700 sections 2.1 and 4.1; RFC 8252; RFC 3986)."""
    if len(address) > LONGEST_ADDRESS:
        return f"the redirect URI is longer than {LONGEST_ADDRESS} characters"
    if "#" in address or not _ADDRESS.fullmatch(address):
        return "the redirect URI is not an absolute URI without fragment (RFC 3986 section 4.3)"
    try:
        parts = urlsplit(address)
        host, port, userinfo = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError:
        return "the redirect URI is not an absolute URI"
    scheme = parts.scheme
    if userinfo:
        return "the redirect URI names a user before its host"
    unbracketed = address.replace(parts.netloc, "", 1) if _LITERAL.fullmatch(parts.netloc) else address
    if "[" in unbracketed or "]" in unbracketed:
        return "the redirect URI has brackets that are not around an IPv6 address (RFC 3986 section 3.2.2)"
    if _PRIVATE_SCHEME.fullmatch(scheme):
        return "" if not parts.netloc or (host and _is_host(host)) else "the host of the redirect URI is none"
    if scheme not in ("https", "http"):
        return "the redirect URI is neither https nor of a private-use scheme with a dot (RFC 8252 section 7.1)"
    if not host or not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        return "the redirect URI has no proper host and port"
    if scheme == "http" and host not in _LOOPBACK:
        return "the redirect URI is http, which only 127.0.0.1 and [::1] may be (RFC 8252 section 7.3)"
    return ""


def _is_host(host: str) -> bool:
    return (
        host == "::1" or (re.fullmatch(r"[0-9a-f:.]+", host) is not None and ":" in host) or bool(_HOST.fullmatch(host))
    )
