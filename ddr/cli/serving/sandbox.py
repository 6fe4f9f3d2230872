"""The recorder of the demonstration: `ddr serve` with faults on demand in its workers.

`python -m ddr.cli.serving.sandbox` is started by `ddr demo` only, and starts its workers in the same way.
"""

from __future__ import annotations

import argparse
import sys

from ddr.cli import serve
from ddr.cli.main import reported
from ddr.cli.serving import process, worker
from ddr.demo.faults import faulty
from ddr.http.asgi import ASGIApp
from ddr.settings import Settings
from ddr.store.database import clock

CLOCK_SECONDS = 0.5  # tests move the clock and wait until it is followed (ddr.client.testing)


def _around(name: str, app: ASGIApp, settings: Settings) -> ASGIApp:
    return faulty(app, settings.state_dir) if name == "diga" else app


def main(arguments: list[str]) -> int:
    """Serve, or run as one of the workers."""
    if arguments:
        clock.LOOK_SECONDS = CLOCK_SECONDS
        return worker.main(arguments, _around)
    process.module = "ddr.cli.serving.sandbox"
    return reported(lambda: serve.run(argparse.Namespace()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
