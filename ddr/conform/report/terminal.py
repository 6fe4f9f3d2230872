"""A run on the terminal: a line for each check as it ends, then the chapters and how to reproduce each failure."""

from __future__ import annotations

import re

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from ddr.conform.exchange import Json
from ddr.conform.run import Result
from ddr.conform.verdict import Verdict

SIGNS = {
    Verdict.PASSED: "[green]✔[/green]",
    Verdict.FAILED: "[bold red]✘[/bold red]",
    Verdict.NOT_APPLICABLE: "[dim]–[/dim]",
    Verdict.PERSON: "[yellow]☞[/yellow]",
    Verdict.NOT_RUN: "[yellow]○[/yellow]",
    Verdict.KIT_ERROR: "[bold magenta]![/bold magenta]",
}

_SECONDS = re.compile(r"\b[0-9]+ s\b")


def _left_out(report: Json) -> dict[str, list[str]]:
    """Checks that were not run, by reason, so that nobody takes them for passed."""
    found: dict[str, list[str]] = {}
    for one in report["checks"]:
        if one["verdict"] == Verdict.NOT_RUN:
            found.setdefault(_SECONDS.sub("… s", one["text"]), []).append(one["check"])
    return found


class Terminal:
    """Prints for a person at a terminal, or a log."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def tell(self, result: Result) -> None:
        """Print the result of one check."""
        self._done += 1
        about, name = result.check.requirement, result.check.name
        line = f"{SIGNS[result.verdict]} [dim]{self._done:>3}/{self._total}[/dim] {about.id:8} {name}"
        self._console.print(line, highlight=False)
        if result.verdict is Verdict.FAILED:
            self._console.print(f"          [red]{escape(result.text)}[/red]", highlight=False)
        elif result.text:
            self._console.print(
                f"          [dim]{escape(result.verdict)}: {escape(result.text)}[/dim]", highlight=False
            )

    def end(self, report: Json) -> None:
        """Print the chapters, the differences from before, and the failures."""
        always = (Verdict.PASSED, Verdict.FAILED)
        shown = [one for one in Verdict if one in always or any(each["counts"][one] for each in report["chapters"])]
        heads = [Column(str(one).replace(" ", "\n", 1), justify="right") for one in shown]  # to fit 80 characters
        table = Table(Column("chapter", no_wrap=True), *heads, box=None)
        for one in report["chapters"]:
            table.add_row(one["chapter"], *(str(one["counts"][verdict] or "") for verdict in shown))
        self._console.print()
        self._console.print(table)
        for one in report["differences"]:
            before = one["before"] or "not known"
            self._console.print(f"{one['check']}: before {before}, now {one['now']}", highlight=False)
        failures = [one for one in report["checks"] if one["verdict"] == Verdict.FAILED]
        for one in failures:
            name = f"[bold red]{one['check']}[/bold red]"
            if one["remark"]:
                name = f"[bold yellow]{one['check']}[/bold yellow] (a remark: {one['level']})"
            self._console.print(f"\n{name} {escape(one['text'])}", highlight=False)
            for command in one["reproduce"]:
                self._console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)
        if report["stopped"]:
            self._console.print(f"\n[bold yellow]The run ended early:[/bold yellow] {escape(report['stopped'])}")
        for why, names in _left_out(report).items():
            self._console.print(f"\n[yellow]not run[/yellow] ({escape(why)}): {', '.join(names)}", highlight=False)
        counts = report["summary"]
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        self._console.print(f"\n{told}; {report['requests']} requests", highlight=False)
