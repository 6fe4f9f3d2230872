"""The command `ddr`: one module per subcommand, one clear line for every error."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import ModuleType

import ddr
import ddr.cli
from ddr.cli.errors import CommandError
from ddr.miv.model import MivError
from ddr.reasons import in_words
from ddr.settings import SettingsError
from ddr.store.database.errors import StoreError
from ddr.tls.context import TlsError

OPERATOR_ERRORS = (CommandError, MivError, SettingsError, StoreError, TlsError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0 done, 1 not done, 2 misused."""
    parser = argparse.ArgumentParser(prog="ddr", description="An open Device Data Recorder for HDDT.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands = {}
    for module in _modules():
        module.add_parser(subparsers)
        commands[module.__name__.rpartition(".")[2].replace("_", "-")] = module
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:  # argparse would print the usage of `ddr`, which has none of the command's arguments
        subparsers.choices[parsed.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return reported(lambda: _done(lambda: commands[parsed.command].run(parsed)))


def _done(action: Callable[[], int | None]) -> int | None:
    """A file or connection that a command cannot use is for the operator to mend."""
    try:
        return action()
    except OSError as error:
        raise CommandError(in_words(error, named=True)) from error


def _modules() -> Iterator[ModuleType]:
    """Every module of this package that is a subcommand: it has add_parser(subparsers) and run(arguments)."""
    for found in pkgutil.iter_modules(ddr.cli.__path__):
        if not found.ispkg and found.name != "main":
            module = import_module(f"ddr.cli.{found.name}")
            if hasattr(module, "add_parser"):
                yield module


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
