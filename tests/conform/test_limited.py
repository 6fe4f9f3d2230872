"""A recorder that returns a limited number of Observations and has no pages (HDDT retrieving-data.md#paging)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qsl

import httpx
import pytest

from ddr.conform.authorization import OBSERVATION
from ddr.conform.kit import Kit
from ddr.conform.laws.times import milliseconds
from ddr.conform.target import MIV
from ddr.conform.verdict import Verdict
from tests.conform.test_endings import FHIR, kit
from tests.conform.test_other_recorders import FAILED, LOINC, NOW, PASSED, Json, at, of, value

NOT_RUN = Verdict.NOT_RUN
CODES = ("2339-0", "15074-8")
VALUES = [value(str(n), at(-n / 4), code={"coding": [{"system": LOINC, "code": CODES[n % 2]}]}) for n in range(40)]
MANY = 50
DEVICE = {"resourceType": "Device", "id": "d"}


@dataclass
class Limited:
    """Returns at most `most` resources, the newest or the oldest of them first when no order is requested."""

    most: int = 6
    newest: bool = True
    total: int | None = 0  # more than there are; None: it says none
    sorts: bool = True
    leaves_out: str = ""  # an id that no search by code finds
    content: tuple[Json, ...] = tuple(VALUES)
    devices: int = 1
    hidden: int = 0  # devices that it counts and nobody sees
    searches: int = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, asked = request.url.path.removesuffix("/_search"), parse_qsl(str(request.url.query, "ascii"))
        asked += parse_qsl(request.content.decode())
        if path == "/fhir":
            scope = OBSERVATION + MIV + "blood-glucose-measurement"
            return httpx.Response(200, headers=FHIR, content=json.dumps({"scope": scope, "sub": "s" * 30}))
        if path.endswith("/Observation"):
            self.searches += 1
            found = self._found(asked)
        else:
            found = [{**DEVICE, "id": str(number)} for number in range(self.devices)]
        hidden = 0 if path.endswith("/Observation") else self.hidden
        total = {} if self.total is None else {"total": len(found) + self.total + hidden}
        size = min(self.most, int(dict(asked).get("_count", self.most)))
        entries = [{"resource": one, "search": {"mode": "match"}} for one in found[:size]]
        page = {"resourceType": "Bundle", "type": "searchset", "entry": entries, **total}
        return httpx.Response(200, headers=FHIR, content=json.dumps(page))

    def _found(self, asked: list[tuple[str, str]]) -> list[Json]:
        found, down = list(self.content), self.newest
        for name, text in asked:
            if name == "_sort" and self.sorts:
                down = text.startswith("-")
            elif name == "code":
                codes = [one.rpartition("|")[2] for one in text.split(",")]
                found = [one for one in found if one["code"]["coding"][0]["code"] in codes]
                found = [one for one in found if one["id"] != self.leaves_out]
            elif name == "date":
                found = [one for one in found if self._fits(text, milliseconds(one["effectiveDateTime"]))]
            elif name == "_id":
                found = [one for one in found if one["id"] == text]
        return sorted(found, key=lambda one: milliseconds(one["effectiveDateTime"]), reverse=down)

    @staticmethod
    def _fits(asked: str, time: int) -> bool:
        prefix, text = (asked[:2], asked[2:]) if asked[:2].isalpha() else ("eq", asked)
        low = milliseconds(text if "T" in text else f"{text}T00:00:00Z")
        high = low + (999 if "T" in text else 86_399_999)
        return {
            "eq": low <= time <= high,
            "ne": not low <= time <= high,
            "ge": time >= low,
            "le": time <= high,
            **dict.fromkeys(("gt", "sa"), time > high),
            **dict.fromkeys(("lt", "eb"), time < low),
        }[prefix]

    def kit(self) -> Kit:
        """A kit at it."""
        found = kit(self.answer)
        found.now_ms = lambda: int(NOW.timestamp() * 1000)
        return found


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("total", [0, None])
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("total-is-right", PASSED),
        ("sort-orders", PASSED),
        ("newest-comes-first", PASSED),
        ("search-by-code", PASSED),
        ("search-by-date", PASSED),
        ("search-by-dates", PASSED),
        ("search-by-code-and-date", PASSED),
        ("post-search-equals-get", PASSED),
        ("pages-lose-and-repeat-nothing", FAILED),  # a remark
    ],
)
def test_a_limited_number_is_no_failure(name: str, verdict: Verdict, total: int | None, newest: bool) -> None:
    """Formerly values missing from the first response counted as found wrongly, or as hidden."""
    result = of(Limited(total=total, newest=newest).kit(), name)
    assert (result.verdict, result.advice) == (verdict, verdict is FAILED), result.text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("total-is-right", Limited(total=2)),
        ("total-is-right", Limited(total=2, most=100)),
        ("total-is-right", Limited(total=-39)),
        ("total-is-right", Limited(most=100, hidden=1)),
        ("sort-orders", Limited(sorts=False)),
        ("search-by-code", Limited(leaves_out="3", content=tuple(VALUES[:8]))),
    ],
)
def test_a_limited_number_excuses_nothing_else(name: str, wrong: Limited) -> None:
    result = of(wrong.kit(), name)
    assert (result.verdict, result.advice) == (FAILED, False), result.text


def test_of_devices_beyond_what_it_gives_nobody_knows() -> None:
    """Formerly the total counted as wrong, which failed a MUST."""
    result = of(Limited(devices=9).kit(), "total-is-right")
    assert (result.verdict, result.advice) == (FAILED, True), result.text


def test_of_more_at_one_time_than_it_gives_nobody_knows_all() -> None:
    crowded = [value(f"same-{n}", at(-20)) for n in range(9)]
    assert of(Limited(content=(*VALUES, *crowded)).kit(), "search-by-code").verdict is NOT_RUN


class Growing(Limited):
    """A recorder with a new value at each search, and finally none."""

    def _found(self, asked: list[tuple[str, str]]) -> list[Json]:
        if self.searches < MANY:
            self.content += (value(f"new-{self.searches}", at(self.searches / 100)),)
        return super()._found(asked)


class Restless(Limited):
    """A recorder that ignores times and shows different values at each search."""

    def _found(self, asked: list[tuple[str, str]]) -> list[Json]:
        assert self.searches < MANY, "there is no end"
        return list(self.content[: self.most] if self.searches % 2 else self.content[20:])


@pytest.mark.parametrize(("most", "searches"), [(100, 2), (6, 1 + 11)])
def test_what_comes_meanwhile_is_not_waited_for(most: int, searches: int) -> None:
    """Formerly the kit searched again, and waited for that, as long as each search returned a new value."""
    recorder = Growing(most=most, total=None)
    (view,) = recorder.kit().views
    assert (view.everything.most, recorder.searches) == (most % 100, searches)


def test_who_looks_at_no_time_is_not_asked_for_ever() -> None:
    """Formerly the kit searched without end."""
    (view,) = Restless(total=None).kit().views
    assert len(view.everything.matches) == 2 * 6


def test_who_gives_all_is_asked_for_more_once_at_most() -> None:
    """Every search waits for the Grace-Period."""
    told, silent = Limited(most=100), Limited(most=100, total=None)
    for recorder in (told, silent):
        (view,) = (found := recorder.kit()).views
        assert len(view.everything.matches) == len(view.again("Observation").matches) == 40 and found
    assert (told.searches, silent.searches) == (2, 2 + 2)
