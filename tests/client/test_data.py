"""Readings as tables: rows, pandas, Arrow, and the interface without async."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from ddr.client import Change, Kind, Series
from ddr.client.data import COLUMNS, rows_of
from ddr.client.sync import Client
from tests.client.conftest import Backend
from tests.client.foreign import chunk
from tests.spec.world import BG, HOUR, Home

DEVICE = {"resourceType": "Device", "id": "1", "serialNumber": "S"}


def changes(*names: str) -> list[Change]:
    found = [chunk(name, device={"reference": "Device/1"}) for name in names]
    return [Change(Kind.NEW, one["id"], one, {"Device/1": DEVICE}) for one in found]


def test_frames_and_tables_have_the_rows() -> None:
    series = Series(changes("a"))
    rows = series.rows()
    assert [row["value"] for row in rows] == [Decimal(100), Decimal(101)] and tuple(rows[0]) == COLUMNS
    frame, table = series.to_pandas(), series.to_arrow()
    assert list(frame.columns) == table.column_names == list(COLUMNS)
    assert frame["value"].tolist() == table.column("value").to_pylist() == [100.0, 101.0]
    assert str(frame["time"][0]) == "2026-11-20 07:00:00+00:00"
    assert frame["limit"].isna().all() and set(frame["serial"]) == {"S"}
    empty = Series()
    assert (len(empty.to_pandas()), empty.to_arrow().num_rows) == (0, 0)


def test_what_is_gone_stays_and_what_was_deleted_does_not() -> None:
    series = Series(changes("a", "b", "c"))
    for kind, name in ((Kind.GONE, "a"), (Kind.DELETED, "b"), (Kind.ENTERED_IN_ERROR, "c")):
        series.apply(Change(kind, name, None, {}))
    assert series.observations.keys() == {"a"}
    (row,) = rows_of([Change(Kind.DELETED, "b", None, {})])
    assert (row["change"], row["observation_id"], row["time"]) == ("deleted", "b", None)


async def test_without_async_it_is_the_same(backend: Backend, home: Home) -> None:
    await home.device("meter")
    await home.glucose("one", home.ddr.clock() - HOUR, 104)
    pairing_id = await backend.pair(home.patient, BG)

    def script() -> list[Decimal | None]:
        with Client(backend.diga, backend.tokens) as client:
            assert client.pairings() == [pairing_id]
            return [one.value for one in client.series(pairing_id).readings()]

    assert await asyncio.to_thread(script) == [Decimal(104)]
