"""The demonstration as a DiGA's sandbox: what is paired outlives a restart, own DiGA are listed, ports stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ddr.demo.certs import client_certificate
from ddr.demo.own_diga import OwnDigaError, own_diga
from tests.demo.sandbox import backend, environment, free_row, paired, running

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
        (["urn:diga:bfarm:00777", "x.pem", "/cb"], "no absolute redirect URI"),
    ],
)
def test_an_own_diga_that_makes_no_sense(words: list[str], complaint: str) -> None:
    with pytest.raises(OwnDigaError, match=complaint):
        own_diga(words)


def test_ports_are_fixed_or_free_but_not_both(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "ddr.cli.main", "demo", "--ports", "auto", "--port-base", "9000"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=60)
    assert done.returncode == 1
    assert done.stderr == "ddr: --ports auto and --port-base exclude each other\n"
