"""`ddr check dns`: public DNS records of the recorder's names: addresses, and who may issue certificates (CAA)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import dns.exception
import dns.resolver
from dns.name import Name, from_text, root
from dns.rdata import Rdata

from ddr.cli.errors import CommandError
from ddr.settings import Settings

TIMEOUT_SECONDS = 10.0
TAGS = {"issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone"}  # RFC 8659 and IANA's registry


def check_dns(settings: Settings, server: str) -> int:
    """Print the records of each host in the base URLs; returns the number of problems. Raises CommandError without a
    response.

    `server` is the resolver, ADDRESS or ADDRESS:PORT, "" for the system's.
    """
    urls = (settings.diga_base_url, settings.public_base_url, settings.gateway_base_url)
    resolver = _resolver(server)
    return sum(_host(resolver, host) for host in dict.fromkeys(urlsplit(url).hostname or "" for url in urls))


def _resolver(server: str) -> dns.resolver.Resolver:
    try:
        resolver = dns.resolver.Resolver(configure=not server)
        if server:
            address, _, port = server.rpartition(":") if server.count(":") == 1 else (server, "", "53")
            if not 0 < int(port) <= 65_535:
                raise ValueError(f"{port} is not a port")
            resolver.nameservers, resolver.port = [str(ip_address(address))], int(port)
    except (ValueError, dns.exception.DNSException) as error:
        raise CommandError(f"DNS server {server or 'of this machine'}: {error}") from None
    resolver.lifetime = TIMEOUT_SECONDS
    return resolver


def _host(resolver: dns.resolver.Resolver, host: str) -> int:
    wrong: list[str] = []
    print(host)
    name = from_text(host)
    addresses = [text for kind in ("A", "AAAA") for text in map(str, _records(resolver, name, kind))]
    if not addresses:
        wrong.append("no address")
    wrong += [f"address {one} is not a public address" for one in addresses if not ip_address(one).is_global]
    where, records = _relevant(resolver, name)
    print(f"  addresses    {', '.join(addresses) or 'none'}")
    for record in records:
        print(f"  CAA          {str(where).rstrip('.')}: {record}")
    wrong += _caa(records)
    for text in wrong:
        print(f"  PROBLEM {text}")
    return len(wrong)


def _relevant(resolver: dns.resolver.Resolver, name: Name) -> tuple[Name, Sequence[Rdata]]:
    """The CAA records that apply to a name: its own, else those of the nearest parent (RFC 8659 section 3)."""
    while name != root:
        if records := _records(resolver, name, "CAA"):
            return name, records
        name = name.parent()
    return root, ()


def _caa(records: Sequence[Rdata]) -> list[str]:
    """What is wrong with the records that apply."""
    if not records:
        return ["no CAA record: every certification authority may issue certificates for it"]
    tags = [record.tag.decode().lower() for record in records]  # type: ignore[attr-defined]
    unknown = [
        tag
        for tag, record in zip(tags, records, strict=True)
        if tag not in TAGS and record.flags & 128  # type: ignore[attr-defined]
    ]
    found = [
        f"CAA: unknown critical tag {tag}: an authority that does not know it either must not issue certificates"
        for tag in unknown
    ]
    if "issue" not in tags:
        found.append("CAA: no issue record says who may issue certificates, so every certification authority may")
    return found


def _records(resolver: dns.resolver.Resolver, name: Name, kind: str) -> Sequence[Rdata]:
    try:
        return list(resolver.resolve(name, kind))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except dns.exception.DNSException as error:
        raise CommandError(
            f"{str(name).rstrip('.')}: no answer to the query for {kind}: {' '.join(str(error).split())}"
        ) from None
