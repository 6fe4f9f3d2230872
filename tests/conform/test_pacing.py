"""The kit keeps to the registered limits, whatever the recorder says, and reports what it had no time for."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from ddr.conform.exchange import Exchange
from ddr.conform.pacing import Pace, Patience
from ddr.conform.report.terminal import Terminal
from ddr.conform.run import run
from ddr.conform.target import TargetError, read_target
from ddr.conform.verdict import NotRun, Verdict
from tests.conform.test_endings import CHECKS, DIGA, FHIR, ISSUER, bundle, check, kit, told


def patience(seconds: float, now: list[float]) -> Patience:
    return Patience(seconds, lambda wait: now.__setitem__(0, now[0] + wait), lambda: now[0])


def answer(**headers: str) -> Exchange:
    return Exchange(1, "GET", "https://x.example", "", {}, "", 200, headers)


@pytest.mark.parametrize(
    ("registered", "said", "waits"), [(True, 5, 900), (True, 1200, 1200), (False, 5, 5), (False, None, 900)]
)
def test_the_registered_grace_period_is_never_undercut(registered: bool, said: int | None, waits: int) -> None:
    now = [0.0]
    pace = Pace(patience(2000, now), 900, registered)
    pace.claim()
    pace.answered(answer(**({"ratelimit": f'"grace-period";r=0;t={said}'} if said is not None else {})))
    pace.claim()
    assert now == [float(waits)]


def test_what_there_is_no_time_for_is_not_run() -> None:
    now = [0.0]
    pace = Pace(patience(60, now), 900)
    pace.answered(answer())
    with pytest.raises(NotRun, match=r"^--patience is too short, the Grace-Period \(900 s\) still runs: 900 s to wait"):
        pace.claim()
    assert now == [0.0]


def test_searches_wait_where_the_grace_period_is_looked_at_before_faults() -> None:
    asked: list[str] = []

    def early(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(429 if len(asked) == 1 else 400, headers={**FHIR, "retry-after": "3"}, content=b"{}")

    found = kit(early)
    asked.clear()
    now = [0.0]
    found.views[0].pace = Pace(patience(60, now), 0)
    assert found.views[0].get("Observation?there-is-none=1").status == 400
    assert now == [3.5] and len(asked) == 2


def test_a_date_to_come_back_at_is_waited_for() -> None:
    """Retry-After may be a date (RFC 9110 section 10.2.3)."""
    asked: list[str] = []

    def early(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        late = {"retry-after": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
        return httpx.Response(429 if len(asked) == 1 else 200, headers={**FHIR, **late}, content=b"{}")

    found = kit(early)
    asked.clear()
    now = [0.0]
    found.views[0].pace = Pace(patience(4000, now), 0)
    assert found.views[0].search("Observation").status == 200
    assert len(asked) == 2 and now[0] > 3000


@pytest.mark.parametrize(
    ("kept", "said", "verdict", "why"),
    [
        (900, 0, Verdict.PASSED, ""),
        (1800, 0, Verdict.FAILED, "refused although the Grace-Period of 900 s is over"),
        (900, 3600, Verdict.FAILED, "Retry-After is longer than the Grace-Period of 900 s"),
    ],
)
def test_a_grace_period_that_is_longer_than_registered_is_found(
    kept: int, said: int, verdict: Verdict, why: str
) -> None:
    """`kept`: the period that the recorder enforces after its last response; `said`: the one that it gives, if that
    differs."""
    now, last = [0.0], [-1e9]

    def answer(request: httpx.Request) -> httpx.Response:
        left = last[0] + kept - now[0]
        if left > 0:
            return httpx.Response(429, headers={"retry-after": str(said or int(left))}, content=b"{}")
        last[0] = now[0]
        return httpx.Response(200, headers=FHIR, content=json.dumps(bundle()))

    found = kit(answer)
    last[0] = -1e9
    found.views[0].pace = Pace(patience(20_000, now), 900)
    for _ in range(3):
        found.views[0].search("Observation")
    if said:
        found.views[0].get("Observation?there-is-none=1")
    (result,) = run(found, [check(CHECKS["once-per-grace-period-is-served"].run)])
    assert (result.verdict, result.text) == (verdict, why)


def test_a_refusal_is_no_fault_while_the_grace_period_may_run() -> None:
    """The Grace-Period may have begun with a page, a refused search, another DiGA's search, or before this run."""
    now = [0.0]
    found = kit(lambda _: httpx.Response(429, headers={**FHIR, "retry-after": "1"}, content=b"{}"))
    found.views[0].pace = Pace(patience(20_000, now), 900)
    for searched in ({}, {0: 500.0}):
        now[0], found.searched = 1000.0, searched
        found.views[0].search("Observation")
    assert found.due == []


