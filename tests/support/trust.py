"""An allow list in memory, in place of the DiGA-VZ cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ddr.scopes.diga import Diga


@dataclass
class FakeTrust:
    """A TrustSource (ddr.http.core) that tests fill by hand."""

    digas: dict[str, Diga] = field(default_factory=dict)
    ders: list[bytes] = field(default_factory=list)
    is_stale: bool = False
    names: dict[str, str] = field(default_factory=dict)  # including DiGA removed from `digas`

    def add(self, diga: Diga, *certificates: bytes) -> Diga:
        """Register `diga` with these certificates (DER) in addition to its own, replacing a former entry."""
        digests = frozenset(hashlib.sha256(der).hexdigest() for der in certificates)
        diga = Diga(**{**vars(diga), "certificates": diga.certificates | digests})
        self.digas[diga.client_id] = diga
        self.names[diga.client_id] = diga.name
        self.ders.extend(certificates)
        return diga

    def by_certificate(self, der: bytes) -> Diga | None:
        digest = hashlib.sha256(der).hexdigest()
        return next((diga for diga in self.digas.values() if digest in diga.certificates), None)

    def by_client_id(self, client_id: str) -> Diga | None:
        return self.digas.get(client_id)

    def name_of(self, client_id: str) -> str | None:
        return self.names.get(client_id)

    def stale(self, now_ms: int) -> bool:
        return self.is_stale

    def certificates(self) -> list[bytes]:
        return self.ders
