"""Takes back what an import stored: the requests to the gateway API. No I/O; see ddr.imports.sending."""

from __future__ import annotations

from collections.abc import Generator

from ddr.imports.calls import Answer, Call, Report, Steps, checked
from ddr.imports.model import ImportFile, Value
from ddr.imports.naming import GENERATIONS, batches, measurement_key, upload_key
from ddr.imports.registering import all_of_app, find_own
from ddr.imports.sending import by_source

NOT_FOUND, CONFLICT = 404, 409


def taking_back(file: ImportFile, digest: str) -> Steps:
    """Take back what `sending` the same file has stored, wherever it went. Raises Refused."""
    report = Report()
    known = checked((yield Call("GET", "devices")))["devices"]
    for source, values in by_source(file.values).items():
        own = find_own(known, source)
        devices = [*([own] if own else ()), *all_of_app(known, source)]
        if not devices:
            continue
        for value in values:
            if not value.continuous:
                report.counts["taken back"] += yield from _single(report, value, digest)
        back: set[Value] = set()
        for device in devices:
            path = f"devices/{device['key']}/sensors"
            for sensor in checked((yield Call("GET", path)))["sensors"]:
                part = [value for value in values if value.code == sensor["code"]]
                back |= yield from _series(f"{path}/{sensor['key']}/uploads", part, digest)
        report.counts["taken back"] += len(back)
    return report


def _series(path: str, values: list[Value], digest: str) -> Generator[Call, Answer, set[Value]]:
    """Take back the uploads to a sensor. Returns those of the file's `values` that were in them."""
    back, number = set[Value](), 0
    for batch in batches(values):
        if (yield from _upload(path, digest, number)):
            back.update(batch)
        number += 1
    while (yield from _upload(path, digest, number)):  # another version, or another --map, may have found more
        number += 1
    return back


def _single(report: Report, value: Value, digest: str) -> Generator[Call, Answer, bool]:
    found = False
    for generation in range(1, GENERATIONS + 1):
        path = f"measurements/{measurement_key(value, digest, generation)}"
        answer = yield Call("DELETE", path, values=generation == 1)
        if answer.status == NOT_FOUND:
            break
        if answer.status == CONFLICT:  # another measurement is derived from it
            report.refuse([value], str(answer.body["code"]), str(answer.body["detail"]))
            break
        checked(answer)
        found = True
    return found


def _upload(path: str, digest: str, number: int) -> Generator[Call, Answer, bool]:
    found = False
    for generation in range(1, GENERATIONS + 1):
        answer = yield Call("DELETE", f"{path}/{upload_key(digest, generation, number)}")
        if answer.status == NOT_FOUND:
            break
        checked(answer)
        found = True
    return found
