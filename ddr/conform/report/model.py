"""A run as a JSON document (schema.json in this folder), from which all other forms are made."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ddr.conform.catalogue import Requirement, catalogue, unseen
from ddr.conform.check import Check, Need, all_checks
from ddr.conform.earlier import Earlier, remembered
from ddr.conform.exchange import Exchange, Json
from ddr.conform.kit import Kit
from ddr.conform.masking import MASK
from ddr.conform.run import Result
from ddr.conform.verdict import Verdict
from ddr.reasons import printable

FORMAT = "ddr-conform-report-1"


@dataclass(frozen=True)
class Run:
    """The content of a report. `command` is the command line of the run; `version` that of this program.

    `strict`: recommendations count like demands.
    """

    kit: Kit
    results: Sequence[Result]
    started_ms: int
    ended_ms: int
    command: Sequence[str]
    version: str
    strict: bool = False


def report(run: Run) -> Json:
    """The document. Secrets are masked; evidence and `state` contain health data of the test patient."""
    kit, verdicts = run.kit, {one.check.name: one.verdict for one in run.results}
    rows = [_result(run, one) for one in run.results]
    people = _people()
    return {
        "format": FORMAT,
        "version": run.version,
        "recorder": {"fhirBase": kit.target.fhir_base, "issuer": kit.target.issuer},
        "clients": [one.client_id for one in kit.target.digas],
        "started": _instant(run.started_ms),
        "ended": _instant(run.ended_ms),
        "stopped": printable(kit.stopped),
        "requests": len(kit.wire.exchanges),
        "command": shlex.join(run.command),
        "summary": _counts(one["verdict"] for one in rows),
        "chapters": _chapters([*rows, *people]),
        "checks": rows,
        "byPerson": people,
        "differences": differences(kit.earlier, verdicts),
        "state": state(kit, run.ended_ms, verdicts).to_json(),
    }


def state(kit: Kit, now_ms: int, verdicts: dict[str, Verdict]) -> Earlier:
    """What a later run compares with, without anything that was not read."""
    found: dict[str, dict[str, Json]] = {}
    for view in kit.known_views:
        seen: dict[str, Json] = {}
        for kind in ("Observation", "Device", "DeviceMetric"):
            seen |= {f"{kind}/{one.get('id')}": remembered(one) for one in view.seen(kind)}
        found[view.name] = seen
    return Earlier(kit.target.fhir_base, now_ms, found, {name: str(one) for name, one in verdicts.items()})


def differences(earlier: Earlier | None, verdicts: dict[str, Verdict]) -> list[Json]:
    """Checks with another result than in the earlier report."""
    if earlier is None:
        return []
    return [
        {"check": name, "before": earlier.verdicts.get(name, ""), "now": str(verdict)}
        for name, verdict in verdicts.items()
        if earlier.verdicts.get(name, "") != verdict
    ]


def _result(run: Run, one: Result) -> Json:
    about = one.check.requirement
    return {
        "check": one.check.name,
        "requirements": list(one.check.requirements),
        "level": "SHOULD" if one.advice else about.level,
        "chapter": about.chapter,
        "page": about.page,
        "words": one.check.words,
        "verdict": str(one.verdict),
        "remark": one.verdict is Verdict.FAILED and (one.advice or one.check.recommended) and not run.strict,
        "text": one.text,
        "seconds": round(one.seconds, 3),
        "requests": one.requests,
        "evidence": [run.kit.wire.secrets.shown(exchange) for exchange in one.shown],
        "reproduce": _reproduce(run, one) if one.verdict is Verdict.FAILED else [],
    }


def fails(row: Json) -> bool:
    """Whether a check's row fails the run; remarks do not."""
    return bool(row["verdict"] == Verdict.FAILED and not row["remark"])


def _reproduce(run: Run, one: Result) -> list[str]:
    """Commands that reproduce it: the check alone, and the requests in its evidence."""
    words = [word for word in run.command if word]
    commands = [shlex.join([*words, "--only", one.check.name])]
    return [printable(line, None) for line in (*commands, *(_curl(run.kit, exchange) for exchange in one.shown))]


def _curl(kit: Kit, exchange: Exchange) -> str:
    words = ["curl", "--include"]
    if kit.target.ca:
        words += ["--cacert", kit.target.ca]
    for diga in kit.target.digas:
        if diga.client_id == exchange.identity:
            words += ["--cert", str(diga.certificate), "--key", str(diga.key)]
    if exchange.method != "GET":
        words += ["--request", exchange.method]
    shown = kit.wire.secrets.shown(exchange)
    for name, value in shown["requestHeaders"].items():
        words += ["--header", f"{name}: {value}"]
    if exchange.body:
        words += ["--data-raw", shown["requestBody"]]
    line = shlex.join([*words, shown["url"]])
    return line.replace(f"'authorization: Bearer {MASK}'", '"authorization: Bearer $ACCESS_TOKEN"')


def _people() -> list[Json]:
    """Binding requirements without a check: the catalogue says how a person can verify them."""
    seen = {name for one in all_checks() for name in one.requirements}
    return [_row(one) for one in catalogue().values() if one.binds and one.id not in seen]


def _row(one: Requirement) -> Json:
    return {
        "requirement": one.id,
        "level": one.level,
        "chapter": one.chapter,
        "page": one.page,
        "words": one.words,
        "verdict": str(Verdict.PERSON),
        "why": unseen().get(one.id, ""),
        "look": one.seen,
    }


def _chapters(rows: Iterable[Json]) -> list[Json]:
    grouped: dict[str, list[str]] = {}
    for row in rows:
        grouped.setdefault(row["chapter"], []).append(row["verdict"])
    order = dict.fromkeys(one.chapter for one in catalogue().values())
    return [{"chapter": name, "counts": _counts(grouped[name])} for name in order if name in grouped]


def _counts(verdicts: Iterable[str]) -> dict[str, int]:
    found = Counter(verdicts)
    return {str(verdict): found[str(verdict)] for verdict in Verdict}


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plan(checks: Sequence[Check]) -> list[Json]:
    """What a run would do: each check with its needs and the searches that count for the Grace-Period."""
    return [
        {
            "check": one.name,
            "requirements": list(one.requirements),
            "words": one.words,
            "needs": [str(need) for need in Need if need in one.needs],
            "searches": one.searches,
        }
        for one in checks
    ]
