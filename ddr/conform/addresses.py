"""Addresses that a recorder names: they may be none at all."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit


def is_address(text: str) -> bool:
    """Whether it can be asked: a scheme, a host, and a port that is a number where there is one."""
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and parts.hostname) and parts.port != 0
    except ValueError:
        return False


def joined(base: str, link: str) -> str:
    """`link`, absolute; "" when it leads nowhere."""
    try:
        found = urljoin(base, link)
    except ValueError:
        return ""
    return found if is_address(found) else ""
