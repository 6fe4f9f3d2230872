"""What the stand-in for BfArM's registries holds, and the faults it can be told to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class ListedDiga:
    """One DiGA as its manufacturer registered it."""

    number: str  # DiGA-ID, 5 digits
    name: str
    manufacturer: str
    redirect_uri: str
    mivs: list[str]  # ValueSet canonicals
    certificates: list[bytes]  # DER
    status: Literal["draft", "active", "retired"] = "active"
    pem: bool = False  # BfArM leaves open whether certificates are DER or PEM
    client_id: str = ""  # only to make the entry contradict itself

    def __post_init__(self) -> None:
        self.client_id = self.client_id or f"urn:diga:bfarm:{self.number}"


Fault = Literal["", "error", "html", "truncated", "loop", "huge", "empty", "foreign-link"]


@dataclass
class RegistryState:
    """Everything the stand-in serves; change it while it runs."""

    digas: list[ListedDiga] = field(default_factory=list)
    fault: Fault = ""
    page_size: int = 20  # BfArM's default; also the largest, so that paging is exercised
    requests: int = 0
