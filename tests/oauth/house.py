"""Two workers, two DiGA with a backend at each worker, and two patients: random choices of what each may do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from ddr.http.core import Core
from ddr.operations.pairing import answered, approve, refuse
from ddr.scopes.parse import scope_of
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.unpairing import Party, lose, unpair, unpair_client, unpair_expired, withdraw
from ddr.store.patients.administration import disable, enable
from ddr.store.patients.erasure import delete_patient
from tests.oauth.backend import DigaBackend, answer
from tests.support.clock import Clock

Act = Callable[[], Coroutine[Any, Any, None]]
DAY_MS = 86_400_000
PERIODS_MS = (30_000, 400_000, DAY_MS, 90 * DAY_MS)
_LIVES = "SELECT true FROM pairing WHERE pairing_id = $1 AND ended_ms IS NULL"


@dataclass
class House:
    """`backends` by DiGA and worker. Requests, decisions, codes and tokens are those that were issued, oldest first."""

    chance: Random
    clock: Clock
    workers: list[Core]
    backends: list[list[DigaBackend]]
    patients: list[UUID]
    requests: list[tuple[int, str]] = field(default_factory=list)
    decided: list[tuple[str, UUID, list[str]]] = field(default_factory=list)
    codes: list[tuple[int, str]] = field(default_factory=list)
    tokens: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    got: Counter[str] = field(default_factory=Counter)  # successful responses, by code

    @property
    def worker(self) -> Core:
        """One of them."""
        return self.chance.choice(self.workers)

    @property
    def patient(self) -> UUID:
        """One of them."""
        return self.chance.choice(self.patients)

    async def at_once(self) -> None:
        """One to five random acts at once."""
        weights: dict[Act, float] = {
            self.push: 8, self.agree: 12, self.deny: 1, self.change_mind: 2, self.redeem: 12, self.refresh: 10,
            self.revoke: 1, self.withdraw: 2, self.withdraw_all: 1, self.expire: 2, self.lose: 0.5, self.unlist: 0.5,
            self.disable: 0.5, self.erase: 0.3,
        }  # fmt: skip
        acts = self.chance.choices(list(weights), list(weights.values()), k=self.chance.randint(1, 5))
        await asyncio.wait_for(asyncio.gather(*(act() for act in acts)), 60)

    async def push(self) -> None:
        """A DiGA asks for some of its kinds of data."""
        number = self.chance.randrange(2)
        backend = self.chance.choice(self.backends[number])
        pushed = await backend.push(scope=" ".join([*map(scope_of, self._some(number)), "patient/Device.rs"]))
        assert pushed.status_code == 201
        self.requests.append((number, pushed.json()["request_uri"]))

    async def agree(self) -> None:
        """A patient agrees to a part of it, at one worker or at both at once."""
        if self.requests:
            number, request_uri = self.chance.choice(self.requests[-6:])
            chosen, until_ms = self._some(number), self.clock() + self.chance.choice(PERIODS_MS)
            patient, clicks = self.patient, self.chance.choice((1, 1, 2))
            landed = await _times(clicks, lambda: self._click(number, request_uri, patient, chosen, until_ms))
            assert len({location for location in landed if location and "code=" in location}) <= 1

    async def _click(
        self, number: int, request_uri: str, patient: UUID, chosen: list[str], until_ms: int
    ) -> str | None:
        worker = self.worker
        location = await approve(worker, request_uri, patient, chosen, until_ms)
        if location is None:
            location = await answered(worker, request_uri, patient, set(map(scope_of, chosen)))
        elif "code=" in location:
            self.decided.append((request_uri, patient, chosen))
        if location and "code=" in location:
            self.codes.append((number, answer(location)["code"]))
        return location

    async def deny(self) -> None:
        """A patient refuses."""
        if self.requests:
            await refuse(self.worker, self.chance.choice(self.requests[-6:])[1], self.patient)

    async def change_mind(self) -> None:
        """A patient who has agreed refuses."""
        if self.decided:
            request_uri, patient, chosen = self.chance.choice(self.decided[-4:])
            await answered(self.worker, request_uri, patient, set(map(scope_of, chosen)), refused=True)

    async def redeem(self) -> None:
        """A DiGA presents a code, once or twice at once, maybe again."""
        if self.codes:
            number, code = self.chance.choice(self.codes[-3:])
            answers = await _times(
                self.chance.choice((1, 1, 2)), lambda: self.chance.choice(self.backends[number]).exchange(code)
            )
            assert {one.status_code for one in answers} <= {200, 400}
            given = [one.json() for one in answers if one.status_code == 200]
            self.got[code] += len(given)
            assert self.got[code] <= 1
            self.tokens += [(number, one) for one in given]

    async def refresh(self) -> None:
        """A DiGA uses a refresh token, once or several times at once."""
        if self.tokens:
            place = self.chance.randrange(max(0, len(self.tokens) - 4), len(self.tokens))
            number, held = self.tokens[place]
            token = held["refresh_token"]
            answers = await _times(
                self.chance.choice((1, 1, 2, 3)), lambda: self.chance.choice(self.backends[number]).refresh(token)
            )
            assert {one.status_code for one in answers} <= {200, 400}
            given = [one.json() for one in answers if one.status_code == 200]
            assert len({one["refresh_token"] for one in given}) <= 1
            if given and self.tokens[place][1] is held:
                self.tokens[place] = (number, given[0])

    async def revoke(self) -> None:
        """A DiGA ends a pairing."""
        if self.tokens:
            number, held = self.chance.choice(self.tokens)
            assert (await self.chance.choice(self.backends[number]).revoke(held["refresh_token"])).status_code == 200
            assert not await self.worker.pool.fetchval(_LIVES, held["sub"])

    async def withdraw(self) -> None:
        """A patient withdraws one kind of data."""
        patient, worker = self.patient, self.worker
        for pairing in await alive(worker.pool, patient, self.clock()):
            valueset = self.chance.choice(pairing.consents).valueset
            await withdraw(worker.pool, patient, pairing.pairing_no, valueset, self.clock())

    async def withdraw_all(self) -> None:
        """A patient withdraws everything."""
        patient, worker = self.patient, self.worker
        for pairing in await alive(worker.pool, patient, self.clock()):
            await unpair(worker.pool, patient, pairing.pairing_no, Party.PATIENT, "consent-withdrawn", self.clock())

    async def expire(self) -> None:
        """Time passes, and what has expired ends."""
        self.clock.advance(self.chance.choice((0, 0, 1, 20, 45, 500)))
        await unpair_expired(self.worker.pool, self.clock())

    async def lose(self) -> None:
        """A DiGA loses a kind of data."""
        number = self.chance.randrange(2)
        client_id = self.backends[number][0].diga.client_id
        await lose(self.worker.pool, client_id, self._some(number)[0], self.clock())

    async def unlist(self) -> None:
        """A DiGA is taken from the list."""
        client_id = self.chance.choice(self.backends)[0].diga.client_id
        await unpair_client(self.worker.pool, client_id, "diga-unlisted", self.clock())

    async def disable(self) -> None:
        """An operator disables an account, and enables it again."""
        patient = self.patient
        await disable(self.worker.pool, patient, self.clock())
        await enable(self.worker.pool, patient)

    async def erase(self) -> None:
        """A patient deletes everything; a new one takes the place."""
        place = self.chance.randrange(2)
        await delete_patient(self.worker.pool, self.patients[place], self.clock())
        self.patients[place] = await somebody(self.worker.pool)

    def _some(self, number: int) -> list[str]:
        valuesets = sorted(self.backends[number][0].diga.valuesets)
        return self.chance.sample(valuesets, self.chance.randint(1, len(valuesets)))


async def _times(count: int, work: Callable[[], Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(work() for _ in range(count))))


async def somebody(pool: asyncpg.Pool) -> UUID:
    """A new patient."""
    patient_id = uuid4()
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", patient_id)
    return patient_id
