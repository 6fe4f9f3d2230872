"""The state of the DiGA-VZ at one instant, immutable, with the two look-ups that the listeners need. Pure."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ddr.registries.certificates import expires_ms, fingerprint, shut_out
from ddr.registries.health_app import Entry
from ddr.scopes.diga import Diga

NAMES = {one.name for one in fields(Entry)}
DEFAULTS = {"absent", "doubtful"}  # not stored when false


@dataclass(frozen=True)
class Snapshot:
    """All known DiGA, as the registry showed them."""

    by_client_id: Mapping[str, Diga] = field(default_factory=dict)
    by_certificate: Mapping[str, Diga] = field(default_factory=dict)  # key: sha256 of the DER, hex
    certificates: tuple[bytes, ...] = ()  # DER, including those of retired and disabled DiGA
    ends_ms: Mapping[str, int] = field(default_factory=dict)  # expiry of the certificates, by the same key


def snapshot(entries: Iterable[Entry]) -> Snapshot:
    """The snapshot of reconciled `entries` (see `reconcile`)."""
    entries = tuple(sorted(entries, key=lambda entry: entry.client_id))
    digas = [_diga(entry) for entry in entries]
    return Snapshot(
        by_client_id={diga.client_id: diga for diga in digas},
        by_certificate={digest: diga for diga in digas for digest in diga.certificates},
        certificates=tuple(der for entry in entries for der in entry.certificates),
        ends_ms={fingerprint(der): expires_ms(der) for entry in entries for der in entry.certificates},
    )


def reconcile(read: Iterable[Entry], known: Iterable[Entry], now_ms: int, listed: Collection[str] = ()) -> list[Entry]:
    """The registry's present content, made unambiguous and completed by what it no longer mentions.

    - A client id in two entries no longer names a DiGA: both are disabled.
    - An expired certificate authenticates nobody; a DiGA without another one is disabled.
    - A certificate in two entries belongs to the listed DiGA; if several are, to the one that had it before, else to
      none.
    - A new certificate is left out if its name would make TLS reject an earlier one of a DiGA that is not retired.
    - A DiGA that vanished stays known, as absent, until its last certificate has expired: its requests get the error of
      an inactive client instead of a failed handshake.
    - A DiGA in `listed` (client ids) that has lost its trust attributes is still listed, but cannot be used.
    """
    entries = _disable_doubles([_without_expired(entry, now_ms) for entry in read])
    mentioned = {entry.client_id for entry in entries}
    gone = [entry for entry in known if entry.client_id not in mentioned]
    kept = [entry for entry in gone if entry.listed or any(expires_ms(der) > now_ms for der in entry.certificates)]
    return _not_shut_out(_separate_certificates([*entries, *(_gone(entry, listed) for entry in kept)], known), known)


def _gone(entry: Entry, listed: Collection[str]) -> Entry:
    """The state of a known entry that the reading does not contain."""
    if entry.client_id in listed:
        problem = "the DiGA is listed, without trust attributes that can be read"
        return replace(entry, listed=True, absent=False, usable=False, doubtful=True, problems=(problem,))
    return replace(entry, listed=False, absent=entry.listed or entry.absent)


def _diga(entry: Entry) -> Diga:
    return Diga(
        client_id=entry.client_id,
        name=entry.name,
        manufacturer=entry.manufacturer,
        active=entry.listed and entry.usable,
        redirect_uri=entry.redirect_uri,
        certificates=frozenset(fingerprint(der) for der in entry.certificates),
        valuesets=entry.valuesets,
    )


def _disable_doubles(entries: list[Entry]) -> list[Entry]:
    """`entries` without repeated client ids."""
    counts = Counter(entry.client_id for entry in entries)
    listed = {entry.client_id for entry in entries if entry.listed}
    last = {entry.client_id: entry for entry in entries}
    return [_doubled(entry, listed) if counts[entry.client_id] > 1 else entry for entry in last.values()]


def _doubled(entry: Entry, listed: Collection[str]) -> Entry:
    problems = (*entry.problems, "the client id stands in several entries")
    return replace(entry, listed=entry.client_id in listed, usable=False, doubtful=True, problems=problems)


def _separate_certificates(entries: list[Entry], known: Iterable[Entry]) -> list[Entry]:
    holders = Counter(der for entry in entries for der in entry.certificates)
    shared = {der for der, count in holders.items() if count > 1}
    owners = {der: entry.client_id for entry in known for der in entry.certificates if der in shared}
    # A retired DiGA has no priority; one that is not mentioned may return with the next reading.
    claims: dict[bytes, list[str]] = {}
    for entry in entries:
        for der in shared.intersection(entry.certificates) if entry.listed or entry.absent else ():
            claims.setdefault(der, []).append(entry.client_id)
    owners |= {der: ids[0] for der, ids in claims.items() if len(ids) == 1}
    foreign = "a certificate is registered for another DiGA too"
    return [
        _without(entry, {der for der in shared if owners.get(der) != entry.client_id}, foreign) for entry in entries
    ]


def _not_shut_out(entries: list[Entry], known: Iterable[Entry]) -> list[Entry]:
    """`entries` without new certificates that would make TLS reject an earlier one of a DiGA that is not retired.

    Other certificates that TLS rejects are reported: their clients only see an alert, and nobody here would notice.
    """
    owners = {der: entry.client_id for entry in known for der in entry.certificates}
    standing = {entry.client_id for entry in entries if entry.listed or entry.absent}
    now = {der: entry.client_id for entry in entries for der in entry.certificates}
    shut = shut_out(now.keys() | owners.keys())
    unfit = {
        by
        for der, others in shut.items()
        for by in others - owners.keys()
        # If a DiGA has just replaced `der`, its new certificate probably has the same issuer; but `by` may be that new
        # one.
        if owners.get(der) in standing and (der in now or owners[der] != now[by])
    }
    entries = [_without(entry, unfit, "a certificate is called like the issuer of another one") for entry in entries]
    refused = {der for der, others in shut.items() if now.keys() & others - unfit} - unfit
    problem = "the issuer of a certificate is called like another certificate of the registry: TLS refuses it here"
    return [
        replace(entry, problems=(*entry.problems, problem))
        if refused.intersection(entry.certificates) and problem not in entry.problems
        else entry
        for entry in entries
    ]


def _without_expired(entry: Entry, now_ms: int) -> Entry:
    expired = {der for der in entry.certificates if expires_ms(der) <= now_ms}
    return _without(entry, expired, "a certificate has expired")


def _without(entry: Entry, unfit: set[bytes], problem: str) -> Entry:
    """`entry` without the certificates in `unfit`."""
    own = tuple(der for der in entry.certificates if der not in unfit)
    if len(own) == len(entry.certificates):
        return entry
    problems = (*entry.problems, problem)
    return replace(entry, certificates=own, problems=problems, usable=entry.usable and bool(own))


def to_json(entry: Entry) -> dict[str, Any]:
    """`entry` in its stored form."""
    return {
        **{name: value for name, value in vars(entry).items() if value or name not in DEFAULTS},
        "valuesets": sorted(entry.valuesets),
        "certificates": [base64.b64encode(der).decode() for der in entry.certificates],
        "problems": list(entry.problems),
    }


def from_json(stored: Mapping[str, Any]) -> Entry:
    """The inverse of `to_json`."""
    return Entry(
        **{
            **{name: value for name, value in stored.items() if name in NAMES},
            "valuesets": frozenset(stored["valuesets"]),
            "certificates": tuple(base64.b64decode(text) for text in stored["certificates"]),
            "problems": tuple(stored["problems"]),
        }
    )
