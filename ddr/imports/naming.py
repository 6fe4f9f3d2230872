"""The keys under which an import sends: the same file gives the same keys, so that it may come again, or go. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from ddr.imports.calls import KEY
from ddr.imports.model import Value

BATCH = 2000
_DIGITS = 24  # of a hash
GENERATIONS = 9  # what was taken back can come again under a further key


def batches(values: Sequence[Value]) -> list[Sequence[Value]]:
    """The values of one upload each."""
    return [values[at : at + BATCH] for at in range(0, len(values), BATCH)]


def upload_key(digest: str, generation: int, number: int) -> str:
    """Of the batch `number` of a file."""
    return f"{KEY}{digest[:_DIGITS]}-{generation}-{number}"


def measurement_key(value: Value, digest: str, generation: int = 1) -> str:
    """Of a single value: all that it says, so that another value never has the same; and the file that brings it, so
    that what is taken back is not what another file has brought. 5.5 and 5.50 are one value."""
    number, parts = _bare(value.value), tuple((code, _bare(amount)) for code, amount in value.parts)
    text = f"{value.code}\n{value.time_ms}\n{value.comparator}{number}\n{parts}\n{value.source}"
    key = f"{KEY}{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}-{digest[:_DIGITS]}"
    return key if generation == 1 else f"{key}-{generation}"


def _bare(value: Decimal | str | None) -> Decimal | str | None:
    """A number without zeros at the end of its decimals."""
    return value.normalize() + 0 if isinstance(value, Decimal) else value


def value_in(key: str) -> str:
    """The part of such a key that is the same whichever file brings the value."""
    return key[: len(KEY) + _DIGITS]
