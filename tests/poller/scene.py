"""The scene: a recorder with two workers, patients who have paired, the DiGA's database; what must hold at the end."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from ddr.client import ClientError, Diga, Pairing, PostgresJournal, PostgresTokens, Recorder
from ddr.client.pairing import DEVICE_SCOPES, canonical
from ddr.demo.accounts import Account, account
from ddr.demo.browser_user import BrowserUser
from ddr.demo.stack import DemoStack, Options
from tests.poller.diga import CONNECTIONS, digest
from tests.poller.harm import Harm, Pollers
from tests.poller.load import App, send
from tests.support.reached import on

MIV = "blood-glucose-measurement"
AT_ONCE = 8
PAIR_AT_ONCE = 2  # a busy machine has no time to hash more passwords, and the recorder says so
GRACE_SECONDS = 2
SENDERS, SEND_SECONDS = 4, 0.2
LEAVING = 0.05  # of the patients, at most, withdraw
QUIET_SECONDS = 900  # for a last look at everything
THEFTS = "SELECT count(*) FROM audit WHERE event = 'diga:refresh:reused'"
WAITING = "SELECT count(*) FROM ddr_client_watched WHERE whole < $1"
# Whoever is not just having a turn gets one now, and looks at everything; a turn ends with the `whole` it began with.
LOOK = "UPDATE ddr_client_watched SET due = 0, whole = 0 WHERE whole < $1 AND NOT lent AND due > $2"


@dataclass
class Report:
    """What was done, and what did not hold."""

    done: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Size:
    """How many pairings are polled for how long, each about every `interval` seconds. A token is renewed half a minute
    before it ends. `pause`: seconds between two harms of a kind. `repeat_seconds`: how long the recorder repeats the
    answer to a refresh; a machine that is shared with others may need ten times as long as one of its own.
    """

    pairings: int
    seconds: float
    interval: float
    token_seconds: int
    pause: float
    repeat_seconds: int


async def endure(folder: Path, size: Size, seed: int = 0) -> Report:
    """Poll while things go wrong."""
    report, chance = Report(), random.Random(seed)
    options = Options(
        folder / "ddr",
        "auto",
        patients=1,
        workers=2,
        grace_seconds=GRACE_SECONDS,
        token_seconds=size.token_seconds,
        repeat_seconds=size.repeat_seconds,
    )
    async with DemoStack(options) as stack:
        url = await database(stack.database_url)
        config, notes = folder / "ddr" / "diga.toml", folder / "notes"
        notes.mkdir()
        async with asyncpg.create_pool(url, min_size=1, max_size=CONNECTIONS) as pool:
            tokens, journal = PostgresTokens(pool), PostgresJournal(pool)
            await tokens.prepare()
            await journal.prepare()
            diga = Diga.from_file(config)
            async with diga.http() as http:
                began = time.monotonic()
                patients = await paired(stack, diga, http, tokens, size.pairings)
                report.done["seconds to pair"] = round(time.monotonic() - began)
                pollers = Pollers(config, url, notes, str(size.interval))
                apps = [App(stack, patient) for patient in patients.values()]
                await spread(apps)
                leaving = dict(chance.sample(sorted(patients.items()), max(1, int(LEAVING * size.pairings))))
                harm = Harm(stack, pollers, leaving, chance)
                await storm(pollers, harm, apps, chance, size, report)
                await harm.finish()
                await pollers.start()  # one may have been killed just as the storm ended
                await quiet(pool, pollers)
                await pollers.stop()
                report.done.update(harm.done)
                report.done["refreshes taken for theft"] = await stack.pool.fetchval(THEFTS)
                live = patients.keys() - harm.withdrawn
                judged = Judge(notes, report)
                judged.pairings(set(await tokens.pairings()), set(await journal.pairings()), live, harm.withdrawn)
                for some in batches(sorted(live), AT_ONCE):
                    await asyncio.gather(*(judged.compare(Recorder(diga, http, tokens, one), one) for one in some))
    return report


async def database(server_url: str) -> str:
    """A database of the DiGA's own, on the same server."""
    connection = await asyncpg.connect(server_url)
    await connection.execute("CREATE DATABASE diga")
    await connection.close()
    return on(server_url, "diga")


