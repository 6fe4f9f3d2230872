"""A complete gateway for one glucose sensor: keeps what it measured until the recorder has said that it has it.

    python examples/gateway_client.py --base https://localhost:8445/gateway/v1 --token TOKEN --ca ca.pem --csv FILE

FILE has the columns time (RFC 3339) and value. Stop the server, the network or this program whenever you like and start
it again: readings stay in the outbox (a SQLite file) until they were answered, and sending one twice does no harm.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sqlite3
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

BATCH = 2000
DEVICE = {"serialNumber": "CGM1234567890", "name": "GlukkoCGM 18", "manufacturer": "Glukko Inc.", "type": "700585005"}
SENSOR = {
    "code": "99504-3",
    "unit": "mg/dL",
    "samplingPeriodMs": 300_000,
    "limits": {"lower": 40, "upper": 400},
    "calibration": {"state": "calibrated"},
}


class Outbox:
    """Readings that the recorder has not answered yet, on disk."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS outbox (time TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self.db.execute("CREATE TABLE IF NOT EXISTS waiting (time TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self.db.execute("CREATE TABLE IF NOT EXISTS refused (time TEXT PRIMARY KEY, value TEXT, reason TEXT)")
        self.db.execute("CREATE TABLE IF NOT EXISTS began (time TEXT PRIMARY KEY)")

    def add(self, measured_at: str, value: str) -> None:
        """Keep a reading; it is on disk when this returns."""
        self.db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?)", (measured_at, value))

    def began(self, measured_at: str) -> str:
        """When the device was first used: at the earliest time of which this was ever told. A later start would cut off
        what waits here since then.
        """
        self.db.execute("INSERT OR IGNORE INTO began VALUES (?)", (measured_at,))
        return min((at for (at,) in self.db.execute("SELECT time FROM began")), key=instant)

    def next(self) -> list[tuple[str, str]]:
        """The oldest readings."""
        return self.db.execute("SELECT time, value FROM outbox ORDER BY time LIMIT ?", (BATCH,)).fetchall()

    def apart(self) -> str:
        """What is neither stored nor to be sent now: how many wait, and how many were refused for which reasons."""
        asked = "SELECT 'waiting', count(*) FROM waiting UNION ALL SELECT 'refused: ' || reason, count(*) FROM refused"
        return "".join(f", {count} {what}" for what, count in self.db.execute(f"{asked} GROUP BY reason") if count)

    def wake(self) -> None:
        """Let what waits be sent again."""
        self.db.execute("INSERT OR IGNORE INTO outbox SELECT time, value FROM waiting")
        self.db.execute("DELETE FROM waiting")

    def settle(self, readings: list[tuple[str, str]], answers: list[dict[str, Any]], ahead: float = 0) -> None:
        """Accepted and duplicate ones are done. Of the rejected ones, those wait that may be taken later (`retry`); the
        others are kept apart, because sending them again changes nothing. `ahead`: by how many seconds our clock is.
        """
        self.db.execute("BEGIN")
        for (measured_at, value), answer in zip(readings, answers, strict=True):
            self.db.execute("DELETE FROM outbox WHERE time = ?", (measured_at,))
            if answer["status"] == "rejected" and answer["retry"]:
                # measured by a clock that is ahead: the time was earlier than it said
                right = earlier(measured_at, ahead) if answer["reason"] == "future" and ahead > 0 else measured_at
                self.db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?)", (right, value))
            elif answer["status"] == "rejected":
                self.db.execute(
                    "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (measured_at, value, answer["reason"])
                )
        self.db.execute("COMMIT")


def instant(measured_at: str) -> float:
    """Seconds since 1970: texts with other offsets (summer time, a journey) have another order than their times."""
    try:
        found = datetime.fromisoformat(measured_at)
    except ValueError:  # no time: the recorder refuses this one reading
        return math.inf
    return found.timestamp() if found.tzinfo else math.inf  # nor is one without a zone


