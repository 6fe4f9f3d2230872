"""The reasons and bounds in docs/gateway-guide.md are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ddr.fhir import bounds as documents
from ddr.fhir.outages import Outage
from ddr.gateway import app, bounds, bridge_readings
from ddr.gateway.door import sampled
from ddr.gateway.problem import PASSING
from ddr.http import bodies, body, writers
from ddr.settings import Settings
from ddr.store.gateways import tokens

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "gateway-guide.md").read_text()
API = json.loads(Path(app.__file__).with_name("openapi.json").read_text())


def test_each_reason_exists_and_may_come_again_as_it_says() -> None:
    rows = re.findall(r"^\| (`.*?) \| (true|false) \|", GUIDE, re.MULTILINE)
    told = {reason: retry == "true" for reasons, retry in rows for reason in re.findall(r"`([a-z-]+)`", reasons)}
    known = set(API["components"]["schemas"]["Reason"]["enum"])
    assert told.keys() <= known and len(told) > 20
    own = {"range"}  # two rows: of "L" and "U" it may come again
    assert {reason for reason, retry in told.items() if retry} - own == told.keys() & PASSING - own


def test_each_cause_of_an_outage_is_told() -> None:
    for page in ("gateway-guide.md", "diga-guide.md"):
        told = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs" / page).read_text()))
        assert set(map(str, Outage)) <= told


def test_bounds_are_those_of_the_code() -> None:
    settings = Settings()
    table = dict(
        re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", GUIDE.partition("## How much at once")[2], re.MULTILINE)
    )
    for row, numbers in {
        "body, decompressed": (settings.gateway_max_body_bytes >> 20, body.MOST_RATIO),
        "values in a JSON body": (documents.MOST_VALUES, documents.MOST_DEPTH),
        "items of an upload": (settings.gateway_max_items,),
        "Device and DeviceMetric entries": (bounds.MOST_REGISTRATIONS,),
        "values in all `SampledData`": (sampled.MAX_TOKENS,),
        "a body on its way": (body.LEAST_RATE, int(body.FIRST_SECONDS), int(body.MOST_SECONDS) // 60),
        "bodies on their way": (bodies.MOST_OF_ONE,),
        "requests of one patient": (writers.MOST,),
        "devices of a patient": (bounds.MOST_DEVICES, bounds.MOST_SENSORS),
        "what a Bundle refers to": (bounds.MOST_REFERENCES,),
        "tokens of a patient": (tokens.MOST,),
        "calibrations of a sensor": (bounds.MOST_CALIBRATIONS, bounds.MOST_EPOCHS),
    }.items():
        (told,) = (cell for name, cell in table.items() if name.startswith(row))
        assert {f"{number:,}" for number in numbers} <= set(re.findall(r"[\d,]*\d", told)), row
    assert f"{bridge_readings.MOST_PARTS:,} sensors" in GUIDE
