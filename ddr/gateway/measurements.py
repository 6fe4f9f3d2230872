"""Accepts dedicated measurements: PUT and DELETE of one, POST of many (HDDT retrieving-data.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ddr.aside import aside
from ddr.gateway.fields import Fields, items_of
from ddr.gateway.measurement_rules import Upload, parse_measurement
from ddr.gateway.problem import Problem, conflict, invalid, not_found, repeated
from ddr.gateway.storing import Answer, store_uploads
from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.series.reading import TOO_OLD
from ddr.store.measurements import measurements as store

LARGE_MEASUREMENTS = 200  # which are parsed and answered outside the event loop


async def put_measurement(core: Core, patient_id: UUID, measurement_key: str, body: Any) -> tuple[int, Answer]:
    """Store or correct one measurement: 201 when it is new, else 200. Raises Problem 409 or 422."""
    upload = _parse(core, measurement_key, Fields(body))
    answer = (await store_uploads(core, patient_id, [upload]))[upload.key]
    _count(core, _tally([upload], [answer]))
    if isinstance(answer, Problem):
        raise answer
    return 201 if answer["result"] == "created" else 200, answer


async def post_measurements(core: Core, patient_id: UUID, body: Any) -> tuple[int, dict[str, Any]]:
    """Store or correct many measurements; each is answered by itself, in order, and a bad one blocks no other.

    Raises Problem 413 or 422 for the request as a whole.
    """
    items = items_of(body, "measurements", core.settings.gateway_max_items)
    taken = await take_measurements(core, patient_id, items)
    return 200, await aside(len(items) > LARGE_MEASUREMENTS, _answered, items, taken)


async def take_measurements(
    core: Core, patient_id: UUID, items: Sequence[Any], other_keys: Sequence[tuple[str, ...]] | None = None
) -> list[Answer | Problem]:
    """Store or correct measurements; returns the outcome of each, in order. `other_keys` has further keys of each."""
    other_keys = other_keys or [()] * len(items)
    large = len(items) > LARGE_MEASUREMENTS
    parsed = await aside(large, _read_items, core, items, other_keys)
    uploads = [upload for upload in parsed if isinstance(upload, Upload)]
    stored = await store_uploads(core, patient_id, uploads) if uploads else {}
    answers = [stored[found.key] if isinstance(found, Upload) else found for found in parsed]
    _count(core, await aside(large, _tally, uploads, answers))
    return answers


def _tally(
    uploads: Sequence[Upload], answers: Sequence[Answer | Problem]
) -> tuple[Counter[tuple[str, str]], dict[str, int]]:
    """How many had which outcome, and for each MIV the time of the newest measurement that was not stored before."""
    results = (("rejected", one.code) if isinstance(one, Problem) else (one["result"], "") for one in answers)
    created = {one["key"] for one in answers if not isinstance(one, Problem) and one["result"] == "created"}
    newest: dict[str, int] = {}
    for upload in uploads:
        if upload.key in created:
            newest[upload.miv.name] = max(newest.get(upload.miv.name, upload.effective_ms), upload.effective_ms)
    return Counter(results), newest


def _count(core: Core, tally: tuple[Counter[tuple[str, str]], dict[str, int]]) -> None:
    results, newest = tally
    core.metrics.uploaded("measurements", results)
    for name, at_ms in newest.items():
        core.metrics.arrived(name, core.clock() - at_ms)


async def delete_measurement(core: Core, patient_id: UUID, measurement_key: str) -> tuple[int, None]:
    """Delete a measurement that was sent by mistake, with its history; repeating it changes nothing.

    Raises Problem 404, or 409 when another one is derived from it.
    """
    async with writing(core, patient_id) as (conn, now):
        row = (await store.by_keys(conn, patient_id, [measurement_key])).get(measurement_key)
        if row is None:
            raise not_found("measurement")
        if row["deleted_ms"] is None:
            if await store.is_source(conn, patient_id, row["measurement_no"]):
                raise conflict("Another measurement is derived from this one; delete that first", "in-use")
            await store.erase(conn, patient_id, row["measurement_no"], now)
    return 204, None


def _parse(core: Core, key: str, fields: Fields) -> Upload:
    now_ms = core.clock()
    upload = parse_measurement(key, fields, core.catalog, now_ms + core.settings.gateway_future_seconds * 1000)
    if (upload.effective_end_ms or now_ms) < core.settings.readings_from_ms(now_ms):
        raise invalid(fields.at("effective"), TOO_OLD.detail, TOO_OLD.reason)
    return upload


def _read_items(core: Core, items: Sequence[Any], other_keys: Sequence[tuple[str, ...]]) -> list[Upload | Problem]:
    parsed = [_read_item(core, item, others) for item, others in zip(items, other_keys, strict=True)]
    _refuse_repeated_keys(parsed)
    return parsed


def _read_item(core: Core, item: Any, other_keys: tuple[str, ...]) -> Upload | Problem:
    try:
        fields = Fields(item, name="measurement")
        upload = _parse(core, fields.need("key", fields.key), fields)
        return replace(upload, other_keys=other_keys) if other_keys else upload
    except Problem as problem:
        return problem.kept()


def _refuse_repeated_keys(parsed: list[Upload | Problem]) -> None:
    seen: dict[str, Upload] = {}
    for i, upload in enumerate(parsed):
        if isinstance(upload, Upload):
            others = [seen[key] for key in upload.other_keys if key in seen]
            alike = any((one.code, one.device_key) == (upload.code, upload.device_key) for one in others)
            if upload.key in seen or alike:
                parsed[i] = repeated()
            else:
                seen[upload.key] = upload


def _answered(items: Sequence[Any], taken: Sequence[Answer | Problem]) -> dict[str, Any]:
    """How many of the items were created, updated, unchanged or rejected, and the outcome of each."""
    answers = [_answer_item(item, answer) for item, answer in zip(items, taken, strict=True)]
    counts = Counter(answer["result"] for answer in answers)
    return {name: counts[name] for name in ("created", "updated", "unchanged", "rejected")} | {"items": answers}


def _answer_item(item: Any, answer: Answer | Problem) -> Answer:
    if isinstance(answer, Problem):
        key = item.get("key") if isinstance(item, dict) else None
        return {"key": key if isinstance(key, str) else None, "result": "rejected", **answer.item()}
    return answer
