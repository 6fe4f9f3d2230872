"""Four times the load that one worker sustains: what is still served stays fast, the rest is told to come again.

    python -m tests.bench.overload

First as few requests as disturb nobody (light load), then as many as the worker can answer (its sustainable rate), then
four times as many, whether or not those before are answered. All on this machine, for a few seconds each.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.curves import DAY_MS
from ddr.demo.stack import DemoStack, Options
from ddr.demo.tls import client_context
from ddr.demo.upload import send_everything
from ddr.http.clock import now_ms
from tests.bench.load import Target, load

CGM = "continuous-glucose-measurement"
SECONDS = 5.0
TIMES = 4
MOST_RATIO = 3.0  # of p99 under overload to p99 under light load
LIGHT_PER_SECOND = 5.0
CONNECTIONS = 64  # kept open: a handshake costs more than a request
PATIENTS = 10


@dataclass
class Seen:
    """The answers of one round: seconds of those served, and how many were turned away."""

    served: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    @property
    def p99(self) -> float:
        """Seconds."""
        return sorted(self.served)[len(self.served) * 99 // 100] if self.served else float("inf")

    def __str__(self) -> str:
        return f"{len(self.served)} served (p99 {self.p99 * 1000:.1f} ms), {self.refused} refused, {self.failed} failed"


async def offered(targets: Sequence[Target], tls: ssl.SSLContext, per_second: float, seconds: float = SECONDS) -> Seen:
    """Requests at this rate over connections that are open already; the time counts from when a request is sent."""
    place = urlsplit(targets[0].url)
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(place.hostname, place.port, ssl=tls))
    seen = Seen()

    async def ask(target: Target) -> None:
        reader, writer = await free.get()
        begun = time.perf_counter()
        try:
            writer.write(target.request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        except (OSError, EOFError):
            seen.failed += 1
            return
        if head.startswith(b"http/1.1 200"):
            seen.served.append(time.perf_counter() - begun)
        elif head.startswith(b"http/1.1 503") and b"retry-after:" in head and b"ratelimit:" in head:
            seen.refused += 1
        else:
            seen.failed += 1
        free.put_nowait((reader, writer))

    begun, count = time.perf_counter(), int(per_second * seconds)
    tasks = []
    for number in range(count):
        await asyncio.sleep(max(0.0, begun + number / per_second - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(targets[number % len(targets)])))
    await asyncio.wait_for(asyncio.gather(*tasks), 10 * seconds)
    while not free.empty():
        free.get_nowait()[1].close()
    return seen


async def measure(folder: Path) -> bool:
    """Print what was seen; True when the promise was kept."""
    options = Options(state_dir=folder, ports="auto", patients=PATIENTS, grace_seconds=0)
    async with DemoStack(options) as stack:
        now = now_ms()
        await send_everything(stack, now - DAY_MS, now, ())
        tls = client_context(Path(stack.description()["ca"]), stack.certificate(GLUKOBUCH))
        targets = []
        for patient in stack.patients:
            tokens = await stack.pair(GLUKOBUCH, patient, [CGM])
            fields = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/fhir+json"}
            targets.append(Target(f"{stack.settings.fhir_base}/Observation?_count=1", fields))
        await load(targets, tls, 1.0, 4)  # statements get prepared
        light = await offered(targets, tls, LIGHT_PER_SECOND)
        rate = (await load(targets, tls, SECONDS, 4)).per_second
        heavy = await offered(targets, tls, TIMES * rate)
    kept = not (light.failed or heavy.failed) and bool(heavy.served) and heavy.p99 <= MOST_RATIO * light.p99
    print(f"light load, {LIGHT_PER_SECOND:.0f}/s: {light}")
    print(f"sustainable: {rate:.0f}/s")
    print(f"{TIMES} times that: {heavy}")
    print(f"p99 of what is served: {heavy.p99 / light.p99:.1f} times that of light load (at most {MOST_RATIO:.0f})")
    return kept


def main() -> int:
    """0 when the promise was kept."""
    with tempfile.TemporaryDirectory(prefix="ddr-overload-") as folder:
        return 0 if asyncio.run(measure(Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
