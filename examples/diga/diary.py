"""The whole of a small DiGA: glucose values of its patients in SQLite, cursor and data in one transaction."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC
from pathlib import Path

from ddr.client import Cursor, Kind
from ddr.client.data import rows_of
from ddr.client.sync import Client


class Diary:
    """Values by pairing."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file)
        self._db.execute("CREATE TABLE IF NOT EXISTS value (pairing, observation, time, mg_dl)")
        self._db.execute("CREATE TABLE IF NOT EXISTS cursor (pairing PRIMARY KEY, content)")

    def update(self, client: Client, pairing: str, whole: bool = False) -> None:
        """Take over what is new: rows of an Observation replace those that were there.

        `whole`, once a day: everything is looked at, which finds what was deleted.
        """
        row = self._db.execute("SELECT content FROM cursor WHERE pairing = ?", (pairing,)).fetchone()
        since = Cursor.from_json(json.loads(row[0])) if row else Cursor()
        for step in client.steps(pairing, since.whole() if whole else since):
            with self._db:
                for change in step.changes:
                    if change.kind is Kind.GONE:
                        continue  # too old for the recorder: it stays here
                    self._db.execute("DELETE FROM value WHERE pairing = ? AND observation = ?", (pairing, change.id))
                for one in rows_of(step.changes, "mg/dL"):
                    if one["value"] is not None:
                        time = one["time"].astimezone(UTC).isoformat()  # texts in order of time
                        told = (pairing, one["observation_id"], time, float(one["value"]))
                        self._db.execute("INSERT INTO value VALUES (?, ?, ?, ?)", told)
                kept = json.dumps(step.cursor.to_json())
                self._db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (pairing, kept))

    def values(self, pairing: str) -> list[float]:
        """In order of time."""
        query = "SELECT mg_dl FROM value WHERE pairing = ? ORDER BY time"
        return [row[0] for row in self._db.execute(query, (pairing,))]
