"""A file with values from elsewhere on the page "Devices": reviewed, taken, taken back."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from ddr.http.address import client_network
from ddr.http.arrival import in_turn
from ddr.http.core import Core
from ddr.imports.calls import Report, Steps
from ddr.imports.formats import FORMATS, SEEMS
from ddr.imports.makers import GERMAN, METER, NOT_STATED, UNNAMED
from ddr.imports.model import MOST_BAD, ImportFile
from ddr.imports.sending import sending
from ddr.patient_pages.app import create_consent
from ddr.patient_pages.file import FILE_BYTES
from ddr.patient_pages.render import marked
from ddr.patient_pages.texts.devices import IMPORTED
from ddr.patient_pages.visitor import FORM_BYTES
from ddr.store.patients import export, files
from tests.diga_api.world import PRESSURE
from tests.imports import samples
from tests.patient_pages.browser import Browser, form_token
from tests.patient_pages.test_consent import logged_in
from tests.support.clock import Clock
from tests.support.lags import Lags
from tests.support.patients import Patient, list_diga, push_request


async def looked_at(browser: Browser, content: str | bytes) -> httpx.Response:
    raw = content if isinstance(content, bytes) else content.encode()
    return await browser.give_file(await browser.get("/me/devices"), raw)


def digest(page: httpx.Response) -> str:
    return page.text.partition('name="digest" value="')[2].partition('"')[0]


async def stored(core: Core, patient: Patient) -> int:
    chunks = [row["filled"] async for row in export.chunks(core.pool, patient.patient_id)]
    singles = [row async for row in export.measurements(core.pool, patient.patient_id)]
    return int(sum(chunks)) + len(singles)


async def test_a_file_is_looked_at_first(core: Core) -> None:
    patient, browser = await logged_in(core)
    page = await looked_at(browser, samples.CLARITY + "6,2026-11-20T08:15:00,EGV,,,\n")
    assert page.status_code == 200 and "Dexcom Clarity" in page.text
    assert "8ABCDE" in page.text and "Gewebezucker-Verlauf" in page.text and "<td>3</td>" in page.text
    assert "Zeile 7: kein Wert, den wir lesen können" in page.text
    assert await stored(core, patient) == 0


@pytest.mark.parametrize(("content", "count"), [(samples.CLARITY, 3), (samples.OMRON, 1)])
async def test_it_is_taken_and_taken_back(core: Core, content: str, count: int) -> None:
    patient, browser = await logged_in(core)
    page = await looked_at(browser, content)
    done = await browser.post("/me/devices/file/take", page, digest=digest(page))
    assert f"Übernommen: {count}" in done.text
    assert await stored(core, patient) == count
    again = await browser.post("/me/devices/file/take", page, digest=digest(page))
    assert f"Schon vorhanden: {count}" in again.text and "Übernommen" not in again.text, "it was, by the first press"
    back = await browser.post("/me/devices/file/back", done, digest=digest(done))
    assert back.headers["location"] == "/me/devices?file-taken-back"
    assert await stored(core, patient) == 0
    trail = (await browser.get("/me/access")).text
    assert "Datei mit Messwerten eingelesen" in trail and "Messwerte einer Datei wieder entfernt" in trail


async def test_it_is_taken_back_later_from_the_devices(core: Core, clock: Clock) -> None:
    """The page that says what was taken is gone when the patient notices: a tab was closed, the phone asleep."""
    patient, browser = await logged_in(core)
    page = await looked_at(browser, samples.OMRON)
    assert "Wieder zurücknehmen" not in (await browser.get("/me/devices")).text
    await browser.post("/me/devices/file/take", page, digest=digest(page))
    clock.advance(600)
    later = await browser.get("/me/devices")
    assert "Zuletzt übernommen: 22. November 2026" in later.text and digest(later) == digest(page)
    assert (await browser.post("/me/devices/file/back", later, digest=digest(later))).status_code == 303
    assert await stored(core, patient) == 0
    assert "Wieder zurücknehmen" not in (await browser.get("/me/devices")).text
    await browser.post("/me/devices/file/take", page, digest=digest(page))
    await looked_at(browser, samples.CLARITY)
    assert "Wieder zurücknehmen" not in (await browser.get("/me/devices")).text, "the other one has its place"


async def test_looking_again_at_a_file_that_was_taken_leaves_it_to_be_taken_back(core: Core) -> None:
    """By the back button, whose page the browser has to ask for anew, or by giving it once more."""
    patient, browser = await logged_in(core)
    page = await looked_at(browser, samples.OMRON)
    await browser.post("/me/devices/file/take", page, digest=digest(page))
    for seen in (await browser.get("/me/devices/file"), await looked_at(browser, samples.OMRON)):
        assert "Das ist in der Datei" in seen.text and "Zuletzt übernommen: 22. November 2026" in seen.text
    later = await browser.get("/me/devices")
    assert "Zuletzt übernommen: 22. November 2026" in later.text
    assert (await browser.post("/me/devices/file/back", later, digest=digest(later))).status_code == 303
    assert await stored(core, patient) == 0


async def test_a_file_that_another_version_has_read_is_no_fault(core: Core) -> None:
    """It was given before an upgrade, or to a worker that is not replaced yet."""
    patient, browser = await logged_in(core)
    await files.keep(core.pool, patient.patient_id, "00", b"of a form to come", core.clock())
    before = await browser.get("/me/devices")
    for answer in (
        await browser.get("/me/devices/file"),
        await browser.post("/me/devices/file/take", before, digest="00"),
        await browser.post("/me/devices/file/back", before, digest="00"),
    ):
        assert answer.status_code == 422 and "Diese Datei hat keine Form, die wir kennen" in answer.text


async def test_what_is_no_file_is_said(core: Core) -> None:
    _, browser = await logged_in(core)
    for content in (b"a,b\n1,2\n", b"", b"\x89PNG\r\n\x1a\n\0\0"):
        page = await looked_at(browser, content)
        assert page.status_code == 422 and "keine Form, die wir kennen" in page.text
    two = "time,code,value,unit,patient\n2026-11-20T07:00Z,2339-0,99,mg/dL,a\n2026-11-20T08:00Z,2339-0,98,mg/dL,b\n"
    assert "mehrerer Personen" in (await looked_at(browser, two)).text
    too_large = await looked_at(browser, b"x" * (FILE_BYTES + 1))
    assert too_large.status_code == 413


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "pdf", "Das ist ein PDF"),
        (b"PK\x03\x04\x14\0\x06\0", "workbook-or-zip", "speichern Sie eine Excel-Mappe als CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old-workbook", "Das ist eine Excel-Mappe"),
        (b"\x1f\x8b\x08\0", "compressed", "Bitte entpacken Sie sie zuerst"),
        (b"<!DOCTYPE html><title>Log in</title>", "web-page", "Das ist eine Webseite"),
        ((samples.CLARITY + samples.LIBREVIEW).encode(), "several-forms", "Messwerte aus mehreren Apps"),
    ],
)
async def test_what_to_do_with_another_kind_of_file_is_said(core: Core, content: bytes, kind: str, said: str) -> None:
    """Reports and workbooks are what other apps offer first."""
    assert kind in SEEMS
    _, browser = await logged_in(core)
    page = await looked_at(browser, content)
    assert page.status_code == 422 and said in page.text and "keine Form" not in page.text
    assert re.search(r'<p class="error"[^>]* tabindex="-1" autofocus>', page.text)


async def test_forms_are_named_in_the_language_of_the_page(core: Core) -> None:
    _, browser = await logged_in(core)
    said = (await looked_at(browser, b"a,b\n1,2\n")).text
    assert "Blutdruck-Tagebuch, OMRON, Withings (CSV)" in said
    for name, one in FORMATS.items():  # what is not translated is no more than a name and the form of the file
        assert one.title not in said or re.fullmatch(r"[\w ]+ \((CSV|JSON)\)", one.title), name
    assert "copy" not in said and "diary" not in said and "entries" not in said
    assert "Blutdruck-Tagebuch" in (await looked_at(browser, samples.OMRON)).text


async def test_what_a_file_does_not_say_is_told_in_the_language_of_the_page(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await looked_at(browser, "Datum;Uhrzeit;Systolisch;Diastolisch\n20.11.2026;08:00;120;80\n")
    assert "Blutdruckmessgerät" in page.text and "monitor" not in page.text
    await browser.post("/me/devices/file/take", page, digest=digest(page))
    devices = (await browser.get("/me/devices")).text
    assert "Blutdruckmessgerät" in devices and "in der Datei nicht angegeben" in devices
    assert "monitor" not in devices and "not stated" not in devices
    asked = await browser.get(f"/consent?request_uri={quote(await push_request(core, list_diga(core), PRESSURE))}")
    assert "Blutdruckmessgerät" in asked.text and "monitor" not in asked.text
    english = (await browser.get("/me/devices?lang=en")).text
    assert "Blood pressure monitor" in english and "not stated in the file" in english


async def test_the_table_for_excel_names_in_german_what_a_file_does_not_say(core: Core) -> None:
    """Read in again it is of the same device."""
    _, browser = await logged_in(core)
    page = await looked_at(browser, "Datum;Uhrzeit;Systolisch;Diastolisch\n20.11.2026;08:00;120;80\n")
    await browser.post("/me/devices/file/take", page, digest=digest(page))
    table = (await browser.get("/me/data-excel.csv")).text
    assert "Blutdruckmessgerät" in table and "in der Datei nicht angegeben" in table
    assert "monitor" not in table and "not stated" not in table
    again = await looked_at(browser, table)
    done = await browser.post("/me/devices/file/take", again, digest=digest(again))
    assert "Schon vorhanden: 1" in done.text and "Übernommen" not in done.text


def test_every_name_that_an_import_gives_has_words() -> None:
    assert IMPORTED.keys() == {NOT_STATED.name, NOT_STATED.manufacturer, METER.manufacturer, *UNNAMED.values()}
    assert {words.de: name for name, words in IMPORTED.items() if words.de != name} == GERMAN


@pytest.mark.parametrize(("lang", "many"), [("de", "12.000"), ("en", "12,000")])
async def test_many_values_are_counted_in_groups_of_digits(core: Core, lang: str, many: str) -> None:
    _, browser = await logged_in(core, lang)
    start = datetime(2026, 9, 1)
    times = [start + timedelta(minutes=5 * at) for at in range(12_000)]
    rows = "".join(f"{at:%d.%m.%Y %H:%M};{100 + at.hour};mg/dL;S;1\n" for at in times)
    page = await looked_at(browser, f"Zeit;Wert;Einheit;Gerät;Seriennummer\n{rows}")
    assert f"<td>{many}</td>" in page.text
    assert many in marked(lang, "file.taken", count=12_000) and "9999" in marked(lang, "file.taken", count=9_999)


async def test_a_file_with_nothing_to_take_says_so(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await looked_at(browser, "Zeit;Wert;Einheit\ngestern;abc;mg/dL\n")
    assert page.status_code == 200 and "Zeile 2" in page.text
    assert "nichts, was wir übernehmen können" in page.text
    assert "Nicht übernehmen" not in page.text and "Zu meinen Geräten" in page.text


async def test_a_file_of_which_most_is_bad_is_refused_as_a_whole(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await looked_at(browser, "time,code,value,unit\n" + "x,2339-0,99,mg/dL\n" * (MOST_BAD + 1))
    assert page.status_code == 422 and "Die meisten Zeilen dieser Datei" in page.text


async def test_a_page_is_short_whatever_the_file(core: Core) -> None:
    _, browser = await logged_in(core)
    rows = "".join(f"2026-11-20T07:00Z,2339-0,99,mg/dL,Meter,S{number}\n" for number in range(10_000))
    lags = Lags()
    page = await lags.during(looked_at(browser, "time,code,value,unit,device,serial\n" + rows + "x,,,,,\n" * 10_000))
    assert page.status_code == 200 and len(page.content) < 30_000
    assert "und 9980 weitere" in page.text  # devices, and bad rows
    await lags.check()


async def test_what_comes_next_of_a_file_is_found_out_beside_the_event_loop(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a year of a sensor it takes some tenths of a second to sort the values, or to see how often they come."""
    on_the_loop: list[bool] = []

    def watched(file: ImportFile, name: str) -> Steps:
        steps, answer = sending(file, name), None
        while True:
            on_the_loop.append(threading.current_thread() is threading.main_thread())
            try:
                answer = yield steps.send(answer) if answer else next(steps)
            except StopIteration as end:
                report: Report = end.value
                return report

    monkeypatch.setattr("ddr.patient_pages.file.sending", watched)
    _, browser = await logged_in(core)
    page = await looked_at(browser, samples.CLARITY)
    assert "Übernommen: 3" in (await browser.post("/me/devices/file/take", page, digest=digest(page))).text
    assert on_the_loop == [False] * len(on_the_loop) and on_the_loop


