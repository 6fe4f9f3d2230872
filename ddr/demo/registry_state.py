"""The content of the stand-in for BfArM's registries, and the faults that it can show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Resource = dict[str, Any]


@dataclass
class ListedDiga:
    """One DiGA as its manufacturer registered it."""

    number: str  # DiGA-ID, 5 digits
    name: str
    manufacturer: str
    redirect_uri: str
    mivs: list[str]  # ValueSet canonicals
    certificates: list[bytes]  # DER
    status: str = "active"  # draft, active, retired; FHIR R4 also has `unknown`
    pem: bool = False  # BfArM leaves open whether certificates are DER or PEM
    client_id: str = ""  # only to make the entry contradict itself

    def __post_init__(self) -> None:
        self.client_id = self.client_id or f"urn:diga:bfarm:{self.number}"


@dataclass
class Package:
    """One version of a terminology package of the ZTS."""

    name: str
    version: str
    resources: list[Resource]
    unlisted: str = ""  # why the version is deprecated; empty: it is not


Fault = Literal[
    "",
    "slow",
    "error",
    "stale",
    "html",
    "truncated",
    "malformed",
    "loop",
    "foreign-link",
    "empty",
    "huge",
    "checksum",
    "partial",
]
Part = Literal["all", "diga", "hiis", "zts"]
FAULTS: tuple[str, ...] = get_args(Fault)
PARTS: tuple[str, ...] = get_args(Part)


@dataclass
class RegistryState:
    """All that the stand-in serves; it can be changed while it runs."""

    digas: list[ListedDiga] = field(default_factory=list)
    hiis: list[Resource] = field(default_factory=list)  # DeviceDefinition and Endpoint resources
    packages: list[Package] = field(default_factory=list)
    fault: Fault = ""
    fault_on: Part = "all"
    slow_seconds: float = 30
    stale_seconds: int = 6 * 3600
    missing: int = 1  # how many DiGA a partial list lacks; asked directly, the registry knows them
    page_size: int = 20  # BfArM's default; also the largest, so that paging is exercised
    requests: int = 0
    unchanged: int = 0  # requests answered with 304

    def fault_of(self, part: Part) -> Fault:
        """The fault that this registry shows now."""
        return self.fault if self.fault_on in ("all", part) else ""
