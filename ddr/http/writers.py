"""Limits concurrent writers of one patient in a worker: the others wait here, without holding a connection.

Writers of a patient only wait for each other's lock. If each had a connection, they would hold all connections, and no
other request could be answered. Admission limits callers, but apps, bridges and the pages may write for the same
patient.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from uuid import UUID

from ddr.http.waiting import Turn, over
from ddr.store.database.faults import PatientBusy
from ddr.store.database.limits import REQUESTS

MOST = 2  # of one patient: the current writer, and the next


class Writers:
    """The writers of one worker, by patient: how many are inside, and the turns of those who wait, oldest first.

    While anybody waits, all places are taken: whoever leaves passes the place on. There is nearly always a place, and
    then only a number is kept.
    """

    def __init__(self, seconds: float = REQUESTS.lock) -> None:
        self.seconds = seconds  # for which one waits for the others
        self.places: dict[UUID, int] = {}
        self.waiting: dict[UUID, dict[Turn, None]] = {}

    def one(self, patient_id: UUID) -> _Writer:
        """The time of one change of this patient's data; enter it before acquiring a connection.

        Entering raises PatientBusy. Whoever is inside must not enter again for the same patient.
        """
        return _Writer(self, patient_id)

    async def enter(self, patient_id: UUID) -> None:
        """Take a place. Raises PatientBusy."""
        inside = self.places.get(patient_id, 0)
        if inside < MOST:
            self.places[patient_id] = inside + 1
        else:
            await self._wait(patient_id)

    def leave(self, patient_id: UUID) -> None:
        """Give the place to the one who waits longest, if anybody does."""
        for turn in self.waiting.get(patient_id, ()):
            if not turn.done():
                self._drop(patient_id, turn)
                turn.set_result(True)
                return
        if self.places[patient_id] > 1:
            self.places[patient_id] -= 1
        else:
            del self.places[patient_id]

    async def _wait(self, patient_id: UUID) -> None:
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        self.waiting.setdefault(patient_id, {})[turn] = None
        end = loop.call_later(self.seconds, over, turn)
        try:
            given = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave(patient_id)  # it came at that very moment
            raise
        finally:
            end.cancel()
            self._drop(patient_id, turn)
        if not given:
            raise PatientBusy

    def _drop(self, patient_id: UUID, turn: Turn) -> None:
        """Stop waiting."""
        turns = self.waiting.get(patient_id, {})
        if turn in turns:
            del turns[turn]
            if not turns:
                del self.waiting[patient_id]


class _Writer:
    """A writer of a patient."""

    __slots__ = ("_patient_id", "_writers")

    def __init__(self, writers: Writers, patient_id: UUID) -> None:
        self._writers, self._patient_id = writers, patient_id

    async def __aenter__(self) -> None:
        await self._writers.enter(self._patient_id)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writers.leave(self._patient_id)
