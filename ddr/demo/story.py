"""The demonstration as a story: who takes part, what devices send, how a DiGA pairs and pulls, what others do not
see."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape

from ddr.demo.cast import LUFTPOST, ZUCKERHEFT
from ddr.demo.pairing_story import Pairing, pair, unpair
from ddr.demo.pull_story import pull_all, pull_glucose, pull_too_early
from ddr.demo.refusal_story import refuse_everything
from ddr.demo.show import Show
from ddr.demo.stack import DemoStack
from ddr.demo.trace import Recording, Trace
from ddr.demo.upload import Sent, send_everything

SHOWN_DEVICES = 8
SHOWN_LINES = 20


@dataclass(frozen=True)
class Plot:
    """The content of the story: simulated history from `start_ms` to `now_ms`, or a `recording` for the first
    patients."""

    start_ms: int
    now_ms: int
    recording: Recording | None = None

    @property
    def traces(self) -> Sequence[Trace]:
        """The recorded traces, one per patient."""
        return self.recording.traces if self.recording else ()


async def prepare(stack: DemoStack, show: Show, plot: Plot) -> None:
    """Prepare the recorder with data only: pairings made by a DiGA's developer are kept."""
    _introduce(stack, show)
    await _upload(stack, show, plot)


async def tell(stack: DemoStack, show: Show, plot: Plot) -> None:
    """Run through everything once; all that is wrong ends up in `show.failures`."""
    _introduce(stack, show)
    sent = await _upload(stack, show, plot)
    first = stack.patients[0]
    show.chapter("A DiGA pairs with a patient")
    show.say("pushed request (PAR, PKCE, mTLS) → login → consent → code → tokens")
    glucose = await pair(stack, show, ZUCKERHEFT, first, ZUCKERHEFT.mivs)
    show.say(
        f"Pairing ID [magenta]{glucose.tokens.pairing_id[:16]}…[/magenta]: the only name the DiGA has for the patient"
    )
    glucose = await pull_glucose(stack, show, glucose, sent[0], plot.traces[0] if plot.traces else None)
    await pull_too_early(stack, show, glucose)
    others = await _others(stack, show)
    await refuse_everything(stack, show, glucose, others)
    await unpair(stack, show, [glucose, *others])


async def _others(stack: DemoStack, show: Show) -> list[Pairing]:
    """The other devices' data, so that every MIV is seen."""
    show.chapter("Other patients and another DiGA")
    couples = [
        (LUFTPOST, stack.patients[0], ("blood-pressure-value",)),
        (ZUCKERHEFT, stack.patients[1], ZUCKERHEFT.mivs),
        *((LUFTPOST, patient, ("lung-function-testing",)) for patient in stack.patients[2:3]),
    ]
    pairings = [await pair(stack, show, diga, patient, mivs) for diga, patient, mivs in couples]
    return await pull_all(stack, show, pairings)


def _introduce(stack: DemoStack, show: Show) -> None:
    show.chapter("The recorder is up")
    settings = stack.settings
    rows = [
        ("DiGA backends", settings.diga_base_url, "mTLS", "FHIR, PAR, token, revoke"),
        ("patients' browsers", settings.public_base_url, "TLS", "authorization, login, consent"),
        ("gateway apps", settings.gateway_base_url, "TLS, bearer token", "ingestion"),
        ("operators", f"http://127.0.0.1:{settings.admin_port}", "loopback", "health, metrics"),
        ("(stand-in for BfArM)", settings.diga_vz_base.removesuffix("/api/fhir/v3.0"), "TLS, bearer token", "DiGA-VZ"),
    ]
    show.table(("for", "address", "security", "purpose"), rows)


async def _upload(stack: DemoStack, show: Show, plot: Plot) -> list[Sent]:
    show.chapter("Devices send their data")
    began = time.monotonic()
    if plot.recording:
        _warn(show, plot.recording)
    with show.counting(f"gateways of {len(stack.patients)} patients upload", "readings") as done:
        sent = await send_everything(stack, plot.start_ms, plot.now_ms, plot.traces, done)
    seconds = time.monotonic() - began
    show.table(("patient", "device", "serial number", "#sent", "what"), [_row(one) for one in sent[:SHOWN_DEVICES]])
    if len(sent) > SHOWN_DEVICES:
        show.say(f"[dim]… and {len(sent) - SHOWN_DEVICES} more devices[/dim]")
    for kind, new, same in (("readings", "accepted", "duplicate"), ("measurements", "created", "unchanged")):
        total: Counter[str] = sum((one.answer for one in sent if one.kind == kind), Counter())
        text = f"{total[new]:,} {kind} {new}, {total[same]:,} {same}, {total['rejected']:,} rejected"
        show.check(total["rejected"] == 0 and total.total() > 0, text)
    for one in sent:
        if one.trace:
            _report_trace(show, one, one.trace)
    show.say(f"[dim]in {seconds:.1f} s[/dim]")
    return sent


def _row(sent: Sent) -> tuple[str, str, str, str, str]:
    body = sent.device.body
    return sent.patient, body["name"], body["serialNumber"], f"{sent.answer.total():,}", sent.kind


def _report_trace(show: Show, sent: Sent, trace: Trace) -> None:
    answer = sent.answer
    text = (
        f"{answer['accepted']:,} readings accepted, {answer['duplicate']:,} duplicates, {answer['rejected']:,} rejected"
    )
    complete = answer["accepted"] + answer["duplicate"] == len(trace.samples)
    show.check(complete, f"trace of {escape(trace.person)}: [bold]{text}[/bold]")
    listed = [f"line {trace.lines[place]}: {reason}" for place, reason in sorted(sent.rejected.items())]
    _list(show, listed)


def _warn(show: Show, recording: Recording) -> None:
    """Print what is wrong with the file, before any of it is sent."""
    if recording.looks_like_mmol:
        show.say("[bold yellow]These numbers look like mmol/L, and a trace is read as mg/dL.[/bold yellow]")
        show.say("[yellow]1 mmol/L of glucose is 18.0156 mg/dL; ddr import reads files in either unit.[/yellow]")
    if recording.without:
        show.say(f"[dim]rows of the file without a value (left out): {recording.without}[/dim]")
    if recording.faults:
        show.check(False, f"{len(recording.faults)} rows of the file could not be read")
        _list(show, recording.faults)


def _list(show: Show, lines: Sequence[str]) -> None:
    for line in lines[:SHOWN_LINES]:
        show.say(f"  [red]{escape(line)}[/red]")
    if len(lines) > SHOWN_LINES:
        show.say(f"  [dim]… and {len(lines) - SHOWN_LINES} more[/dim]")
