"""Fixtures for a DiGA's tests: `pytest_plugins = ["ddr.client.testing"]` runs a real recorder beside them.

It is the recorder of the demonstration, on free ports with an embedded PostgreSQL and a stand-in for BfArM's registries
(needs `ddr[embedded]`). Everything may be called from plain tests and from async ones.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from ddr.client.diga import Diga
from ddr.client.pairing import DEVICE_SCOPES, canonical

try:
    import pytest

    from ddr.demo import levers
    from ddr.demo.accounts import Account, account
    from ddr.demo.browser_user import BrowserUser
    from ddr.demo.cast import GLUKOBUCH
    from ddr.demo.faults import FAULTS, current, switch
    from ddr.demo.gateway_client import GatewayClient
    from ddr.demo.stack import DemoStack, Options
except ModuleNotFoundError as error:
    raise ImportError(
        f"ddr.client.testing runs a recorder ({error.name} is not installed): pip install pytest 'ddr[embedded]'"
    ) from None

T = TypeVar("T")
Json = dict[str, Any]
FAULT_SECONDS = 3600
LISTINGS: Mapping[str, levers.Listing] = {"unlisted": "absent", "retired": "retired"}


class Recorder:
    """The running recorder. `diga` is listed for continuous and single blood glucose values.

    `ahead`: seconds by which the recorder's clock is ahead of the real one.
    """

    def __init__(self, folder: Path, grace_seconds: int | None = 0) -> None:
        self._folder, self.ahead = folder, 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ddr.client.testing", daemon=True)
        self._thread.start()
        options = Options(state_dir=folder, ports="auto", patients=2, grace_seconds=grace_seconds, clock=True)
        self._stack = DemoStack(options)
        self.run(self._stack.start())
        settings, pair = self._stack.settings, self._stack.certificate(GLUKOBUCH)
        self.diga = Diga(
            client_id=GLUKOBUCH.client_id,
            redirect_uri=GLUKOBUCH.redirect_uri,
            issuer=settings.public_base_url,
            fhir_base=settings.fhir_base,
            certificate=pair.cert,
            key=pair.key,
            ca=self._stack.description()["ca"],
        )

    def close(self) -> None:
        """Stop the recorder."""
        self.run(self._stack.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run in the event loop of the recorder's stand-ins."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def patient(self) -> Patient:
        """A new patient with an account."""
        made = self.run(account(self._stack.pool, f"patient-{token_hex(4)}"))
        return Patient(self, made, self._stack.gateway(made))

    def fault(self, name: str | None, seconds: int) -> None:
        """See `Fault`."""
        switch(self._folder, name, seconds)

    def fault_on(self) -> str | None:
        """The fault that is on."""
        return found.name if (found := current(self._folder)) else None

    def set_clock(self, ahead: float) -> None:
        """See `Clock`; 0 is the real time."""
        self.run(levers.set_clock(self._stack, ahead))
        self.ahead = ahead

    def listing(self, listing: levers.Listing) -> None:
        """The entry of `diga` in the DiGA-VZ."""
        self.run(levers.set_listing(self._stack, GLUKOBUCH, listing, self.ahead))

    def browse(self, account: Account, url: str, mivs: Iterable[str] | None) -> str:
        """The URL where the patient's browser ends after logging in and deciding."""
        scopes = None
        if mivs is not None:
            scopes = [*(f"patient/Observation.rs?code:in={canonical(one)}" for one in mivs), *DEVICE_SCOPES]

        async def decide() -> str:
            async with self._stack.client() as browser:
                user = BrowserUser(browser, account.username, account.password)
                return await user.decide(url, self.diga.redirect_uri, scopes)

        return self.run(decide())


@dataclass(frozen=True)
class Patient:
    """A patient with a browser."""

    recorder: Recorder
    account: Account
    client: GatewayClient

    def agree(self, url: str, *mivs: str) -> str:
        """Open the URL of a started pairing and agree to these kinds of data; returns the URL where the browser
        ends."""
        return self.recorder.browse(self.account, url, mivs)

    def refuse(self, url: str) -> str:
        """Open it and decline."""
        return self.recorder.browse(self.account, url, None)


