"""Server contexts, for everybody or for registered client certificates, and how to replace them while running.

The handshake is a filter (TLS-009): a resumed session, or a child of a registered CA certificate, passes it. The
decision is the look-up of the exact certificate on every request (`ddr.tls.peer`, TrustSource).
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509

from ddr.tls.alerts import alerting_context
from ddr.tls.bsi import TLS12_SUITES
from ddr.tls.server_certificate import for_servers, own, signs
from ddr.tls.sessions import keep_few

MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")  # the last: of another type
WEAK = ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")

log = logging.getLogger(__name__)


class TlsError(Exception):
    """The server certificate cannot be used; the text is one clear line for the operator."""


def bare_context() -> ssl.SSLContext:
    """A context that asks for no client certificate and has none of its own yet."""
    context = alerting_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS12_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 1  # a resumed session gets a new one; OpenSSL gives two, each a tenth of a handshake's cost
    keep_few(context)
    return context


def public_context(cert: Path, key: Path) -> ssl.SSLContext:
    """A context that asks for no client certificate. `cert` is a PEM chain, `key` its PEM key. Raises TlsError."""
    context = bare_context()
    try:
        context.load_cert_chain(cert, key, password="")  # never prompt on a terminal
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"server certificate {cert} with key {key}: {_reason(error, cert, key)}") from None
    return context


def with_clients(context: ssl.SSLContext, mode: ssl.VerifyMode, registered: Iterable[bytes]) -> ssl.SSLContext:
    """Let `context` complete handshakes with the `registered` certificates (DER) only, from now on.

    CERT_OPTIONAL as `mode` is for clients that may have no certificate: gateways with a token. Other certificates are
    still refused. Each certificate is its own trust anchor, so that self-signed certificates and leaves of an unknown
    CA pass (TLS-006). It takes about 0.35 ms per certificate: call it off the event loop.
    """
    context.verify_mode = mode
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for der in registered:
        try:
            context.load_verify_locations(cadata=der)
        except ssl.SSLError:  # a certificate that OpenSSL does not accept shuts out its own holder, not everybody
            log.error("tls.certificate_refused", extra={"sha256": hashlib.sha256(der).hexdigest()})
    return context


class LiveContext:
    """A context for a listening socket whose settings can be replaced; existing connections are not affected."""

    def __init__(self, first: ssl.SSLContext) -> None:
        self.outer = first
        self.current = first
        first.sni_callback = self._choose

    def exchange(self, newest: ssl.SSLContext) -> None:
        """Use `newest` for every handshake from now on. It must be made in the same way as the first one."""
        self.current = newest

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _outer: ssl.SSLContext) -> None:
        """Called by OpenSSL in every handshake, even when the client names no server."""
        connection.context = self.current


def check_usable(cert: Path, now: datetime) -> None:
    """Raise TlsError for a certificate with which nobody would connect: expired, not yet valid, or not for servers.

    Checked once at the start. One that expires later is reported by `/status`, metrics and `ddr check tls`, and workers
    are still replaced.
    """
    try:
        fault = unusable(own(cert), now)
    except ValueError:
        raise TlsError(f"server certificate {cert}: is not valid PEM") from None
    except OSError as error:
        raise TlsError(f"server certificate {cert}: {error.strerror or 'cannot be read'}") from None
    if fault:
        raise TlsError(f"server certificate {cert}: {fault}")


def unusable(found: x509.Certificate, now: datetime) -> str:
    """Why no client would accept this certificate now; empty when some may."""
    if not signs(found):
        return "the TLS profile has no signature for the kind of its key; take a curve such as secp384r1, or RSA"
    if not for_servers(found):
        return "its extended key usage is not that of a server"
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if now > found.not_valid_after_utc:
        return f"it ended on {found.not_valid_after_utc:%Y-%m-%d}; {clock}"
    if now < found.not_valid_before_utc:
        return f"it is valid from {found.not_valid_before_utc:%Y-%m-%d} on; {clock}"
    return ""


def _reason(error: OSError, cert: Path, key: Path) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or "cannot be read"
    if error.reason in MISMATCHES:
        return "key and certificate do not match; the server's own certificate comes first"
    if error.reason in WEAK:
        return "OpenSSL finds a key or a signature in the chain too weak"
    if b"PRIVATE KEY-----" in cert.read_bytes() and b"BEGIN CERTIFICATE" in key.read_bytes():
        return "the two files are swapped"
    if b"ENCRYPTED" in key.read_bytes():
        return "the key is encrypted; it must be readable without a password"
    return "is not valid PEM"
