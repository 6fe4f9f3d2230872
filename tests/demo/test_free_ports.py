"""Ports for servers that are started a moment later."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from ddr.demo.recorder import MOST_KEPT, free_ports
from ddr.reasons import in_words


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are free, and no more")
def test_a_port_is_for_whoever_asks_for_it_and_for_nobody_who_takes_any() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with socket.socket() as another, pytest.raises(OSError) as refused:
        another.bind(("127.0.0.1", port))
    assert refused.value.errno == errno.EADDRINUSE
    for _ in range(2):  # a recorder may be started again
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass


def test_a_machine_without_the_loopback_address_is_told_which_one_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.demo.recorder.LOOPBACK", "192.0.2.1")
    with pytest.raises(OSError) as lacking:
        free_ports(1)
    assert in_words(lacking.value, named=True) == f"192.0.2.1: {os.strerror(errno.EADDRNOTAVAIL)}"


def test_they_do_not_take_all_descriptors() -> None:
    first = free_ports(1)[0]
    assert first not in free_ports(MOST_KEPT)
    with socket.socket() as another:
        another.bind(("127.0.0.1", first))