def test_a_limit_of_requests_is_kept_to() -> None:
    """A recorder may have such a limit (OPS-011): it does not make the request fail, nor is it a Grace-Period for
    reads."""
    asked: list[str] = []

    def limited(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if len(asked) % 2:
            return httpx.Response(429, headers={**FHIR, "retry-after": "2"}, content=b"{}")
        return httpx.Response(200, headers=FHIR, content=json.dumps(bundle()))

    found, now = kit(limited), [0.0]
    found.wire.patience = patience(7, now)
    asked.clear()
    assert [found.views[0].get(path).status for path in ("Device", "Observation/1")] == [200, 200]
    assert len(asked) == 4 and now == [4.2]
    (result,) = run(found, [check(CHECKS["reads-are-not-throttled"].run)])
    assert result.verdict is Verdict.PASSED, result.text
    with pytest.raises(NotRun, match="--patience is too short"):
        [found.views[0].get("Device") for _ in range(2)]


@pytest.mark.parametrize(
    ("left", "headers", "verdict"),
    [
        (60, {"retry-after": "42"}, Verdict.PASSED),
        (30, {"retry-after": "42"}, Verdict.NOT_RUN),
        (60, {}, Verdict.NOT_RUN),
    ],
)
def test_a_limit_of_the_authorization_server_is_kept_to(left: int, headers: dict[str, str], verdict: Verdict) -> None:
    """For instance a number of requests a minute. Formerly a limited request counted as "not refused"."""
    asked: list[str] = []

    def limited(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.method == "GET":
            return httpx.Response(200, json={"token_endpoint": f"{ISSUER}/token"})
        if asked.count(f"{ISSUER}/token") == 1:
            return httpx.Response(429, headers=headers)
        return httpx.Response(400, json={"error": "invalid_grant"})

    found, now = kit(limited), [0.0]
    found.target = replace(found.target, digas=(DIGA,))
    found.wire._clients[DIGA.client_id, DIGA.certificate] = found.wire._client(None)  # certificates are not the matter
    found.wire.patience = patience(left, now)
    (result,) = run(found, [check(CHECKS["unknown-code-is-refused"].run)])
    assert result.verdict is verdict, result.text
    assert now == [42.1 if verdict is Verdict.PASSED else 0.0]


def test_who_has_no_time_for_a_recorder_that_is_limited_has_not_lost_it() -> None:
    def limited(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Device"):
            raise httpx.ReadError("closed", request=request)
        return httpx.Response(429, headers={**FHIR, "retry-after": "5"}, content=b"{}")

    found = kit(limited)
    found.wire.patience = patience(0, [0.0])
    (result,) = run(found, [check(lambda one: one.views[0].get("Device"))])
    assert (result.verdict, found.stopped) == (Verdict.PASSED, "")


def test_a_read_that_is_to_wait_for_long_is_a_failure() -> None:
    found = kit(lambda _: httpx.Response(429, headers={**FHIR, "retry-after": "600"}, content=b"{}"))
    assert found.views[0].get("Device").status == 429
    (result,) = run(found, [check(CHECKS["reads-are-not-throttled"].run)])
    assert result.verdict is Verdict.FAILED


def test_the_end_names_what_was_not_run() -> None:
    def wait(seconds: int) -> object:
        raise NotRun(f"--patience is too short, the Grace-Period (900 s) still runs: {seconds} s to wait")

    found = kit(lambda _: httpx.Response(200, headers=FHIR, content=json.dumps(bundle())))
    results = run(found, [check(lambda _: wait(900), "one"), check(lambda _: wait(898), "two")])
    results += [replace(one, verdict=Verdict.PASSED) for one in run(found, [check(lambda _: None, "three")])]
    shown = io.StringIO()
    Terminal(Console(file=shown, width=200), 3).end(told(found, results))
    (line,) = [line for line in shown.getvalue().splitlines() if line.startswith("not run")]
    assert line.endswith(": one, two") and "--patience" in line


def test_pairings_name_whom_there_is(tmp_path: Path) -> None:
    file = tmp_path / "recorder.toml"
    diga = '[[digas]]\nclient_id = "a"\nredirect_uri = "b"\ncert = "c"\nkey = "d"\n'
    head = 'fhir_base = "https://x.example"\noauth_issuer = "https://y.example"\n'
    file.write_text(f"{head}pairings = [[1, 0]]\n{diga}")
    with pytest.raises(TargetError, match="there is no DiGA 1"):
        read_target(file)
    file.write_text(f"{head}pairings = [[0, 0]]\n{diga}")
    assert read_target(file).pairings == ((0, 0),)
