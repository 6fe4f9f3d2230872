"""The technical log: constant events, no text of exceptions."""

from __future__ import annotations

import errno
import logging
import sys
from typing import Any

import orjson

from ddr.cli.serving.log import JsonLines, fields, of_pool
from ddr.reasons import kind_of


def line(message: str, *arguments: object, **more: Any) -> dict[str, Any]:
    record = logging.getLogger("ddr.test").makeRecord("ddr", logging.ERROR, "x.py", 1, message, arguments, **more)
    found: dict[str, Any] = orjson.loads(JsonLines().format(record))
    return found


def test_a_line_has_time_level_event_and_fields() -> None:
    found = line("serve.ready", exc_info=None, extra={"workers": 2})
    assert found.pop("at").endswith("+00:00")
    assert found == {"level": "error", "event": "serve.ready", "workers": 2}


def test_the_event_is_the_constant_part_of_a_message() -> None:
    found = line("registry.fault source=%s fault=%s", "diga-vz", "no answer", exc_info=None)
    assert found["event"] == "registry.fault"
    assert found["message"] == "registry.fault source=diga-vz fault=no answer"


def test_of_an_exception_only_type_and_places_are_written() -> None:
    try:
        raise ValueError("Key (patient_id)=(0815) already exists")
    except ValueError:
        found = line("http.unhandled", exc_info=sys.exc_info())
    assert found["exception"] == "ValueError"
    assert found["places"][0].endswith("test_of_an_exception_only_type_and_places_are_written")
    assert "0815" not in str(found)


def test_of_what_the_system_lacks_its_own_words_are_written() -> None:
    """A plain OSError is a lack of descriptors, of ports, of a route: its name alone tells nobody what to do."""
    try:
        raise OSError(errno.EMFILE, "socket of patient 0815")
    except OSError as error:
        found = line("background.failed", exc_info=sys.exc_info())
        assert kind_of(error) == found["exception"] == "OSError: Too many open files"


def test_what_asyncio_shows_of_a_failed_task_is_left_out() -> None:
    found = line(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('patient 0815')>", exc_info=None
    )
    assert found["event"] == "Task exception was never retrieved"
    assert "0815" not in str(found)


def test_the_stacks_of_the_pool_become_an_event() -> None:
    try:
        raise ConnectionRefusedError("10.0.0.7")
    except ConnectionRefusedError:
        record = logging.getLogger("asyncpg.pool").makeRecord(
            "asyncpg.pool", logging.WARNING, "x.py", 1, "Failed to restore the floor", (), sys.exc_info()
        )
    assert of_pool(record)
    assert fields(record) == {"event": "database.not_connected", "error": "ConnectionRefusedError"}
