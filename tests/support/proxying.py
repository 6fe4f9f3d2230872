"""What a proxy sends before a connection: the PROXY protocol, version 2, written from proxy-protocol.txt 2.2."""

from __future__ import annotations

import socket
import ssl
import struct

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def header(client: str, *, command: int = 0x21, family: int | None = None, more: bytes = b"", cut: int = 0) -> bytes:
    """The header for a connection of `client` to us; `more` are additions, `cut` is the number of address bytes left
    out."""
    version = socket.AF_INET6 if ":" in client else socket.AF_INET
    own = "::1" if ":" in client else "127.0.0.1"
    addresses = socket.inet_pton(version, client) + socket.inet_pton(version, own) + struct.pack("!HH", 40_000, 8443)
    rest = addresses[: len(addresses) - cut] + more
    kind = family if family is not None else (0x21 if ":" in client else 0x11)
    return SIGNATURE + struct.pack("!BBH", command, kind, len(rest)) + rest


def ask(port: int, trusting: ssl.SSLContext, first: bytes = b"", path: str = "/", more: str = "") -> tuple[int, str]:
    """Status and body of GET `path` after the bytes `first`; `more` are further lines of its head. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        if first:
            plain.sendall(first)
        with trusting.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n".encode())
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionError
    return int(head.split(b" ")[1]), body.decode()
