"""Stores checked measurements in one transaction, with a handful of statements however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_ITEMS, Breath, aside
from ddr.durations import DAY_MS
from ddr.fhir.instants import parse_date_time
from ddr.fhir.representation import exact_json, exact_value
from ddr.gateway.corrections import next_status
from ddr.gateway.measurement_rules import Upload
from ddr.gateway.problem import Problem, conflict, repeated, unauthorized
from ddr.gateway.same_value import Deduplicated, deduplicated, minutes_around
from ddr.gateway.sources import Sources, derivation
from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.store.audit.acting import check_right
from ddr.store.database.each_there import Statement, each_there
from ddr.store.database.pool import Row
from ddr.store.database.spreading import is_spread
from ddr.store.database.stamps import LOCK_PATIENT
from ddr.store.devices import devices as device_store
from ddr.store.measurements import measurements as store
from ddr.store.measurements.appearance import appearing, targets_appear

FEW, FEW_MS = 20, DAY_MS  # uploads of one request, and the time between the first and the last of them

EFFECTIVE = ("effectiveDateTime", "effectivePeriod")

Answer = dict[str, Any]


async def store_uploads(core: Core, patient_id: UUID, uploads: Sequence[Upload]) -> dict[str, Answer | Problem]:
    """Store measurements with distinct keys; returns the answer to each, by key.

    Relative values come last, because their sources may be in the same request.
    """
    there = is_spread(core.pool) and _few(uploads)
    answers = await (_store_there if there else _store)(core, patient_id, uploads)
    for upload in uploads:
        answer = answers[upload.key]
        if upload.warning and not isinstance(answer, Problem):
            answer["warning"] = upload.warning
    return answers


async def _store(core: Core, patient_id: UUID, uploads: Sequence[Upload]) -> dict[str, Answer | Problem]:
    answers: dict[str, Answer | Problem] = {}
    known = Known()
    async with writing(core, patient_id) as (conn, now):
        sources = Sources(await device_store.sources(conn, patient_id, _device_keys(uploads)))
        for derived in (False, True):
            wave = [upload for upload in uploads if bool(upload.derived_from) == derived]
            if wave:
                answers |= await _store_wave(core, conn, patient_id, wave, sources, known, now)
        await device_store.note_heard(conn, patient_id, sources.device_nos(), now)
    return answers


def _few(uploads: Sequence[Upload]) -> bool:
    """True when all that they refer to is looked up at once: it is little, and none is derived from another."""
    times = [upload.effective_ms for upload in uploads]
    derived = any(upload.derived_from for upload in uploads)
    return len(uploads) <= FEW and max(times) - min(times) <= FEW_MS and not derived


async def _store_there(core: Core, patient_id: UUID, uploads: Sequence[Upload]) -> dict[str, Answer | Problem]:
    """The same for a few, with the same statements, on the server with the patient's rows: one read, one write."""
    keys = list({key for upload in uploads for key in (upload.key, *upload.other_keys)})
    mivs = list({upload.miv.valueset for upload in uploads})
    looks = (
        Statement(LOCK_PATIENT, (patient_id, core.steered_ms)),
        Statement(device_store.SOURCES, (patient_id, _device_keys(uploads))),
        Statement(store.BY_KEYS, (patient_id, keys)),
        Statement(store.AROUND, (patient_id, mivs, *minutes_around([upload.effective_ms for upload in uploads]))),
    )
    async with core.writers.one(patient_id), core.pool.acquire() as conn, conn.transaction():
        locked, devices, stored, around = await each_there(conn, patient_id, looks)
        if not locked:
            raise unauthorized(token_given=True)
        await check_right(conn, patient_id, core.clock())
        now_ms, sources = locked[0]["stamp_ms"], Sources(devices)
        wave = await _planned(core, uploads, sources, Known(stored))
        rows = deduplicated(wave.new, wave.revised, around)
        numbers = await store.next_numbers(conn, len(rows.new))
        writes = (
            *appearing(patient_id, [*rows.new, *rows.revised], _floors(core, now_ms), now_ms),
            *store.inserting(patient_id, rows.new, numbers, now_ms),
            Statement(device_store.HEARD, (patient_id, sources.device_nos(), now_ms)),
        )
        await each_there(conn, patient_id, writes)
        await store.revise(conn, patient_id, [*rows.revised, *rows.giving_way], now_ms)
    return wave.answers | await _answers(core, rows, numbers)


def _device_keys(uploads: Sequence[Upload]) -> list[str]:
    return list({upload.device_key for upload in uploads if upload.device_key})


class Known:
    """What is stored under the keys of one request."""

    def __init__(self, stored: Iterable[Row] = ()) -> None:
        self.rows: dict[str, Row] = {row["measurement_key"]: row for row in stored}
        self._meant: dict[str, str] = {}  # the key under which an upload with another key was found
        self._changed: set[int] = set()

    async def load(self, conn: asyncpg.Connection, patient_id: UUID, uploads: Sequence[Upload]) -> None:
        """Read what these uploads name."""
        keys = {key for up in uploads for key in (up.key, *up.other_keys, *up.derived_from)}
        found = await store.by_keys(conn, patient_id, [*{self._meant.get(key, key) for key in keys}])
        self.rows = found | {key: found[meant] for key, meant in self._meant.items() if meant in found}

    def before(self, upload: Upload, device_no: int | None) -> Row | None:
        """The stored measurement that is meant. Raises Problem 422 when an earlier upload of the request meant it."""
        row = self.rows.get(upload.key)
        if row is None:
            wanted = upload.code.system, upload.code.code, device_no
            others = [self.rows[key] for key in upload.other_keys if key in self.rows]
            row = next((one for one in others if (one["code_system"], one["code"], one["device_no"]) == wanted), None)
        if row is None:
            return None
        if row["measurement_no"] in self._changed:
            raise repeated()
        self._changed.add(row["measurement_no"])
        if row["measurement_key"] != upload.key:
            self.rows[upload.key], self._meant[upload.key] = row, row["measurement_key"]
        return row


