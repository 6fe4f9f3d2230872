"""The source of a request: the peer, or the client named by a trusted proxy, and never what a stranger writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.http.address import behind_proxies, client_address, client_network, networks
from ddr.settings import SettingsError
from ddr.settings_sources import load_settings

PROXIES = networks("10.0.0.7 fd00::/64")
XFF = "X-Forwarded-For"


async def seen(peer: str, *headers: tuple[str, str], name: str = XFF) -> tuple[str, list[bytes]]:
    """The client's address behind `PROXIES`, and the names of the headers that are left."""
    found: list[tuple[str, list[bytes]]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((client_address(scope), [key for key, _ in scope["headers"]]))

    lines = [(key.lower().encode(), value.encode()) for key, value in headers]
    scope = {"client": (peer, 5), "headers": lines}
    await behind_proxies(app, PROXIES, name, ("Client-Cert",))(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("peer", "value", "client"),
    [
        ("10.0.0.7", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.7", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.7", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # what the client wrote itself is not read
        ("10.0.0.7", "203.0.113.9, fd00::5", "203.0.113.9"),  # two trusted proxies in a row
        ("10.0.0.7", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.7", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.7", "nonsense", "10.0.0.7"),
        ("10.0.0.7", "203.0.113.9, unknown", "10.0.0.7"),
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),  # no proxy of ours: the header means nothing
    ],
)
async def test_whom_the_header_names(peer: str, value: str, client: str) -> None:
    assert (await seen(peer, (XFF, value)))[0] == client


async def test_a_header_that_comes_twice_is_one_list() -> None:
    assert (await seen("10.0.0.7", (XFF, "198.51.100.1"), (XFF, "203.0.113.9")))[0] == "203.0.113.9"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=203.0.113.9;proto=https;by=10.0.0.7", "203.0.113.9"),
        ('for=198.51.100.1, For="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=_hidden", "10.0.0.7"),
        ("proto=https", "10.0.0.7"),
    ],
)
async def test_forwarded(value: str, client: str) -> None:
    assert (await seen("10.0.0.7", ("Forwarded", value), name="Forwarded"))[0] == client


async def test_what_only_proxies_may_send_is_removed_from_everybody_else() -> None:
    assert (await seen("203.0.113.1", ("Client-Cert", ":YQ==:"), ("accept", "*/*")))[1] == [b"accept"]
    assert (await seen("10.0.0.7", ("Client-Cert", ":YQ==:")))[1] == [b"client-cert"]


@given(st.text(st.characters(codec="ascii"), max_size=60))
async def test_no_text_makes_an_error_or_a_trusted_address_of_a_stranger(text: str) -> None:
    assert (await seen("203.0.113.1", (XFF, text)))[0] == "203.0.113.1"
    await seen("10.0.0.7", (XFF, text))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_the_network_of_one_subscriber(address: str, network: str) -> None:
    assert client_network({"client": (address, 1)}) == network


def test_a_connection_without_an_address() -> None:
    assert client_network({"client": None}) == ""


@pytest.mark.parametrize(
    "wrong", [{"trusted_proxies": "10.0.0.0/33"}, {"trusted_proxies": "proxy"}, {"client_address_header": XFF}]
)
def test_settings_that_make_no_sense(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        load_settings({}, allow_builtin_accounts=True, **wrong)
