"""The actions of a command: each has a parser and a function, which is `does` in the parsed arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Does = Callable[..., object]
Actions = argparse._SubParsersAction  # argparse has no public name for the result of add_subparsers


def actions_of(parser: argparse.ArgumentParser) -> Actions[argparse.ArgumentParser]:
    """The object to which this command's actions are added; exactly one must be given."""
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def action(actions: Actions[argparse.ArgumentParser], name: str, does: Does, text: str) -> argparse.ArgumentParser:
    """The parser of an action, for its arguments."""
    parser = actions.add_parser(name, help=text)
    parser.set_defaults(does=does)
    return parser
