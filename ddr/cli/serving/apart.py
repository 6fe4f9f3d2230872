"""What two recorders of one installation must not share, so that they do not affect each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ddr.cli.serving.sockets import addresses
from ddr.settings import Settings
from ddr.store.database.dsn import check_url, hosts

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def conflict(own: Settings, others: Mapping[str, Settings]) -> str | None:
    """Why a recorder with the settings `own` cannot run beside `others`, by name; None if it can. Raises StoreError."""
    for name, other in others.items():
        for setting, (value, reason) in _OWN.items():
            mine = value(own)
            if mine and mine == value(other):
                return f"setting {setting}: has the same value for the recorder {name}; {reason}"
        if listener := _taken(own, other):
            return f"setting {listener}_port: is already a port of the recorder {name}"
    return None


def _database(settings: Settings) -> Any:
    if url := settings.database_url:
        check_url(url)
    return url and (tuple(hosts(url)), urlsplit(url).path, settings.database_schema or "public")


# The values compared (empty: not set), and the reason; the operator is told about the first match.
_OWN: Mapping[str, tuple[Callable[[Settings], Any], str]] = {
    "database_schema": (_database, "in one database each recorder needs a schema of its own"),
    "state_dir": (lambda s: s.state_dir.resolve(), "its files belong to one recorder"),
    "journal_dir": (lambda s: s.journal_folder.resolve(), "a restore would mix the recorders' patients"),
    "public_base_url": (
        lambda s: urlsplit(s.public_base_url).hostname,
        "browsers send cookies to every port of a host (RFC 6265 section 8.5), so each recorder needs a name"
        " of its own",
    ),
    "key_encryption_key": (
        lambda s: (s.key_encryption_key.split() or [""])[0],
        "one recorder must not be able to decrypt what the other has encrypted",
    ),
    "hiis_id": (lambda s: s.hiis_id, "each recorder is registered separately"),
    "oidc_client_id": (
        lambda s: s.oidc_issuer and s.patient_login == "oidc" and (s.oidc_issuer, s.oidc_client_id),
        "each recorder must be a client of its own, so that a login at one is not valid at the other",
    ),
    "oidc_audience": (
        lambda s: s.oidc_audience and (s.oidc_issuer, s.oidc_audience),
        "a gateway's access token for one recorder must not be valid for the other",
    ),
}


def _taken(own: Settings, other: Settings) -> str | None:
    """Which listener of `own` has an address of `other`."""
    taken = list(addresses(other).values())
    for listener, (host, port) in addresses(own).items():
        if any(port == one and (host == at or {host, at} & {*_EVERYWHERE}) for at, one in taken):
            return listener
    return None
