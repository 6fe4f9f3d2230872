"""Which packed seals of a day contain no wanted record, by the words they refer to, without their lines. Pure.

A skipped seal is not compared with its signature; `ddr logs verify` does that for all seals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ddr.operations.request_log.packing import ODD, Words, skim


class Skipping:
    """For one day. `fits` judges a record by what it shares with others: everything except time, size, Pairing ID and
    id."""

    def __init__(
        self, words: Words, fits: Callable[[Mapping[str, Any]], bool], pairing: str | None, transaction: str | None
    ) -> None:
        self._words, self._pairing, self._transaction = words, pairing, transaction
        self._number = words.number_of(_content(pairing))
        self._fitting: set[int] = set()
        self._literal: set[int] = set()  # texts that contain the wanted Pairing ID, which has no number then
        for number in range(1, len(words.texts) + 1):
            try:
                template = words.template(number)
                if fits(template):
                    self._fitting.add(number)
                    if pairing == template["pairing_id"]:
                        self._literal.add(number)
            except (AttributeError, LookupError, TypeError, ValueError):  # such lines are left to the reader
                self._fitting.add(number)
                self._literal.add(number)

    def skips(self, body: bytes) -> bool:
        """True when no line of the body is wanted; never for one that is visibly damaged."""
        try:
            seen = skim(body)
        except ValueError:
            return False
        words = self._words
        if ODD in seen.texts or words.damaged:
            return False
        if max(seen.texts) > len(words.texts) or max(seen.pairings) > words.pairings:
            return False
        if not self._fitting & seen.texts:
            return True
        if self._pairing is not None and self._number not in seen.pairings and not self._literal & seen.texts:
            return True
        return self._transaction is not None and not seen.may_name(self._transaction)


def _content(pairing: str | None) -> bytes:
    """The bytes of a text that may be a Pairing ID; empty for any other."""
    try:
        content = bytes.fromhex(pairing or "")
    except ValueError:
        return b""
    return content if content.hex() == pairing else b""
