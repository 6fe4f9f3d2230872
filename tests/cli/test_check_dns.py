"""`ddr check dns`, against a name server of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from ddr.cli.main import main
from ddr.demo.recorder import free_ports

Zone = dict[tuple[str, str], list[str]]
Checked = Callable[[Zone], tuple[int, str, str]]

ADDRESS: Zone = {("ddr.example.org.", "A"): ["93.184.215.14"], ("ddr.example.org.", "AAAA"): ["2606:2800:21f::1"]}
ISSUE = '0 issue "ca.example.net"'


@contextmanager
def name_server(zone: Zone) -> Iterator[int]:
    """The port of a server that knows these records and nothing else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, sender = wire.recvfrom(4096)
                if not data:
                    return
                query = dns.message.from_wire(data)
                question, answer = query.question[0], dns.message.make_response(query)
                answer.flags |= dns.flags.RA
                kind = dns.rdatatype.to_text(question.rdtype)
                if found := zone.get((str(question.name), kind)):
                    answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
                elif str(question.name) not in {name for name, _ in zone}:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                wire.sendto(answer.to_wire(), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = wire.getsockname()[1]
        yield port
        wire.sendto(b"", ("127.0.0.1", port))
        thread.join(5)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Status, output and complaint of the command when the world knows these records."""
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    for name in ("DIGA", "PUBLIC", "GATEWAY"):
        monkeypatch.setenv(f"DDR_{name}_BASE_URL", "https://ddr.example.org")

    def check(zone: Zone) -> tuple[int, str, str]:
        with name_server(zone) as port:
            status = main(["check", "dns", "--server", f"127.0.0.1:{port}"])
        return status, *capsys.readouterr()

    return check


def test_records_that_are_as_they_should_be(checked: Checked) -> None:
    status, said, complaint = checked(
        ADDRESS | {("ddr.example.org.", "CAA"): [ISSUE, '0 iodef "mailto:s@example.org"']}
    )
    assert (status, complaint) == (0, "")
    assert "93.184.215.14, 2606:2800:21f::1" in said and ISSUE in said and said.count("ddr.example.org\n") == 1


def test_records_of_the_nearest_parent_count(checked: Checked) -> None:
    parent: Zone = {("example.org.", "CAA"): [ISSUE], ("org.", "CAA"): ['0 issue ";"']}
    status, said, _ = checked(ADDRESS | parent)
    assert status == 0 and f"example.org: {ISSUE}" in said and '";"' not in said


@pytest.mark.parametrize(
    ("zone", "problem"),
    [
        (ADDRESS, "no CAA record"),
        (
            ADDRESS | {("ddr.example.org.", "CAA"): ['0 iodef "mailto:s@example.org"']},
            "no issue record says who may issue",
        ),
        (ADDRESS | {("example.org.", "CAA"): [ISSUE, '128 unheard "x"']}, "critical tag unheard"),
        ({("example.org.", "CAA"): [ISSUE]}, "no address"),
        ({("ddr.example.org.", "A"): ["10.0.0.1"], ("org.", "CAA"): [ISSUE]}, "10.0.0.1 is not a public address"),
    ],
)
def test_what_is_wrong_is_told(checked: Checked, zone: Zone, problem: str) -> None:
    status, said, complaint = checked(zone)
    assert status == 1 and complaint == "ddr: 1 problem found\n"
    assert said.count("PROBLEM") == 1 and problem in said


@pytest.mark.parametrize("server", ["nonsense", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536"])
def test_a_server_that_is_none(checked: Checked, capsys: pytest.CaptureFixture[str], server: str) -> None:
    assert main(["check", "dns", "--server", server]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ddr: DNS server") and error.count("\n") == 1


def test_a_server_that_does_not_answer(
    checked: Checked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ddr.cli.checks.dns.TIMEOUT_SECONDS", 0.5)
    assert main(["check", "dns", "--server", f"127.0.0.1:{free_ports(1)[0]}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ddr: ddr.example.org: no answer to the query for A") and error.count("\n") == 1
