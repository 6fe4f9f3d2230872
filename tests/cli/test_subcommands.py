"""Commands that need more than is installed, and `ddr probe`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import httpx
import pytest

from ddr.cli import probe, subcommands
from ddr.cli.actions import Actions
from ddr.cli.errors import CommandError


def parsers() -> Actions[argparse.ArgumentParser]:
    return argparse.ArgumentParser(prog="ddr").add_subparsers()


def test_a_command_whose_packages_are_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(name="asyncpg")

    monkeypatch.setattr(subcommands, "import_module", missing)
    command = subcommands.commands(parsers())["serve"]
    assert not command.whole
    with pytest.raises(CommandError, match=r"^`ddr serve` needs .* \(asyncpg is not installed\): pip install"):
        command.run(argparse.Namespace())


@pytest.mark.parametrize("name", ["ddr.store.none", None])
def test_a_module_of_our_own_that_is_missing_is_a_defect(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> object:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(subcommands, "import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        subcommands.commands(parsers())


def answer(status: int, text: str = "") -> Callable[..., httpx.Response]:
    return lambda *_, **__: httpx.Response(status, text=text)


def test_a_probe_tells_what_it_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = argparse.Namespace(path="readyz")
    monkeypatch.setenv("DDR_ADMIN_PORT", "9")
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setattr(httpx, "get", answer(200))
    assert probe.run(asked) == 0
    monkeypatch.setattr(httpx, "get", answer(503))
    with pytest.raises(CommandError, match=r"^probe: readyz answers 503$"):
        probe.run(asked)
    monkeypatch.setattr(httpx, "get", answer(503, '{"status":"not ready","checks":{"database":false}}\n'))
    with pytest.raises(CommandError, match=r'^probe: readyz answers 503: .*"database":false}}$'):
        probe.run(asked)

    def away(url: str, **_: object) -> httpx.Response:
        raise httpx.ConnectError("" if url == "http://127.0.0.1:9/readyz" else "another address")

    monkeypatch.setattr(httpx, "get", away)
    with pytest.raises(CommandError, match=r"^probe: no answer from http://127.0.0.1:9/readyz: ConnectError$"):
        probe.run(asked)
