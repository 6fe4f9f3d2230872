"""What a command reads from standard input, so that it stands in no list of processes and in no history of a shell."""

from __future__ import annotations

import sys

from ddr.cli.errors import CommandError
from ddr.reasons import in_words


def line(what: str) -> str:
    """The next line; at a terminal it is asked for. To be called without an event loop, which would not hear Ctrl-C.

    Raises CommandError.
    """
    if sys.stdin.isatty():
        print(f"{what}: ", end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CommandError(f"{what} {in_words(error)}") from None
