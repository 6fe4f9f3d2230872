"""Reads secrets and personal data from standard input, so that they are in no process list and no shell history."""

from __future__ import annotations

import sys

from ddr.cli.errors import CommandError
from ddr.reasons import in_words


def line(what: str) -> str:
    """The next line; prompts at a terminal. Call it without an event loop, which would ignore Ctrl-C.

    Raises CommandError.
    """
    if sys.stdin.isatty():
        print(f"{what}: ", end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CommandError(f"{what} {in_words(error)}") from None