async def paired(
    stack: DemoStack, diga: Diga, http: httpx.AsyncClient, tokens: PostgresTokens, count: int
) -> dict[str, Account]:
    """New patients who have agreed; by pairing id."""
    found: dict[str, Account] = {}
    scopes = [f"patient/Observation.rs?code:in={canonical(MIV)}", *DEVICE_SCOPES]

    async def one(number: int) -> None:
        patient = await account(stack.pool, f"poller-{number:04}")
        pairing = Pairing(diga, http, tokens)
        started = await pairing.start([MIV])
        async with stack.client() as browser:
            user = BrowserUser(browser, patient.username, patient.password)
            landed = await user.decide(started.url, diga.redirect_uri, scopes)
        found[(await pairing.finish(started, landed)).pairing_id] = patient

    for some in batches(range(count), PAIR_AT_ONCE):
        await asyncio.gather(*map(one, some))
    return found


async def spread(apps: Sequence[App]) -> None:
    """The first value of everybody."""
    for some in batches(apps, AT_ONCE):
        await asyncio.gather(*(app.begin() for app in some))


async def storm(
    pollers: Pollers, harm: Harm, apps: Sequence[App], chance: random.Random, size: Size, report: Report
) -> None:
    """Polls, values and harm, for so long."""
    await pollers.start()
    sent: dict[str, int] = {}
    works = [
        *(asyncio.create_task(send(apps, chance, SEND_SECONDS, sent)) for _ in range(SENDERS)),
        asyncio.create_task(harm.run(size.pause)),
    ]
    ended, _ = await asyncio.wait(works, timeout=size.seconds, return_when=asyncio.FIRST_EXCEPTION)
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    for work in ended:
        work.result()  # what went wrong with the scene itself
    report.done.update(sent)


async def quiet(pool: asyncpg.Pool, pollers: Pollers) -> None:
    """Nothing happens any more: a last look at everything by everybody, which finds what was deleted."""
    await pollers.start()
    since = time.time()
    async with asyncio.timeout(QUIET_SECONDS):
        while await pool.fetchval(WAITING, since):
            await pool.execute(LOOK, since, time.time() + GRACE_SECONDS)
            await asyncio.sleep(1)


class Judge:
    """Compares what the callback was told with what the recorder has."""

    def __init__(self, notes: Path, report: Report) -> None:
        self._report = report
        lines = [json.loads(line) for file in notes.glob("changes-*.jsonl") for line in file.read_bytes().splitlines()]
        self._ended = [name for file in notes.glob("ended-*.txt") for name in file.read_text().split()]
        self._told: dict[str, list[dict[str, Any]]] = {}
        for line in sorted(lines, key=lambda one: float(one["at"])):
            self._told.setdefault(line["pairing"], []).append(line)
        versions = [one for one in lines if one["version"]]
        known = {(one["pairing"], one["id"], one["version"]) for one in versions}
        contents = {(one["pairing"], one["id"], one["version"], one["digest"]) for one in versions}
        report.done["changes told"] = len(lines)
        report.done["versions told"] = len(known)
        if len(contents) != len(known):
            report.broken.append("the same version was told with different contents")

    def pairings(self, tokens: set[str], watched: set[str], live: set[str], withdrawn: set[str]) -> None:
        """None was lost, and those that are over are told and forgotten."""
        for name, there in (("tokens", tokens), ("journal", watched)):
            if there != live:
                self._report.broken.append(f"{name}: {len(live - there)} pairings lost, {len(there - live)} left over")
        if wrongly := set(self._ended) - withdrawn:
            self._report.broken.append(f"{len(wrongly)} pairings ended that nobody has ended")
        if silent := withdrawn - set(self._ended):
            self._report.broken.append(f"{len(silent)} ended pairings were not told")

    async def compare(self, recorder: Recorder, pairing_id: str) -> None:
        """Everything that the recorder serves was told, in this version and content; and nothing else is left."""
        try:
            await self._compare(recorder, pairing_id)
        except ClientError as error:
            self._report.broken.append(f"a pairing that cannot be asked any more: {error}")

    async def _compare(self, recorder: Recorder, pairing_id: str) -> None:
        told = self._told.get(pairing_id, [])
        versions = {(one["id"], one["version"]): one["digest"] for one in told if one["version"]}
        last = {one["id"]: one["kind"] for one in told}
        present: set[str] = set()
        async for bundle in recorder.pages("Observation", {"_count": "200"}):
            for entry in bundle.get("entry", ()):
                found = entry["resource"]
                if found["resourceType"] != "Observation":
                    continue
                present.add(found["id"])
                if versions.get((found["id"], found["meta"]["versionId"])) != digest(found):
                    self._report.broken.append(f"missed: an Observation in version {found['meta']['versionId']}")
        self._report.done["observations compared"] += len(present)
        kept = {name for name, kind in last.items() if kind != "deleted"}
        if kept != present:
            self._report.broken.append(f"{len(kept - present)} deletions missed, {len(present - kept)} told wrongly")


def batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Some at a time."""
    return [items[at : at + size] for at in range(0, len(items), size)]
