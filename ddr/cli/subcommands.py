"""Finds the subcommands: the modules of this package with a line of HELP, add_arguments and run.

Without the extra `server` the package is a DiGA's. Commands whose modules cannot be imported then stay in the list, and
say what to install.
"""

from __future__ import annotations

import argparse
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import ddr.cli
from ddr.cli.actions import Actions
from ddr.cli.errors import CommandError

Run = Callable[[argparse.Namespace], int | None]
HELP = re.compile(r'^HELP = "(.*)"$', re.MULTILINE)
WHAT = "pip install 'ddr[server]', or 'ddr[embedded]' to include PostgreSQL"


@dataclass(frozen=True)
class Command:
    """`whole`: its packages are installed, so that its arguments are known."""

    run: Run
    whole: bool = True


def commands(subparsers: Actions[argparse.ArgumentParser]) -> dict[str, Command]:
    """Every subcommand by name, each with its parser among `subparsers`."""
    names = (one.name for one in pkgutil.iter_modules(ddr.cli.__path__) if not one.ispkg)
    told = {name: text[1] for name in names if (text := HELP.search(_source(name)))}
    return {name.replace("_", "-"): _command(name, text, subparsers) for name, text in told.items()}


def missing(error: ModuleNotFoundError, command: str) -> CommandError:
    """The one line about a missing package. Raises `error` when it is a module of our own, which is a defect."""
    if (error.name or "ddr").partition(".")[0] == "ddr":
        raise error
    return CommandError(f"`ddr {command}` needs the server's packages ({error.name} is not installed): {WHAT}")


def _source(name: str) -> str:
    return Path(str(ddr.cli.__path__[0]), f"{name}.py").read_text("utf-8")


def _command(module: str, text: str, subparsers: Actions[argparse.ArgumentParser]) -> Command:
    name = module.replace("_", "-")
    try:
        found = import_module(f"ddr.cli.{module}")
    except ModuleNotFoundError as error:
        told = missing(error, name)
        subparsers.add_parser(name, help=f"{text} (needs the extra `server`)", add_help=False)

        def refuse(_: argparse.Namespace) -> int:
            raise told

        return Command(refuse, whole=False)
    found.add_arguments(subparsers.add_parser(name, help=text, description=found.__doc__))
    return Command(found.run)
