"""One of several recorders: `python -m ddr.cli.serving.recorder`, started by `ddr serve` for a file of DDR_RECORDERS.

It is `ddr serve` with the settings of that file, except for its stdin: any input requests a reload, and the end of
input, when the process that started it has ended, ends this one.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

from ddr.cli import serve
from ddr.cli.main import reported


def _listen() -> None:
    """Reads without a file object: the interpreter cannot exit while a thread waits in one, and aborts (SIGABRT)."""
    while os.read(sys.stdin.fileno(), 4096):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Serve until the end; the exit status is that of `ddr serve`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are workers to exchange
    threading.Thread(target=_listen, daemon=True).start()
    return reported(lambda: serve.run(argparse.Namespace()))


if __name__ == "__main__":
    sys.exit(main())
