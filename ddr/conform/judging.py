"""Shared by several checks: judges each resource by a rule, an OperationOutcome by the prescribed one, and JSON and XML
by each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import key_of
from ddr.conform.kit import Kit
from ddr.conform.laws.leaves import Leaves, json_leaves, xml_leaves
from ddr.conform.verdict import Failed, NoData, expect

Rule = Callable[[Json], str]  # what is wrong with a resource; empty when nothing is


def judge(kit: Kit, kind: str, rule: Rule, concerns: Callable[[Json], bool] = lambda one: True) -> None:
    """Fail with the first resource of type `kind` that `concerns` us and breaks the rule.

    Raises Failed, NotApplicable when there is none, NotRun when they could not be read.
    """
    seen = 0
    for view in kit.views:
        found = view.listed(kind)
        for one in filter(concerns, found.matches):
            seen += 1
            if text := rule(one):
                raise Failed(f"{key_of(one)}: {text}", found.origin[key_of(one)])
    if not seen:
        raise NoData(f"the test patient has no such {kind}")


def expect_refused(answer: Exchange, status: int, begins: str | tuple[str, ...] = "", code: str = "processing") -> None:
    """Require the one error that HDDT prescribes (error-codes.md): status, code, and beginning of its diagnostics."""
    expect(answer.status == status, f"not refused with {status}", answer)
    issue = answer.issue
    expect(issue, "no OperationOutcome", answer)
    expect(issue.get("severity") == "error", f"severity is {issue.get('severity')}", answer)
    expect(issue.get("code") == code, f"code is {issue.get('code')}, not {code}", answer)
    told = str(issue.get("diagnostics", ""))
    expect(told.startswith(begins), f"diagnostics do not begin with {_one(begins)!r}", answer)


def _one(begins: str | tuple[str, ...]) -> str:
    return begins if isinstance(begins, str) else begins[0]


def expect_media_type(answer: Exchange, wanted: str) -> None:
    """Require the Content-Type, by which a DiGA reads the body. Raises Failed."""
    expect(answer.media_type == wanted, f"Content-Type is {answer.media_type or 'missing'}, not {wanted}", answer)


def expect_same_leaves(key: str, plain: Exchange, marked: Exchange, part: Callable[[Leaves], Leaves] = Counter) -> None:
    """Raises Failed unless JSON and XML have the same leaves in this `part` of them."""
    try:
        found = part(xml_leaves(marked.content))
    except ValueError as error:
        raise Failed(f"{key}: {error}", marked) from None
    wanted = part(json_leaves(plain.json))
    lost, more = wanted - found, found - wanted
    if lost or more:
        what = f"only JSON has {_first(lost)}" if lost else f"only XML has {_first(more)}"
        raise Failed(f"{key}: {what}", plain, marked)


def _first(leaves: Leaves) -> str:
    path, value = min(leaves)
    return f"{path} = {value}"


def login_name(kit: Kit, username: str) -> re.Pattern[str] | None:
    """The patient's login name as a separate word; None where it proves nothing: "test" may occur anywhere."""
    if len(username) < 4:
        return None
    name = re.compile(rf"(?<![\w-]){re.escape(username)}(?![\w-])")
    public = (kit.target.fhir_base, kit.target.issuer, kit.capability_answer.text, kit.server_metadata.text)
    return None if any(map(name.search, public)) else name
