"""A DiGA as the registry knows it: what the access decision and the HTTP rooms need of a DiGA-VZ entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diga:
    """One DiGA-VZ entry (HDDT registries; REG-006)."""

    client_id: str  # urn:diga:bfarm:{5-digit DiGA-ID}
    name: str
    manufacturer: str
    active: bool
    redirect_uri: str
    certificates: frozenset[str]  # sha256 of the DER, lowercase hex
    valuesets: frozenset[str]  # canonicals of the MIVs that the DiGA may ask for
