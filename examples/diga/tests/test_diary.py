"""The whole integration of the DiGA against a real recorder, in one file."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from diary import Diary

from ddr.client import ConsentDenied, FileTokens, NotListed, PairingEnded, Throttled
from ddr.client.sync import Client
from ddr.client.testing import Clock, Fault, Gateway, Patient, Recorder

CGM = "continuous-glucose-measurement"
PERIOD_MS = 300_000


def text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def wear(gateway: Gateway, *values: float) -> int:
    """A sensor that has measured these values, since two hours ago; when the next one is due (ms)."""
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
    gateway.readings("cgm", "glucose", "mg/dL", [(start + at * PERIOD_MS, value) for at, value in enumerate(values)])
    return start + len(values) * PERIOD_MS


def paired(client: Client, patient: Patient) -> str:
    """The id of a new pairing."""
    started = client.start([CGM])
    return client.finish(started, patient.agree(started.url, CGM)).pairing_id


def test_values_arrive_and_faults_are_survived(
    recorder: Recorder, patient: Patient, gateway: Gateway, fault: Fault, clock: Clock, tmp_path: Path
) -> None:
    following = wear(gateway, 100, 110)
    diary = Diary(tmp_path / "diary.sqlite")
    with Client(recorder.diga, FileTokens(tmp_path / "tokens"), patience=1) as client:
        pairing = paired(client, patient)
        diary.update(client, pairing)
        assert diary.values(pairing) == [100, 110]
        with pytest.raises(Throttled):  # the Grace-Period
            diary.update(client, pairing)
        gateway.readings("cgm", "glucose", "mg/dL", [(following, 120)])
        clock.forward(minutes=15)  # the access token has ended, too
        fault("lost-answer")
        diary.update(client, pairing)
        assert diary.values(pairing) == [100, 110, 120] and fault.on is None
        clock.forward(minutes=15)
        fault("unlisted")
        with pytest.raises(NotListed):
            diary.update(client, pairing)
        fault.off()
        diary.update(client, pairing)
        client.unpair(pairing)
        assert client.pairings() == []


def test_values_outlive_the_recorders_history(
    recorder: Recorder, patient: Patient, gateway: Gateway, clock: Clock, tmp_path: Path
) -> None:
    wear(gateway, 100, 110)
    diary = Diary(tmp_path / "diary.sqlite")
    terms = {"history": timedelta(days=30), "clock": clock}
    with Client(recorder.diga, FileTokens(tmp_path / "tokens"), **terms) as client:
        pairing = paired(client, patient)
        for _ in range(3):
            diary.update(client, pairing)
            clock.forward(days=16)
        assert client.series(pairing).readings() == []
        assert diary.values(pairing) == [100, 110]
        clock.forward(days=31)  # longer than a refresh token lasts
        with pytest.raises(PairingEnded):
            diary.update(client, pairing)


def test_a_diga_that_is_retired_loses_its_pairings(
    recorder: Recorder, patient: Patient, fault: Fault, tmp_path: Path
) -> None:
    diary = Diary(tmp_path / "diary.sqlite")
    with Client(recorder.diga, FileTokens(tmp_path / "tokens")) as client:
        pairing = paired(client, patient)
        fault("retired")
        with pytest.raises(NotListed):
            diary.update(client, pairing)
        fault.off()
        with pytest.raises(PairingEnded):
            diary.update(client, pairing)


def test_a_patient_may_decline(recorder: Recorder, patient: Patient, tmp_path: Path) -> None:
    with Client(recorder.diga, FileTokens(tmp_path / "tokens")) as client:
        started = client.start([CGM])
        with pytest.raises(ConsentDenied):
            client.finish(started, patient.refuse(started.url))
