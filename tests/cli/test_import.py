"""`ddr import` against the gateway API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from ddr.cli.errors import CommandError
from ddr.cli.main import main
from ddr.imports.clarity import clarity
from ddr.imports.formats import FORMATS
from tests.imports.test_exports import CLARITY

importer = import_module("ddr.cli.import")
EXPORT = clarity(CLARITY.splitlines(), ZoneInfo("Europe/Berlin"))


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer), base_url="https://recorder/gateway/v1/")


def test_devices_are_registered_and_readings_sent(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        body = orjson.loads(request.content)
        seen.append((request.method, request.url.path.removeprefix("/gateway/v1/devices/8ABCDE"), body))
        items = [{"status": "accepted"}, {"status": "duplicate"}, {"status": "rejected", "reason": "before-start"}]
        return httpx.Response(200, json={"items": items})

    counts = importer.send(client(answer), EXPORT, FORMATS["clarity"])
    importer.report(EXPORT, counts)
    assert [(method, path) for method, path, _ in seen] == [
        ("PUT", ""),
        ("PUT", "/sensors/glucose"),
        ("POST", "/sensors/glucose/readings"),
    ]
    assert seen[0][2]["startedAt"] == "2026-07-20T06:00:00Z"
    assert seen[2][2] == {"unit": "mg/dL", "readings": EXPORT.readings["8ABCDE"]}
    shown = capsys.readouterr().out
    assert "already there" in shown and "refused: before-start" in shown


def test_a_refusal_is_one_line() -> None:
    refused = client(lambda request: httpx.Response(401, json={"detail": "A valid gateway token is required"}))
    with pytest.raises(CommandError, match="401"):
        importer.send(refused, EXPORT, FORMATS["clarity"])


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n")
    assert main(["import", "libreview", str(file), "--token", "t"]) == 1
    assert "LibreView" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "token"),
    [([], "from-environment"), (["--token-file", "token"], "from-file"), (["--token", "given"], "given")],
)
def test_the_token_may_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], token: str
) -> None:
    sent: list[str] = []

    def send(client: httpx.Client, *export: Any) -> Counter[str]:
        sent.append(client.headers["authorization"])
        return Counter()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importer, "send", send)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_GATEWAY_TOKEN", "from-environment")
    Path("token").write_text("from-file\n")
    Path("export.csv").write_text(CLARITY)
    assert main(["import", "clarity", "export.csv", *more]) == 0
    assert sent == [f"Bearer {token}"]


@pytest.mark.parametrize("more", [[], ["--token-file", "nowhere"], ["--token", "two words"]])
def test_without_a_token_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.delenv("DDR_GATEWAY_TOKEN", raising=False)
    Path("export.csv").write_text(CLARITY)
    assert main(["import", "clarity", "export.csv", *more]) == 1
    error = capsys.readouterr().err
    assert "import: " in error and "two words" not in error
