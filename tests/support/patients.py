"""Patients, DiGA and pushed requests for tests of the patient's pages."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID

from ddr.http.core import Core
from ddr.scopes.diga import Diga
from ddr.series.days import local_day
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.par import PushedRequest, new_request_uri, push
from ddr.store.authorization.representations import Relation, SetBy, Terms, begin
from ddr.store.patients.accounts import create_patient
from tests.support.trust import FakeTrust

PASSWORD = "correct horse battery"
CALLBACK = "https://diga.example/callback"


@dataclass(frozen=True)
class Patient:
    """A patient with an account; the password is PASSWORD."""

    patient_id: UUID
    username: str


async def new_patient(core: Core, prefix: str = "anna") -> Patient:
    """A new patient whose user name begins with `prefix`."""
    username = f"{prefix}-{secrets.token_hex(4)}"
    return Patient(await create_patient(core.pool, username, PASSWORD, core.clock()), username)


async def represent(
    core: Core,
    representative: Patient,
    patient: Patient,
    name: str = "Mia",
    relation: Relation = Relation.PARENT,
    **terms: Any,
) -> UUID:
    """Let `representative` act for `patient`, a child of ten years unless `terms` say otherwise; returns the right's
    id."""
    now_ms = core.clock()
    born = None if relation is Relation.CARER else local_day(now_ms, UTC).replace(day=1) - timedelta(days=3660)
    said = Terms(**{"relation": relation, "name": name, "since_ms": now_ms, "born": born, **terms})
    async with core.pool.acquire() as conn, conn.transaction():
        right = await begin(conn, representative.patient_id, patient.patient_id, said, SetBy.OPERATOR, now_ms)
    assert right is not None
    return right


def list_diga(core: Core, number: str = "00001", **changes: object) -> Diga:
    """A DiGA in the allow list of `core`, permitted every MIV unless `changes` say otherwise."""
    diga = {
        "client_id": f"urn:diga:bfarm:{number}",
        "name": "GlucoPilot",
        "manufacturer": "Beispiel Health GmbH",
        "active": True,
        "redirect_uri": CALLBACK,
        "certificates": frozenset(),
        "valuesets": frozenset(miv.valueset for miv in core.catalog.mivs),
    }
    assert isinstance(core.registry, FakeTrust)
    return core.registry.add(Diga(**{**diga, **changes}))  # type: ignore[arg-type]


async def push_request(core: Core, diga: Diga, *names: str, state: str = "st-1") -> str:
    """A pushed request of `diga` for the MIVs with these package names (all if none is given); returns its
    request_uri."""
    scopes = [miv.scope for miv in core.catalog.mivs if not names or miv.name in names]
    request = PushedRequest(
        request_uri=new_request_uri(),
        client_id=diga.client_id,
        redirect_uri=diga.redirect_uri,
        state=state,
        scope=" ".join([*scopes, "patient/Device.rs", "patient/DeviceMetric.rs"]),
        code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        expires_ms=core.clock() + 600_000,
    )
    await push(core.pool, request)
    return request.request_uri


async def add_device(core: Core, patient: Patient, name: str, miv_name: str, serial: str) -> None:
    """A device of `patient` with one sensor for this MIV."""
    miv = core.catalog.by_name(miv_name)
    assert miv is not None
    started_ms = core.clock() - 5 * 86_400_000
    device_no = await core.pool.fetchval(
        """
        INSERT INTO device (patient_id, device_key, serial_number, device_name, manufacturer, model_number,
            expiration_ms, started_ms, heard_ms, created_ms, updated_ms)
        VALUES ($1, $2, $2, $3, 'Muster Medizintechnik AG', 'M-7', $5, $4, $6, $4, $4) RETURNING device_no
        """,
        patient.patient_id,
        serial,
        name,
        started_ms,
        core.clock() + 9 * 86_400_000,
        core.clock() - 240_000,
    )
    await core.pool.execute(
        """
        INSERT INTO sensor (patient_id, device_no, sensor_key, miv_url, code_system, code, unit, continuous,
            calibrated_device, metric, buffering_ms, started_ms, created_ms)
        VALUES ($1, $2, 's', $3, $4, $5, 'mg/dL', false, false, '{}', 0, $6, $6)
        """,
        patient.patient_id,
        device_no,
        miv.valueset,
        miv.codes[0].system,
        miv.codes[0].code,
        started_ms,
    )


async def record_read(core: Core, patient: Patient, diga: Diga, miv_name: str, pairing_id: str) -> None:
    """What admission stores when `diga` reads the MIV with this package name."""
    miv = core.catalog.by_name(miv_name)
    assert miv is not None
    await record(
        core.pool,
        Event.DATA_READ,
        core.clock(),
        patient_id=patient.patient_id,
        client_id=diga.client_id,
        pairing_id=pairing_id,
        detail={"type": "Observation", "interaction": "search", "valuesets": [miv.valueset]},
    )
    await core.pool.execute(
        "INSERT INTO grace (patient_id, pairing_no, answered, read_ms)"
        " SELECT patient_id, pairing_no, '{}', $2 FROM pairing_directory WHERE pairing_id = $1"
        " ON CONFLICT (patient_id, pairing_no) DO UPDATE SET read_ms = excluded.read_ms",
        pairing_id,
        core.clock(),
    )
