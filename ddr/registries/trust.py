"""Everything that requests rely on and that BfArM keeps: who is a DiGA (DiGA-VZ), and what a MIV is (ZTS)."""

from __future__ import annotations

from ddr.registries.diga_vz import DigaVz
from ddr.registries.terminology import Zts


class Trust:
    """A TrustSource (ddr.http.core). Fails closed: when one of the two is too old, everything is."""

    def __init__(self, diga_vz: DigaVz, zts: Zts) -> None:
        self._diga_vz, self._zts = diga_vz, zts
        self.by_certificate, self.by_client_id = diga_vz.by_certificate, diga_vz.by_client_id
        self.name_of, self.certificates = diga_vz.name_of, diga_vz.certificates

    def stale(self, now_ms: int) -> bool:
        """True when the DiGA-VZ data is older than 4 hours or the MIV ValueSets than 24 (REG-007, REG-008)."""
        return self._diga_vz.stale(now_ms) or self._zts.stale(now_ms)
