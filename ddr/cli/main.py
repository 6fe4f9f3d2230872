"""The command `ddr`: one module per subcommand, one clear line for every error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ddr import __version__
from ddr.cli.errors import CommandError
from ddr.cli.found import Command, commands, missing
from ddr.miv.model import MivError
from ddr.reasons import in_words
from ddr.settings import SettingsError
from ddr.store.database.errors import StoreError
from ddr.tls.context import TlsError

OPERATOR_ERRORS = (CommandError, MivError, SettingsError, StoreError, TlsError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0 done, 1 not done, 2 misused."""
    parser = argparse.ArgumentParser(prog="ddr", description="An open Device Data Recorder for HDDT.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    known = commands(subparsers)
    parsed, unknown = parser.parse_known_args(arguments)
    command = known[parsed.command]
    if unknown and command.whole:  # argparse would print the usage of `ddr`, which has none of the command's arguments
        subparsers.choices[parsed.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return reported(lambda: _done(command, parsed))


def _done(command: Command, parsed: argparse.Namespace) -> int | None:
    """A file, connection or package that a command lacks is for the operator to mend."""
    try:
        return command.run(parsed)
    except OSError as error:
        raise CommandError(in_words(error, named=True)) from error
    except ModuleNotFoundError as error:
        raise missing(error, parsed.command) from None


def reported(action: Callable[[], int | None]) -> int:
    """The exit status of `action`; an error meant for the operator becomes one line on stderr and status 1."""
    try:
        return action() or 0
    except OPERATOR_ERRORS as error:
        print(f"ddr: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
