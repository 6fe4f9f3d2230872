"""deploy/monitoring: dashboard and alerts use metrics that a running recorder has; each alert has its page."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.diga_client import DigaRefused
from ddr.demo.stack import DemoStack, Options
from ddr.demo.upload import send_everything
from ddr.http.clock import now_ms
from tests.support.database import migrated_database
from tests.support.metrics import Scrape, scraped

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text())
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}
SELECTOR = re.compile(r"\b(ddr_\w+)(?:\{([^}]*)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")
CGM = "continuous-glucose-measurement"
HOUR = 3_600_000
OF_PROMETHEUS = {"job", "instance"}
WAIT_SECONDS = 60
# Told for each host by itself; the others of a host are the whole recorder's.
OF_A_HOST = ("DdrRequestLogSpooled", "DdrClocksDiffer", "DdrCertificateEnds", "DdrWorkerRestarts", "DdrLoopLags")
LATE = {"ddr_token_decisions_total", "ddr_resources_sent_total", "ddr_upload_items_total", "ddr_registry_age_seconds"}


@pytest.fixture(scope="module")
async def live(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> AsyncIterator[Scrape]:
    """A scrape of a whole recorder of two workers on which something of each kind has happened."""
    folder = tmp_path_factory.mktemp("monitored")
    async with (
        migrated_database(database_url) as url,
        DemoStack(Options(state_dir=folder, ports="auto", patients=1, workers=2, database_url=url)) as stack,
    ):
        now = now_ms()
        await send_everything(stack, now - 6 * HOUR, now, ())
        diga = await stack.diga(GLUKOBUCH)
        tokens = await stack.pair(GLUKOBUCH, stack.patients[0], [CGM])
        await diga.search(tokens, "Observation", {})
        with pytest.raises(DigaRefused):
            await diga.search(tokens, "Observation", {})
        async with httpx.AsyncClient(base_url=stack.description()["admin_base"]) as admin:
            async with asyncio.timeout(WAIT_SECONDS):
                while not whole(found := await scraped(admin)):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.2)
        yield found


def whole(found: Scrape) -> bool:
    """Both workers have told what happened, which takes a second, and background work has begun."""
    workers = {one.labels.get("worker") for one in found.samples} - {None}
    refusals = found.sum("ddr_refusals_total", reason="grace-period")
    return len(workers) == 2 and refusals > 0 and {"ddr_background_failures_total", *LATE} <= found.names()


def labels_of(live: Scrape) -> dict[str, set[str]]:
    """The names of the labels of each sample."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for sample in live.samples:
        found[sample.name] |= sample.labels.keys()
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
async def test_an_expression_asks_for_what_is_told(live: Scrape, expression: str) -> None:
    labels = labels_of(live)
    selected = SELECTOR.findall(expression)
    assert selected and expression.count("(") == expression.count(")")
    for name, selector in selected:
        assert name in labels, name
        assert {part.split("=")[0].rstrip("!~") for part in selector.split(",") if part} <= labels[name]
    for grouped in BY.findall(expression):
        asked = {label.strip() for label in grouped.split(",")} - OF_PROMETHEUS
        assert all(asked <= labels[name] for name, _ in selected), asked


async def test_the_dashboard_shows_every_metric(live: Scrape) -> None:
    shown = {name for expression in EXPRESSIONS.values() for name, _ in SELECTOR.findall(expression)}
    told = {re.sub("_(bucket|sum|count)$", "", name) for name in live.names()}
    used = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert told - used <= {"ddr_answering_worker"}


async def test_no_label_of_ours_is_one_that_prometheus_gives_itself(live: Scrape) -> None:
    assert not OF_PROMETHEUS & {label for sample in live.samples for label in sample.labels}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_has_a_page(rule: dict[str, dict[str, str]]) -> None:
    page = (ROOT / "docs/runbook.md").read_text()
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")[1:]}
    assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"].endswith(".")
    name = str(rule["alert"])
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert len(sections[name]) > 150


def test_the_runbook_has_no_alert_that_there_is_not() -> None:
    page = (ROOT / "docs/runbook.md").read_text()
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_a_host_that_is_silent_beside_others_is_told() -> None:
    """What the others tell is not absent: only Prometheus itself knows of each, by the job of the runbook."""
    (job,) = re.findall(r"job_name: (\w+)", (ROOT / "docs/runbook.md").read_text())
    assert f'up{{job="{job}"}} == 0' in EXPRESSIONS["DdrDown"]


def test_an_alert_names_the_host_that_it_is_about() -> None:
    """Workers are counted anew on each host, so a sum over them all says nothing of one."""
    for name in OF_A_HOST:
        summed = re.search(r"\b(sum|max|min)\b", EXPRESSIONS[name])
        assert not summed or "by (instance" in EXPRESSIONS[name], name
    assert not [expression for expression in EXPRESSIONS.values() if "by (worker" in expression]


def test_the_first_error_of_a_worker_is_told() -> None:
    """No rate sees it: it makes the series that others are compared with."""
    (rule,) = (one for one in RULES if one["alert"] == "DdrErrors")
    (series,) = {f"{name}{{{labels}}}" for name, labels in SELECTOR.findall(rule["expr"])}
    assert f"{series} unless {series} offset 15m" in rule["expr"]
    assert "for" not in rule, "one is enough"


def test_a_database_that_is_away_is_told_where_nobody_asks() -> None:
    assert 'or max(ddr_background_failing_since_seconds{work="status"}) > 0' in EXPRESSIONS["DdrDatabaseDown"]