def number(value: str) -> float | str:
    """A value for a body: L, U and E stay what they are, and what is no number is refused alone."""
    try:
        found = float(value)
    except ValueError:
        return value
    return found if math.isfinite(found) else value


def earlier(measured_at: str, seconds: float) -> str:
    """The time by the right clock of what a clock says that is ahead by `seconds`."""
    return (datetime.fromisoformat(measured_at) - timedelta(seconds=seconds)).isoformat()


def seconds_to_wait(retry_after: str, pause: float) -> float:
    """Retry-After has seconds or a date (RFC 9110 section 10.2.3); `pause` where it has neither."""
    if retry_after.isdecimal():
        return int(retry_after)
    try:
        return max(1.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return pause


def send(client: httpx.Client, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
    """The answer, however often the recorder has to be asked for it. Raises for requests that can never succeed.

    The header Sent-At says what our clock says, so the answer tells by how much it is ahead.
    """
    pause = 0.5
    while True:
        try:
            sent_at = datetime.now(UTC).isoformat(timespec="seconds")
            answer = client.request(method, path, json=body, headers={"sent-at": sent_at})
        except httpx.TransportError as error:
            print(f"no answer ({str(error) or type(error).__name__}), again in {pause:.1f} s")
        else:
            if answer.status_code < 500 and answer.status_code not in (408, 429):
                answer.raise_for_status()
                return answer
            pause = seconds_to_wait(answer.headers.get("retry-after", ""), pause)
        time.sleep(pause)
        pause = min(60.0, pause * 2)


def sync(client: httpx.Client, outbox: Outbox, started_at: str) -> int:
    """Register device and sensor (again does no harm) and empty the outbox. Returns how many readings were stored.

    `started_at` is the time of the first reading that is known here; a later one than before changes nothing.
    Call it again later: what may be taken then is sent again.
    """
    outbox.wake()
    send(client, "PUT", "devices/cgm", DEVICE | {"startedAt": outbox.began(started_at)})
    send(client, "PUT", "devices/cgm/sensors/glucose", SENSOR)
    stored = 0
    while readings := outbox.next():
        items = [{"time": at, "value": number(value)} for at, value in readings]
        answer = send(client, "POST", "devices/cgm/sensors/glucose/readings", {"unit": "mg/dL", "readings": items})
        outbox.settle(readings, answer.json()["items"], float(answer.headers.get("clock-skew", 0)))
        stored += int(answer.json()["accepted"])
    return stored


def main() -> None:
    """Put the CSV file into the outbox and send what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--base", "--token", "--ca", "--csv"):
        parser.add_argument(name, required=True)
    parser.add_argument("--outbox", default="outbox.sqlite", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")  # a company's proxy does not know your machine
    try:
        carry_out(options)
    except httpx.HTTPStatusError as error:
        raise SystemExit(f"{error.request.url.path}: {error.response.status_code} {error.response.text}") from None
    except (OSError, UnicodeDecodeError, sqlite3.Error) as error:
        raise SystemExit(f"{options.csv}, {options.ca} or {options.outbox}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def carry_out(options: argparse.Namespace) -> None:
    """Read, keep and send."""
    outbox = Outbox(options.outbox)
    with open(options.csv, newline="") as file:
        table = csv.DictReader(file)
        if not {"time", "value"} <= set(table.fieldnames or ()):
            raise SystemExit(f"{options.csv}: needs the columns time and value, with a comma between them")
        rows = [(row["time"], row["value"]) for row in table]
    for measured_at, value in rows:
        outbox.add(measured_at, value)
    headers = {"authorization": f"Bearer {options.token}"}
    tls = ssl.create_default_context(cafile=options.ca)
    with httpx.Client(base_url=options.base, headers=headers, verify=tls, timeout=30) as client:
        first = min((at for at, _ in rows), key=instant, default=datetime.now(UTC).isoformat(timespec="seconds"))
        print(f"{sync(client, outbox, first)} readings stored{outbox.apart()}")


if __name__ == "__main__":
    main()
