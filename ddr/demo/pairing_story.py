"""The chapters in which DiGA and patients pair and unpair."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from ddr.demo.accounts import Account
from ddr.demo.cast import CastDiga
from ddr.demo.diga_client import DigaRefused, Tokens
from ddr.demo.show import Show
from ddr.demo.stack import DemoStack


@dataclass(frozen=True)
class Pairing:
    """A DiGA with a patient's consent to the data of some MIVs (package names)."""

    diga: CastDiga
    patient: Account
    asked: tuple[str, ...]
    mivs: tuple[str, ...]
    tokens: Tokens


async def pair(stack: DemoStack, show: Show, diga: CastDiga, patient: Account, approve: Sequence[str]) -> Pairing:
    """The DiGA requests all its MIVs, the patient ticks those in `approve`."""
    tokens = await stack.pair(diga, patient, diga.mivs, approve)
    granted = [name for name in diga.mivs if set(stack.scopes(name)) <= set(tokens.scopes)]
    choices = ", ".join(f"{'☑' if name in granted else '☐'} {_title(stack, name)}" for name in diga.mivs)
    show.check(granted == list(approve), f"{diga.name} and {patient.username}: {choices}")
    return Pairing(diga, patient, diga.mivs, tuple(approve), tokens)


async def paired_again(stack: DemoStack, pairing: Pairing) -> Pairing:
    """A new pairing in place of this one, when an interrupted former run has left a Grace-Period that has not passed
    yet."""
    await (await stack.diga(pairing.diga)).revoke(pairing.tokens)
    tokens = await stack.pair(pairing.diga, pairing.patient, pairing.asked, pairing.mivs)
    return replace(pairing, tokens=tokens)


async def unpair(stack: DemoStack, show: Show, pairings: Sequence[Pairing]) -> None:
    """Each DiGA refreshes its tokens once, then ends the pairing: from then on nothing works."""
    show.chapter("Tokens are refreshed, then the pairings end")
    for pairing in pairings:
        client = await stack.diga(pairing.diga)
        tokens = await client.refresh(pairing.tokens)
        new = tokens.refresh_token != pairing.tokens.refresh_token
        await client.revoke(tokens)
        status = await refusal(client.get(tokens, "Device"))
        names = f"{pairing.diga.name} and {pairing.patient.username}"
        show.check(
            new and status == 401, f"{names}: refresh token rotated, pairing revoked; the next request gets {status}"
        )


async def refusal(request: Awaitable[object]) -> int:
    """The status with which a DiGA's request is refused; 200 when it succeeds."""
    try:
        await request
    except DigaRefused as error:
        return error.status
    return 200


def _title(stack: DemoStack, name: str) -> str:
    miv = stack.catalog.by_name(name)
    return miv.title if miv else name
