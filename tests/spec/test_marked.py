"""Marked personal data takes every path, including errors, and appears in no log, no metric and no trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ddr.cli.serving.condense import Condensed
from ddr.cli.serving.log import JsonLines, fields
from ddr.http.traces import Traces
from tests.spec.world import MINUTE, Home, Reader, paired
from tests.support.metrics import scraped
from tests.support.recorder import Recorder

SERIAL, NAME, KEY = "Mk7Serial", "Mk7Erika-Mustermann", "mk7-key"
USER, PASSWORD, QUERY = "mk7user", "mk7password", "mk7query"
VALUE = 137.519


class Log(logging.Handler):
    """Everything that anybody logs, as it is written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[Log]:
    """The technical log as `ddr serve` writes it: warnings of libraries, and everything of the recorder."""
    found, root, ours = Log(), logging.getLogger(), logging.getLogger("ddr")
    condensed, before = Condensed(found, fields), (root.level, ours.level)
    root.addHandler(condensed)
    root.setLevel(logging.WARNING)
    ours.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(condensed)
    condensed.close()
    root.setLevel(before[0])
    ours.setLevel(before[1])


@pytest.fixture
def spans(ddr: Recorder, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of the recorder."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(ddr.core, "traces", Traces(provider.get_tracer("ddr")))
    return exporter


async def uploads(home: Home) -> None:
    """What a gateway sends, valid and invalid."""
    await home.device("meter", serialNumber=SERIAL, name=NAME)
    await home.device("cgm", serialNumber=f"{SERIAL}2", name=NAME)
    await home.cgm("cgm", home.ddr.clock() - 600 * MINUTE)
    await home.readings("cgm", home.ddr.clock() - 60 * MINUTE, [137])
    await home.glucose(KEY, home.ddr.clock() - MINUTE, VALUE)
    gateway = home.patient.gateway
    wrong: list[tuple[str, str, Any]] = [
        ("PUT", f"devices/{KEY}", {"serialNumber": [SERIAL]}),
        ("PUT", f"measurements/{KEY}", {"code": NAME, "value": VALUE}),
        ("POST", "devices/cgm/sensors/s/readings", {"unit": NAME, "readings": [{"time": SERIAL, "value": VALUE}]}),
        ("POST", f"devices/{SERIAL}/sensors/s/readings", {"unit": "mg/dL", "readings": []}),
        ("POST", "fhir", {"resourceType": NAME}),
    ]
    for method, path, body in wrong:
        answer = await gateway.request(method, path, json=body)
        assert answer.status_code >= 400 or answer.json()["rejected"]
    await gateway.post("measurements", content=f'{{"{NAME}": {VALUE}', headers={"content-type": "application/json"})
    stranger = {"authorization": f"Bearer {KEY}"}
    assert (await gateway.get(f"devices/{SERIAL}?name={NAME}", headers=stranger)).status_code == 401


async def pages(ddr: Recorder) -> None:
    """Failed logins, and pages that do not exist."""
    browser = await ddr.client(base_url=ddr.settings.public_base_url)
    await browser.post("/login", data={"username": USER, "password": PASSWORD})
    await browser.get(f"/me/data/{NAME}?{QUERY}={VALUE}", headers={"cookie": f"__Host-session={KEY}"})
    await browser.get(f"/oauth/authorize?request_uri={QUERY}&client_id={USER}&login_hint={NAME}")


async def pulls(ddr: Recorder, reader: Reader) -> None:
    """What a DiGA requests, valid and invalid."""
    await reader.search("Observation?_include=Observation:device")
    await reader.get(f"Observation/{KEY}")
    await reader.get(f"Observation?{QUERY}={NAME}&value-quantity={VALUE}")
    await reader.get("Observation", authorization=f"Bearer {KEY}")
    token = f"{ddr.settings.diga_base_url}/oauth/token"
    for name in ("refresh_token", "code"):
        grant = "refresh_token" if name == "refresh_token" else "authorization_code"
        form = {"grant_type": grant, name: KEY, "client_id": reader.diga.entry.client_id, "redirect_uri": QUERY}
        assert (await reader.diga.http.post(token, data=form)).status_code >= 400


async def faults(reader: Reader, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the database and the recorder whose texts quote data."""
    for error in (
        ValueError(f"{NAME} {SERIAL} {VALUE}"),
        asyncpg.UniqueViolationError(f"Key (serial)=({SERIAL}) already exists"),
        asyncpg.PostgresConnectionError(f"{NAME}"),
    ):
        with monkeypatch.context() as patch:

            async def failing(*_: Any, error: Exception = error, **__: Any) -> Any:
                raise error

            patch.setattr("ddr.diga_api.search.first_page", failing)
            patch.setattr("ddr.gateway.measurements.store_uploads", failing)
            assert (await reader.get("Observation")).status_code in (500, 503)
            body = {"code": "2339-0", "unit": "mg/dL", "value": VALUE, "effective": home.ago(MINUTE), "device": "meter"}
            assert (await home.patient.gateway.put(f"measurements/{KEY}", json=body)).status_code in (500, 503)


@pytest.mark.requirement("OPS-031")
async def test_no_log_metric_or_trace_holds_anything_of_a_person(
    ddr: Recorder, log: Log, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(ddr, await ddr.patient())
    await uploads(home)
    await pages(ddr)
    reader = await paired(ddr, home.patient)
    await pulls(ddr, reader)
    await faults(reader, home, monkeypatch)
    browser = await ddr.client(base_url=ddr.settings.public_base_url)
    wrong = {"username": home.patient.username, "password": PASSWORD}
    await browser.post("/login", params=wrong, data=wrong)

    pairing = await ddr.core.pool.fetchval(
        "SELECT pairing_id FROM pairing_directory WHERE patient_id = $1", home.patient.patient_id
    )
    marks = [
        *(SERIAL, NAME, KEY, USER, PASSWORD, QUERY, str(VALUE), home.patient.username, str(home.patient.patient_id)),
        *(reader.tokens.access_token, reader.tokens.refresh_token, pairing, reader.diga.entry.client_id),
        *home.ids.values(),
        home.patient.gateway.headers["authorization"].removeprefix("Bearer "),
    ]
    written = {
        "log": "\n".join(log.lines),
        "metrics": "\n".join(map(str, (await scraped(ddr.admin)).samples)),
        "traces": "\n".join(span.to_json() for span in spans.get_finished_spans()),
    }
    assert "http.unhandled" in written["log"] and "http.unavailable" in written["log"]
    assert "Observation.search" in written["metrics"] and "Observation.search" in written["traces"]
    for where, text in written.items():
        found = [mark for mark in marks if mark.lower() in text.lower()]
        assert not found, (where, found)


async def test_a_request_is_a_span_with_its_steps_and_statements(ddr: Recorder, spans: InMemorySpanExporter) -> None:
    reader = await paired(ddr, await ddr.patient())
    spans.clear()
    await reader.search("Observation")
    await reader.get("Observation/unknown")
    found = spans.get_finished_spans()
    (search, read) = [span for span in found if span.parent is None]
    assert (search.name, read.name) == ("Observation.search", "Observation.read")
    assert search.attributes is not None and search.attributes["http.response.status_code"] == 200
    steps = [span for span in found if span.parent is not None and span.parent.span_id == search.context.span_id]
    assert {"connection", "with standing"} <= {span.name for span in steps}
    for span in steps:
        assert search.start_time and span.start_time and span.end_time and search.end_time
        assert search.start_time <= span.start_time <= span.end_time <= search.end_time + 1_000_000
