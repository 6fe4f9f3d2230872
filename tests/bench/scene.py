"""The demonstration set up for a bench: the recorder with the durable floor, patients with 30 days, their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import psutil

from ddr.demo import recorder
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.demo.upload import send_everything
from ddr.durations import DAY_MS
from ddr.http.clock import now_ms
from tests.bench.caller import Caller, Paired
from tests.bench.line import Line
from tests.bench.turns import Processes
from tests.bench.worker import CREATE

MODULE = "tests.bench.worker"
CGM = "continuous-glucose-measurement"

# All chunks of a patient came with one upload; the newest has changed since.
_CHANGE_NEWEST = """
UPDATE chunk c SET updated_ms = updated_ms + 1000
 WHERE start_ms = (SELECT max(start_ms) FROM chunk x WHERE x.patient_id = c.patient_id)"""


@dataclass(frozen=True)
class Scene(Caller):
    """A recorder under load, with a DiGA that is paired with every patient."""

    stack: DemoStack
    pairings: list[Paired]
    processes: Processes

    async def lines(self) -> list[Line]:
        """A kept connection for each pairing."""
        return [await Line.open(self.place, self.tls) for _ in self.pairings]


@asynccontextmanager
async def scene(folder: Path, patients: int, days: int = 30) -> AsyncIterator[Scene]:
    """Set it up, with `days` of readings of each patient up to now."""
    options = Options(state_dir=folder, ports="auto", patients=patients, grace_seconds=0)
    with patch.object(recorder, "SANDBOX", (MODULE,)):
        async with DemoStack(options) as stack:
            await stack.pool.execute(CREATE)
            now = now_ms()
            await send_everything(stack, now - days * DAY_MS, now, ())
            await stack.pool.execute(_CHANGE_NEWEST)
            await stack.pool.execute("VACUUM ANALYZE")
            pairings = [Paired(await stack.pair(GLUKOBUCH, patient, [CGM])) for patient in stack.patients]
            yield Scene(
                client_context(Path(stack.description()["ca"]), stack.certificate(GLUKOBUCH)),
                urlsplit(stack.settings.diga_base_url),
                GLUKOBUCH.client_id,
                stack,
                pairings,
                Processes(workers_of(folder / "serve.toml"), await _postgres(stack)),
            )


def workers_of(file: Path) -> list[psutil.Process]:
    """The workers among our children of the recorder with these settings: the module with a number behind it."""
    settings = str(file.absolute())
    children = (child for child in psutil.Process().children(recursive=True) if MODULE in child.cmdline()[:-1])
    return [child for child in children if child.environ().get("DDR_SETTINGS") == settings]


async def _postgres(stack: DemoStack) -> psutil.Process:
    process = psutil.Process(await stack.pool.fetchval("SELECT pg_backend_pid()")).parent()
    assert process is not None
    return process
