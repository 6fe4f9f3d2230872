"""Those who write for one patient in a worker: the others wait here, where they hold no connection.

Writers of a patient only wait for each other's lock. Each with a connection, they would hold all of them, and nobody
else's request could be answered. Admission knows callers; but apps, bridges and the pages may write for one patient.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from uuid import UUID

from ddr.store.database.faults import PatientBusy
from ddr.store.database.limits import REQUESTS

MOST = 2  # of one patient: who writes, and who is next


class Writers:
    """The writers of one worker, by patient."""

    def __init__(self, seconds: float = REQUESTS.lock) -> None:
        self.seconds = seconds  # that one waits for the others
        self.places: dict[UUID, _Places] = {}

    def one(self, patient_id: UUID) -> _Writer:
        """The time of one change of this patient's data, to be entered before a connection is asked for.

        Entering raises PatientBusy. Whoever is inside must not enter for the same patient once more.
        """
        return _Writer(self, patient_id)


class _Places(asyncio.Semaphore):
    """Of one patient, as long as anybody asks for them."""

    def __init__(self) -> None:
        super().__init__(MOST)
        self.asked = 0


class _Writer:
    """One of them."""

    __slots__ = ("_patient_id", "_places", "_writers")

    def __init__(self, writers: Writers, patient_id: UUID) -> None:
        self._writers, self._patient_id = writers, patient_id

    async def __aenter__(self) -> None:
        self._places = self._writers.places.setdefault(self._patient_id, _Places())
        self._places.asked += 1
        try:
            # nearly always there is a place, and no time to be watched
            async with asyncio.timeout(self._writers.seconds if self._places.locked() else None):
                await self._places.acquire()
        except BaseException as error:
            self._leave()
            if isinstance(error, TimeoutError):
                raise PatientBusy from None
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.release()
        self._leave()

    def _leave(self) -> None:
        self._places.asked -= 1
        if not self._places.asked:
            del self._writers.places[self._patient_id]
