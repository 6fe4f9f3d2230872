"""The kit at another vendor's server with the specification's examples: python -m tests.conform.hapi BASE.

BASE is the FHIR base URL of an empty HAPI JPA starter over plain HTTP, without authorization; DDR_HDDT_ARTIFACTS names
the folder of the examples. First `ddr conform` itself, which ends without a pairing; then, as if one pairing saw
everything, all checks of data. Prints how each ended; a fault of the kit, or a run that stops, is an AssertionError.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from ddr.cli.main import main as ddr
from ddr.conform.authorization import Pairing, Request
from ddr.conform.browser import Person
from ddr.conform.check import all_checks
from ddr.conform.kit import Kit
from ddr.conform.pacing import Pace, Patience
from ddr.conform.run import Result, run
from ddr.conform.target import LIMITS, Account, Identity, Target, canonical
from ddr.conform.verdict import Verdict
from ddr.conform.view import View
from ddr.conform.wire import Wire
from tests.client.hapi import examples, fill

OF_DATA = (
    "search_observations",
    "search_results",
    "search_devices",
    "formats",
    "errors",
    "profiles",
    "devices",
    "chunks",
    "summary",
    "limits",
)


class Plain(Wire):
    """No certificates: the server uses plain HTTP."""

    def _new(self, identity: Identity | None, name: str) -> httpx.Client:
        return httpx.Client(timeout=60, trust_env=False)


def as_one_pairing(base: str) -> Kit:
    """A kit that treats the whole server as what one pairing sees."""
    diga = Identity("urn:diga:bfarm:00001", "https://diga.example/cb", Path(), Path(), tuple(map(canonical, LIMITS)))
    target = Target(base, base, (diga,))
    kit = Kit(target, Plain(target), Person(print, input), Patience(0))
    nothing = kit.wire.send("GET", f"{base}/metadata")
    scope = " ".join(f"patient/Observation.rs?code:in={miv}" for miv in diga.mivs)
    answered = replace(nothing, content=f'{{"access_token": "a-token", "scope": "{scope}"}}'.encode())
    pairing = Pairing(Request(diga, (), "", "", {}), Account(), nothing, "", answered)
    kit.__dict__["_paired"] = [View(kit, "everything", 0, pairing, Pace(Patience(0), 0))]
    return kit


def told(results: Sequence[Result]) -> None:
    """Prints each check that did not pass, and the number of passed ones."""
    for one in results:
        if one.verdict is not Verdict.PASSED:
            print(f"{one.verdict:14} {one.check.name}: {one.text}")
    print(dict(Counter(str(one.verdict) for one in results)))
    assert not [one for one in results if one.verdict is Verdict.KIT_ERROR]


async def filled(base: str) -> None:
    """Put the examples on the server."""
    async with httpx.AsyncClient(timeout=120) as http:
        await fill(http, base, examples())


def main(base: str) -> None:
    """Fill the server and run the kit twice."""
    asyncio.run(filled(base))
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.json")
        assert ddr(["conform", base, "--issuer", base, "--json", str(report)]) == 1 and report.exists()
    kit = as_one_pairing(base)
    chosen = [one for one in all_checks() if one.run.__module__.endswith(OF_DATA)]
    told(run(kit, chosen))
    assert not kit.stopped


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
