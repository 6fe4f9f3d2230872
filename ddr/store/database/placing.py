"""Where each table is when an installation is spread over several servers, and why (docs/scaling.md).

Pure data, used by `ddr db distribute`. A test finds tables of the schema that are missing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import NamedTuple

PATIENT = "patient_id"


@unique
class Where(StrEnum):
    """Where the rows of a table are when patients are spread over servers."""

    PATIENT = "by patient"  # all tables of a patient on one server: they are colocated
    KEY = "by its own key"  # a directory: found before the patient is known
    REFERENCE = "on all"  # small, rarely written, read together with a patient's rows
    FIRST = "on the first"  # on the coordinator only


class Place(NamedTuple):
    """`by`: the column that statements of requests compare with a parameter; a spread table is spread by it."""

    where: Where
    by: str | None
    why: str


def _patient(why: str) -> Place:
    return Place(Where.PATIENT, PATIENT, why)


def _key(column: str, why: str) -> Place:
    return Place(Where.KEY, column, why)


def _all(why: str, by: str | None = None) -> Place:
    return Place(Where.REFERENCE, by, why)


def _first(why: str, by: str | None = None) -> Place:
    return Place(Where.FIRST, by, why)


_CHAIN = "one chain of seals in one order of numbers, dropped as whole tables"
_LOGGED = f"request log: {_CHAIN}"
_TRAIL = f"audit trail: {_CHAIN}"
_CLOCK = "the clock that seals and retention go by"
_REGISTRY = "what the registries said"
_OUTAGE = "what does not work, or will not"
_STRANGER = "what strangers cause, for minutes"

PLACES: Mapping[str, Place] = {
    # A patient, and what gateways sent.
    "patient": _patient("the patient's clock, which each write takes"),
    "device": _patient("data"),
    "sensor": _patient("data"),
    "epoch": _patient("data"),
    "epoch_version": _patient("data"),
    "chunk": _patient("data"),
    "measurement": _patient("data"),
    "measurement_version": _patient("data"),
    "calibration": _patient("data"),
    "withdrawn_calibration": _patient("data"),
    "claim": _patient("data"),
    "upload": _patient("data"),
    "gateway_request": _patient("a request of an app, so that it can be repeated"),
    "patient_file": _patient("a file that the patient gave"),
    # Rights of DiGA.
    "pairing": _patient("a right of a DiGA"),
    "consent": _patient("a right of a DiGA"),
    "consent_record": _patient("proof of consent"),
    "token_grant": _patient("a right of a DiGA"),
    "grace": _patient("a pairing's Grace-Period, claimed with the decision"),
    "opening": _patient("what a pairing was let see"),
    "standing": _first("gathered where all of a patient is on one server, and only there", PATIENT),
    "search_rest": _patient("later pages of a search"),
    "research_consent": _patient("proof of consent"),
    "research_given": _patient("which weeks were given"),
    # Directories.
    "pairing_directory": _key("pairing_id", "from the Pairing ID of a token to the patient"),
    "account": _key("username", "from a login to the patient"),
    "login_identity": _key("subject", "from a login at the provider to the patient"),
    "gateway_token": _key("token_sha256", "from an app's token to the patient"),
    "authorization_code": _key("code_sha256", "from a code to the patient"),
    "pushed_request": _key("request_sha256", "a pushed request, which belongs to no patient yet"),
    "browser_session": _key("cookie_sha256", "from a cookie to the patient"),
    # Small, and read together with others.
    "consent_text": _all("texts that proofs of consent name"),
    "restore_window": _all("restores, which admissions look at"),
    "representation": _all("found by the login that stands for the patient, and by the patient", PATIENT),
    # On the first server only.
    "gateway_code": _first("for minutes; found by its hash, and one of each patient", PATIENT),
    "audit": _first(_TRAIL, PATIENT),
    "audit_day": _first(_TRAIL),
    "audit_pack": _first(_TRAIL),
    "audit_packed": _first(_TRAIL, PATIENT),
    "audit_seal": _first(_TRAIL),
    "audit_word": _first(_TRAIL),
    "request_log_dropped": _first(_LOGGED),
    "request_log_fresh": _first(_LOGGED),
    "request_log_key": _first(_LOGGED),
    "request_log_pack": _first(_LOGGED),
    "request_log_packed": _first(_LOGGED),
    "request_log_policy": _first(_LOGGED),
    "request_log_seal": _first(_LOGGED),
    "request_log_word": _first(_LOGGED),
    "erased": _first("patients of whom a row may still come, for minutes", PATIENT),
    "clock_gap": _first(_CLOCK),
    "clock_seen": _first(_CLOCK),
    "bridge_request": _first("a request of a bridge, for a day"),
    "credential": _first("machines' credentials"),
    "gateway_certificate": _first("certificates of bridges"),
    "job_lease": _first("whose turn a job is"),
    "journal_mark": _first("what of the journal is known"),
    "login_attempt": _first(_STRANGER),
    "login_journey": _first(_STRANGER),
    "login_window": _first(_STRANGER),
    "provider_logout": _first("logouts at the provider, found by session or subject"),
    "miv_version": _first("versions of ValueSets"),
    "outage_event": _first(_OUTAGE),
    "outage_notice": _first(_OUTAGE),
    "outage_retraction": _first(_OUTAGE),
    "worker_report": _first(_OUTAGE),
    "registry_entry": _first(_REGISTRY),
    "registry_event": _first(_REGISTRY),
    "registry_loss": _first(_REGISTRY),
    "registry_source": _first(_REGISTRY),
    "research_export": _first("what was given for research, and to whom"),
    "retention_round": _first("how far a job has come"),
    "schema_migration": _first("which migrations are applied"),
    "secret": _first("keys of the installation, sealed"),
    "signing_key": _first("keys of the installation, sealed"),
}


def spread() -> dict[str, str]:
    """The tables whose rows are on different servers, with the column that decides on which."""
    spread_by = (Where.PATIENT, Where.KEY)
    return {table: place.by for table, place in PLACES.items() if place.where in spread_by and place.by is not None}