async def _store_wave(
    core: Core,
    conn: asyncpg.Connection,
    patient_id: UUID,
    uploads: Sequence[Upload],
    sources: Sources,
    known: Known,
    now_ms: int,
) -> dict[str, Answer | Problem]:
    await known.load(conn, patient_id, uploads)
    wave = await _planned(core, uploads, sources, known)
    written = [*wave.new, *wave.revised]
    mivs, times = list({row["miv_url"] for row in written}), [row["effective_ms"] for row in written]
    around = await store.around(conn, patient_id, mivs, *minutes_around(times)) if written else []
    rows = await aside(len(written) + len(around) > LARGE_ITEMS, deduplicated, wave.new, wave.revised, around)
    await targets_appear(conn, patient_id, [*rows.new, *rows.revised], _floors(core, now_ms), now_ms)
    numbers = await store.insert(conn, patient_id, rows.new, now_ms)
    await store.revise(conn, patient_id, [*rows.revised, *rows.giving_way], now_ms)
    return wave.answers | await _answers(core, rows, numbers)


class _Wave(NamedTuple):
    """The answers known so far, rows to store, and stored rows to revise."""

    answers: dict[str, Answer | Problem]
    new: list[Row]
    revised: list[Row]


async def _planned(core: Core, uploads: Sequence[Upload], sources: Sources, known: Known) -> _Wave:
    wave = _Wave({}, [], [])
    breath = Breath()
    for upload in uploads:
        await breath.take()
        try:
            device_no, epoch_no = sources.of(upload)
            before = known.before(upload, device_no)
            row = plan(upload, before, device_no, epoch_no, derivation(upload, known.rows))
        except Problem as problem:
            wave.answers[upload.key] = problem.kept()
            continue
        if row is not None:
            (wave.new if before is None else wave.revised).append(row)
        elif before is not None:
            wave.answers[upload.key] = _answer(core, before, "unchanged")
    return wave


async def _answers(core: Core, rows: Deduplicated, numbers: Sequence[int]) -> dict[str, Answer | Problem]:
    """The answers by key: for new rows, stored under `numbers`; for existing ones; for revised ones."""
    made: dict[str, Row] = {}
    answers: dict[str, Answer | Problem] = {}
    breath = Breath()
    for row, number in zip(rows.new, numbers, strict=True):
        await breath.take()
        made[row["measurement_key"]] = numbered = {**row, "measurement_no": number}
        answers[row["measurement_key"]] = _answer(core, numbered, "created")
    for key, row in rows.same_as.items():
        answers[key] = _answer(core, made.get(row["measurement_key"], row), "unchanged") | {"key": key}
    for row in rows.revised:
        answers[row["measurement_key"]] = _answer(core, row, "updated")
    return answers


def _floors(core: Core, now_ms: int) -> dict[str, int]:
    """For each MIV, the beginning of its Historic-Data-Period."""
    return {url: core.catalog.floor_ms(url, now_ms) for url in core.catalog.terms}


def plan(
    upload: Upload, before: Row | None, device_no: int | None, epoch_no: int | None, derived_from: list[int]
) -> Row | None:
    """The row to store for `upload`, or None when it repeats the stored row `before`. Raises Problem 409."""
    row = {
        "measurement_key": upload.key,
        "miv_url": upload.miv.valueset,
        "code_system": upload.code.system,
        "code": upload.code.code,
        "device_no": device_no,
        "epoch_no": epoch_no,
        "effective_ms": upload.effective_ms,
        "effective_end_ms": upload.effective_end_ms,
        "value": upload.value,
        "unit": upload.code.unit,
        "comparator": upload.comparator,
        "derived_from": derived_from,
        "version": 1,
    }
    status: str | None = upload.status
    if before is not None:
        _check_same_measurement(before, row)
        content, sent = exact_value(before["content"]), exact_value(exact_json(upload.content))
        if _times(content) == _times(sent):  # perhaps in another zone now: phones travel, and change to winter time
            sent |= {name: content[name] for name in EFFECTIVE if name in content}
        status = next_status(
            before["status"],
            upload.status,
            content | {"status": None, "derivedFrom": list(before["derived_from"])},
            sent | {"status": None, "derivedFrom": derived_from},
        )
        row |= {"measurement_no": before["measurement_no"], "version": before["version"] + 1}
    if status is None:
        return None
    return row | {"status": status, "content": exact_json(upload.content | {"status": status})}


def _times(content: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The times of effective[x] in milliseconds, each from its first to its last, with the precision as written."""
    moment, period = (content.get(name) for name in EFFECTIVE)
    found = {"moment": moment, **(period or {})}
    return {name: parse_date_time(text) for name, text in found.items() if text}


def _check_same_measurement(before: Row, row: Row) -> None:
    if before["deleted_ms"] is not None:
        raise conflict("This measurement was deleted; send a new one under a new key", "deleted")
    if any(before[name] != row[name] for name in ("code_system", "code", "device_no")):
        raise conflict("This key names a measurement with another code or device; send this one under a new key")


def _answer(core: Core, row: Row, result: str) -> Answer:
    return {
        "key": row["measurement_key"],
        "result": result,
        "id": core.ids.measurement(row["measurement_no"]),
        "version": row["version"],
        "status": row["status"],
    }