async def test_nobody_else_takes_it(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await looked_at(browser, samples.CLARITY)
    other, stranger = await logged_in(core)
    own = await stranger.get("/me/devices")
    assert (await stranger.post("/me/devices/file/take", own, digest=digest(page))).status_code == 403
    assert await stored(core, other) == 0
    without_token = await browser.http.post("/me/devices/file", files={"file": ("x.csv", samples.CLARITY.encode())})
    assert without_token.status_code == 403
    foreign = {"sec-fetch-site": "cross-site"}
    assert (
        await browser.http.post("/me/devices/file", headers=foreign, data={}, files={"file": b"x"})
    ).status_code == 403


async def test_it_is_forgotten_after_a_day(core: Core, clock: Clock) -> None:
    _, browser = await logged_in(core)
    page = await looked_at(browser, samples.CLARITY)
    await core.pool.execute("UPDATE patient_file SET created_ms = created_ms - 86400000")
    assert (await browser.post("/me/devices/file/take", page, digest=digest(page))).status_code == 403


async def test_a_recorder_that_refuses_to_take_back_is_told(core: Core) -> None:
    _, browser = await logged_in(core)
    done = await browser.post(
        "/me/devices/file/take", page := await looked_at(browser, samples.CLARITY), digest=digest(page)
    )
    inside = core.inside
    assert inside is not None

    async def refusing(patient_id: UUID, method: str, path: str, body: Any) -> tuple[int, Any]:
        return (409, {"code": "conflict"}) if method == "DELETE" else await inside(patient_id, method, path, body)

    core.inside = refusing
    back = await browser.post("/me/devices/file/back", done, digest=digest(done))
    assert back.status_code == 422 and "Nicht alle Werte" in back.text


async def test_what_was_taken_before_a_refusal_is_told(core: Core) -> None:
    """Half of the file is in the record: neither the page nor the trail says that nothing happened."""
    patient, browser = await logged_in(core)
    rows = "".join(f"2026-11-20T0{hour}:00Z,2339-0,99,mg/dL,Meter,S{hour}\n" for hour in (7, 8))
    page = await looked_at(browser, "time,code,value,unit,device,serial\n" + rows)
    inside, sent = core.inside, 0
    assert inside is not None

    async def overloaded(patient_id: UUID, method: str, path: str, body: Any) -> tuple[int, Any]:
        nonlocal sent
        sent += path == "measurements"
        return (503, {"code": "overloaded"}) if sent > 1 else await inside(patient_id, method, path, body)

    core.inside = overloaded
    answer = await browser.post("/me/devices/file/take", page, digest=digest(page))
    assert answer.status_code == 422 and "Nicht alle Werte konnten übernommen werden" in answer.text
    assert await stored(core, patient) == 1
    assert "Datei mit Messwerten eingelesen" in (await browser.get("/me/access")).text
    core.inside, later = inside, await browser.get("/me/devices")  # it was the wrong file, maybe
    assert (await browser.post("/me/devices/file/back", later, digest=digest(later))).status_code == 303
    assert await stored(core, patient) == 0


async def test_what_was_taken_before_the_database_went_away_is_told(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not try again would have values of which the trail knows nothing."""
    patient, browser = await logged_in(core)
    rows = "".join(f"2026-11-20T0{hour}:00Z,2339-0,99,mg/dL,Meter,S{hour}\n" for hour in (7, 8))
    page = await looked_at(browser, "time,code,value,unit,device,serial\n" + rows)
    inside, sent = core.inside, 0
    assert inside is not None

    async def away(*of: object, **more: object) -> None:
        raise ConnectionError("no server answers")

    async def interrupted(patient_id: UUID, method: str, path: str, body: Any) -> tuple[int, Any]:
        nonlocal sent
        sent += path == "measurements"
        if sent > 1:
            monkeypatch.setattr("ddr.patient_pages.file.record", away)
            await away()
        return await inside(patient_id, method, path, body)

    core.inside = interrupted
    with pytest.raises(ConnectionError):  # which is answered around the pages
        await browser.post("/me/devices/file/take", page, digest=digest(page))
    assert await stored(core, patient) == 1
    assert "Datei mit Messwerten eingelesen" in (await browser.get("/me/access")).text


MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


def beginning(page: httpx.Response) -> bytes:
    """Of a form with a file, all that stands before the content of the file."""
    token = f'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n{form_token(page.text)}\r\n'
    return f'{token}--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'.encode()


async def test_of_a_file_without_end_no_more_is_read_than_may_come(core: Core) -> None:
    """It would fill the disk, and hold a place for as long as somebody sends."""
    _, browser = await logged_in(core)
    first, sent = beginning(await browser.get("/me/devices")), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield first
        while sent < 4 * FILE_BYTES:
            sent += 100_000
            yield b"x" * 100_000

    answer = await browser.http.post("/me/devices/file", content=endless(), headers=MULTIPART)
    assert answer.status_code == 413 and "Diese Datei ist zu groß" in answer.text
    assert sent < 1.1 * FILE_BYTES


async def test_a_file_that_comes_too_slowly_is_said(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    _, browser = await logged_in(core)
    first = beginning(await browser.get("/me/devices"))
    monkeypatch.setattr("ddr.http.body.MOST_SECONDS", 0.0)

    async def stuck() -> AsyncIterator[bytes]:
        yield first
        await asyncio.Event().wait()

    app = in_turn(create_consent(core), core.admission, "pages", client_network, FILE_BYTES + FORM_BYTES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://recorder.example") as http:
        http.cookies = browser.http.cookies
        answer = await http.post("/me/devices/file", content=stuck(), headers=MULTIPART)
    assert answer.status_code == 408 and "hat zu lange gedauert" in answer.text


@pytest.mark.parametrize("headers", [MULTIPART, {"content-type": "multipart/form-data"}])
async def test_a_form_that_is_none_is_said(core: Core, headers: dict[str, str]) -> None:
    _, browser = await logged_in(core)
    answer = await browser.http.post("/me/devices/file", content=b"--b\r\nnothing", headers=headers)
    assert answer.status_code == 403 and "Es wurde nichts geändert" in answer.text
