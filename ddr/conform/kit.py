"""What every check is given: the recorder, the DiGA and patients, and what has been seen so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from ddr.conform.addresses import is_address
from ddr.conform.authorization import pair, revoke
from ddr.conform.blame import blamed
from ddr.conform.browser import Browser
from ddr.conform.data import OF_MIV, WORDS, Data, Source, described
from ddr.conform.earlier import Earlier
from ddr.conform.exchange import Exchange, Json
from ddr.conform.pacing import Pace, Patience
from ddr.conform.target import MIV, Account, Identity, Target, Terms, limits
from ddr.conform.verdict import Ended, KitError, NotRun
from ddr.conform.view import View
from ddr.conform.wire import Wire
from ddr.tls.scan import Findings, scan

ENDPOINTS = (
    "pushed_authorization_request_endpoint",
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
)


@dataclass
class Kit:
    """One run. `now_ms` is the time in milliseconds since 1970, `scanner` scans the TLS of (host, port)."""

    target: Target
    wire: Wire
    browser: Browser
    patience: Patience
    provoke: bool = False
    keep: bool = False
    earlier: Earlier | None = None
    now_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    scanner: Callable[[str, int], Findings] = scan
    source: Source | None = None
    stopped: str = ""  # why the run ended before its last check
    _furnished: set[tuple[Data, str]] = field(default_factory=set)
    begun: list[View] = field(default_factory=list)  # established pairings, also when a later one failed
    scans: dict[tuple[str, int], Findings] = field(default_factory=dict)  # findings of the scanner, by host and port
    searched: dict[int, float] = field(default_factory=dict)  # when each patient's data was last searched for
    due: list[Exchange] = field(default_factory=list)  # responses to searches after the Grace-Period

    def __post_init__(self) -> None:
        self.wire.patience = self.patience

    @cached_property
    def server_metadata(self) -> Exchange:
        """The authorization server's metadata (RFC 8414), requested without a certificate."""
        answer = self.wire.send("GET", self.target.metadata)
        found = answer.json
        self.wire.allow_post(*(str(found[name]) for name in ENDPOINTS if name in found))
        return answer

    def endpoint(self, name: str) -> str:
        """An endpoint of the authorization server. Raises NotRun when the metadata lacks it, or its URL is invalid."""
        found = self.server_metadata.json.get(name)
        if not isinstance(found, str) or not is_address(found):
            raise NotRun(f"the metadata name no {name}", self.server_metadata)
        return found

    @cached_property
    def capability_answer(self) -> Exchange:
        """GET [base]/metadata without a certificate, at its own address if that differs."""
        urls = [self.target.metadata_url or f"{self.target.fhir_base}/metadata"]
        if not self.target.metadata_url and (other := self.server_metadata.json.get("fhir_metadata_endpoint")):
            urls.append(str(other))
        answer = self.wire.send("GET", urls[0], headers=ACCEPT)
        if answer.status != 200 and len(urls) > 1:
            answer = self.wire.send("GET", urls[1], headers=ACCEPT)
        return answer

    @property
    def capability(self) -> Json:
        """The CapabilityStatement. Raises NotRun when there is none."""
        found = self.capability_answer.json
        if found.get("resourceType") != "CapabilityStatement":
            raise NotRun("there is no CapabilityStatement", self.capability_answer)
        return found

    def declared(self, kind: str) -> Json:
        """The CapabilityStatement's entry for a resource type, {} for none."""
        rest: Json = next(iter(self.capability.get("rest") or ()), {})
        return next((one for one in rest.get("resource") or () if one.get("type") == kind), {})

    def parameters(self, kind: str) -> dict[str, str]:
        """The search parameters declared for a resource type: name → type."""
        found = self.declared(kind).get("searchParam") or ()
        return {str(one.get("name")): str(one.get("type")) for one in found}

    @property
    def diga(self) -> Identity:
        """The first DiGA. Raises NotRun without one."""
        if not self.target.digas:
            raise NotRun("no DiGA is given")
        return self.target.digas[0]

    @property
    def other_diga(self) -> Identity:
        """The second DiGA. Raises NotRun without one."""
        if len(self.target.digas) < 2:
            raise NotRun("only one DiGA is given")
        return self.target.digas[1]

    @cached_property
    def _paired(self) -> list[View] | Ended:
        """All views, or why there are none."""
        for diga, patient in self.target.pairings:
            identity, account = self.target.digas[diga], self.target.patients[patient]
            before = len(self.wire.exchanges)
            try:
                pairing = pair(self, identity, account)
            except Exception as error:  # whatever the error: nobody should have to log in a second time
                return blamed(error, self.wire.exchanges[before:])
            grace = max((self.terms(miv).grace_seconds for miv in identity.mivs), default=0)
            name = f"DiGA {diga + 1}, patient {patient + 1}"
            self._furnish(identity, account)
            registered = self.target.grace_seconds is not None or all(miv in self.target.terms for miv in identity.mivs)
            self.begun.append(View(self, name, patient, pairing, Pace(self.patience, grace, registered)))
        return self.begun or NotRun("there is no pairing")

    def _furnish(self, identity: Identity, account: Account) -> None:
        """Provide data of each MIV, once for each patient; missing data is reported by the checks that need it."""
        for miv in identity.mivs:
            wanted = OF_MIV.get(miv.removeprefix(MIV))
            if self.source and wanted and (wanted, account.username) not in self._furnished:
                self._furnished.add((wanted, account.username))
                with suppress(NotRun):
                    self.bring(wanted, account)

    def bring(self, data: Data, account: Account) -> None:
        """Let the plug-in provide data. Raises NotRun when it cannot."""
        assert self.source
        try:
            done = self.source.provide(str(data), described(account))
        except Exception as error:  # whatever a plug-in raises, it is neither the recorder's fault nor the kit's
            raise NotRun(f"--data fails to provide {WORDS[data]}: {type(error).__name__}: {error}") from None
        if not done:
            raise NotRun(f"--data does not provide {WORDS[data]}")

    @property
    def views(self) -> list[View]:
        """What each pairing sees; pairs on first use. Raises NotRun."""
        found = self._paired
        if isinstance(found, KitError):
            raise found
        if isinstance(found, Ended):
            raise NotRun(f"pairing did not succeed: {found.text}", *found.shown)
        return found

    @property
    def known_views(self) -> list[View]:
        """The views of this run, without pairing to get them."""
        found = self.__dict__.get("_paired")
        return found if isinstance(found, list) else []

    @property
    def pairing_failed(self) -> Ended | None:
        """Why pairing failed."""
        found = self._paired
        return found if isinstance(found, Ended) else None

    @property
    def pages(self) -> list[Exchange]:
        """The responses that tell a check what was read before it: the metadata, and what the views have read."""
        documents = [self.__dict__[name] for name in ("server_metadata", "capability_answer") if name in self.__dict__]
        return documents + [page for view in self.known_views for page in view.pages]

    def lost(self) -> Exchange | None:
        """The second of two requests that a recorder must answer, if it answers neither."""
        identity = self.target.digas[0] if self.target.digas else None
        for url, client in ((self.target.metadata, None), (f"{self.target.fhir_base}/metadata", identity)):
            try:
                answer = self.wire.send("GET", url, client)
            except Ended:  # it answers, and asks for a later retry
                return None
            if answer.status:
                return None
        return answer

    def leave(self) -> None:
        """End every pairing of this run, unless it should be kept, even when the run was interrupted."""
        self.wire.slow = 0.0  # try, however long the run has waited before
        for view in [] if self.keep else self.begun:
            with suppress(Ended):
                revoke(self, view.identity, view.refresh_token)

    def terms(self, valueset: str) -> Terms:
        """The registered terms of a MIV, else the limits of the specification."""
        found, grace = self.target.terms.get(valueset, limits(valueset)), self.target.grace_seconds
        return found if grace is None else replace(found, grace_seconds=grace)


ACCEPT = {"accept": "application/fhir+json"}
