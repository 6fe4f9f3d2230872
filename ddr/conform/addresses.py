"""URLs that a recorder gives, which may be invalid."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit


def is_address(text: str) -> bool:
    """Whether a request can be sent to it: it has a scheme, a host, and, if there is a port, a numeric one."""
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and parts.hostname) and parts.port != 0
    except ValueError:
        return False


def joined(base: str, link: str) -> str:
    """`link` as an absolute URL; "" when it is invalid."""
    try:
        found = urljoin(base, link)
    except ValueError:
        return ""
    return found if is_address(found) else ""
