"""Whatever a gateway sends, the response is one that is described, never a 500, and nothing is stored halfway."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.conftest import CGM, METER, Client, put_device, put_sensor
from tests.gateway.samples import Json, fev1, glucose, pressure, reference, relative

JUNK_SETTINGS = settings(
    max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        ["2026-11-20T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60Z", "a\u0000b", "\ufffe"]
    ),
)
# Texts of numbers that Python cannot write as numbers: they are put into the body digit by digit.
NUMBERS = st.sampled_from(["1e400", "-1E+400", "1e-400", "-0", "-0.0", "1E5", "1.50", "1" + "0" * 25, "9" * 400]).map(
    "number {}".format
)
_NUMBER = re.compile(rb'"number ([^"]+)"')
VALUES = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
SENSOR = {
    "code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000, "limits": {"lower": 40}, "decimals": 0,
    "metric": {"type": {"text": "x"}}, "calibration": {"state": "calibrated"}, "method": {"text": "x"},
}  # fmt: skip
READINGS = {"unit": "mg/dL", "readings": [{"time": "2026-11-22T08:00:00Z", "value": 100}]}
MEASUREMENTS = [glucose(), pressure(), fev1(), reference(), relative()]

TARGETS: list[tuple[str, str, list[Json]]] = [
    ("PUT", "/devices/junk", [{**METER, "type": "337414009", "expirationDate": "2027"}]),
    ("PUT", "/devices/cgm/sensors/junk", [SENSOR]),
    ("POST", "/devices/cgm/sensors/glucose/readings", [READINGS]),
    ("POST", "/devices/cgm/sensors/glucose/complete", [{"until": "2026-11-22T08:00:00Z"}]),
    ("PUT", "/measurements/junk", MEASUREMENTS),
    ("POST", "/measurements", [{"measurements": [{"key": f"m{i}", **m} for i, m in enumerate(MEASUREMENTS)]}]),
]


@st.composite
def damaged(draw: st.DrawFn, valid: Any) -> Any:
    """`valid` with one value somewhere inside replaced by anything, or one member added."""
    if isinstance(valid, dict) and valid and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(valid)) | st.text(max_size=8))
        return {**valid, name: draw(damaged(valid[name])) if name in valid else draw(VALUES)}
    if isinstance(valid, list) and valid and draw(st.integers(0, 3)):
        i = draw(st.integers(0, len(valid) - 1))
        return [*valid[:i], draw(damaged(valid[i])), *valid[i + 1 :]]
    return draw(VALUES)


def written(body: Any) -> bytes:
    """`body` as JSON, with the numbers of NUMBERS."""
    return _NUMBER.sub(rb"\1", orjson.dumps(body))


@pytest.fixture
async def prepared(client: Client) -> Client:
    """A client whose devices the targets name."""
    await put_device(client, "meter")
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    return client


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target[0]} {target[1]}")
@JUNK_SETTINGS
@given(data=st.data())
async def test_damaged_bodies(prepared: Client, target: tuple[str, str, list[Json]], data: st.DataObject) -> None:
    method, path, bodies = target
    body = data.draw(damaged(data.draw(st.sampled_from(bodies))))
    answer = await prepared.request(method, path, content=written(body), headers={"content-type": "application/json"})
    assert answer.status_code < 500


@JUNK_SETTINGS
@given(body=st.binary(max_size=200), encoding=st.sampled_from(["", "gzip", "identity", "x", "gzip, gzip"]))
async def test_bodies_of_any_bytes(prepared: Client, body: bytes, encoding: str) -> None:
    headers = {"content-type": "application/json", **({"content-encoding": encoding} if encoding else {})}
    answer = await prepared.put("/devices/junk", content=body, headers=headers)
    assert answer.status_code in {400, 415, 422}


@JUNK_SETTINGS
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "X"]),
    path=st.lists(
        st.sampled_from(["devices", "sensors", "measurements", "cgm", "glucose", "%00", "%ff", "..", "ä", ""])
    ),
    headers=st.dictionaries(
        st.sampled_from(["authorization", "content-type", "content-length", "accept"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    ),
)
async def test_any_request(prepared: Client, method: str, path: list[str], headers: dict[str, str]) -> None:
    answer = await prepared.request(method, "https://gateway/gateway/v1/" + "/".join(path), headers=headers)
    assert answer.status_code < 500
