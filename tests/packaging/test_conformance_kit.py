"""docs/conformance-kit.md by a person with a foreign recorder's addresses, a DiGA's certificate and a test patient.

From the built wheel, in an empty directory, against the demonstration: by hand, and by a recipe with a plug-in.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from ddr.demo.browser_user import BrowserUser
from ddr.demo.tls import client_context
from tests.demo.sandbox import running
from tests.packaging.test_wheel import CONSTRAINTS, run, wheel
from tools.closure import ROOT

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1800)]
__all__ = ["wheel"]
GUIDE = (ROOT / "docs/conformance-kit.md").read_text("utf-8")
SCHEMA = json.loads((ROOT / "ddr/conform/report/schema.json").read_text())
PLUG_IN = """
    import ssl, urllib.request, json, datetime
    if data != "new":
        return False
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for path, body in (
        ("devices/mine", {"serialNumber": "M-1", "name": "Mine", "manufacturer": "I", "type": "337414009",
            "startedAt": "2026-01-01T00:00:00Z"}),
        (f"measurements/new-{now[:19].replace(':', '-')}", {
            "code": "2339-0", "unit": "mg/dL", "value": 111, "device": "mine", "effective": now}),
    ):
        request = urllib.request.Request(
            f"{patient['gateway']}/gateway/v1/{path}", json.dumps(body).encode(), method="PUT",
            headers={"authorization": f"Bearer {patient['gateway_token']}", "content-type": "application/json"})
        urllib.request.urlopen(request, context=ssl.create_default_context(cafile="ca.pem")).close()
    return True
