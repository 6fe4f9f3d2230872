"""Clients that keep sending requests from threads of their own, and record what became of each."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.cli.recorder import Recorder

PATH = "/gateway/v1/openapi.json"
PAUSE_SECONDS = 0.05
KEPT, NEW = 3, 2


@dataclass
class Outcomes:
    """What came of the requests: seconds until an answer, and what went wrong."""

    answered: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # no connection was made: the request was never sent
    lost: list[str] = field(default_factory=list)  # it was sent and not answered, or answered with an error

    @property
    def slowest(self) -> float:
        return max(self.answered)


@contextmanager
def load(recorder: Recorder, kept: int = KEPT, new: int = NEW) -> Iterator[Outcomes]:
    """Threads that ask on connections that they keep, and on a new one each time, during the block."""
    context = ssl.create_default_context(cafile=Path(recorder.settings["state_dir"]) / "authority.pem")
    url, outcomes, stop = f"https://localhost:{recorder.settings['gateway_port']}{PATH}", Outcomes(), threading.Event()

    def client() -> httpx.Client:
        return httpx.Client(verify=context, timeout=30, trust_env=False)

    def keep_asking() -> None:
        with client() as http:
            while not stop.is_set():
                ask(http, url, outcomes)

    def ask_anew() -> None:
        while not stop.is_set():
            with client() as http:
                ask(http, url, outcomes)

    threads = [threading.Thread(target=keep_asking) for _ in range(kept)]
    threads += [threading.Thread(target=ask_anew) for _ in range(new)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def ask(http: httpx.Client, url: str, outcomes: Outcomes) -> None:
    """One request."""
    begun = time.monotonic()
    try:
        answer = http.get(url)
    except httpx.ConnectError as error:
        outcomes.refused.append(str(error))
    except httpx.TransportError as error:
        outcomes.lost.append(f"{type(error).__name__}: {error}")
    else:
        if answer.status_code == httpx.codes.OK:
            outcomes.answered.append(time.monotonic() - begun)
        else:
            outcomes.lost.append(str(answer.status_code))
    time.sleep(PAUSE_SECONDS)
