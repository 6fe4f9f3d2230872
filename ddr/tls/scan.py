"""What a TLS scanner finds out about a listener: offer everything, remove what is chosen, offer the rest."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from ddr.tls import bsi, codepoints
from ddr.tls.hello import TLS12, TLS13, Choice, Offer, client_hello, read_choice

TIMEOUT_SECONDS = 10


class ScanError(Exception):
    """The listener cannot be reached or does not speak TLS; the text is one clear line for the operator."""


@dataclass(frozen=True)
class Findings:
    """What a listener accepts, by names; `certificate` is the DER of its leaf, `distrust` says why the authorities of
    this machine do not vouch for its chain."""

    versions: tuple[str, ...]
    suites: tuple[str, ...]
    groups: tuple[str, ...]
    signatures: tuple[str, ...]
    certificate: bytes
    distrust: str = ""


def scan(host: str, port: int) -> Findings:
    """Probe the listener with one connection per accepted item, and a few more. Raises ScanError."""
    try:
        return _scan(_Target(host, port))
    except OSError as error:
        raise ScanError(f"{host}:{port}: {error.strerror or error}") from None


def problems(findings: Findings) -> list[str]:
    """What a listener accepts beyond the profile of BSI TR-02102-2 (ddr.tls.bsi)."""
    allowed = {
        "protocol version": (findings.versions, ("TLS 1.2", "TLS 1.3")),
        "cipher suite": (findings.suites, (*bsi.TLS12_SUITES, *bsi.TLS13_SUITES)),
        "group": (findings.groups, bsi.GROUPS),
        "signature algorithm": (findings.signatures, bsi.SIGNATURES),
    }
    return [f"{kind} {name}" for kind, (found, good) in allowed.items() for name in found if name not in good]


@dataclass(frozen=True)
class _Target:
    host: str
    port: int

    def choice(
        self,
        version: int,
        suites: Sequence[int],
        groups: Sequence[int] = tuple(codepoints.GROUPS),
        signatures: Sequence[int] = tuple(codepoints.SIGNATURES),
    ) -> Choice | None:
        """What the server chooses from an offer; None when it refuses."""
        with socket.create_connection((self.host, self.port), TIMEOUT_SECONDS) as connection:
            connection.sendall(client_hello(Offer(version, suites, groups, signatures), self.host))
            until = time.monotonic() + TIMEOUT_SECONDS
            try:
                chosen = read_choice(lambda count: _exactly(connection, count, until))
            except (EOFError, ConnectionResetError):
                return None
        return chosen if chosen and chosen.version == version else None

    def certificate(self) -> bytes:
        """The server's certificate, which is visible without a client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((self.host, self.port), TIMEOUT_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=self.host) as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def distrust(self) -> str:
        """What a client with this machine's authorities says about the chain; empty when it is satisfied."""
        context = ssl.create_default_context()
        context.check_hostname = False
        with socket.create_connection((self.host, self.port), TIMEOUT_SECONDS) as connection:
            try:
                context.wrap_socket(connection, server_hostname=self.host).close()
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
        return ""


def _scan(target: _Target) -> Findings:
    suites = {version: codepoints.older_suites() for version in codepoints.VERSIONS} | {TLS13: codepoints.TLS13_SUITES}
    suite, group, signature = attrgetter("suite"), attrgetter("group"), attrgetter("signature")
    accepted = {version: _walk(names, partial(target.choice, version), suite) for version, names in suites.items()}
    offers = [partial(target.choice, version, list(suites[version])) for version in (TLS12, TLS13)]
    groups = [_walk(codepoints.GROUPS, offer, group) for offer in offers]
    # Only visible in TLS 1.2, where the server signs in the clear; OpenSSL has one list for both versions.
    signatures = _walk(codepoints.SIGNATURES, partial(offers[0], tuple(codepoints.GROUPS)), signature)
    return Findings(
        versions=tuple(name for version, name in codepoints.VERSIONS.items() if accepted[version]),
        suites=tuple(dict.fromkeys(name for names in accepted.values() for name in names)),
        groups=tuple(dict.fromkeys(name for names in groups for name in names)),
        signatures=tuple(signatures),
        certificate=target.certificate(),
        distrust=target.distrust(),
    )


def _walk(
    names: Mapping[int, str], offer: Callable[[Sequence[int]], Choice | None], part: Callable[[Choice], int | None]
) -> list[str]:
    """The names of this part of an offer that the server chooses, one after the other until it refuses the rest."""
    left, found = list(names), []
    while left and (choice := offer(left)) and (chosen := part(choice)) in left:
        left.remove(chosen)
        found.append(names[chosen])
    return found


def _exactly(connection: socket.socket, count: int, until: float) -> bytes:
    """Exactly `count` bytes. Raises EOFError, and TimeoutError if they are not complete in time, even if some come."""
    data = b""
    while len(data) < count:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        if not (more := connection.recv(count - len(data))):
            raise EOFError
        data += more
    return data
