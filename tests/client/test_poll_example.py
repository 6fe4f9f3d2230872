"""examples/poll.py: a DiGA that copies from it waits for a closed recorder, and gives no pairing up because of it."""

from __future__ import annotations

import json
import os
import runpy
import ssl
import stat
from datetime import UTC, datetime
from http.client import IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

POLL = runpy.run_path(str(Path(__file__).parents[2] / "examples/poll.py"))


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"access_token": "a", "refresh_token": "r1"}, ""),
        (400, {"error": "invalid_grant"}, "pair again"),
        (401, {"error": "invalid_client"}, "no new token"),
        (404, None, "no new token"),
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


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7), ("Sun, 29 Nov 2026 12:00:30 GMT", 30), ("Sun, 29 Nov 2026 11:00:00 GMT", 1), ("soon", 60), ("", 60)],
)
def test_a_time_to_come_again_may_be_a_date(retry_after: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: a date, which RFC 9110 allows, ended the loop with a traceback."""
    recorder, waited = POLL["Recorder"].__new__(POLL["Recorder"]), list[float]()
    answers: list[Any] = [(503, {"Retry-After": retry_after}, None), (200, {}, {"a": 1})]
    recorder.send = lambda url, form=None: answers.pop(0)
    monkeypatch.setattr(POLL["time"], "time", lambda: datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp())
    monkeypatch.setattr(POLL["time"], "sleep", waited.append)
    assert recorder.ask("https://i") == (200, {"a": 1}) and waited == [seconds]


@pytest.mark.parametrize(("waits", "found"), [("540", "401"), ("900", None)])
def test_a_token_that_ends_while_it_is_waited_for_is_renewed_again(
    waits: str, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: started again within a Grace-Period of 15 minutes, the loop ended after it, its token being ten minutes
    old. One that is refused while it is good is still a fault."""
    recorder, clock = POLL["Recorder"].__new__(POLL["Recorder"]), [0.0]
    recorder.environ, recorder.state_file = {"CLIENT_ID": "c", "ISSUER": "https://i"}, tmp_path / "state.json"
    recorder.state, recorder.access_token, recorder.good_until = {"refresh_token": "r0"}, "", 0.0
    issued = {"access_token": "a", "refresh_token": "r", "expires_in": 600}
    fresh: Any = ((200, {}, {"token_endpoint": "https://i/token"}), (200, {}, issued))
    answers: list[Any] = [(401, {}, None), *fresh, (429, {"Retry-After": waits}, None), (401, {}, None), *fresh]
    answers += [(200, {}, {"resourceType": "Bundle"})]
    recorder.send = lambda url, form=None: answers.pop(0)
    monkeypatch.setattr(POLL["time"], "time", lambda: clock[0])
    monkeypatch.setattr(POLL["time"], "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    if found is None:
        assert recorder.get("https://r/fhir/Observation") == {"resourceType": "Bundle"} and answers == []
    else:
        with pytest.raises(SystemExit, match=f"^{found}"):
            recorder.get("https://r/fhir/Observation")


def test_the_state_is_on_the_disk_before_it_takes_the_place_of_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: after a power failure it could be empty, or the former one, whose refresh token was used up."""
    recorder, kept, real = POLL["Recorder"].__new__(POLL["Recorder"]), list[tuple[str, str]](), os.fsync
    recorder.state, recorder.state_file = {"refresh_token": "r1"}, tmp_path / "state.json"
    recorder.state_file.write_text("former")

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        kept.append((kind, recorder.state_file.read_text()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    recorder.save()
    assert kept == [("file", "former"), ("folder", '{"refresh_token": "r1"}')]


def test_a_recorder_that_is_started_again_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before: a connection that was refused, or an answer that was cut, ended the loop with a traceback."""
    recorder, waited = POLL["Recorder"].__new__(POLL["Recorder"]), list[float]()
    outcomes: list[Any] = [URLError(ConnectionRefusedError()), IncompleteRead(b""), TimeoutError()]
    outcomes += [URLError(ssl.SSLEOFError(8, "ended in the handshake")), (502, {}, None), (200, {}, {"a": 1})]

    def send(url: str, form: object = None) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    recorder.send = send
    monkeypatch.setattr(POLL["time"], "sleep", waited.append)
    assert recorder.ask("https://i") == (200, {"a": 1}) and waited == [1, 2, 4, 8, 16]
    told = capsys.readouterr().err
    assert told.count("no answer") == 4 and told.count("answer 502, asking again") == 1


def test_a_link_that_has_expired_is_followed_from_the_cursor_again(tmp_path: Path) -> None:
    """Before: it ended the loop. A first search that is gone is the end of the recorder."""
    recorder, asked = POLL["Recorder"].__new__(POLL["Recorder"]), list[str]()
    recorder.environ, recorder.state_file = {"FHIR": "https://r/fhir"}, tmp_path / "state.json"
    recorder.state = {"refresh_token": "r", "since": "2026-11-29T12:00:00Z"}

    def page(name: str, link: list[dict[str, str]]) -> Any:
        entries = [{"resource": {"id": name}}]
        return 200, {}, {"meta": {"lastUpdated": "2026-11-30T12:00:00Z"}, "entry": entries, "link": link}

    further = [{"relation": "next", "url": "https://r/fhir/next"}]
    answers = [page("a", further), (410, {}, None), page("a", further), page("b", []), (410, {}, None)]

    def send(url: str, form: object = None) -> Any:
        asked.append(url.partition("?")[0])
        return answers.pop(0)

    recorder.send = send
    assert [one["id"] for one in recorder.changes()] == ["a", "a", "b"]
    assert asked == ["https://r/fhir/Observation", "https://r/fhir/next"] * 2
    assert recorder.state["since"] == "2026-11-30T12:00:00Z"
    with pytest.raises(SystemExit, match=r"^410"):
        list(recorder.changes())


@pytest.mark.parametrize("certificate", ["the recorder's", "ours", "ours, in TLS 1.3"])
def test_a_certificate_that_is_refused_is_not_tried_again(certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ssl.SSLError(1, "tlsv13 alert certificate required")
    refused.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"  # as an alert that comes in the place of the answer has it
    outcome = {
        "the recorder's": URLError(ssl.SSLCertVerificationError("unknown")),
        "ours": URLError(ssl.SSLError(1, "tlsv1 alert unknown ca")),
    }.get(certificate, refused)
    recorder, outcomes = POLL["Recorder"].__new__(POLL["Recorder"]), [outcome]

    def send(url: str, form: object = None) -> Any:
        raise outcomes.pop()

    recorder.send = send
    monkeypatch.setattr(POLL["time"], "sleep", lambda _: None)
    with pytest.raises(type(outcome)):
        recorder.ask("https://i")


@pytest.mark.parametrize(("lacking", "told"), [("CA", "not in the environment: CA"), ("", "No such file or directory")])
def test_what_is_set_wrongly_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, told: str
) -> None:
    for name in ("FHIR", "ISSUER", "CA", "CERT", "KEY", "CLIENT_ID"):
        monkeypatch.setenv(name, "" if name == lacking else str(tmp_path / name))
    monkeypatch.setattr("sys.argv", ["poll.py", str(tmp_path / "state.json")])
    with pytest.raises(SystemExit) as ended:
        POLL["main"]()
    assert told in str(ended.value) and "\n" not in str(ended.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"7", b"{}", b'{"refresh_token": 7}', b"[" * 100_000], ids=range(8)
)
def test_a_state_that_cannot_be_read_is_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the loop with a traceback, or went on without a refresh token."""
    (state := tmp_path / "state.json").write_bytes(content)
    for name in ("FHIR", "ISSUER", "CA", "CERT", "KEY", "CLIENT_ID"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("sys.argv", ["poll.py", str(state)])
    with pytest.raises(SystemExit, match="is no state of this program") as ended:
        POLL["main"]()
    assert "\n" not in str(ended.value) and state.read_bytes() == content
