"""Which of our HTTP clients use a proxy of the environment: an address on this machine is never reached through one."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "*.localhost", "127.0.0.1", "[::1]")


def client_arguments(*urls: str) -> dict[str, Any]:
    """Keyword arguments for an httpx client that connects to these addresses.

    A proxy (HTTPS_PROXY etc.) is for addresses outside; a company's proxy knows nothing about our localhost, and
    NO_PROXY rarely lists it.
    """
    if urls and all(is_loopback(url) for url in urls):
        return {"trust_env": False}
    return {"mounts": {f"all://{host}": None for host in _LOOPBACK}}


def is_loopback(url: str) -> bool:
    """True for an address on this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return False
