"""The demonstration's output: headings, tables, daily curves as coloured bars, ticks and crosses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ddr.demo.sensor import Sample
from ddr.durations import DAY_MS

BARS = "▁▂▃▄▅▆▇█"
PROGRESS_SECONDS = 5  # between two lines of progress without a terminal
PLAIN_WIDTH = 110  # of output to a file or a pipe
RANGES = {"mg/dL": (70.0, 180.0), "mmol/L": (3.9, 10.0)}  # target range of glucose (international consensus on CGM)


class Show:
    """Prints the story and remembers whether everything was right."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = 0
        self.failures: list[str] = []

    def title(self, text: str, subtitle: str) -> None:
        """Print the opening."""
        self._console.print(Panel(Text(subtitle), title=f"[bold]{text}[/bold]", border_style="cyan", expand=False))

    def verdict(self) -> None:
        """Print the result: whether everything was right."""
        count = len(self.failures)
        text = (
            f"[bold red]{count} of the checks above failed[/bold red]"
            if count
            else "[bold green]Everything worked[/bold green]"
        )
        self._console.print(f"\n{text}")

    @property
    def columns(self) -> int:
        """Columns of a sparkline: half an hour each if there is room, else a whole one."""
        return 48 if self._console.width >= 100 else 24

    def chapter(self, text: str) -> None:
        """Print a numbered heading."""
        self._chapter += 1
        self._console.print(f"\n[bold cyan]{self._chapter}[/bold cyan]  [bold]{text}[/bold]")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A sign of life during something slow: animated on terminals, one line elsewhere."""
        if not self._console.is_terminal:
            self.say(f"[dim]{text}[/dim]")
            yield
            return
        with self._console.status(text):
            yield

    @contextmanager
    def counting(self, text: str, what: str) -> Iterator[Callable[[int], None]]:
        """The same with a growing count: call the yielded function with the number of further ones done."""
        total, told_s = 0, time.monotonic()
        moving = self._console.status(f"{text} …") if self._console.is_terminal else None

        def done(more: int) -> None:
            nonlocal total, told_s
            total += more
            line = f"{text} … {total:,} {what}"
            if moving is not None:
                moving.update(line)
            elif time.monotonic() - told_s > PROGRESS_SECONDS:
                told_s = time.monotonic()
                self.say(f"[dim]{line}[/dim]")

        with moving or nullcontext():
            yield done

    def say(self, text: str) -> None:
        """Print a line of narration; rich markup allowed."""
        self._console.print(f"   {text}")

    def check(self, ok: bool, text: str) -> None:
        """Print a fact that must hold: a tick, or a cross that makes the demonstration fail."""
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row("  ", "[green]✓[/green]" if ok else "[bold red]✗[/bold red]", text)
        self._console.print(line)
        if not ok:
            self.failures.append(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print a table; columns whose name begins with # are aligned to the right."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in columns:
            table.add_column(name.removeprefix("#"), justify="right" if name.startswith("#") else "left")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
        indented = Table.grid(padding=0)
        indented.add_row("   ", table)
        self._console.print(indented)


def day_and_hour(ms: int) -> str:
    """An instant in words, UTC."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%a %d %b %H:%M}"


def console() -> Console:
    """The console of the story; wide enough for a day's curve without a terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def sparkline(samples: Sequence[Sample], start_ms: int, unit: str, columns: int) -> Text:
    """Means over a day from `start_ms` on: red below, green within, yellow above the target range."""
    low, high = RANGES[unit]
    cells: list[list[float]] = [[] for _ in range(columns)]
    for at_ms, value in samples:
        column = (at_ms - start_ms) * columns // DAY_MS
        if 0 <= column < columns:
            cells[column].append(_number(value, low, high))
    line = Text()
    for cell in cells:
        mean = sum(cell) / len(cell) if cell else None
        line.append(*_bar(mean, low, high))
    return line


def _number(value: float | str, low: float, high: float) -> float:
    return value if isinstance(value, int | float) else {"L": low / 2, "U": high * 2}[value]


def _bar(mean: float | None, low: float, high: float) -> tuple[str, str]:
    if mean is None:
        return "·", "dim"
    height = (mean - low * 0.6) / (high * 1.6 - low * 0.6)
    style = "red" if mean < low else "yellow" if mean > high else "green"
    return BARS[max(0, min(len(BARS) - 1, int(height * len(BARS))))], style
