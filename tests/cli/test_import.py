"""`ddr import`: people's files, bad rows by line, exit status, and the source of the token."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import httpx
import pyarrow
import pytest
from pyarrow import parquet

from ddr.cli.errors import CommandError
from ddr.cli.main import main
from ddr.demo.certs import authority
from ddr.imports.calls import Answer, Call, Report, Steps
from tests.imports import samples

importer = importlib.import_module("ddr.cli.import")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("export.csv").write_text(samples.CLARITY)
    return tmp_path


def walk_with(found: Report, sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(client: httpx.Client, steps: Steps, total: int) -> Report:
        sent.append(client.headers["authorization"])
        return found

    monkeypatch.setattr(importer, "_walk", walk)


@pytest.mark.parametrize(
    ("more", "token"),
    [([], "from-environment"), (["--token-file", "token"], "from-file"), (["--token", "given"], "given")],
)
def test_the_token_may_come_from_a_file_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, more: list[str], token: str
) -> None:
    sent: list[str] = []
    report = Report()
    report.counts["taken"] = 3
    walk_with(report, sent, monkeypatch)
    monkeypatch.setenv("DDR_GATEWAY_TOKEN", "from-environment")
    Path("token").write_text("from-file\n")
    assert main(["import", "clarity", "export.csv", *more]) == 0
    assert main(["import", "export.csv", *more]) == 0
    assert sent == [f"Bearer {token}"] * 2


@pytest.mark.parametrize("more", [[], ["--token-file", "nowhere"], ["--token", "two words"]])
def test_without_a_token_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    monkeypatch.delenv("DDR_GATEWAY_TOKEN", raising=False)
    assert main(["import", "clarity", "export.csv", *more]) == 1
    error = capsys.readouterr().err
    assert "import: " in error and "two words" not in error


def test_nothing_taken_is_no_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.refuse([], "before-start", "too early")
    walk_with(report, [], monkeypatch)
    assert main(["import", "export.csv", "--token", "t"]) == 1


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_an_authority_is_named_in_a_way_that_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    report.counts["taken"] = 3
    walk_with(report, [], monkeypatch)
    assert main(["import", "export.csv", "--token", "t", "--ca", str(authority(place).cert)]) == 0


def test_a_dry_run_sends_nothing_and_shows_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_text(samples.CLARITY + "6,2026-11-20T08:15:00,EGV,,,\n")
    assert main(["import", "bad.csv", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "8ABCDE" in told.out and "5 min" in told.out and "line 7: no value: empty" in told.err


def test_what_a_file_holds_is_shown_as_text_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither rich's markup (`[/x]` ended with a traceback) nor an order to the terminal, also of the file's name."""
    good = "2026-11-01T10:00:00Z,2339-0,104,mg/dL,\x1b]0;owned\x07[red]meter,[/x]\n"
    bad = "2026-11-01T10:01:00Z,2339-0,\x1b[2J[/x],mg/dL,meter,\x9b31mS1\n"
    Path("own [bold].csv").write_text(f"time,code,value,unit,device,serial\n{good}{bad}")
    assert main(["import", "own [bold].csv", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert all(text in told.out for text in ("own [bold].csv", "]0;owned\ufffd[red]meter", "[/x]"))
    assert "line 3: no value: \ufffd[2J[/x]" in told.err
    assert not {"\x1b", "\x07", "\x9b"} & set(told.out + told.err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["libreview", "export.csv"], "looks like Dexcom Clarity"),
        (["nowhere.csv"], "nowhere.csv: No such file"),
        (["nowhere\x1b[2J.csv"], "nowhere\N{REPLACEMENT CHARACTER}[2J.csv: No such file"),
        (["export.csv", "--zone", "Europe/Nirgends"], "no time zone"),
        (["export.csv", "--zone", "Europe"], "no time zone"),
        (["export.csv", "--map", "latin.toml"], "latin.toml: is not UTF-8 text"),
        (["export.csv", "--map", "export.csv"], "the map is not TOML"),
    ],
)
def test_what_cannot_be_read_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("latin.toml").write_bytes("time = 'Größe'".encode("latin-1"))
    assert main(["import", *words, "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_any_other_table_is_described_by_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.csv").write_text("Notiz\nWann;Wieviel;Sensor\n20.11.2026 08:00;101;S9\n")
    Path("map.toml").write_text(
        '\ufeff[columns]\ntime = "Wann"\nvalue = "Wieviel"\nserial = "Sensor"\n'
        '[fixed]\nunit = "mg/dL"\nzone = "Europe/Berlin"\n'
    )
    assert main(["import", "own.csv", "--map", "map.toml", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "S9" in told and "2026-11-20 07:00" in told
    Path("map.toml").write_text('[columns]\ntime = "Wann"\nvalue = "Betrag"\n')
    assert main(["import", "own.csv", "--map", "map.toml", "--dry-run"]) == 1
    assert "no column Betrag" in capsys.readouterr().err


def test_a_parquet_file_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = pyarrow.table({"at": ["2026-11-20T07:00:00Z"], "gl": [101]})
    parquet.write_table(table, "own.parquet")
    Path("map.toml").write_text('[columns]\ntime = "at"\nvalue = "gl"\n[fixed]\nunit = "mg/dL"\ndevice = "Dexcom G6"\n')
    assert main(["import", "own.parquet", "--map", "map.toml", "--dry-run"]) == 0
    assert "Dexcom G6" in capsys.readouterr().out


def asked(*answers: httpx.Response) -> tuple[Answer, list[float]]:
    """What comes of these answers to one call, and for how long it was waited between them."""
    left, waited = [*answers], list[float]()
    transport = httpx.MockTransport(lambda request: left.pop(0))
    with httpx.Client(transport=transport, base_url="https://recorder/") as client:
        return importer._ask(client, Call("GET", "devices"), waited.append), waited


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("-7", 0.0), ("nan", 1.0), ("soon", 1.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("99999", 60.0)],
)
def test_a_busy_recorder_is_asked_again(header: str, seconds: float) -> None:
    busy = httpx.Response(503, headers={"retry-after": header})
    answer, waited = asked(busy, httpx.Response(200, json={"devices": []}))
    assert (answer.body, waited) == ({"devices": []}, [seconds])


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<p>Log in"),
        httpx.Response(200, text="{", headers={"content-type": "application/json"}),
        httpx.Response(200, json=[]),
        httpx.Response(200, content=b"[" * 3000 + b"]" * 3000),
        httpx.Response(302, headers={"location": "https://elsewhere/"}),
    ],
)
def test_what_is_no_recorder_is_one_line(answer: httpx.Response) -> None:
    with pytest.raises(CommandError, match="is not the gateway API of a recorder"):
        asked(answer)


