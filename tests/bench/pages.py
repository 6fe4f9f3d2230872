"""The patient's pages on the public listener, with logged-in patients, compared with a static document there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urljoin, urlsplit

import orjson

from ddr.demo.accounts import Account
from ddr.demo.browser_user import Page
from ddr.demo.tls import client_context
from ddr.http.clock import now_ms
from ddr.patient_pages.visitor import COOKIE
from tests.bench.caller import Caller
from tests.bench.figure import Figure, Goal, against
from tests.bench.line import Line
from tests.bench.scene import Scene, scene
from tests.bench.serving import METADATA
from tests.bench.turns import Seen, Step, driven, in_turns
from tests.bench.worker import TURNS

CLIENTS = 16
ACCESSES = 96  # of each patient's data, as of a day of polls
STATIC = "static"
PAGES: Mapping[str, tuple[str, str]] = {
    "connections": ("/me", "connections"),
    "access": ("/me/access", f"accesses, {ACCESSES} of them"),
    "chart": ("/me/data", "charts of a day and of 14 days"),
    "chart30": ("/me/data?days=30", "charts of a day and of 30 days"),
    "values": ("/me/data/values", "table of single values"),
}
# Entries of the trail for the page that tells of them.
_ACCESSES = """
INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail)
SELECT patient_id, $2::bigint - n * 900000, 'diga:data:read', client_id, pairing_id,
       '{"type": "Observation", "valuesets": ["https://gematik.de/fhir/hddt/ValueSet/hddt-miv-continuous-glucose-measurement"]}'
  FROM pairing, generate_series(1, $1) AS n"""
CHARTS = ("chart", "chart30")
TURN = Goal(most=50)  # milliseconds: no request may keep the event loop longer


async def run(folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Rates of one worker, what a page costs, and how long the event loop's turns are while charts are made."""
    async with scene(folder / "pages", CLIENTS) as one:
        await one.stack.pool.execute(_ACCESSES, ACCESSES, now_ms())
        base = one.stack.settings.public_base_url
        browser = Caller(client_context(Path(one.stack.description()["ca"])), urlsplit(base), "")
        loads: dict[str, list[Step]] = {}
        for patient in one.stack.patients:
            line, cookie = await Line.open(browser.place, browser.tls), await _logged_in(one, patient)
            loads.setdefault(STATIC, []).append(browser.get(line, METADATA))
            for name, (path, _) in PAGES.items():
                loads.setdefault(name, []).append(partial(_page, browser, line, path, cookie))
        seen = await in_turns(loads, one.processes, rounds, duration)
        alone = {name: loads[name][0] for name in (STATIC, *CHARTS)}
        turns = await _turns(browser, await Line.open(browser.place, browser.tls), alone, rounds, duration)
    return [
        *(figure for name, (_, text) in PAGES.items() for figure in figures(name, text, seen)),
        *(_turn(name, turns) for name in CHARTS),
    ]


def figures(name: str, text: str, seen: Mapping[str, Seen]) -> list[Figure]:
    """Of one page: its rate against that of the static document, and processor time."""
    one, static, text = seen[name], seen[STATIC], f"patient's page: {text}"
    return [
        one.figure(f"page_{name}", text, static),
        against(f"page_{name}_worker", f"{text}, CPU of the worker", "us", one.worker_us, static.worker_us),
        Figure(f"page_{name}_database", f"{text}, CPU of the database", median(one.database_us), "us"),
    ]


Turn = tuple[float, float]
"""Milliseconds: the longest lag of the event loop, and the processor time that its thread used within one."""


def _turn(name: str, turns: Mapping[str, list[Turn]]) -> Figure:
    lags, works = zip(*turns[name], strict=True)
    static = max(lag for lag, _ in turns[STATIC])
    more = f"longest lag {max(lags):.0f} ms, with static documents {static:.0f} ms"
    text = f"longest turn of the event loop, CPU: {PAGES[name][1]}, one after the other"
    return Figure(f"turn_{name}", text, max(works), "ms", target=TURN, more=more)


async def _turns(
    browser: Caller, look: Line, alone: Mapping[str, Step], rounds: int, duration: float
) -> dict[str, list[Turn]]:
    """Of each round of each load, with one client."""
    found: dict[str, list[Turn]] = {name: [] for name in alone}
    for _ in range(rounds):
        for name, step in alone.items():
            await browser.asked(look, "GET", TURNS, {})
            await driven([step], duration)
            lag, work = orjson.loads(await browser.asked(look, "GET", TURNS, {}))
            found[name].append((lag, work))
    return found


async def _page(browser: Caller, line: Line, path: str, cookie: str) -> int:
    return await browser.ok(line, "GET", path, {"accept": "text/html", "cookie": f"{COOKIE}={cookie}"})


async def _logged_in(one: Scene, patient: Account) -> str:
    """The cookie of a session."""
    async with one.stack.client() as http:
        page = await http.get(f"{one.stack.settings.public_base_url}/login")
        form = Page(str(page.url), page.text).form("username")
        assert form is not None
        fields = {**dict(form.hidden), "username": patient.username, "password": patient.password}
        await http.post(urljoin(str(page.url), form.action), data=fields)
        return http.cookies[COOKIE]
