"""A DiGA as the recorder knows it: the trust attributes of its DiGA-VZ entry (HDDT pairing.md, Client Registration)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diga:
    """One entry of the DiGA-VZ. Texts are compared exactly, never normalised."""

    client_id: str  # urn:diga:bfarm:{five digits}
    name: str
    manufacturer: str
    active: bool
    redirect_uri: str
    certificates: frozenset[str]  # sha256 of the DER, lowercase hex
    valuesets: frozenset[str]  # canonicals of the MIVs that the DiGA may read
