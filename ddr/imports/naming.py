"""The keys that an import sends: the same file gives the same keys, so it can be repeated, or taken back. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from ddr.imports.calls import KEY
from ddr.imports.model import Value

BATCH = 2000
_DIGITS = 24  # of a hash
GENERATIONS = 9  # after being taken back, a value can be sent again under a further key


def batches(values: Sequence[Value]) -> list[Sequence[Value]]:
    """The values in batches, one per upload."""
    return [values[at : at + BATCH] for at in range(0, len(values), BATCH)]


def upload_key(digest: str, generation: int, number: int) -> str:
    """The key of batch `number` of a file."""
    return f"{KEY}{digest[:_DIGITS]}-{generation}-{number}"


def measurement_key(value: Value, digest: str, generation: int = 1) -> str:
    """The key of a single value, made from its whole content, so that different values have different keys, and from
    the file, so that taking back one file leaves what another has brought. 5.5 and 5.50 are the same value."""
    number, parts = _bare(value.value), tuple((code, _bare(amount)) for code, amount in value.parts)
    text = f"{value.code}\n{value.time_ms}\n{value.comparator}{number}\n{parts}\n{value.source}"
    key = f"{KEY}{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}-{digest[:_DIGITS]}"
    return key if generation == 1 else f"{key}-{generation}"


def _bare(value: Decimal | str | None) -> Decimal | str | None:
    """A number without trailing zeros in its decimals."""
    return value.normalize() + 0 if isinstance(value, Decimal) else value


def value_in(key: str) -> str:
    """The part of such a key that does not depend on the file."""
    return key[: len(KEY) + _DIGITS]
