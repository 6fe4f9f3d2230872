"""The actions of a command: each has a parser of its own, and a function, which is `does` among what was parsed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Does = Callable[..., object]
Actions = argparse._SubParsersAction  # argparse has no public name for what add_subparsers gives


def actions_of(parser: argparse.ArgumentParser) -> Actions[argparse.ArgumentParser]:
    """Where the actions of this command are added; one of them must be named."""
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


def action(actions: Actions[argparse.ArgumentParser], name: str, does: Does, text: str) -> argparse.ArgumentParser:
    """The parser of an action, for its arguments."""
    parser = actions.add_parser(name, help=text)
    parser.set_defaults(does=does)
    return parser
