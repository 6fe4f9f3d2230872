"""A developer's own DiGA in the demonstration: listed in the registry stand-in with its own certificate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddr.demo.registry_file import certificate
from ddr.demo.registry_state import ListedDiga
from ddr.miv.model import MivCatalog
from ddr.reasons import in_words
from ddr.registries.wording import redirect_problem

_CLIENT_ID = re.compile(r"urn:diga:bfarm:([0-9]{5})")


class OwnDigaError(Exception):
    """A DiGA that cannot be listed; the message is one line."""


@dataclass(frozen=True)
class OwnDiga:
    """A DiGA as given by its developer: its certificate as PEM file, MIVs by package name or canonical URL (none:
    all)."""

    client_id: str
    cert: Path
    redirect_uri: str
    mivs: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        return self.client_id[-5:]

    def listed(self, catalog: MivCatalog) -> ListedDiga:
        """Its entry. Raises OwnDigaError."""
        try:
            der = certificate(self.cert.read_text("utf-8"), Path())
        except (OSError, ValueError) as error:
            raise OwnDigaError(f"{self.client_id}: certificate {self.cert}: {in_words(error)}") from None
        name = f"DiGA {self.number}"
        return ListedDiga(self.number, name, name, self.redirect_uri, self.valuesets(catalog), [der])

    def valuesets(self, catalog: MivCatalog) -> list[str]:
        """The canonical URLs of its MIVs. Raises OwnDigaError for one that the recorder does not serve."""
        known = {miv.name: miv.valueset for miv in catalog.mivs}
        for name in self.mivs:
            if name not in known and name not in known.values():
                raise OwnDigaError(
                    f"{self.client_id}: {name} is not a MIV here; the MIVs are {', '.join(sorted(known))}"
                )
        return [known.get(name, name) for name in self.mivs or known]


def own_diga(words: Sequence[str]) -> OwnDiga:
    """The DiGA of `--diga CLIENT_ID CERT.pem REDIRECT [MIV …]`. Raises OwnDigaError."""
    if len(words) < 3:
        raise OwnDigaError("--diga needs CLIENT_ID CERT.pem REDIRECT, optionally followed by MIVs")
    client_id, cert, redirect, *mivs = words
    if not _CLIENT_ID.fullmatch(client_id):
        raise OwnDigaError(f"--diga: {client_id!r} is not a client id (urn:diga:bfarm: and five digits)")
    if problem := redirect_problem(redirect):  # the recorder would refuse the DiGA because of it
        raise OwnDigaError(f"--diga: {redirect!r}: {problem}")
    return OwnDiga(client_id, Path(cert).absolute(), redirect, tuple(mivs))
