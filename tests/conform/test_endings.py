"""How a run ends whatever happens in it: the kit's faults are kept apart from the recorder's; a report is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any
from xml.etree import ElementTree

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from rich.console import Console

from ddr.cli.conform import exit_status
from ddr.cli.main import main
from ddr.conform.authorization import Pairing, Request
from ddr.conform.browser import Person
from ddr.conform.check import Check, all_checks
from ddr.conform.kit import Kit
from ddr.conform.pacing import Pace, Patience
from ddr.conform.report import model
from ddr.conform.report.html import html
from ddr.conform.report.junit import junit
from ddr.conform.report.model import Run, report
from ddr.conform.report.terminal import Terminal
from ddr.conform.run import Result, run
from ddr.conform.target import Account, Identity, Target
from ddr.conform.verdict import Failed, NotRun, Verdict
from ddr.conform.view import View
from ddr.conform.wire import MOST_SLOW, Wire, Writes
from ddr.reasons import LONGEST

BASE, ISSUER = "https://recorder.example/fhir", "https://login.recorder.example"
DIGA = Identity("urn:diga:bfarm:00001", "https://diga.example/cb", Path("a.pem"), Path("a.key"))
Answer = Callable[[httpx.Request], httpx.Response]
FHIR = {"content-type": "application/fhir+json"}
SCHEMA = json.loads(Path(model.__file__).with_name("schema.json").read_text())
CHECKS = {one.name: one for one in all_checks()}


def kit(answer: Answer, ask: Callable[[str], str] = str) -> Kit:
    """A kit with one pairing at a recorder with these responses."""
    target = Target(BASE, ISSUER)
    wire = Wire(target, lambda _transport, _client: httpx.MockTransport(answer))
    exchange = wire.send("GET", BASE)
    wire.exchanges.clear()
    found = Kit(target, wire, Person(lambda _: None, ask), Patience(0))
    request = Request(DIGA, (), "", "", {})
    view = View(
        found, "DiGA 1, patient 1", 0, Pairing(request, Account(), exchange, "", exchange), Pace(Patience(0), 0)
    )
    view.identity = None  # type: ignore[assignment]  # certificates are not the matter
    found.__dict__["_paired"] = [view]
    return found


def answers(body: Any) -> Answer:
    return lambda _: httpx.Response(200, headers=FHIR, content=json.dumps(body))


def check(act: Callable[[Kit], object], name: str = "made-up", requirements: tuple[str, ...] = ("RS-001",)) -> Check:
    def look(found: Kit) -> None:
        act(found)

    return Check(name, requirements, "Something of a test.", frozenset(), 0, look)


def told(found: Kit, results: Sequence[Result], strict: bool = False) -> dict[str, Any]:
    """The report as stored in a file; it can be written in every format."""
    document = report(Run(found, results, 0, 1000, ["ddr", "conform", BASE], "0", strict))
    html(document).encode(errors="replace")
    ElementTree.fromstring(junit(document))
    loaded: dict[str, Any] = json.loads(json.dumps(document, default=str))
    jsonschema.validate(loaded, SCHEMA)
    return loaded


def bundle(*resources: object) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources]}


def one_of(found: Kit, act: Callable[[Kit], object]) -> Result:
    (result,) = run(found, [check(act)])
    told(found, [result])
    return result


@pytest.mark.parametrize(
    "act",
    [
        lambda one: 1 / 0,
        lambda one: CHECKS["there is none"],
        lambda one: None + 1,  # type: ignore[operator]
        lambda one: next(iter(())),
        lambda one: one.wire.send("DELETE", f"{BASE}/Observation/1"),
        lambda one: one.views[0].get("Device").json["total"].there_is_none,
    ],
)
def test_faults_of_the_kit_have_a_verdict_of_their_own(act: Callable[[Kit], object]) -> None:
    found = kit(answers({"resourceType": "Bundle", "type": "searchset", "total": 0}))
    result = one_of(found, act)
    assert result.verdict is Verdict.KIT_ERROR and "test_endings.py" not in result.text, result.text
    document = told(found, [result])
    assert exit_status(document) == 1  # nothing has passed
    document = told(found, [result, *run(found, [check(lambda one: None)])])
    assert document["summary"]["kit error"] == 1 and exit_status(document) == 3
    (error,) = ElementTree.fromstring(junit(document)).findall(".//error")
    assert error.get("type") == "kit error"


@pytest.mark.parametrize(
    "body",
    [
        bundle("no resource"),
        {"resourceType": "Bundle", "type": "searchset", "entry": {"resource": {}}},
        {"resourceType": "Bundle", "type": "searchset", "link": "next", "entry": []},
        bundle({"resourceType": "Observation", "id": "1", "meta": "none", "effectivePeriod": {"start": "now"}}),
        bundle({"resourceType": "Observation", "id": "1", "meta": {}, "effectivePeriod": {"end": "2026-01-01"}}),
        bundle({"resourceType": "Observation", "id": "1", "meta": {}, "code": ["99504-3"]}),
    ],
)
def test_answers_of_another_shape_are_the_recorders(body: dict[str, Any]) -> None:
    readers = ("profiles", "devices", "chunks", "search_results", "search_observations", "search_devices")
    chosen = [one for one in CHECKS.values() if one.run.__module__.rpartition(".")[2] in readers]
    found = kit(answers(body))
    results = run(found, [check(one.run, one.name) for one in chosen])  # whatever they need is there
    assert not [one for one in results if one.verdict is Verdict.KIT_ERROR], results
    assert any(one.verdict is Verdict.FAILED for one in results)
    told(found, results)


def test_a_deep_answer_and_broken_text_end_with_a_report() -> None:
    deep = '{"resourceType": "Observation", "id": "1", "extension": ' + "[{" * 3000
    found = kit(lambda _: httpx.Response(200, headers=FHIR, content=deep))
    assert one_of(found, lambda one: one.views[0].everything).verdict is Verdict.NOT_RUN
    odd = bundle({"resourceType": "Observation", "id": "1\ud800", "status": "\x1b[31m\ud800", "meta": {}, "code": {}})
    found = kit(answers(odd))
    for name in ("codes-are-loinc", "observations-are-complete"):
        (result,) = run(found, [check(CHECKS[name].run)])
        assert result.verdict is Verdict.FAILED and result.text.isprintable(), result
        assert "\x1b" not in json.dumps(told(found, [result])["checks"])


def test_a_token_that_a_verdict_names_is_masked_on_the_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict about a limit of requests (OPS-011) contains the URL. Formerly its token was masked in the reports
    only."""
    limited = httpx.Response(429, headers={"retry-after": "5"})
    found = kit(lambda request: limited if "access_token" in str(request.url) else answers(bundle())(request))
    found.wire.secrets.learn("a-token-of-the-patient")
    (result,) = run(found, [check(lambda one: one.views[0].get("Device?access_token=a-token-of-the-patient"))])
    Terminal(Console(), 1).tell(result)
    assert result.verdict is Verdict.NOT_RUN and "access_token=***" in "".join(capsys.readouterr().out.split())


