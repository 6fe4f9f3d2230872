"""How `ddr conform` ends for its user: exit status, and one clear line for anything unusable."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ddr.cli.main import main
from ddr.conform.earlier import Earlier
from ddr.conform.target import Target
from ddr.demo.recorder import free_ports

DIGA = ("--client-id", "urn:diga:bfarm:1", "--redirect-uri", "https://diga.example/callback")


def test_a_recorder_out_of_reach_has_not_passed() -> None:
    base = f"https://127.0.0.1:{free_ports(1)[0]}"
    assert main(["conform", f"{base}/fhir", "--issuer", base, "--only", "TLS-002"]) == 1


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--certificate", str(tmp_path / "a.pem"), "--key", str(tmp_path / "b.pem"))
    assert main(["conform", "https://x.example/fhir", "--issuer", "https://x.example", *DIGA, *files]) == 1
    assert capsys.readouterr().err == f"ddr: {tmp_path / 'a.pem'} is not a file\n"


def test_a_check_that_is_not_known_is_not_left_out_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    only = ("--only", "TLS-002", "--only", "TLS-0O2", "--only", "tls-version")
    assert main(["conform", "https://x.example/fhir", "--issuer", "https://x.example", "--plan", *only]) == 1
    assert capsys.readouterr().err == "ddr: no check is called TLS-0O2, tls-version\n"


def test_a_folder_is_no_file_for_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "https://x.example/fhir", "--issuer", "https://x.example", "--json", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"ddr: {tmp_path} cannot be written\n"


def test_a_report_that_cannot_be_written_whole_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (report := tmp_path / "report.json").write_text("former")
    base = f"https://127.0.0.1:{free_ports(1)[0]}"
    given = ("conform", f"{base}/fhir", "--issuer", base, "--only", "TLS-002", "--json", str(report))
    with monkeypatch.context() as disk:
        disk.setattr("ddr.drafts.os.fsync", full)
        assert main(given) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert report.read_text() == "former" and list(tmp_path.iterdir()) == [report]
    assert main(given) == 1
    assert json.loads(report.read_text())["stopped"].startswith("the recorder can no longer be reached")


def test_a_report_of_another_recorder_is_no_earlier_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (report := tmp_path / "report.json").write_text(json.dumps({"state": Earlier("https://y.example", 0).to_json()}))
    given = ("--issuer", "https://x.example", "--against", str(report))
    assert main(["conform", "https://x.example/fhir", *given]) == 1
    assert capsys.readouterr().err == f"ddr: {report} is a report of another recorder: https://y.example\n"


def test_a_password_that_is_no_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file := tmp_path / "password").write_bytes(b"\xff")
    given = ("--issuer", "https://x.example", "--password-file", str(file))
    assert main(["conform", "https://x.example/fhir", *given]) == 1
    assert capsys.readouterr().err == f"ddr: {file} is not UTF-8 text\n"


def test_without_mivs_all_of_hddt_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Target] = []

    def plan(target: Target, checks: object) -> int:
        asked.append(target)
        return 0

    for name in ("a.pem", "b.pem"):
        (tmp_path / name).touch()
    monkeypatch.setattr("ddr.cli.conform._plan", plan)
    files = ("--certificate", str(tmp_path / "a.pem"), "--key", str(tmp_path / "b.pem"))
    assert main(["conform", "https://x.example/fhir", "--issuer", "https://x.example", *DIGA, *files, "--plan"]) == 0
    assert len(asked[0].digas[0].mivs) == 4
