"""The whole integration of the DiGA against a real recorder, in one file."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from diary import Diary

from ddr.client import ConsentDenied, FileTokens, Throttled
from ddr.client.sync import Client
from ddr.client.testing import Fault, Gateway, Patient, Recorder

CGM = "continuous-glucose-measurement"
PERIOD_MS = 300_000


def text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def test_values_arrive_and_faults_are_survived(
    recorder: Recorder, patient: Patient, gateway: Gateway, fault: Fault, tmp_path: Path
) -> None:
    start = int(time.time() - 7200) * 1000
    device = {
        "serialNumber": "X-1",
        "name": "Sensor",
        "manufacturer": "M",
        "type": "700585005",
        "startedAt": text(start),
    }
    metric = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD_MS}
    calibration = {"state": "calibrated", "type": "unspecified", "time": text(start)}
    gateway.sensor("cgm", device, glucose={**metric, "calibration": calibration})
    gateway.readings("cgm", "glucose", "mg/dL", [(start, 100), (start + PERIOD_MS, 110)])
    diary = Diary(tmp_path / "diary.sqlite")
    with Client(recorder.diga, FileTokens(tmp_path / "tokens"), patience=1) as client:
        started = client.start([CGM])
        pairing = client.finish(started, patient.agree(started.url, CGM)).pairing_id
        diary.update(client, pairing)
        assert diary.values(pairing) == [100, 110]
        fault("throttled")
        with pytest.raises(Throttled):
            diary.update(client, pairing)
        fault("token-expired")
        gateway.readings("cgm", "glucose", "mg/dL", [(start + 2 * PERIOD_MS, 120)])
        diary.update(client, pairing)
        assert diary.values(pairing) == [100, 110, 120]
        client.unpair(pairing)
        assert client.pairings() == []


def test_a_patient_may_decline(recorder: Recorder, patient: Patient, tmp_path: Path) -> None:
    with Client(recorder.diga, FileTokens(tmp_path / "tokens")) as client:
        started = client.start([CGM])
        with pytest.raises(ConsentDenied):
            client.finish(started, patient.refuse(started.url))
