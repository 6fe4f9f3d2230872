"""Arguments that commands refuse at once: numbers out of range, months that do not exist, and empty words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddr.cli.main import main
from ddr.cli.subcommands import commands

NUMBERS = [
    ("audit verify --from-seal", "0"),
    ("client watch --at-once", "0"),
    ("client watch --history-days", "1e12"),
    ("client watch --interval", "0"),
    ("client watch --interval", "nan"),
    ("client watch --seconds", "inf"),
    ("conform https://x.example --grace-seconds", "-1"),
    ("conform https://x.example --patience", "-0.5"),
    ("db distribute --shards", "0"),
    ("demo --patients", "1"),
    ("demo-fault none --seconds", "0"),
    ("gateway token add berta --days", "0"),
    ("gateway token add berta --days", "1_0"),
    ("gateway token renew berta app --overlap-seconds", "-1"),
    ("logs export --status", "099"),
    ("registry-sandbox serve --port", "65536"),
    ("restore begin --window", "721"),
]
EMPTY = [
    "audit export --client-id",
    "credentials assign bridge 12 --purpose p --owner",
    "gateway add-certificate x.pem --name",
    "gateway token add berta --name",
    "gateway token list",
    "logs export --client",
    "maintenance schedule --from 2027-08-01T00:00:00Z --urgent --reason",
    "maintenance start --cause",
    "notice report --state demoted --functions token --cause",
    "patient add --password-stdin --username",
    "patient find --serial",
    "patient proxy add a b --relation carer --name",
    "patient unpair berta --client-id",
    "research export --approval x --out y --by",
    "settings --recorder",
]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line after the usage of a command that must be refused before it does anything."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    usage, _, line = told.err.rpartition("\nddr ")
    assert ended.value.code == 2 and usage.startswith("usage: ddr ") and not told.out, told
    return line.rstrip("\n")


@pytest.mark.parametrize(("command", "value"), NUMBERS)
def test_numbers_out_of_range(capsys: pytest.CaptureFixture[str], command: str, value: str) -> None:
    *_, option = command.split()
    line = refused(capsys, *command.split(), value)
    assert f"error: argument {option}: " in line and "\n" not in line


@pytest.mark.parametrize("month", ["2026-1", "2026-13", "2026-00", "26-01", "2026-01-01", " 2026-01", "٢٠٢٦-٠١"])
def test_months_are_written_in_one_way(capsys: pytest.CaptureFixture[str], month: str) -> None:
    assert "is not a month like 2027-07" in refused(capsys, "availability", "--month", month)


@pytest.mark.parametrize("day", ["2015-3-1", "20150301", "2015-W09-7", "2015-02-30", "2015-03-01T00:00:00Z"])
def test_days_are_written_in_one_way(capsys: pytest.CaptureFixture[str], day: str) -> None:
    said = ("patient", "proxy", "add", "mother", "mia", "--relation", "parent", "--name", "Mia", "--born")
    assert refused(capsys, *said, day).endswith(f"argument --born: {day!r} is not a date like 2015-03-01")


@pytest.mark.parametrize("command", ["dossier --out x", "hiis register", "import x.csv"])
def test_authorities_are_in_files_that_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    (garbage := tmp_path / "garbage").write_text("x")
    for file, fault in ((tmp_path / "absent", "No such file or directory"), (garbage, "contains no PEM certificate")):
        line = refused(capsys, *command.split(), "--ca", str(file))
        assert line.endswith(f"error: argument --ca: {file}: {fault}")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+01:00"])
@pytest.mark.parametrize(
    "command",
    ["notice report --state demoted --functions token --cause x --until", "registry at", "audit export --from"],
)
def test_instants_have_a_year_of_four_digits(capsys: pytest.CaptureFixture[str], command: str, time: str) -> None:
    """What cannot be shown must not be stored: nobody could list the notices any more."""
    line = refused(capsys, *command.split(), time)
    assert line.endswith(f"{time!r} is before the year 1 or after 9999 in UTC")


@pytest.mark.parametrize(
    "time", ["2026-02-30", "2026-11-22T10:00:00", "2026-11-22T10:00", "24:00", "tomorrow", "２０２６"]
)
def test_instants_exist_and_have_a_zone(capsys: pytest.CaptureFixture[str], time: str) -> None:
    line = refused(capsys, "registry", "at", time)
    assert line.startswith(f"registry at: error: argument TIME: {time!r} is neither a day like 2027-07-12 nor a time ")


@pytest.mark.parametrize("value", ["", " ", "\t\u00a0"])
@pytest.mark.parametrize("command", EMPTY)
def test_what_is_empty(capsys: pytest.CaptureFixture[str], command: str, value: str) -> None:
    """A variable of a script that was never set must not widen what is exported, or leave a name out."""
    line = refused(capsys, *command.split(), value)
    assert line.endswith("is empty") and "\n" not in line
    *words, option = command.split()
    if option.startswith("--"):
        assert refused(capsys, *words, f"{option}={value}").endswith(f"error: argument {option}: is empty")


@pytest.mark.parametrize("value", ["a\nb", "a\x1b[31mred", "a\x85b", "a\u2028b", "a\ufffe"])
@pytest.mark.parametrize(
    "command",
    [
        *(f"maintenance schedule --from 2027-08-01T00:00:00Z {one}" for one in ("--cause", "--impact-de", "--reason")),
        "maintenance start --impact",
        *(f"notice report --state demoted --functions token {one}" for one in ("--cause", "--impact", "--contact")),
        *(f"notice retract event-1 {one}" for one in ("--by", "--reason")),
    ],
)
def test_words_for_many_are_one_line_that_all_can_show(
    capsys: pytest.CaptureFixture[str], command: str, value: str
) -> None:
    *_, option = command.split()
    line = refused(capsys, *command.split(), value)
    assert line.endswith(f"argument {option}: must be one line without control characters")


def options(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[str, argparse.Action]]:
    """Each option of a command and of the commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from options(below, *words, word)
        else:
            yield " ".join((*words, *action.option_strings[:1])), action


def test_each_number_has_bounds() -> None:
    parser = argparse.ArgumentParser(prog="ddr")
    commands(parser.add_subparsers())
    found = dict(options(parser))
    assert len(found) > 100 and "audit verify --from-seal" in found
    assert [name for name, action in found.items() if action.type in (int, float, complex)] == []


@pytest.mark.parametrize(("command", "begin"), [("logs export", "--since"), ("audit export", "--from")])
def test_a_span_of_time_has_a_length(capsys: pytest.CaptureFixture[str], command: str, begin: str) -> None:
    time = "2027-08-01T00:00:00Z"
    assert main([*command.split(), begin, time, "--until", time]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"ddr: --until must be after {begin}\n")


@pytest.mark.parametrize("command", ["audit verify --from-seal", "availability --month", "logs export --client"])
def test_a_mark_of_the_end_of_options_is_no_value(capsys: pytest.CaptureFixture[str], command: str) -> None:
    *words, option = command.split()
    said = "is not a whole number|is not a month like|expected one argument"  # from Python 3.13 on its type sees it
    assert re.search(rf"error: argument {option}: .*({said})", refused(capsys, *words, f"{option}=--"))
