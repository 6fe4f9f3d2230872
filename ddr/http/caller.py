"""Whose a request is, where shares are counted: the DiGA's, else that of an address."""

from __future__ import annotations

from ddr.http.address import client_network
from ddr.http.asgi import Scope
from ddr.http.core import Core
from ddr.tls.peer import client_certificate


def caller(core: Core, scope: Scope) -> str:
    """The client_id of the DiGA that holds the connection's certificate, whatever certificate; else the address."""
    der = client_certificate(scope)
    diga = None if der is None else core.registry.by_certificate(der)
    return client_network(scope) if diga is None else diga.client_id