@dataclass(frozen=True)
class Gateway:
    """The app of the patient's device, with a glucose sensor in mg/dL and a meter."""

    patient: Patient

    def sensor(self, key: str, body: Mapping[str, Any], **sensors: Json) -> None:
        """Register a device with its sensors (docs/gateway-guide.md); repeating it changes nothing."""
        self.patient.recorder.run(self.patient.client.register(key, dict(body), sensors))

    def readings(self, device: str, sensor: str, unit: str, samples: Sequence[tuple[int, Any]]) -> None:
        """Send readings: milliseconds since 1970 and value. AssertionError when one is rejected."""
        reasons: dict[int, str] = {}
        work = self.patient.client.push_readings(device, sensor, unit, samples, rejected=reasons)
        self.patient.recorder.run(work)
        assert not reasons, reasons

    def measurements(self, *bodies: Json) -> None:
        """Send single measurements. AssertionError when one is rejected."""
        done = self.patient.recorder.run(self.patient.client.push_measurements(list(bodies)))
        assert not done["rejected"], done


class Clock:
    """The recorder's time. Only the recorder has it: certificates and your own process use the real time.

    What is written while it is ahead keeps its timestamps; all data older than the recorder's history is erased, of
    everybody.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def forward(self, **delta: float) -> None:
        """Advance it by `days`, `hours`, `minutes`, `seconds`. Tokens and consents expire, the Grace-Period passes,
        data leaves the history."""
        self._recorder.set_clock(self._recorder.ahead + timedelta(**delta).total_seconds())

    def back(self) -> None:
        """Return to the real time."""
        if self._recorder.ahead:
            self._recorder.set_clock(0.0)

    def __call__(self) -> float:
        """The recorder's time in seconds since 1970, for parameters named `clock`."""
        return time.time() + self._recorder.ahead


class Fault:
    """Call it with a name of `ddr demo-fault`: throttled, overload, maintenance, registry, error, token-expired,
    lost-answer (once, for the next refresh of a token). Or with `unlisted`: `recorder.diga` is removed from the
    DiGA-VZ, and its pairings survive for a while; or `retired`: its entry expires, and with it all pairings of the
    recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._listed = recorder, True

    def __call__(self, name: str, seconds: int = FAULT_SECONDS) -> None:
        """Turn it on, until the test ends or `off` is called."""
        if name in LISTINGS:
            self._listed = False
            self._recorder.listing(LISTINGS[name])
        elif name in FAULTS:
            self._recorder.fault(name, seconds)
        else:
            raise ValueError(f"unknown fault {name}; the faults are {', '.join([*FAULTS, *LISTINGS])}")

    @property
    def on(self) -> str | None:
        """The fault that the recorder shows at present; None after `lost-answer` has happened."""
        return self._recorder.fault_on()

    def off(self) -> None:
        """Turn faults off."""
        self._recorder.fault(None, 0)
        if not self._listed:
            self._recorder.listing("active")
            self._listed = True


@pytest.fixture(scope="session")
def grace_seconds() -> int | None:
    """The Grace-Period of `recorder`: none. To have another, define a fixture of this name; None: as registered."""
    return 0


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory, grace_seconds: int | None) -> Iterator[Recorder]:
    """A real recorder, for all tests of the run."""
    running = Recorder(tmp_path_factory.mktemp("ddr"), grace_seconds)
    yield running
    running.close()


@pytest.fixture
def clock(recorder: Recorder) -> Iterator[Clock]:
    """The recorder's clock, which can be moved; it returns to the real time after the test."""
    found = Clock(recorder)
    yield found
    found.back()


@pytest.fixture
def patient(recorder: Recorder) -> Patient:
    """A new patient."""
    return recorder.patient()


@pytest.fixture
def gateway(patient: Patient) -> Gateway:
    """The app of the patient's devices."""
    return Gateway(patient)


@pytest.fixture
def fault(recorder: Recorder) -> Iterator[Fault]:
    """Faults on demand; none is left after the test."""
    found = Fault(recorder)
    yield found
    found.off()
