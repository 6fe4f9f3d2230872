"""TLS contexts of the demonstration's clients."""

from __future__ import annotations

import ssl
from pathlib import Path

from ddr.demo.certs import Pair


def client_context(ca: Path, own: Pair | None = None) -> ssl.SSLContext:
    """A context that trusts `ca` only and presents the certificate of `own`, if given."""
    context = ssl.create_default_context(cafile=str(ca))
    if own:
        context.load_cert_chain(own.cert, own.key)
    return context
