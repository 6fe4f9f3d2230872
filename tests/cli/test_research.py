"""`ddr research export`: what it requires, writes, records, and refuses (docs/research.md)."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from itertools import count
from pathlib import Path
from typing import Never

import pytest
from pyarrow import parquet

from ddr.cli import research as cli
from ddr.cli.main import INTERRUPTED, main
from ddr.drafts import alone_in
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.operations.research_files import names
from ddr.patient_pages.visitor import COOKIE
from ddr.research.tables import DICTIONARY
from ddr.store.authorization import research
from ddr.store.patients import research as store
from ddr.store.patients.erasure import delete_patient
from ddr.store.patients.sessions import Session, open_session
from tests.patient_pages.browser import Browser
from tests.support.clock import Clock
from tests.support.volunteers import Volunteer, recorder_with_research, volunteer

Run = Callable[..., Awaitable[tuple[int, str, str]]]
APPROVAL = """
title = "Glucose <in> everyday life"
reference = "EK Musterstadt 2026-114"
recipient = "University of Musterstadt"
until = {until}
kinds = ["continuous-glucose-measurement"]
weeks = 2
"""


@pytest.fixture
async def core(core: Core, database_url: str, clock: Clock) -> AsyncIterator[Core]:
    """With the time of this machine, which the command asks."""
    clock.advance((now_ms() - clock()) / 1000)
    async with recorder_with_research(core, database_url) as own:
        yield own


@pytest.fixture
def run(core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ddr research export` with an approval and a folder of the test; status, output, error."""
    settings = {"DATABASE_URL": core.settings.database_url, "RESEARCH": "true", "RESEARCH_LEAST": "5"}
    for name, value in {**settings, "ALLOW_BUILTIN_ACCOUNTS": "true", "STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(f"DDR_{name}", value)
    (tmp_path / "approval.toml").write_text(APPROVAL.format(until="2099-12-31"))

    async def called(*arguments: str) -> tuple[int, str, str]:
        told = ["--approval", str(tmp_path / "approval.toml"), "--out", str(tmp_path / "out"), "--by", "Team Daten"]
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(None, main, ["research", "export", *told, *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return called


async def crowd(core: Core, count: int = 6, weeks: int = 3) -> list[Volunteer]:
    return [await volunteer(core, seed, weeks) for seed in range(count)]


async def killed_after(named: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that is killed when so many of its files bear their names."""
    true_rename, given = Path.rename, list[Path]()

    def rename(path: Path, target: Path) -> Path:
        if len(given) == named:
            raise KeyboardInterrupt
        given.append(target)
        return true_rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        assert (await run("--yes"))[0] == INTERRUPTED


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_without_yes_only_the_report(core: Core, run: Run, tmp_path: Path) -> None:
    people = await crowd(core)
    status, out, err = await run()
    assert (status, err) == (0, "")
    told = json.loads(out.rpartition("\n}")[0] + "\n}")
    (one,) = told["kinds"]
    assert one["people"] == {"found": 6, "given": 6} and one["weeks"]["given"] == 12
    assert "nothing was exported; add --yes to do it" in out and not (tmp_path / "out").exists()
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == 0
    assert await store.exports_with(core.pool, people[0].patient_id) == []


@pytest.mark.parametrize(
    ("change", "trusted", "given"),
    [
        ("epoch SET calibration_state = 'not-calibrated'", "false", 6),
        ("epoch SET calibration_state = 'not-calibrated'", "true", 7),
        (f"sensor SET shown_from_ms = {2**63 - 1}", "true", 6),
    ],
    ids=["warm-up", "warm-up-that-counts", "withheld"],
)
async def test_what_does_not_count_in_a_summary_is_not_given(
    core: Core, run: Run, monkeypatch: pytest.MonkeyPatch, change: str, trusted: str, given: int
) -> None:
    await crowd(core)
    warming = await volunteer(core, 99, 3)
    await core.pool.execute(f"UPDATE {change} WHERE patient_id = $1", warming.patient_id)
    monkeypatch.setenv("DDR_SUMMARY_UNCALIBRATED", trusted)
    status, out, _ = await run()
    assert status == 0
    (one,) = json.loads(out.rpartition("\n}")[0] + "\n}")["kinds"]
    assert one["people"] == {"found": given, "given": given}


async def test_the_files_the_trail_and_the_page(core: Core, run: Run, tmp_path: Path) -> None:
    people = await crowd(core)
    stranger = await volunteer(core, 99, 3)
    await research.withdraw(core.pool, stranger.patient_id, "consent-withdrawn", core.clock())
    status, _, err = await run("--yes")
    assert (status, err) == (0, "")
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == set(names(parquet=False))
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    persons, values = table(folder / "persons.csv"), table(folder / "values.csv")
    assert len(persons) == 6 and len(values) == 6 * 2 * 336
    assert {row["person"] for row in persons} == {row["person"] for row in values}
    assert {row["age"] for row in persons} == {""}
    described = {(row["file"], row["column"]) for row in table(folder / "dictionary.csv")}
    assert described == {("persons", name) for name in persons[0]} | {("values", name) for name in values[0]}
    assert len(described) == len(DICTIONARY)
    report = json.loads((folder / "report.json").read_text())
    assert report["approval"]["reference"] == "EK Musterstadt 2026-114" and report["least"] == 5
    written = "".join(path.read_text() for path in folder.iterdir())
    for secret in ("SERIAL-", "Annas Sensor", "Muster AG", *(str(one.patient_id) for one in people)):
        assert secret not in written
    for one in people:
        (entry,) = await core.pool.fetch(
            "SELECT detail FROM audit WHERE patient_id = $1 AND event = 'operator:research:exported'", one.patient_id
        )
        assert entry["detail"]["approval"] == "EK Musterstadt 2026-114"
        assert not {row["person"] for row in persons} & set(map(str, entry["detail"].values()))
    assert await store.exports_with(core.pool, stranger.patient_id) == []
    cookie = await open_session(core.pool, Session(people[0].patient_id, "anna"), core.clock())
    browser = Browser(core)
    browser.http.cookies.set(COOKIE, cookie, domain="recorder.example", path="/")
    page = (await browser.get("/me/research")).text
    for told in (
        "University of Musterstadt",
        "EK Musterstadt 2026-114",
        "Team Daten",
        "Glucose &lt;in&gt; everyday life",
    ):
        assert told in page
    assert "(Genehmigung EK Musterstadt 2026-114)" in (await browser.get("/me/access")).text
    assert "operator:research:exported" in (await browser.get("/me/accesses.csv")).text


async def test_each_week_leaves_once(core: Core, run: Run, tmp_path: Path) -> None:
    await crowd(core, weeks=3)
    assert (await run("--yes"))[0] == 0
    status, _, err = await run("--yes")
    assert status == 1 and "persons.csv already exists; name another directory" in err
    assert (await run("--yes", "--out", str(tmp_path / "second")))[0] == 0
    first, second = (table(tmp_path / name / "values.csv") for name in ("out", "second"))
    assert (len(first), len(second)) == (6 * 2 * 336, 6 * 336)
    status, out, err = await run("--yes", "--out", str(tmp_path / "third"))
    assert status == 1 and "there is nothing to export" in err and not (tmp_path / "third").exists()
    assert "SELECT" not in out


async def test_who_withdraws_meanwhile_stops_the_export(
    core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await crowd(core)
    true_note = store.note

    async def late(pool, *more):  # type: ignore[no-untyped-def]
        await research.withdraw(pool, people[0].patient_id, "consent-withdrawn", now_ms())
        return await true_note(pool, *more)

    monkeypatch.setattr(store, "note", late)
    status, _, err = await run("--yes")
    assert status == 1 and "withdrawn consent in the meantime" in err
    assert list((tmp_path / "out").iterdir()) == []
    assert await core.pool.fetchval("SELECT count(*) FROM research_given") == 0
    assert await core.pool.fetchval("SELECT count(*) FROM audit WHERE event = 'operator:research:exported'") == 0


async def test_another_export_into_the_same_folder(core: Core, run: Run, tmp_path: Path) -> None:
    await crowd(core)
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out"):
        status, _, err = await run("--yes")
    assert (status, err) == (1, f"ddr: {tmp_path / 'out'}: somebody else writes into it just now\n")
    assert list((tmp_path / "out").iterdir()) == []
    assert await core.pool.fetchval("SELECT count(*) FROM research_given") == 0


@pytest.mark.parametrize("written_down", [True, False])
async def test_an_export_that_was_killed_is_finished_or_begun_anew(
    core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_down: bool
) -> None:
    """By the same command: weeks that are written down are given to nobody else."""
    await crowd(core)

    def killed(*_: object) -> Never:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*((cli, "put_in_place") if written_down else (store, "note")), killed)
        assert (await run("--yes"))[0] == INTERRUPTED
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == int(written_down)
    assert not {*names(parquet=False)} & {path.name for path in (tmp_path / "out").iterdir()}
    status, out, err = await run("--yes")
    assert (status, err) == (0, "")
    assert ("the export that was interrupted" in out) == written_down
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names(parquet=False)}
    assert len(table(tmp_path / "out" / "values.csv")) == 6 * 2 * 336
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == 1


@pytest.mark.parametrize("named", [0, 1], ids=["before its names", "between two names"])
@pytest.mark.parametrize("end", ["withdrawn", "deleted"])
async def test_an_export_that_was_killed_gives_nothing_of_who_left_since(
    core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int, end: str
) -> None:
    people = await crowd(core)
    await killed_after(named, run, monkeypatch)
    if end == "withdrawn":
        await research.withdraw(core.pool, people[0].patient_id, "consent-withdrawn", now_ms())
    else:
        await delete_patient(core.pool, people[0].patient_id, now_ms())
    status, out, err = await run("--yes")
    assert (status, out) == (1, "") and "a patient has withdrawn consent since" in err and len(err.splitlines()) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == 1


async def test_files_whose_export_may_be_written_down_stay(
    core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crowd(core)
    true_note = store.note

    async def unheard(*asked):  # type: ignore[no-untyped-def]
        assert await true_note(*asked)
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(store, "note", unheard)
        status, _, err = await run("--yes")
    assert status == 1 and "whether the export was recorded is unknown" in err and len(err.splitlines()) == 1
    assert (await run("--yes"))[0] == 0
    assert len(table(tmp_path / "out" / "values.csv")) == 6 * 2 * 336
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == 1


async def test_half_of_the_names_is_none(core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the names of two files."""
    await crowd(core)
    await killed_after(1, run, monkeypatch)
    assert (await run("--yes"))[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names(parquet=False)}


@pytest.mark.parametrize(
    ("until", "arguments", "told"),
    [
        ("2026-11-01", (), "approval.toml: has ended on 2026-11-01"),
        ("2099-12-31", ("--by", "\x07"), "--by must have"),
        ("2099-12-31", (), "there is nothing to export"),
    ],
)
async def test_refusals_are_one_line(
    core: Core, run: Run, tmp_path: Path, until: str, arguments: tuple[str, ...], told: str
) -> None:
    (tmp_path / "approval.toml").write_text(APPROVAL.format(until=until))
    await crowd(core, count=4)
    status, _, err = await run("--yes", *arguments)
    assert status == 1 and told in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


async def test_switched_off_there_is_no_such_command(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DDR_RESEARCH", "false")
    monkeypatch.setenv("DDR_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    status, out, err = await run("--yes")
    assert (status, out) == (2, "") and err == "ddr: there is no command research: the setting research is off\n"
    assert not (tmp_path / "out").exists()


async def test_parquet_has_the_same_with_types(core: Core, run: Run, tmp_path: Path) -> None:
    await crowd(core)
    assert (await run("--yes", "--parquet"))[0] == 0
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == set(names(parquet=True))
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    for name in ("persons", "values"):
        found = parquet.read_table(folder / f"{name}.parquet")
        assert found.column_names == [column for file, column, _, _ in DICTIONARY if file == name]
        rows = found.to_pylist()
        texts = [{key: f"{v:g}" if isinstance(v, float) else str(v) for key, v in row.items()} for row in rows]
        assert texts == table(folder / f"{name}.csv")
    assert {type(row["week"]) for row in rows} == {date} and {type(row["value"]) for row in rows} == {float}


async def test_no_id_is_a_number(core: Core, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: one in 770 was of digits, or like `12e34`. A spreadsheet, or whoever reads piece by piece, had `inf`."""
    drawn = count(10**15)
    await crowd(core)
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(drawn)}")
    assert (await run("--yes"))[0] == 0
    for row in table(tmp_path / "out" / "persons.csv"):
        with pytest.raises(ValueError, match="could not convert"):
            float(row["person"])


async def test_without_pyarrow_there_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    true_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else true_spec(name))
    status, _, err = await run("--yes", "--parquet")
    assert (status, len(err.splitlines())) == (1, 1) and "pip install 'ddr[research]'" in err
    assert not (tmp_path / "out").exists()
