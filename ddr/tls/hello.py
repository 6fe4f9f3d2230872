"""The first messages of a TLS handshake, as bytes: what a client offers, and what the server chooses from it.

RFC 5246 section 7.4 and RFC 8446 section 4. No secrets, no keys: a TLS 1.3 offer has no key shares, so that the server
names the group that it wants (HelloRetryRequest).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304

_HANDSHAKE = 22
_SERVER_HELLO, _SERVER_KEY_EXCHANGE, _SERVER_HELLO_DONE = 2, 12, 14
_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _MASTER_SECRET = 0, 10, 11, 13, 23
_VERSIONS, _KEY_SHARE, _RENEGOTIATION = 43, 51, 0xFF01
_NAMED_CURVE = 3

Read = Callable[[int], bytes]


@dataclass(frozen=True)
class Offer:
    """What a client proposes, as code points of IANA's registries."""

    version: int
    suites: Sequence[int]
    groups: Sequence[int]
    signatures: Sequence[int]


@dataclass(frozen=True)
class Choice:
    """What the server chooses. `group` and `signature` are None where the handshake does not show them."""

    version: int
    suite: int
    group: int | None = None
    signature: int | None = None


def client_hello(offer: Offer, host: str) -> bytes:
    """The record with the ClientHello of `offer` for the server called `host`."""
    legacy = min(offer.version, TLS12)
    body = _number(legacy, 2) + secrets.token_bytes(32) + _vector(secrets.token_bytes(32), 1)
    body += _vector(_numbers(offer.suites), 2) + _vector(b"\x00", 1) + _vector(_extensions(offer, host), 2)
    return _number(_HANDSHAKE, 1) + _number(TLS10, 2) + _vector(b"\x01" + _vector(body, 3), 2)


def read_choice(read: Read) -> Choice | None:
    """What the server chose; None when it refused with an alert or closed. `read` gives exactly the requested bytes.

    Raises EOFError or OSError as `read` does, ValueError for anything but TLS.
    """
    choice: Choice | None = None
    for kind, body in _messages(read):
        if kind == _SERVER_HELLO:
            choice = _server_hello(body)
            if choice.version == TLS13:
                return choice
        elif kind == _SERVER_KEY_EXCHANGE and choice and body[0] == _NAMED_CURVE:
            end = 4 + body[3]
            signature = _value(body[end : end + 2]) if choice.version == TLS12 else None
            return Choice(choice.version, choice.suite, _value(body[1:3]), signature)
        elif kind == _SERVER_HELLO_DONE:
            break
    return choice


def _extensions(offer: Offer, host: str) -> bytes:
    name = b"\x00" + _vector(host.encode(), 2)
    extensions = {
        _SERVER_NAME: _vector(name, 2),
        _GROUPS: _vector(_numbers(offer.groups), 2),
        _POINT_FORMATS: _vector(b"\x00", 1),
        _SIGNATURES: _vector(_numbers(offer.signatures), 2),
        _MASTER_SECRET: b"",
        _RENEGOTIATION: _vector(b"", 1),
    }
    if offer.version == TLS13:
        extensions |= {_VERSIONS: _vector(_number(TLS13, 2), 1), _KEY_SHARE: _vector(b"", 2)}
    return b"".join(_number(kind, 2) + _vector(data, 2) for kind, data in extensions.items())


def _messages(read: Read) -> Iterator[tuple[int, bytes]]:
    """Handshake messages (type, body) until something else comes; they may share records and span them."""
    data = b""
    while True:
        head = read(5)
        if head[0] != _HANDSHAKE:
            return
        data += read(_value(head[3:5]))
        while len(data) >= 4 and len(data) >= 4 + _value(data[1:4]):
            end = 4 + _value(data[1:4])
            yield data[0], data[4:end]
            data = data[end:]


def _server_hello(body: bytes) -> Choice:
    version, place = _value(body[:2]), 35 + body[34]
    suite, extensions = _value(body[place : place + 2]), _fields(body[place + 5 :])
    if _VERSIONS in extensions:
        share = extensions.get(_KEY_SHARE, b"")
        return Choice(_value(extensions[_VERSIONS]), suite, _value(share[:2]) if share else None)
    return Choice(version, suite)


def _fields(data: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    while data:
        length = _value(data[2:4])
        fields[_value(data[:2])] = data[4 : 4 + length]
        data = data[4 + length :]
    return fields


def _value(data: bytes) -> int:
    return int.from_bytes(data)


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size)


def _numbers(values: Sequence[int]) -> bytes:
    return b"".join(_number(value, 2) for value in values)


def _vector(data: bytes, size: int) -> bytes:
    return _number(len(data), size) + data
