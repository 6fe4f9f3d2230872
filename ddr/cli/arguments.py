"""Types of command-line arguments for argparse, and the rule that no argument is empty."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from itertools import pairwise

from ddr.cli.errors import CommandError
from ddr.settings_checks import authority_fault

LARGEST = 2**31 - 1
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def number(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A type for whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more")
        if int(text) > most:
            raise argparse.ArgumentTypeError(f"must be {most} or less")
        return int(text)

    return parse


def amount(most: float = LARGEST, *, zero: bool = False) -> Callable[[str], float]:
    """A type for seconds or days with decimals: above 0, or also 0, and at most `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not (value > 0 or (zero and value == 0)):  # rejects nan, too
            raise argparse.ArgumentTypeError("must be 0 or more" if zero else "must be more than 0")
        if value > most:
            raise argparse.ArgumentTypeError(f"must be {most} or less")
        return value

    return parse


def words(text: str) -> str:
    """A type for words shown to many readers, as in lists with a line each, on terminals and in XML."""
    if text.strip() and _UNSHOWN.search(text):
        raise argparse.ArgumentTypeError("must be one line without control characters")
    return text


def month(text: str) -> str:
    """A type for months like 2027-07, of this century."""
    if not re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a month like 2027-07")
    return text


def day(text: str) -> date:
    """A type for days like 2015-03-01; other forms of ISO 8601 are rejected."""
    with suppress(ValueError):
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2015-03-01")


def authority(text: str) -> str:
    """A type for PEM files with a CA certificate; the default is none."""
    if text.strip() and (fault := authority_fault(text)):
        raise argparse.ArgumentTypeError(f"{text}: {fault}")
    return text


def in_order(begin: str, begin_ms: int | None, until_ms: int | None) -> None:
    """Raises CommandError when the period between option `begin` and `--until` is empty."""
    if begin_ms is not None and until_ms is not None and until_ms <= begin_ms:
        raise CommandError(f"--until must be after {begin}")


def empty(arguments: Sequence[str]) -> str | None:
    """The first empty or blank word of a command line, described in words; None when there is none.

    It usually comes from an unset variable in a script. To give no value, leave the option out.
    """
    for before, word in pairwise(("", *arguments)):
        option, given, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if given and not value.strip():
            return f"argument {option}: is empty"
        if given and value == "--":  # argparse turns it into an empty list, whatever the option's type
            return f"argument {option}: expected one argument"
        if not word.strip():
            return f"argument {before}: is empty" if before.startswith("--") else "an argument is empty"
    return None
