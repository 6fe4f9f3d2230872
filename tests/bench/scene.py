"""The demonstration as a bench needs it: the recorder with the durable floor, patients with 30 days, their tokens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from urllib.parse import SplitResult, urlsplit

import psutil

from ddr.demo import recorder
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.curves import DAY_MS
from ddr.demo.diga_client import Tokens
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.demo.upload import send_everything
from ddr.http.clock import now_ms
from tests.bench.line import Line
from tests.bench.turns import Processes, Step
from tests.bench.worker import CREATE, PATH

MODULE = "tests.bench.worker"
CGM = "continuous-glucose-measurement"
FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
TIMES, AGAIN_SECONDS = 30, 1.0  # a worker whose event loop is late tells some of a crowd to come again (OPS-011)

# All chunks of a patient came with one upload; the newest has changed since.
_CHANGE_NEWEST = """
UPDATE chunk c SET updated_ms = updated_ms + 1000
 WHERE start_ms = (SELECT max(start_ms) FROM chunk x WHERE x.patient_id = c.patient_id)"""


@dataclass
class Paired:
    """One patient's pairing, whose refresh token moves on."""

    tokens: Tokens


@dataclass(frozen=True)
class Scene:
    """A recorder under load, with a DiGA that is paired with every patient."""

    stack: DemoStack
    tls: ssl.SSLContext
    place: SplitResult  # of the DiGA listener
    client_id: str
    pairings: list[Paired]
    processes: Processes

    async def lines(self) -> list[Line]:
        """A kept connection for each pairing."""
        return [await Line.open(self.place, self.tls) for _ in self.pairings]

    def get(self, line: Line, target: str, paired: Paired | None = None, accept: str = FHIR_JSON) -> Step:
        """A client that reads `target` over and over."""
        fields = {"accept": accept}
        if paired is not None:
            fields["authorization"] = f"Bearer {paired.tokens.access_token}"

        async def step() -> int:
            return await self.ok(line, "GET", target, fields)

        return step

    async def ok(self, line: Line, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> int:
        """The length of an answer that has to be 200."""
        return len(await self.asked(line, method, target, fields, body))

    async def asked(self, line: Line, method: str, target: str, fields: dict[str, str], body: bytes = b"") -> bytes:
        """An answer that has to be 200. Who is told to come again does so: what that takes lowers the rate."""
        for _ in range(TIMES):
            status, found = await line.ask(method, target, self.place.netloc, fields, body)
            if status != 503:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        if status != 200:
            raise RuntimeError(f"{target.partition('?')[0]}: {status} {found[:300]!r}")
        return found

    def floor(self, line: Line) -> Step:
        """A client of the durable floor."""
        return self.get(line, PATH)


@asynccontextmanager
async def scene(folder: Path, patients: int, workers: int = 1, days: int = 30) -> AsyncIterator[Scene]:
    """Set it up, with `days` of readings of each patient up to now."""
    options = Options(state_dir=folder, ports="auto", patients=patients, grace_seconds=0, workers=workers)
    with patch.object(recorder, "SANDBOX", (MODULE,)):
        async with DemoStack(options) as stack:
            await stack.pool.execute(CREATE)
            now = now_ms()
            await send_everything(stack, now - days * DAY_MS, now, ())
            await stack.pool.execute(_CHANGE_NEWEST)
            await stack.pool.execute("VACUUM ANALYZE")
            pairings = [Paired(await stack.pair(GLUKOBUCH, patient, [CGM])) for patient in stack.patients]
            yield Scene(
                stack,
                client_context(Path(stack.description()["ca"]), stack.certificate(GLUKOBUCH)),
                urlsplit(stack.settings.diga_base_url),
                GLUKOBUCH.client_id,
                pairings,
                Processes(_workers(folder), await _postgres(stack)),
            )


def _workers(folder: Path) -> list[psutil.Process]:
    """The worker processes among our children that serve this folder's recorder: the module with a number behind it."""
    settings = str(folder.absolute() / "serve.toml")
    children = (child for child in psutil.Process().children(recursive=True) if MODULE in child.cmdline()[:-1])
    return [child for child in children if child.environ().get("DDR_SETTINGS") == settings]


async def _postgres(stack: DemoStack) -> psutil.Process:
    process = psutil.Process(await stack.pool.fetchval("SELECT pg_backend_pid()")).parent()
    assert process is not None
    return process