"""


def blocks(kind: str) -> list[str]:
    """The guide's blocks of code in this language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A recorder that the person knows nothing of."""
    state = tmp_path_factory.mktemp("foreign")
    with running(state, "--ports", "auto", "--grace-seconds", "0", "--patients", "2", "--no-story") as described:
        yield described


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, wheel: Path, foreign: dict[str, Any]) -> Path:
    """The person's directory: the wheel, installed by the guide's own line, and the files of two DiGA."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(wheel, folder)
    run(sys.executable, "-m", "venv", "venv", cwd=folder)
    install = blocks("sh")[0].splitlines()[0]
    assert install.startswith("pip install")
    done = subprocess.run(
        ["sh", "-c", install], cwd=folder, env={**environment(folder), "PIP_CONSTRAINT": str(CONSTRAINTS)}
    )
    assert done.returncode == 0
    for name, diga in zip(("diga", "other"), foreign["digas"], strict=False):
        shutil.copy(diga["cert"], folder / f"{name}.pem")
        shutil.copy(diga["key"], folder / f"{name}.key")
    shutil.copy(foreign["ca"], folder / "ca.pem")
    return folder


def environment(folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DDR_", "PYTHON"))}
    return {**inherited, "PATH": f"{folder / 'venv/bin'}:{inherited['PATH']}"}


def filled(text: str, foreign: Mapping[str, Any]) -> str:
    """What the guide has as an example, with the addresses and names of this recorder."""
    first, second = foreign["digas"][:2]
    for example, own in (
        ("https://recorder.example/fhir", foreign["fhir_base"]),
        ("https://login.recorder.example", foreign["oauth_issuer"]),
        ("https://recorder.example/status", foreign["status_url"]),
        ("urn:diga:bfarm:00777", first["client_id"]),
        ("https://diga.example/callback", first["redirect_uri"]),
        ("urn:diga:bfarm:00778", second["client_id"]),
        ("https://other.example/callback", second["redirect_uri"]),
        ('username = "test-patient"', f'username = "{foreign["patients"][0]["username"]}"'),
        ('password = "…"', f'password = "{foreign["patients"][0]["password"]}"'),
        ('ca = ""', 'ca = "ca.pem"'),
    ):
        text = text.replace(example, own)
    return re.sub("grace_seconds = [0-9]+", "grace_seconds = 0", text)


def report(file: Path) -> dict[str, str]:
    """Verdicts by check, of a report that fails nothing."""
    found = json.loads(file.read_text())
    jsonschema.validate(found, SCHEMA)
    failed = [(one["check"], one["text"]) for one in found["checks"] if one["verdict"] in ("failed", "kit error")]
    assert not failed and not found["stopped"]
    return {one["check"]: one["verdict"] for one in found["checks"]}


async def browse(foreign: Mapping[str, Any], url: str) -> str:
    """The person at a browser: logs in, agrees, and copies the address where it ends."""
    patient, diga = foreign["patients"][0], foreign["digas"][0]
    scopes = [*(f"patient/Observation.rs?code:in={one}" for one in diga["mivs"]), "patient/Device.rs"]
    async with httpx.AsyncClient(verify=client_context(Path(foreign["ca"])), timeout=60, trust_env=False) as http:
        user = BrowserUser(http, patient["username"], patient["password"])
        return await user.decide(url, diga["redirect_uri"], [*scopes, "patient/DeviceMetric.rs"])


def test_by_hand(desk: Path, foreign: dict[str, Any]) -> None:
    command = filled("\n".join(blocks("sh")[0].splitlines()[1:]), foreign).rstrip() + " --ca ca.pem"
    with subprocess.Popen(
        ["sh", "-c", command],
        cwd=desk,
        env=environment(desk),
        stdin=subprocess.PIPE,
        stdout=(desk / "shown.txt").open("w"),
        stderr=subprocess.PIPE,
        text=True,
    ) as kit:
        assert kit.stdin and kit.stderr
        url = next(line.strip() for line in kit.stderr if line.strip().startswith("https://"))
        kit.stdin.write(asyncio.run(browse(foreign, url)) + "\n")
        kit.stdin.close()
        told = kit.stderr.read()
        assert kit.wait(600) == 0, told + (desk / "shown.txt").read_text()[-3000:]
    verdicts = report(desk / "report.json")
    assert verdicts["pairing-succeeds"] == verdicts["revoking-ends-everything"] == "passed"
    assert verdicts["wrong-verifier-is-refused"] == "not run"  # a person logs in once
    assert "not run (needs further consents" in " ".join((desk / "shown.txt").read_text().split())
    assert (desk / "report.html").read_text().startswith("<!doctype html>")
    assert len(ElementTree.parse(desk / "report.xml").findall(".//testcase")) == len(verdicts)


def test_by_recipe_with_a_plug_in(desk: Path, foreign: dict[str, Any]) -> None:
    description, recipe = blocks("toml")
    more = f'gateway_token = "{foreign["patients"][0]["gateway_token"]}"\ngateway = "{foreign["gateway_base"]}"\n'
    (desk / "recorder.toml").write_text(
        filled(description, foreign).replace('username = "', f'{more}username = "', 1), "utf-8"
    )
    (desk / "recipe.toml").write_text(recipe)
    (desk / "mine.py").write_text(blocks("python")[0].rstrip() + PLUG_IN)
    ddr = (desk / "venv/bin/ddr", "conform", "recorder.toml")
    planned = run(*ddr, "--plan", cwd=desk)
    assert "2 pairings" in planned and "search-by-code: " in planned
    arguments = ("--recipe", "recipe.toml", "--data", "mine.py", "--json", "second.json", "--against", "report.json")
    done = subprocess.run([*ddr, *arguments], cwd=desk, env=environment(desk), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    verdicts = report(desk / "second.json")
    for name in ("new-values-are-served", "wrong-verifier-is-refused", "token-needs-its-diga", "final-stays-final"):
        assert verdicts[name] == "passed", (name, done.stdout[-3000:])
    assert verdicts["deleted-is-gone"] == "not run" and "--data does not provide" in done.stdout
    assert "new-values-are-served: before not run, now passed" in done.stdout
    passed = sum(one == "passed" for one in verdicts.values())
    assert passed >= 0.9 * len(verdicts)
