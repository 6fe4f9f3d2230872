"""examples/diga: a DiGA that copies from it learns about deletions."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from ddr.client import Recorder
from ddr.client.pull import Cursor, Step
from tests.client.foreign import PAIRING, Foreign, bundle, chunk, recorder_of

DIARY = runpy.run_path(str(Path(__file__).parents[2] / "examples/diga/diary.py"))["Diary"]


class Told:
    """A client whose answers are there already."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self.found = recorder, list[Step]()

    async def ask(self, diary: Any, **how: bool) -> None:
        """An update, once to hear for what is asked, and once with what is answered."""
        self.found.clear()
        diary.update(self, PAIRING, **how)
        self.found = [step async for step in self._recorder.steps(self.since)]
        diary.update(self, PAIRING, **how)

    def steps(self, _: str, since: Cursor) -> list[Step]:
        self.since = since
        return self.found


async def test_a_look_at_everything_finds_what_was_deleted(tmp_path: Path) -> None:
    """Before: nothing that this example did told it."""
    foreign = Foreign({"Observation?": bundle(chunk("a"))})
    told, diary = Told(await recorder_of(foreign, tmp_path)), DIARY(tmp_path / "diary.sqlite")
    await told.ask(diary)
    assert diary.values(PAIRING) == [100, 101]
    foreign.pages = {"Observation?": bundle()}
    await told.ask(diary)
    assert diary.values(PAIRING) == [100, 101], "a search for what has changed does not tell"
    told._recorder._clock = lambda: 1_795_262_400.0  # 2026-11-21
    await told.ask(diary, whole=True)
    assert diary.values(PAIRING) == []


async def test_values_are_in_one_unit_and_in_order_of_time(tmp_path: Path) -> None:
    """Before: 5.5 mmol/L stood there as 5.5 mg/dL, and values in the order of what the clocks of their zones show."""
    data = {"origin": {"value": 0, "code": "mmol/L"}, "period": 300000.0, "data": "5.5 6.0"}
    period = {"start": "2026-11-20T11:30:00+05:30", "end": "2026-11-20T11:39:59+05:30"}
    code = {"coding": [{"system": "http://loinc.org", "code": "105272-9"}]}
    earlier = chunk("b", valueSampledData=data, effectivePeriod=period, code=code)
    told = Told(await recorder_of(Foreign({"Observation?": bundle(chunk("a"), earlier)}), tmp_path))
    diary = DIARY(tmp_path / "diary.sqlite")
    await told.ask(diary)
    assert [round(one) for one in diary.values(PAIRING)] == [99, 108, 100, 101]
