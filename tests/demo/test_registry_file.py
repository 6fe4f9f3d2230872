"""The stand-in's data as a file, edited by hand and by `ddr registry-sandbox`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ddr.cli.main import main
from ddr.demo import certs
from ddr.demo.registry_file import DataError, following, load, save
from ddr.demo.registry_state import ListedDiga, Package, RegistryState
from ddr.demo.registry_zts import archive
from ddr.drafts import alone_in


@pytest.fixture
def pair(tmp_path: Path) -> certs.Pair:
    return certs.client_certificate(tmp_path, "client")


@pytest.fixture
def file(tmp_path: Path, pair: certs.Pair) -> Path:
    """The data with one DiGA."""
    diga = ListedDiga("00001", "Eins", "GmbH", "https://eins.example/cb", ["https://x.example"], [pair.der])
    save(RegistryState([diga]), tmp_path / "registry.json")
    return tmp_path / "registry.json"


def sandbox(file: Path, *arguments: str) -> int:
    return main(["registry-sandbox", "--data", str(file), *arguments])


def test_what_is_saved_is_loaded(file: Path) -> None:
    state = load(file)
    save(state, file)
    assert load(file) == state


def test_certificates_may_be_files_or_pem(file: Path, pair: certs.Pair) -> None:
    content = json.loads(file.read_text())
    for text in ("client.pem", pair.cert.read_text()):
        content["digas"][0]["certificates"] = [text]
        file.write_text(json.dumps(content))
        assert load(file).digas[0].certificates == [pair.der]


@pytest.mark.parametrize("text", ["", "[]", '{"digas": 1}', '{"fault": "rain"}', '{"unknown": 1}', '{"digas": [{}]}'])
def test_a_broken_file_is_refused_and_leaves_what_was_served(file: Path, text: str) -> None:
    state = load(file)
    look = following(state, file)
    file.write_text(text)
    with pytest.raises(DataError, match=r"registry\.json"):
        load(file)
    look()
    assert state.digas[0].name == "Eins"


def test_an_edited_file_is_taken_over(file: Path) -> None:
    state = load(file)
    look = following(state, file)
    assert sandbox(file, "retire", "00001") == 0
    look()
    assert state.digas[0].status == "retired"


def test_commands_edit_the_file(file: Path, tmp_path: Path) -> None:
    new = certs.client_certificate(tmp_path, "new")
    assert sandbox(file, "rollover", "00001", str(new.cert), "--keep") == 0
    assert sandbox(file, "add", "00002", "Zwei", "https://zwei.example/cb", str(new.cert), "https://y.example") == 0
    assert sandbox(file, "mivs", "00001") == 0
    assert sandbox(file, "redirect", "00001", "https://neu.example/cb") == 0
    assert sandbox(file, "fault", "slow", "--on", "zts") == 0
    (tmp_path / "a.tgz").write_bytes(archive(Package("a.b", "1.0.0", [])))
    assert sandbox(file, "publish", str(tmp_path / "a.tgz")) == 0
    assert sandbox(file, "deprecate", "a.b", "1.0.0", "old") == 0
    bundle = {"entry": [{"resource": {"resourceType": "DeviceDefinition"}}]}
    (tmp_path / "bundle.json").write_text(json.dumps(bundle))
    assert sandbox(file, "register", str(tmp_path / "bundle.json"), "--hiis-id", "7") == 0
    state = load(file)
    first, second = state.digas
    assert (len(first.certificates), first.mivs, first.redirect_uri) == (2, [], "https://neu.example/cb")
    assert second.client_id == "urn:diga:bfarm:00002"
    assert (state.fault, state.fault_on, state.packages[0].unlisted) == ("slow", "zts", "old")
    assert state.hiis[0]["identifier"][0]["value"] == "7"
    assert sandbox(file, "remove", "00002") == 0
    assert sandbox(file, "fault", "none") == 0
    assert (len(load(file).digas), load(file).fault) == (1, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("retire", "9"),
        ("redirect", "00001", "/cb"),
        ("redirect", "00001", "https:///cb"),
        ("deprecate", "a.b", "1", "x"),
        ("rollover", "00001", "none.pem"),
        ("mivs", "00001", "continuous-glucose-measurement"),
        ("mivs", "00001", "https://a.example/x|1.0"),
        ("add", "00002", "Zwei", "https://zwei.example/cb", "client.pem", "blood-glucose-measurement"),
        ("add", "00001", "Eins", "https://eins.example/cb", "client.pem", "https://x.example"),
        ("add", "7", "Sieben", "https://sieben.example/cb", "client.pem"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    before = file.read_text()
    assert sandbox(file, *arguments) == 1
    assert file.read_text() == before
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_was_done_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        (("mivs", "00001", "https://y.example/v"), "DiGA 00001 has MIVs https://y.example/v; "),
        (("fault", "slow"), "fault slow on all; "),
        (("remove", "00001"), "DiGA 00001 is no longer listed; "),
    ):
        assert sandbox(file, *arguments) == 0
        assert capsys.readouterr().out.startswith(told)


def test_what_it_holds_is_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sandbox(file, "show") == 0
    assert "00001 Eins: active, 1 certificates, 1 MIVs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "content", "told"),
    [
        (("register",), b"[]", "is not a Bundle of resources in JSON"),
        (("register",), b'{"entry": [{"resource": 5}]}', "is not a Bundle of resources in JSON"),
        (("register",), b"\xff", "is not a Bundle of resources in JSON"),
        (("publish",), b"no archive", "the archive is not gzip"),
        (("rollover", "00001"), b"no certificate", "is not a PEM certificate"),
        (("rollover", "00001"), b"\xff", "is not a PEM certificate"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    file: Path, words: tuple[str, ...], content: bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = file.with_name("given")
    given.write_bytes(content)
    assert sandbox(file, *words, str(given)) == 1
    assert capsys.readouterr().err == f"ddr: {given}: {told}\n"


def test_what_is_wrong_with_the_data_is_said_in_words(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, told in (("[]", "is not a JSON object"), ('{"unknown": 1}', "a member is missing, unknown or")):
        file.write_text(text)
        assert sandbox(file, "show") == 1
        assert capsys.readouterr().err.startswith(f"ddr: {file}: {told}")


@pytest.mark.parametrize("described", ["[]", "{}", '{"patients": [{}]}'])
def test_a_demonstration_that_is_none_has_no_events(
    tmp_path: Path, described: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo.json").write_text(described)
    assert main(["demo-fault", "amended", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"ddr: no demonstration has run in {tmp_path}\n"


def test_nobody_else_edits_meanwhile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two edits at once one was lost, and said to be done."""
    looks: list[str] = []

    def looked(state: RegistryState, to: Path) -> None:
        with pytest.raises(BlockingIOError), alone_in(file.parent):
            looks.append("somebody else came in")
        looks.append("alone")
        save(state, to)

    monkeypatch.setattr("ddr.cli.registry_sandbox.save", looked)
    assert sandbox(file, "retire", "00001") == 0
    assert looks == ["alone"]
