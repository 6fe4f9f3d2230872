"""What a worker knows about the other workers of its host: their figures, sent by the supervisor every second."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ddr.http.metrics import Figure

CONNECTIONS = "ddr_connections"
MORE = 4  # more connections than another worker that make no difference

Figures = Mapping[str, Figure]  # by name, with Prometheus labels if there are any


@dataclass
class Fleet:
    """This worker's number, and all workers as last reported; without a supervisor, only this one."""

    number: int = 1
    pid: int = field(default_factory=os.getpid)
    restarts: int = 0  # of workers since the recorder was started
    connections: Callable[[], int] = int  # of clients, at present
    certificate: Callable[[], bytes] = bytes  # the chain in force (PEM); empty before there is one
    _told: Mapping[int, Figures] = field(default_factory=dict)

    def learn(self, workers: Mapping[str, Figures], restarts: int) -> None:
        """Store the supervisor's report."""
        self._told = {int(number): figures for number, figures in workers.items()}
        self.restarts = restarts

    def burdened(self) -> bool:
        """True when this worker has clearly more connections than another one."""
        told = [figures.get(CONNECTIONS) for number, figures in self._told.items() if number != self.number]
        others = [count for count in told if isinstance(count, (int, float))]
        return bool(others) and self.connections() > min(others) * 1.1 + MORE

    def figures(self, own: Figures) -> dict[int, Figures]:
        """The figures of each worker by its number; `own` are those of this worker."""
        return dict(sorted({**self._told, self.number: own}.items()))
