"""Fixtures for the tests of a DiGA: `pytest_plugins = ["ddr.client.testing"]` runs a real recorder beside them.

The recorder of the demonstration, on free ports with an embedded PostgreSQL and a stand-in for BfArM's registries
(needs `ddr[embedded]`). Everything may be called from plain tests and from async ones.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import pytest

from ddr.client.diga import Diga
from ddr.client.pairing import DEVICE_SCOPES, canonical
from ddr.demo.accounts import Account, account
from ddr.demo.browser_user import BrowserUser
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.faults import switch
from ddr.demo.gateway_client import GatewayClient
from ddr.demo.stack import DemoStack, Options

T = TypeVar("T")
Json = dict[str, Any]
FAULT_SECONDS = 3600


class Recorder:
    """The running recorder. `diga` is listed for continuous and single blood glucose values."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ddr.client.testing", daemon=True)
        self._thread.start()
        self._stack = DemoStack(Options(state_dir=folder, ports="auto", patients=2, grace_seconds=0))
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
        """End it."""
        self.run(self._stack.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, in the event loop of the recorder's stand-ins."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def patient(self) -> Patient:
        """A new patient with an account."""
        made = self.run(account(self._stack.pool, f"patient-{token_hex(4)}"))
        return Patient(self, made, self._stack.gateway(made))

    def fault(self, name: str | None, seconds: int) -> None:
        """See `Fault`."""
        switch(self._folder, name, seconds)

    def browse(self, account: Account, url: str, mivs: Iterable[str] | None) -> str:
        """Where the patient's browser lands after logging in and deciding."""
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
    """A patient at a browser."""

    recorder: Recorder
    account: Account
    client: GatewayClient

    def agree(self, url: str, *mivs: str) -> str:
        """Open the address of a started pairing and agree to these kinds of data; the address it ends at."""
        return self.recorder.browse(self.account, url, mivs)

    def refuse(self, url: str) -> str:
        """Open it and decline."""
        return self.recorder.browse(self.account, url, None)


@dataclass(frozen=True)
class Gateway:
    """The app of the patient's device, with a glucose sensor in mg/dL and a meter."""

    patient: Patient

    def sensor(self, key: str, body: Mapping[str, Any], **sensors: Json) -> None:
        """Register a device with its sensors (docs/gateway-guide.md); again changes nothing."""
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


class Fault:
    """Call it with a name of `ddr demo-fault`: throttled, overload, maintenance, registry, error, token-expired."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(self, name: str, seconds: int = FAULT_SECONDS) -> None:
        """On, until the test ends or `off`."""
        self._recorder.fault(name, seconds)

    def off(self) -> None:
        """No fault any more."""
        self._recorder.fault(None, 0)


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """A real recorder, for all tests of the run."""
    running = Recorder(tmp_path_factory.mktemp("ddr"))
    yield running
    running.close()


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
