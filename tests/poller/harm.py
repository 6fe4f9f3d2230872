"""What happens to the DiGA and to its recorder: kills, lost responses, expiring tokens, faults, withdrawals."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from ddr.demo.accounts import Account
from ddr.demo.browser_user import Page
from ddr.demo.faults import current, switch
from ddr.demo.stack import DemoStack
from tests.soak.chaos import supervisor
from tests.support.processes import children, send

POLLERS = 2
FAULT_SECONDS = 2
STOP_SECONDS, WITHDRAW_SECONDS = 120, 60


class Pollers:
    """The DiGA's processes."""

    def __init__(self, *arguments: str | Path) -> None:
        self._command = (sys.executable, "-m", "tests.poller.diga", *map(str, arguments))
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """As many as there shall be."""
        while len(self._running) < POLLERS:
            self._running.append(await asyncio.create_subprocess_exec(*self._command))

    async def kill(self, chance: random.Random) -> None:
        """One dies without a word; another one is started."""
        victim = chance.choice(self._running)
        self._running.remove(victim)  # first: this may be cancelled at any time
        victim.kill()
        await victim.wait()
        await self.start()

    async def stop(self) -> None:
        """All finish what they have in hand. Raises AssertionError when one does not."""
        for one in self._running:
            one.terminate()
        statuses = [await asyncio.wait_for(one.wait(), STOP_SECONDS) for one in self._running]
        self._running.clear()
        assert statuses == [0] * POLLERS

    def __del__(self) -> None:
        for one in self._running:
            with suppress(ProcessLookupError):
                one.kill()


class Harm:
    """Does it until it is cancelled; `done` counts."""

    def __init__(
        self, stack: DemoStack, pollers: Pollers, leaving: Mapping[str, Account], chance: random.Random
    ) -> None:
        self._stack, self._pollers, self._chance = stack, pollers, chance
        self._leaving = dict(leaving)  # by pairing
        self._at_it: dict[str, Account] = {}  # who may have withdrawn, if this was cancelled meanwhile
        self.done: Counter[str] = Counter()
        self._turns = 0
        self.withdrawn: set[str] = set()

    async def run(self, pause: float) -> None:
        """Each kind again and again, with pauses of about so many seconds; `finish` when it was cancelled."""
        kinds = (self._kill_worker, self._kill_poller, self._fault, self._withdraw)
        await asyncio.gather(*(self._again(kind, pause) for kind in kinds))

    async def finish(self) -> None:
        """Whoever was about to withdraw does."""
        for pairing_id, patient in list(self._at_it.items()):
            await self._withdrawn(pairing_id, patient)

    async def _again(self, kind: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))
            await kind()

    async def _kill_worker(self) -> None:
        if workers := children(supervisor(self._stack.options.state_dir)):
            send(self._chance.choice(workers))
            self.done["workers killed"] += 1

    async def _kill_poller(self) -> None:
        await self._pollers.kill(self._chance)
        self.done["pollers killed"] += 1

    async def _fault(self) -> None:
        """Only one is on at a time: in every second turn answers to refreshes are lost, as many as there are."""
        self._turns += 1
        if self._turns % 2:
            await self._lose_answers()
            return
        name = self._chance.choice(("token-expired", "overload", "maintenance", "registry", "error", "throttled"))
        await asyncio.to_thread(switch, self._stack.options.state_dir, name, FAULT_SECONDS)
        self.done[name] += 1
        await asyncio.sleep(FAULT_SECONDS)

    async def _lose_answers(self) -> None:
        state = self._stack.options.state_dir
        for _ in range(10 * FAULT_SECONDS):
            if current(state) is None:
                switch(state, "lost-answer", FAULT_SECONDS)
                self.done["answers lost"] += 1
            await asyncio.sleep(0.1)
        self.done["answers lost"] -= current(state) is not None  # the last one was not asked for
        switch(state, None, 0)

    async def _withdraw(self) -> None:
        """A patient withdraws on the page "Connections"."""
        if not self._leaving:
            return
        pairing_id, patient = self._leaving.popitem()
        self._at_it[pairing_id] = patient
        await self._withdrawn(pairing_id, patient)

    async def _withdrawn(self, pairing_id: str, patient: Account) -> None:
        for _ in range(WITHDRAW_SECONDS):
            if await withdraw(self._stack, patient):
                self.withdrawn.add(pairing_id)
                del self._at_it[pairing_id]
                self.done["consents withdrawn"] += 1
                return
            await asyncio.sleep(1)
        raise AssertionError("the page for withdrawals does not come back")


async def withdraw(stack: DemoStack, patient: Account) -> bool:
    """All consents; False when a worker was killed meanwhile: it is tried again, and is the same then."""
    base = stack.settings.public_base_url
    with suppress(httpx.TransportError, LookupError):
        async with stack.client() as http:
            login = Page("", (await http.get(f"{base}/login")).text).form("username")
            assert login is not None
            named = {**dict(login.hidden), "username": patient.username, "password": patient.password}
            page = Page("", (await http.post(f"{base}/login", data=named, follow_redirects=True)).text)
            if (form := page.form("kind")) is None:
                return True  # nothing is left to withdraw
            fields = {"form_token": dict(form.hidden)["form_token"], "kind": "all"}
            return (await http.post(f"{base}/me/withdraw", data=fields, follow_redirects=True)).is_success
    return False
