"""Who makes a request: the DiGA whose certificate the connection has proved, or an address; used to count shares."""

from __future__ import annotations

from ddr.http.address import client_network
from ddr.http.asgi import Scope
from ddr.http.core import Core
from ddr.scopes.diga import Diga
from ddr.tls.peer import client_certificate


def presented(core: Core, scope: Scope) -> Diga | None:
    """The DiGA, active or not, to which the connection's certificate belongs."""
    der = client_certificate(scope)
    return None if der is None else core.registry.by_certificate(der)


def caller(core: Core, scope: Scope) -> str:
    """The client_id of that DiGA, otherwise the address."""
    diga = presented(core, scope)
    return client_network(scope) if diga is None else diga.client_id
