"""The connections of one listener in a worker, and which of them must leave when there are too many.

All listeners share the worker's descriptors, so each has a share of them. Beyond it, a new connection replaces an old
one: among the connections of the subscriber with the most (an IPv4 address, or the /64 of an IPv6 one), the one that
has waited for its client longest. So a stranger's unfinished requests end each other, and no request that is being
answered.
"""

from __future__ import annotations

import resource
import socket
from collections import defaultdict

from ddr.cli.serving.connection import Connection
from ddr.http.address import network_of

PARTS = {"diga": 0.2, "public": 0.35, "gateway": 0.25, "admin": 0.05}  # shares; the rest is for database and files
MOST = 6_000  # per listener, whatever the number of descriptors: each may cost 100 KB
WANTED_DESCRIPTORS = 16_384


def raise_descriptors() -> int:
    """Raise the descriptor limit of this process and its children above the usual 1,024, if permitted; returns the
    limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED_DESCRIPTORS:
        return soft
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


class Guest:
    """One connection from its acceptance on: first its handshake, then `connection`."""

    def __init__(self, own: socket.socket, address: str) -> None:
        self.socket, self.address, self.network = own, address, network_of(address)
        self.connection: Connection | None = None  # created on acceptance, connected after the handshake

    @property
    def waits(self) -> bool:
        """True while its client has to act: finish the handshake, or a request."""
        return self.connection is None or self.connection.transport is None or self.connection.unfinished

    def send_away(self) -> None:
        """Cut the connection."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
            return
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # ends the handshake
        except OSError:  # already closed
            return


class Crowd:
    """The guests of one listener, which has `part` of the descriptors."""

    def __init__(self, part: float = 1.0) -> None:
        self._part = part
        self._of: defaultdict[str, dict[Guest, None]] = defaultdict(dict)  # by network, oldest first
        self._count = 0
        self.sent_away = 0

    def __len__(self) -> int:
        return self._count

    @property
    def most(self) -> int:
        """The largest number of guests; computed each time, since an operator may change the limit of the running
        process."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return min(MOST, MOST if soft == resource.RLIM_INFINITY else max(1, int(soft * self._part)))

    def enter(self, guest: Guest) -> bool:
        """Admit `guest`; False when all others are being answered."""
        if self._count >= self.most and not self.make_room():
            return False
        self._of[guest.network][guest] = None
        self._count += 1
        return True

    def know(self, guest: Guest, address: str) -> None:
        """A proxy has named the guest's address: count it there."""
        here = guest in self._of.get(guest.network, ())
        self.leave(guest)
        guest.address, guest.network = address, network_of(address)
        if here:
            self._of[guest.network][guest] = None
            self._count += 1

    def leave(self, guest: Guest) -> None:
        if guest in self._of.get(guest.network, ()):
            del self._of[guest.network][guest]
            self._count -= 1
            if not self._of[guest.network]:
                del self._of[guest.network]

    def make_room(self) -> bool:
        """Remove one guest that waits for its client; False when there is none."""
        for guests in sorted(self._of.values(), key=len, reverse=True):
            for guest in guests:
                if guest.waits:
                    self.leave(guest)
                    self.sent_away += 1
                    guest.send_away()
                    return True
        return False
