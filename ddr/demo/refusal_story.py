"""The chapter in which all who must not see something try to."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import httpx

from ddr.demo.cast import LUFTPOST, ZUCKERHEFT
from ddr.demo.diga_client import DigaRefused
from ddr.demo.pairing_story import Pairing, refusal
from ddr.demo.show import Show
from ddr.demo.stack import DemoStack


async def refuse_everything(stack: DemoStack, show: Show, owner: Pairing, others: Sequence[Pairing]) -> None:
    """Wrong certificate, wrong DiGA, wrong scope, wrong patient: what each of them can see of `owner`'s data."""
    show.chapter("Others try to see the same data")
    await _without_certificate(stack, show)
    rival = await stack.diga(LUFTPOST)
    status = await refusal(rival.get(owner.tokens, "Observation", {"code": "99504-3"}))
    show.check(status == 401, f"{LUFTPOST.name} with {ZUCKERHEFT.name}'s token: {status}")
    status = await refusal(rival.push_request(stack.scopes(*ZUCKERHEFT.mivs)))
    show.check(status == 400, f"{LUFTPOST.name} requests glucose, which the DiGA-VZ does not list for it: {status}")
    await _without_consent(stack, show, others[0])
    await _other_patient(stack, show, owner, others[1])


async def _without_certificate(stack: DemoStack, show: Show) -> None:
    async with stack.client() as http:
        try:
            answer = f"HTTP {(await http.get(f'{stack.settings.fhir_base}/Device')).status_code}"
        except (httpx.TransportError, ssl.SSLError):  # httpx passes TLS 1.3 alerts on unwrapped
            answer = "no connection"
    show.check(answer == "no connection", f"a client without a registered certificate: {answer}")


async def _without_consent(stack: DemoStack, show: Show, pairing: Pairing) -> None:
    """A DiGA to which the same patient allowed other data."""
    client = await stack.diga(pairing.diga)
    try:
        bundle = await client.get(pairing.tokens, "Observation", {"code": "99504-3"})
        seen = sum(entry["resource"]["resourceType"] == "Observation" for entry in bundle.get("entry", ()))
        answer = f"200 with {seen} observations"
    except DigaRefused as error:
        seen, answer = 0, str(error.status)
    show.check(seen == 0, f"{pairing.diga.name} searches for glucose with consent to other data only: {answer}")


async def _other_patient(stack: DemoStack, show: Show, owner: Pairing, other: Pairing) -> None:
    """The same DiGA with another patient's token and ids of this patient."""
    client = await stack.diga(owner.diga)
    devices = await client.search(owner.tokens, "Device", {})
    if not devices:
        return
    status = await refusal(client.get(other.tokens, f"Device/{devices[0]['id']}"))
    text = f"{owner.diga.name} reads {owner.patient.username}'s device with {other.patient.username}'s token: {status}"
    show.check(status == 404, text)
