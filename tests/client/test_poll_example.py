"""examples/poll.py: what a DiGA copies from it waits for a recorder that is closed, and gives no pairing up for it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

POLL = runpy.run_path(str(Path(__file__).parents[2] / "examples/poll.py"))


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"access_token": "a", "refresh_token": "r1"}, ""),
        (400, {"error": "invalid_grant"}, "pair again"),
        (401, {"error": "invalid_client"}, "no new token"),
        (502, None, "no new token"),
    ],
)
def test_a_refresh_waits_and_tells_what_has_ended_apart(
    status: int, answer: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: a 503 of the token endpoint ended it with the advice to pair again."""
    recorder = POLL["Recorder"].__new__(POLL["Recorder"])
    recorder.environ, recorder.state_file = {"CLIENT_ID": "c", "ISSUER": "https://i"}, tmp_path / "state.json"
    recorder.state, waited = {"refresh_token": "r0"}, list[float]()
    answers = [(503, {"Retry-After": "7"}, None), (200, {}, {"token_endpoint": "https://i/token"})]
    answers += [(503, {"Retry-After": "8"}, None), (429, {}, None), (status, {}, answer)]
    recorder.send = lambda url, form=None: answers.pop(0)
    monkeypatch.setattr(POLL["time"], "sleep", waited.append)
    if said:
        with pytest.raises(SystemExit) as ended:
            recorder.refresh()
        assert said in str(ended.value) and ("pair again" in str(ended.value)) == (said == "pair again")
    else:
        recorder.refresh()
        assert json.loads(recorder.state_file.read_text()) == {"refresh_token": "r1"}
    assert waited == [7, 8, 60]
