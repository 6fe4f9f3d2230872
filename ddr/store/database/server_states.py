"""The state of each server of the database's URL: in use, a standby, refused, away. Each change is a log entry."""

from __future__ import annotations

import logging
from enum import StrEnum, unique

from ddr.reasons import kind_of
from ddr.store.database.dsn import Host

READ_ONLY_SERVER = "the server is read-only"

log = logging.getLogger(__name__)


@unique
class State(StrEnum):
    """What a check of a server found."""

    IN_USE = "in use"
    LEFT = "left"  # another one is in use now
    STANDBY = "standby"
    REFUSED = "refused"
    AWAY = "away"


def label(host: Host | None) -> str:
    """`db1:5432`, or the directory of a socket; None: the only server."""
    if host is None:
        return "database"
    name, port = host
    return name if port is None else f"{name}:{port}"


class ServerStates:
    """What is known about each server, by its label."""

    def __init__(self, several: bool) -> None:
        self._several = several
        self._states: dict[str, State] = {}
        self.reasons: dict[str, str] = {}  # for those that are refused

    def use(self, host: Host | None) -> None:
        """Note that statements go to this server; the server that was in use before is left."""
        for other, state in self._states.items():
            if state is State.IN_USE and other != label(host):
                self._states[other] = State.LEFT
        if self._changed(host, State.IN_USE) and (self._several or len(self._states) > 1):
            log.info("database.host_in_use", extra={"host": label(host)})

    def standby(self, host: Host | None) -> None:
        """Note that a server is read-only because it follows another one."""
        if self._changed(host, State.STANDBY):
            log.info("database.host_standby", extra={"host": label(host)})

    def away(self, host: Host | None, error: BaseException) -> None:
        """Note that a server does not answer, or not as it should."""
        if self._changed(host, State.AWAY) and self._several:
            log.warning("database.host_away", extra={"host": label(host), "error": kind_of(error)})

    def refuse(self, host: Host | None, reason: str) -> None:
        """Note that a server answers but must not be used."""
        before = self.reasons.get(label(host))
        self._changed(host, State.REFUSED)
        self.reasons[label(host)] = reason
        if before != reason:
            log.warning("database.host_refused", extra={"host": label(host), "reason": reason})

    def report(self) -> dict[str, str]:
        """What an operator is told about each, if there are several or one is refused."""
        if not self._several and not self.reasons:
            return {}
        return {
            host: f"refused: {why}" if (why := self.reasons.get(host)) else state
            for host, state in self._states.items()
        }

    def _changed(self, host: Host | None, state: State) -> bool:
        self.reasons.pop(label(host), None)
        before, self._states[label(host)] = self._states.get(label(host)), state
        return before is not state
