"""The tables of an export for research as Parquet, with pyarrow (the extra `research`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, BinaryIO

from ddr.research.tables import DICTIONARY

ROWS = 100_000  # in memory at once, and in a row group


def write(file: BinaryIO, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write the rows of a table of the data dictionary, with the types defined there."""
    import pyarrow
    from pyarrow import parquet

    kinds = {
        "text": pyarrow.string(),
        "integer": pyarrow.int32(),
        "date": pyarrow.date32(),
        "number": pyarrow.float64(),
    }
    schema = pyarrow.schema([(column, kinds[kind]) for name, column, kind, _ in DICTIONARY if name == table])
    with parquet.ParquetWriter(file, schema) as writer:
        for some in _batches(rows):
            columns = [
                pyarrow.array(values, type=field.type)
                for values, field in zip(zip(*some, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def _batches(rows: Iterable[Sequence[Any]]) -> Iterable[list[Sequence[Any]]]:
    left = iter(rows)
    while some := list(islice(left, ROWS)):
        yield some
