"""How a row of the request log is stored until it is sealed: in fewer bytes, all of which come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ddr.store.audit.request_log_form import deflated, inflated
from tests.support.day import today
from tests.support.request_log import some_lines


@given(st.lists(st.binary(), max_size=5))
def test_every_byte_comes_back(lines: list[bytes]) -> None:
    records = b"\n".join(lines)
    assert inflated(deflated(records)) == records


def test_a_row_of_a_former_version_is_its_lines() -> None:
    for line in some_lines(today(), 20):
        assert inflated(line) == line


def test_what_is_stored_already_stays_readable() -> None:
    """The dictionary is part of the form."""
    stored = bytes.fromhex("0123109c90d489622136df22651a2bd4cc0cb415252c11d9b31600")
    assert inflated(stored) == (
        b'{"client_id":"urn:diga:bfarm:00101","status":200,"message":"GET /fhir/Device/{id}: 404 Not Found",'
        b'"event_type":"Heartbeat"}'
    )


def test_one_record_comes_to_less_than_half_and_many_to_less_than_a_third() -> None:
    lines = some_lines(today(), 200)
    assert sum(len(deflated(line)) for line in lines) < sum(map(len, lines)) / 2
    assert len(deflated(b"\n".join(lines))) < sum(map(len, lines)) / 3
