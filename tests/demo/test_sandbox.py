"""The demonstration as a DiGA's sandbox: pairings survive a restart, own DiGA are listed, ports stay."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ddr.demo.certs import client_certificate
from ddr.demo.chunks import samples_of
from ddr.demo.diga_client import DigaClient, Tokens
from ddr.demo.own_diga import OwnDigaError, own_diga
from ddr.http.clock import now_ms
from tests.demo.sandbox import SECONDS, backend, command, environment, free_row, paired, running

pytestmark = pytest.mark.slow

CGM = {"code": "99504-3,105272-9"}
SMALL = ("--patients", "2", "--days", "1", "--grace-seconds", "0")


async def test_pairings_outlive_a_restart_with_its_story(tmp_path: Path) -> None:
    own = client_certificate(tmp_path, "own")
    redirect = "https://localhost:3000/callback"
    listed = ("--diga", "urn:diga:bfarm:00777", str(own.cert), redirect, "continuous-glucose-measurement")
    base = free_row()
    arguments = (*SMALL, "--port-base", str(base), *listed)
    with running(tmp_path / "state", *arguments, "--no-story") as first:
        assert "pairs with a patient" not in first["output"]
        assert [first[name].rpartition(":")[2].partition("/")[0] for name in ("fhir_base", "oauth_issuer")] == [
            str(base),
            str(base + 1),
        ]
        cast, mine = first["digas"][0], first["digas"][-1]
        assert (mine["client_id"], mine["redirect_uri"]) == ("urn:diga:bfarm:00777", redirect)
        assert len(mine["mivs"]) == 1
        async with backend(first, cast) as one, backend(first, mine, own.key) as two:
            tokens, own_tokens = await paired(first, cast, one), await paired(first, mine, two)
            before = {each["id"] for each in await one.search(tokens, "Device", {})}
            assert await two.search(own_tokens, "Observation", {"_summary": "count"}) == []
    with running(tmp_path / "state", *arguments) as again:
        assert "pairs with a patient" in again["output"]
        assert {key: again[key] for key in first if key != "output"} == {
            key: first[key] for key in first if key != "output"
        }
        async with backend(again, cast) as one, backend(again, mine, own.key) as two:
            assert {each["id"] for each in await one.search(tokens, "Device", {})} == before
            assert (await one.refresh(tokens)).pairing_id == tokens.pairing_id
            assert (await two.refresh(own_tokens)).pairing_id == own_tokens.pairing_id


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["urn:diga:bfarm:00777", "x.pem"], "needs CLIENT_ID CERT.pem REDIRECT"),
        (["00777", "x.pem", "https://x.example"], "urn:diga:bfarm: and five digits"),
        (["urn:diga:bfarm:00777", "x.pem", "/cb"], "neither https nor"),
        (["urn:diga:bfarm:00777", "x.pem", "http://localhost:3000/cb"], "is http, which only 127.0.0.1"),
    ],
)
def test_an_own_diga_that_makes_no_sense(words: list[str], complaint: str) -> None:
    with pytest.raises(OwnDigaError, match=complaint):
        own_diga(words)


def test_ports_are_fixed_or_free_but_not_both(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "ddr.cli.main", "demo", "--ports", "auto", "--port-base", "9000"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=SECONDS)
    assert done.returncode == 1
    assert done.stderr == "ddr: --ports auto and --port-base exclude each other\n"


FHIR_FAULTS = (
    ("throttled", 429, 200),
    ("overload", 503, 503),
    ("maintenance", 503, 503),
    ("registry", 503, 503),
    ("error", 500, 500),
    ("token-expired", 401, 401),
)


async def test_faults_and_events_on_demand(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(
        state, "--patients", "2", "--days", "7", "--grace-seconds", "0", "--ports", "auto", "--no-story"
    ) as one:
        diga = one["digas"][0]
        async with backend(one, diga) as client:
            tokens = await paired(one, diga, client)
            before = {each["id"]: each["status"] for each in await client.search(tokens, "Observation", CGM)}
            device = (await client.search(tokens, "Device", {}))[0]["id"]
            for name, searched, read in FHIR_FAULTS:
                done = command(state, "demo-fault", name, "--seconds", "300")
                assert done.returncode == 0 and done.stdout.startswith(f"{name} for 300 s: "), done.stderr
                answers = [await refused(client, tokens, path) for path in ("Observation", f"Device/{device}")]
                assert [answer.status_code for answer in answers] == [searched, read]
                assert searched not in (429, 503) or 250 < int(answers[0].headers["retry-after"]) <= 300
                assert ("planned-maintenance" in answers[0].headers) == (name == "maintenance")
                token = await client.http.post(f"{one['fhir_base'].removesuffix('/fhir')}/oauth/token", data={})
                assert token.status_code == (
                    503 if read == 503 else 400 if name == "token-expired" else token.status_code
                )
            await asyncio.sleep(1)  # iat of tokens counts seconds
            tokens = await client.refresh(tokens)
            assert len(await client.search(tokens, "Observation", CGM)) == len(before)
            assert command(state, "demo-fault", "none").stdout == "no fault is shown any more\n"
            for name in ("amended", "entered-in-error"):
                done = command(state, "demo-fault", name)
                assert done.returncode == 0, done.stderr
                found = await client.search(tokens, "Observation", {**CGM, "status": name})
                assert {each["id"] for each in found} & {key for key in before if before[key] != name}
            assert command(state, "demo-fault", "consent-withdrawn", "--client-id", diga["client_id"]).returncode == 0
            assert (await refused(client, tokens, "Observation")).status_code == 401
    assert command(tmp_path, "demo-fault", "overload").stderr.startswith("ddr: no demonstration has run in ")


async def refused(client: DigaClient, tokens: Tokens, path: str) -> httpx.Response:
    """The answer to a request, whatever it is."""
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    return await client.http.get(f"{client.fhir_base}/{path}", headers=headers)


async def test_data_arrives_while_a_diga_polls(tmp_path: Path) -> None:
    arguments = ("--patients", "2", "--days", "2", "--grace-seconds", "0", "--ports", "auto", "--no-story")
    with running(tmp_path / "state", *arguments, "--time-lapse", "3600") as one:
        diga = one["digas"][0]
        async with backend(one, diga) as client:
            tokens = await paired(one, diga, client)
            newest: list[str] = []
            async with asyncio.timeout(SECONDS):
                while len(newest) < 4:
                    found = await client.search(tokens, "Observation", {**CGM, "_sort": "-_lastUpdated", "_count": "1"})
                    stamp = found[0]["meta"]["lastUpdated"]
                    newest += [stamp] if stamp not in newest else []
                    await asyncio.sleep(0.5)
            assert newest == sorted(newest)
            async with asyncio.timeout(SECONDS):  # a day in 24 s: the last readings are of now
                while not await reaches_now(client, tokens):  # noqa: ASYNC110 - it is over there
                    await asyncio.sleep(0.5)


async def reaches_now(client: DigaClient, tokens: Tokens) -> bool:
    """Whether the running chunk has a value of the last ten minutes."""
    (chunk, *_) = await client.search(tokens, "Observation", {**CGM, "_sort": "-date", "_count": "1"})
    samples = samples_of([chunk])
    return bool(samples) and samples[-1][0] > now_ms() - 600_000
