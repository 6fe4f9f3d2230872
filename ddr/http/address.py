"""Where a request comes from: the peer, or whom a trusted proxy names. Only this file reads such a header."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ddr.http.asgi import ASGIApp, Receive, Scope, Send, header_values

Network = IPv4Network | IPv6Network
FORWARDED = "forwarded"  # RFC 7239; any other header is a list of addresses, like X-Forwarded-For


def client_address(scope: Scope) -> str:
    """The address of the client; "" when the connection has none (a Unix socket)."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def client_network(scope: Scope) -> str:
    """The network of the client's subscriber."""
    return network_of(client_address(scope))


def network_of(text: str) -> str:
    """The unit of counting, which belongs to one subscriber: an IPv4 address, or the /64 of an IPv6 address."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address or text)


def networks(text: str) -> tuple[Network, ...]:
    """The addresses and networks of a setting, separated by spaces. Raises ValueError."""
    return tuple(ip_network(part) for part in text.split())


def among(address: str, proxies: Sequence[Network]) -> bool:
    """True when `address`, as given by a socket, is one of these."""
    return _trusted(_address(address), proxies)


def behind_proxies(app: ASGIApp, proxies: Sequence[Network], name: str, only_proxies: Iterable[str] = ()) -> ASGIApp:
    """`app`, in which the client's address is the one that trusted `proxies` name in the header `name` ("": none).

    Each proxy appends the address it saw, so the list is read from its end, and the first address that is not a trusted
    proxy counts: whatever the client itself wrote before that is never read. From a peer that is not a trusted proxy
    the header is ignored. So are the headers `only_proxies`, which are removed then.
    """
    wanted = name.lower()
    refused = frozenset(one.lower().encode("latin-1") for one in only_proxies if one)

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        peer = _address(client_address(scope))
        if not _trusted(peer, proxies):
            scope["headers"] = [(key, value) for key, value in scope["headers"] if key not in refused]
        elif wanted:
            scope["client"] = (str(_first_stranger(peer, _hops(header_values(scope, wanted), wanted), proxies)), 0)
        await app(scope, receive, send)

    return reading


def _first_stranger(
    peer: IPv4Address | IPv6Address | None, hops: Sequence[str], proxies: Sequence[Network]
) -> IPv4Address | IPv6Address | None:
    """The nearest hop that is not a trusted proxy; if there is none, the last one that could be read."""
    found = peer
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            break
        found = address
        if not _trusted(address, proxies):
            break
    return found


def _hops(values: Sequence[str], name: str) -> list[str]:
    elements = [element.strip() for value in values for element in value.split(",")]
    return [_for_of(element) for element in elements] if name == FORWARDED else elements


def _for_of(element: str) -> str:
    """The `for` of one element of Forwarded (RFC 7239 section 4); "" if it has none."""
    for pair in element.split(";"):
        key, _, value = pair.strip().partition("=")
        if key.lower() == "for":
            return value.strip('"')
    return ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without port and brackets; for IPv4 mapped into IPv6, the IPv4 address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _trusted(address: IPv4Address | IPv6Address | None, proxies: Sequence[Network]) -> bool:
    return address is not None and any(address in proxy for proxy in proxies)
