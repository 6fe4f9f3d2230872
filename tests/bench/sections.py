"""The sections of the bench by name, and how the command line chooses among them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import (
    audit,
    bridge,
    cost,
    gateway,
    growth,
    history,
    overload,
    pages,
    polling,
    serving,
    statements,
    storage,
    summary,
    wal,
    workers,
)
from tests.bench.database import on_database, on_recorder
from tests.bench.figure import Figure


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    sections: tuple[str, ...]
    json: Path | None = None
    rounds: int = 3  # of which each figure is the median
    seconds: float = 2.0  # of load in each round
    patients: tuple[int, ...] = (1_000, 10_000)  # of the databases that are compared


Section = Callable[[Path, Options], Coroutine[Any, Any, list[Figure]]]


async def _summary(folder: Path, options: Options) -> list[Figure]:
    return summary.run()


# Each has a database of its own, and nothing runs beside it.
SECTIONS: dict[str, Section] = {
    "storage": lambda folder, options: on_database(folder, storage.run),
    "statements": lambda folder, options: on_recorder(folder, statements.run),
    "uploads": lambda folder, options: on_recorder(folder, lambda running: gateway.run(running.core, options.rounds)),
    "bridge": lambda folder, options: on_recorder(folder, lambda running: bridge.run(running.core)),
    "summary": _summary,
    "reading": lambda folder, options: serving.run(folder, options.rounds, options.seconds),
    "polling": lambda folder, options: polling.run(folder, options.rounds, options.seconds),
    "workers": lambda folder, options: workers.run(folder, options.rounds, options.seconds),
    "pages": lambda folder, options: pages.run(folder, options.rounds, options.seconds),
    "overload": lambda folder, options: overload.run(folder, options.rounds),
}


async def _growth(folder: Path, options: Options) -> list[Figure]:
    sizes, rounds, duration = options.patients, options.rounds, options.seconds
    return await on_recorder(folder, lambda running: growth.run(running, folder, sizes, rounds, duration))


async def _wal(folder: Path, options: Options) -> list[Figure]:
    return await on_recorder(folder, lambda running: wal.run(running, folder, options.patients[0]))


async def _cost(folder: Path, options: Options) -> list[Figure]:
    return await on_recorder(folder, lambda running: cost.run(running, folder, options.rounds))


async def _audit(folder: Path, options: Options) -> list[Figure]:
    return await on_recorder(folder, lambda running: audit.run(running, folder, options.rounds, options.seconds))


async def _history(folder: Path, options: Options) -> list[Figure]:
    return await on_recorder(folder, lambda running: history.run(running, folder, options.rounds, options.seconds))


SECTIONS |= {"growth": _growth, "history": _history, "wal": _wal, "cost": _cost, "audit": _audit}


def options_of(arguments: Sequence[str]) -> Options:
    """Raises SystemExit for what cannot be understood."""
    parser = argparse.ArgumentParser(prog="make bench", description="Figures of the recorder as ratios within one run.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; none: all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--rounds", type=int, default=3, help="runs in turns, of which each figure is the median")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load, in each of these runs")
    parser.add_argument(
        "--patients",
        type=int,
        nargs="+",
        default=[1_000, 10_000],
        help="sizes that growth compares; 100000 takes minutes",
    )
    found = parser.parse_args(arguments)
    if unknown := set(found.sections) - SECTIONS.keys():
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return Options(
        tuple(found.sections) or tuple(SECTIONS), found.json, found.rounds, found.seconds, tuple(found.patients)
    )