def test_a_token_is_masked_where_a_long_verdict_is_cut() -> None:
    found = kit(answers({}))
    found.wire.secrets.learn("a-token-of-the-patient")

    def fail(_: Kit) -> None:
        raise Failed("x" * (LONGEST - 15) + "a-token-of-the-patient")

    (result,) = run(found, [check(fail)])
    assert result.text == "x" * (LONGEST - 15) + "***"


def test_a_link_with_signs_for_the_terminal_is_shown_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Formerly the commands that reproduce a failure contained them, and a JUnit report was unreadable."""
    link = f"{BASE}/Device?\x1b]0;mine\x07\ufffe"
    found = kit(answers({**bundle(), "link": [{"relation": "next", "url": link}]}))
    (result,) = run(found, [check(CHECKS["search-is-answered-with-a-searchset"].run)])
    assert result.verdict is Verdict.FAILED
    document = told(found, [result])
    assert "mine" in json.dumps(document["checks"][0]["reproduce"])
    Terminal(Console(), 1).end(document)
    assert not set("\x1b\x07\ufffe") & set(capsys.readouterr().out)


def test_a_recorder_that_is_lost_has_failed_and_ends_the_run() -> None:
    gone: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if gone:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, headers=FHIR, content=json.dumps(bundle()))

    found = kit(answer)

    def lose(one: Kit) -> None:
        gone.append(True)
        one.views[0].get("Device")

    results = run(
        found, [check(lambda one: None), check(lose), check(lambda one: None), CHECKS["no-certificate-no-service"]]
    )
    verdicts = [Verdict.PASSED, Verdict.FAILED, Verdict.NOT_RUN, Verdict.NOT_RUN]
    assert [one.verdict for one in results] == verdicts
    assert results[1].shown and all(one.status == 0 for one in results[1].shown)
    document = told(found, results)
    assert "can no longer be reached" in document["stopped"] and exit_status(document) == 1


@pytest.mark.parametrize(
    ("requirements", "strict", "status"),
    [
        (("RS-019",), False, 0),
        (("PRIV-003",), False, 0),  # SHOULD NOT
        (("RS-019",), True, 1),
        (("RS-001",), False, 1),
        (("OBS-005", "OBS-004"), False, 1),  # SHOULD and MUST: it may be the MUST
        (("TLS-013",), False, 1),  # a contradiction of the specification, as it is read
    ],
)
def test_what_breaks_a_recommendation_is_a_remark(
    requirements: tuple[str, ...], strict: bool, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Kit) -> None:
        raise Failed("not so")

    found = kit(answers(bundle()))
    results = run(found, [check(lambda one: None), check(fail, "fails", requirements)])
    document = told(found, results, strict)
    assert exit_status(document) == status
    assert document["summary"]["failed"] == 1, "it is told as what it is"
    assert [one["remark"] for one in document["checks"]] == [False, status == 0]
    root = ElementTree.fromstring(junit(document))
    assert len(root.findall(".//failure")) == status and len(root.findall(".//skipped")) == 1 - status
    Terminal(Console(), 2).end(document)
    assert ("a remark" in capsys.readouterr().out) == (status == 0)


def test_nothing_can_be_written() -> None:
    found = kit(answers({}))
    for method, path in (("PUT", "Observation/1"), ("POST", "Observation"), ("DELETE", "Device/1"), ("POST", "x")):
        with pytest.raises(Writes):
            found.wire.send(method, f"{BASE}/{path}")
    assert found.wire.exchanges == []


def test_a_connection_that_breaks_once_does_not_end_the_run() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Device"):
            raise httpx.ReadError("closed", request=request)
        return httpx.Response(200, headers=FHIR, content=json.dumps(bundle()))

    found = kit(answer)
    results = run(found, [check(CHECKS["format-parameter"].run), check(lambda one: None)])
    assert [one.verdict for one in results] == [Verdict.FAILED, Verdict.PASSED] and not found.stopped


def test_an_interrupted_run_ends_with_all_its_results() -> None:
    def interrupt(_: Kit) -> None:
        raise KeyboardInterrupt

    found = kit(answers(bundle()))
    results = run(found, [check(lambda one: None), check(interrupt), check(lambda one: None)])
    assert [one.verdict for one in results] == [Verdict.PASSED, Verdict.NOT_RUN, Verdict.NOT_RUN]
    assert exit_status(told(found, results)) == 130


def test_nobody_at_the_keyboard_is_not_the_recorders_fault() -> None:
    def ask(_: str) -> str:
        raise EOFError

    with pytest.raises(NotRun, match="--recipe"):
        kit(answers({}), ask).browser.decide(f"{ISSUER}/authorize", DIGA.redirect_uri, Account(), ())


def test_a_pairing_that_breaks_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def pair(*_: object) -> None:
        made.append(1)
        raise TypeError("a fault of the kit")

    monkeypatch.setattr("ddr.conform.kit.pair", pair)
    target = Target(BASE, ISSUER, digas=(DIGA,))
    wire = Wire(target, lambda _transport, _client: httpx.MockTransport(answers({})))
    found = Kit(target, wire, Person(lambda _: None, str), Patience(0))
    results = run(found, [CHECKS[name] for name in ("pairing-succeeds", "redirect-has-code-and-state", "no-subjects")])
    assert [one.verdict for one in results] == [Verdict.KIT_ERROR] * 3 and made == [1]


def test_files_that_cannot_be_used_are_told_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.pem", "a.key"):
        (tmp_path / name).write_text("no PEM")
    files = ("--certificate", str(tmp_path / "a.pem"), "--key", str(tmp_path / "a.key"))
    diga = ("--client-id", DIGA.client_id, "--redirect-uri", DIGA.redirect_uri, *files)
    assert main(["conform", BASE, "--issuer", ISSUER, *diga]) == 1
    assert str(tmp_path / "a.pem") in capsys.readouterr().err
    assert main(["conform", BASE, "--issuer", ISSUER, "--html", str(tmp_path / "none" / "a.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_answer_without_an_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    monkeypatch.setattr("ddr.conform.wire.MOST_BYTES", 10_000)
    wire = kit(lambda _: httpx.Response(200, content=endless())).wire
    told = wire.send("GET", BASE)
    assert told.status == 0 and told.error.startswith("no answer: Endless: the answer has more than 10,000 bytes")


def test_an_answer_that_is_no_http_is_not_quoted() -> None:
    """It may contain tokens that the kit does not yet know to be secret."""

    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("illegal chunk header: bytearray(b'access_token=eyJ')")

    assert kit(broken).wire.send("GET", BASE).error == "no answer: RemoteProtocolError: illegal chunk header"


def test_an_answer_whose_headers_never_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """They trickle in, or follow endless interim responses, so that no single read times out. Formerly the run never
    ended."""
    over = Event()

    def drops(_: httpx.Request) -> httpx.Response:
        over.wait()
        raise httpx.ReadError("the end of the test")

    monkeypatch.setattr("ddr.conform.wire.MOST_SECONDS", 0.05)
    try:
        found = kit(answers({}))
        found.wire._clients.clear()
        found.wire._wrap = lambda _transport, _client: httpx.MockTransport(drops)
        told = found.wire.send("GET", BASE)
        assert told.status == 0 and told.error == "no answer: Endless: the answer takes more than 0.05 s"
    finally:
        over.set()


def test_a_run_waits_for_silence_only_so_long() -> None:
    """The recorder serves its documents and nothing else. Formerly the kit waited for each of hundreds of requests."""
    waited = list[str]()

    def silent(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Device"):
            waited.append(str(request.url))
            raise httpx.ReadTimeout("the server hangs")
        return answers(bundle())(request)

    found = kit(silent)
    found.wire.slow = MOST_SLOW - 1e-9  # the next one takes more than that
    results = run(found, [check(lambda one: [one.wire.send("GET", f"{BASE}/Device") for _ in range(2)])] * 3)
    assert len(waited) == 1
    assert [one.verdict for one in results] == [Verdict.FAILED, Verdict.NOT_RUN, Verdict.NOT_RUN]
    assert "s already" in told(found, results)["stopped"]
    found.leave()
    assert found.wire.send("GET", BASE).status == 200, "pairings are ended all the same"


@pytest.mark.parametrize("link", ["http://recorder.example/fhir/Device?2", "https://other.example/fhir/Device?2"])
def test_a_link_that_would_give_the_token_away_is_not_followed(link: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        page = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": link}]}
        return answers(page)(request)

    with pytest.raises(NotRun, match="another server"):
        kit(answer).views[0].all_pages("Device", counted=False)
    assert link not in asked


def test_pages_in_a_circle_have_an_end() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        page = {
            "resourceType": "Bundle",
            "type": "searchset",
            "link": [{"relation": "next", "url": f"{BASE}/Device?2"}],
        }
        return answers(page)(request)

    found = kit(answer)
    asked.clear()
    (result,) = run(found, [check(CHECKS["search-is-answered-with-a-searchset"].run)])
    assert result.verdict is Verdict.FAILED and result.text.endswith("leads back to a page that was already read")
    assert len(asked) == 2, asked
