"""All trust data from BfArM that requests rely on: who is a DiGA (DiGA-VZ), and what a MIV is (ZTS)."""

from __future__ import annotations

from ddr.registries.diga_vz import DigaVz
from ddr.registries.terminology import Zts
from ddr.scopes.diga import Diga


class Trust:
    """A TrustSource (ddr.http.core). Fails closed: when one of the two is too old, both are."""

    def __init__(self, diga_vz: DigaVz, zts: Zts) -> None:
        self._diga_vz, self._zts = diga_vz, zts

    def by_certificate(self, der: bytes) -> Diga | None:
        """The DiGA with exactly this certificate (DER), including inactive ones."""
        return self._diga_vz.by_certificate(der)

    def by_client_id(self, client_id: str) -> Diga | None:
        """The DiGA with this client id, including inactive ones."""
        return self._diga_vz.by_client_id(client_id)

    def name_of(self, client_id: str) -> str | None:
        """The present or former name of the DiGA with this client id."""
        return self._diga_vz.name_of(client_id)

    def stale(self, now_ms: int) -> bool:
        """True when the DiGA-VZ data is older than 4 hours or the MIV ValueSets than 24 (REG-007, REG-008)."""
        return self._diga_vz.stale(now_ms) or self._zts.stale(now_ms)

    def certificates(self) -> list[bytes]:
        """DER of every known certificate, for the TLS trust store (TLS-011)."""
        return self._diga_vz.certificates()
