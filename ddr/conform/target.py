"""What is examined, and as whom: addresses, DiGA with certificates, test patients, registered terms."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

MIV = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-"


class TargetError(Exception):
    """The description of the recorder or of the DiGA is unusable; the message is one line."""


@dataclass(frozen=True)
class Identity:
    """A DiGA of the DiGA-VZ: PEM files of its certificate and key; `mivs` are canonical URLs of ValueSets."""

    client_id: str
    redirect_uri: str
    certificate: Path
    key: Path
    mivs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """A test patient's login, for a recipe; empty when a person logs in."""

    username: str = ""
    password: str = field(default="", repr=False)
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)  # further members, for plug-ins


@dataclass(frozen=True)
class Terms:
    """What is registered in the HIIS-VZ for a MIV."""

    historic_days: int
    grace_seconds: int
    delay_seconds: int


@dataclass(frozen=True)
class Target:
    """A recorder. `pairings` are pairs of indexes of DiGA and patient: each is one view of the recorder's data."""

    fhir_base: str
    issuer: str
    digas: tuple[Identity, ...] = ()
    patients: tuple[Account, ...] = (Account(),)
    pairings: tuple[tuple[int, int], ...] = ((0, 0),)
    terms: Mapping[str, Terms] = field(default_factory=dict)
    ca: str = ""
    metadata_url: str = ""
    status_url: str = ""
    gateway_base: str = ""
    grace_seconds: int | None = None  # of every MIV, when the operator gives it

    @property
    def metadata(self) -> str:
        """The URL of the authorization server's metadata. `issuer` is as registered: a trailing slash belongs to it,
        but not to this URL (RFC 8414 section 3.1)."""
        return f"{self.issuer.rstrip('/')}/.well-known/oauth-authorization-server"

    @property
    def private(self) -> bool:
        """Whether its certificate comes from a private CA: a test system."""
        return bool(self.ca)


# Limits of HDDT mivs.md, by the last part of the canonical URL: history in days, grace and holdup in seconds.
LIMITS = {
    "blood-glucose-measurement": Terms(30, 900, 60),
    "continuous-glucose-measurement": Terms(30, 900, 900),
    "lung-function-testing": Terms(14, 900, 60),
    "blood-pressure-value": Terms(30, 300, 60),
}


def limits(valueset: str) -> Terms:
    """The specification's limits for a MIV: least history, longest grace and holdup."""
    return LIMITS.get(valueset.removeprefix(MIV), Terms(0, 900, 900))


def read_target(file: Path) -> Target:
    """A description in TOML, or the `demo.json` of the demonstration. Raises TargetError."""
    text = text_of(file)
    try:
        content = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        return _target(content, file.parent)
    except (ValueError, OverflowError) as error:
        raise TargetError(f"{file}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise TargetError(f"{file}: {error} is missing or invalid") from None


def text_of(file: Path) -> str:
    """The text of a file. Raises TargetError."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise TargetError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TargetError(f"{file} is not UTF-8 text") from None


def _target(content: Mapping[str, Any], folder: Path) -> Target:
    digas = tuple(_identity(one, folder) for one in content["digas"] if one.get("key"))
    patients = tuple(
        Account(one.get("username", ""), one.get("password", ""), one) for one in content.get("patients", ())
    ) or (Account(),)
    pairings = [(int(diga), int(patient)) for diga, patient in content.get("pairings") or ()]
    for diga, patient in pairings:
        if not (0 <= diga < len(digas) and 0 <= patient < len(patients)):
            raise ValueError(f"pairings: there is no DiGA {diga} with patient {patient}; the first is 0")
    pairings = pairings or _every(len(digas), len(patients))
    issuer: str = content["oauth_issuer"]
    return Target(
        fhir_base=content["fhir_base"].rstrip("/"),
        issuer=issuer.strip(),
        digas=digas,
        patients=patients,
        pairings=tuple(pairings),
        terms={
            canonical(name): Terms(int(one["historic_days"]), int(one["grace_seconds"]), int(one["delay_seconds"]))
            for name, one in content.get("terms", {}).items()
        },
        ca=str(folder / content["ca"]) if content.get("ca") else "",
        metadata_url=content.get("metadata_url", ""),
        status_url=content.get("status_url", ""),
        gateway_base=content.get("gateway_base", ""),
    )


def _identity(one: Mapping[str, Any], folder: Path) -> Identity:
    mivs = tuple(canonical(name) for name in one.get("mivs", ()))
    certificate, key = folder / one["cert"], folder / one["key"]
    return Identity(one["client_id"], one["redirect_uri"], certificate, key, mivs)


def canonical(name: str) -> str:
    """The canonical URL of a MIV's ValueSet, given in full or by its last part."""
    return name if "://" in name else MIV + name


def _every(digas: int, patients: int) -> list[tuple[int, int]]:
    """Every DiGA with every patient, at most six pairs: patient after patient."""
    pairs = [(diga, patient) for patient in range(patients) for diga in range(digas)]
    return pairs[:6] or [(0, 0)]


def with_terms(target: Target, grace_seconds: int | None) -> Target:
    """`target` with another Grace-Period for every MIV, as given by the operator. Nothing else becomes known about a
    MIV, such as the length of its history."""
    if grace_seconds is None:
        return target
    terms = {name: replace(one, grace_seconds=grace_seconds) for name, one in target.terms.items()}
    return replace(target, terms=terms, grace_seconds=grace_seconds)