def test_a_certificate_that_nobody_vouches_for_is_not_asked_again() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")

    with (
        httpx.Client(base_url="https://recorder", transport=httpx.MockTransport(refuse)) as client,
        pytest.raises(
            CommandError, match="self-signed certificate; --ca FILE names a certification authority to trust"
        ),
    ):
        importer._ask(client, Call("GET", "devices"), lambda seconds: pytest.fail("it waits"))


def test_an_error_without_a_body_of_ours_keeps_its_status() -> None:
    assert asked(httpx.Response(404, html="<p>no"))[0] == Answer(404, None)


def test_rows_with_one_fault_are_told_together() -> None:
    told = [(2, "no time"), (3, "no time"), (4, "no time"), (7, "no value"), (9, "no time")]
    assert importer._lines(told) == ["lines 2–4: no time", "line 7: no value", "line 9: no time"]


def test_values_of_a_series_that_another_file_has_are_not_told_to_be_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recorder does not say how many stay when it takes an upload back."""
    walk_with(Report(Counter({"taken back": 400})), [], monkeypatch)
    assert main(["import", "--undo", "--token", "x", "export.csv"]) == 0
    assert "taken back, except for readings that another file has, too" in capsys.readouterr().out


def test_who_takes_back_what_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    walk_with(Report(), [], monkeypatch)
    assert main(["import", "--undo", "--token", "x", "export.csv"]) == 1
    assert "nothing of export.csv is stored" in capsys.readouterr().err


OF_A_DEVICE = {"key": "d", "startedAt": "2026-11-20T08:00:00Z"}


@pytest.mark.parametrize(
    ("body", "undo"),
    [
        *(({"devices": found}, undo) for found in (None, ["7"], [{"id": 7}]) for undo in (False, True)),
        ({}, False),
        ({}, True),
        ({"devices": []}, False),
        ({"devices": [], **OF_A_DEVICE, "startedAt": "yesterday"}, False),
        ({"devices": [], "sensors": [], **OF_A_DEVICE}, False),
        ({"devices": [], "sensors": [], **OF_A_DEVICE, "items": []}, False),
    ],
)
def test_other_json_than_a_recorders_is_one_line(
    body: object, undo: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before: KeyError 'devices', with a traceback."""
    client, transport = httpx.Client, httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    monkeypatch.setattr(importer.httpx, "Client", lambda **_: client(transport=transport, base_url="https://other/"))
    assert main(["import", "export.csv", "--token", "t", *(["--undo"] if undo else [])]) == 1
    error = capsys.readouterr().err
    assert "is not the gateway API of a recorder (" in error.splitlines()[-1] and "Traceback" not in error
