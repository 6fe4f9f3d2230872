"""The chapters in which DiGA pull data: glucose, compared with what was sent; a request too early; other values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddr.demo import memory
from ddr.demo.chunks import compare, samples_of, start_ms, up_to
from ddr.demo.diga_client import DigaRefused
from ddr.demo.pairing_story import Pairing, paired_again
from ddr.demo.sensor import Sample
from ddr.demo.show import Show, day_and_hour, sparkline
from ddr.demo.stack import DemoStack
from ddr.demo.trace import Trace
from ddr.demo.upload import Sent
from ddr.durations import DAY_MS
from ddr.http.clock import now_ms

Json = dict[str, Any]
CGM = "continuous-glucose-measurement"
CGM_CODES = "99504-3,105272-9"
SHOWN_CHUNKS = 14
INCLUDES = {"_include": "Observation:device", "_include:iterate": "DeviceMetric:source"}


async def pull_glucose(stack: DemoStack, show: Show, pairing: Pairing, sent: Sent, trace: Trace | None) -> Pairing:
    """Pull all glucose of the first patient with metrics and devices, and compare it with what the gateway sent."""
    show.chapter(f"{pairing.diga.name} pulls {pairing.patient.username}'s glucose")
    pairing, found = await search_patiently(stack, pairing, {"code": CGM_CODES, **INCLUDES})
    (metric,) = sent.device.sensors.values()
    chunks = chunks_of(found, sent.device.body["serialNumber"])
    period_ms = metric["samplingPeriodMs"]
    pulled = up_to(samples_of(chunks), sent.samples, period_ms)
    _show_chunks(show, chunks, metric["unit"])
    served = _served(stack, sent.samples, chunks, period_ms)
    hidden, fault = compare(pulled, served, period_ms)
    good = "every value is as sent, and its time within half a sampling period"
    good += f"; {hidden:,} readings share a slot with a nearer one" if hidden else ""
    show.check(fault is None, f"{len(chunks)} chunks hold {len(pulled):,} values: {fault or good}")
    if not served:
        show.say("all readings are older than the Historic-Data-Period, so nothing is served")
        return pairing
    metrics, devices = (sum(one["resourceType"] == kind for one in found) for kind in ("DeviceMetric", "Device"))
    show.check(metrics > 0 and devices > 0, f"included: {devices} Device, {metrics} DeviceMetric")
    if trace:
        _compare_with_last_run(stack, show, trace, chunks)
    return pairing


async def pull_too_early(stack: DemoStack, show: Show, pairing: Pairing) -> None:
    """The same search again: refused within the Grace-Period, unless that was set to zero."""
    miv = stack.catalog.by_name(CGM)
    seconds = stack.catalog.terms[miv.valueset].grace_seconds if miv else 0
    if seconds < 2:
        return
    show.chapter("The same request again, too early")
    try:
        await (await stack.diga(pairing.diga)).search(pairing.tokens, "Observation", {"code": CGM_CODES})
        show.check(False, "a second search within the Grace-Period was not refused")
    except DigaRefused as error:
        wait = error.response.headers.get("retry-after", "")
        waits = wait.isdecimal() and 0 < int(wait) <= seconds
        text = f"response {error.status}, Retry-After {wait} s (registered Grace-Period: {seconds} s)"
        show.check(error.status == 429 and waits, text)


async def pull_all(stack: DemoStack, show: Show, pairings: Sequence[Pairing]) -> list[Pairing]:
    """Pull what other pairings allow, one search per kind of data."""
    done, rows = [], []
    for pairing in pairings:
        current = pairing
        for name in pairing.mivs:
            current, found = await search_patiently(stack, current, {"code": codes(stack, name), **INCLUDES})
            observations = [one for one in found if one["resourceType"] == "Observation"]
            count = f"{len(observations):,}"
            rows.append((pairing.diga.name, pairing.patient.username, name, count, example(observations)))
        done.append(current)
    show.table(("DiGA", "patient", "kind of data", "#observations", "newest"), rows)
    missing = [f"{patient}'s {name}" for _, patient, name, count, _ in rows if count == "0"]
    show.check(
        not missing,
        f"missing: {', '.join(missing)}" if missing else "all data that the patients consented to was received",
    )
    return done


async def search_patiently(
    stack: DemoStack, pairing: Pairing, parameters: dict[str, str]
) -> tuple[Pairing, list[Json]]:
    """The result of a search. If an interrupted former run has left a Grace-Period, pair again first."""
    client = await stack.diga(pairing.diga)
    try:
        return pairing, await client.search(pairing.tokens, "Observation", parameters)
    except DigaRefused as error:
        if error.status != 429:
            raise
    pairing = await paired_again(stack, pairing)
    return pairing, await client.search(pairing.tokens, "Observation", parameters)


def codes(stack: DemoStack, name: str) -> str:
    """The codes of a MIV as a search parameter."""
    miv = stack.catalog.by_name(name)
    return ",".join(f"{code.system}|{code.code}" for code in miv.codes) if miv else ""


def chunks_of(found: Sequence[Json], serial: str) -> list[Json]:
    """The chunks that the device with this serial number measured, in order of time."""
    devices = {f"Device/{one['id']}" for one in found if one.get("serialNumber") == serial}
    metrics = {f"DeviceMetric/{one['id']}" for one in found if one.get("source", {}).get("reference") in devices}
    chunks = [one for one in found if one.get("device", {}).get("reference") in metrics]
    return sorted(chunks, key=start_ms)


def example(observations: Sequence[Json]) -> str:
    """The newest value of some observations, in words."""
    dated = [one for one in observations if "effectiveDateTime" in one]
    if not dated:
        filled = [samples for one in sorted(observations, key=start_ms) if (samples := samples_of([one]))]
        return f"{filled[-1][-1][1]} {observations[0]['valueSampledData']['origin']['unit']}" if filled else ""
    newest = max(dated, key=lambda one: one["effectiveDateTime"])
    parts = [part["valueQuantity"] for part in newest.get("component", ())] or [newest["valueQuantity"]]
    return " / ".join(str(part["value"]) for part in parts) + f" {parts[0]['unit']}"


def _served(stack: DemoStack, samples: Sequence[Sample], chunks: Sequence[Json], period_ms: int) -> list[Sample]:
    """The samples that must have arrived: the first chunks may be older than the Historic-Data-Period, which is not a
    loss."""
    miv = stack.catalog.by_name(CGM)
    days = stack.catalog.terms[miv.valueset].historic_days if miv else 0
    begin_ms = now_ms() - (days - 1) * DAY_MS
    if chunks:
        begin_ms = min(begin_ms, start_ms(chunks[0]) - period_ms // 2)
    return [sample for sample in samples if sample[0] >= begin_ms]


def _show_chunks(show: Show, chunks: Sequence[Json], unit: str) -> None:
    rows = []
    if len(chunks) > SHOWN_CHUNKS:
        show.say(f"[dim]the last {SHOWN_CHUNKS} of {len(chunks)} chunks:[/dim]")
    for chunk in chunks[-SHOWN_CHUNKS:]:
        samples = samples_of([chunk])
        line = sparkline(samples, start_ms(chunk), unit, show.columns)
        version = chunk["meta"]["versionId"]
        rows.append((day_and_hour(start_ms(chunk)), line, f"{len(samples)}", chunk["status"], version))
    show.table(("chunk from (UTC)", f"24 hours of glucose in {unit}", "#values", "status", "#version"), rows)


def _compare_with_last_run(stack: DemoStack, show: Show, trace: Trace, chunks: Sequence[Json]) -> None:
    state_dir = stack.options.state_dir
    if before := memory.recall(state_dir, trace.digest):
        different = memory.changed(before, chunks)
        show.check(
            not different, f"{len(before) - len(different)} of {len(before)} chunks unchanged since the last run"
        )
    memory.remember(state_dir, trace.digest, chunks)
