"""examples/diga: what a DiGA copies from it learns of what was deleted."""

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
