"""All functions with statements that a single server cannot answer once the tables are spread, and why each has some.

With several servers, tables are spread by patient and directories by their own key (docs/scaling.md); a statement that
does not name these by a parameter queries all servers. A request may have no such statement, except to find out who the
patient is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Work without a request, and operators' commands about all patients: a request never executes one of these.
JOBS: Mapping[str, str] = {
    "ddr.demo.accounts.accounts": "the demonstration begins",
    "ddr.store.audit.entries.between": "seals and packs go by number, over all patients",
    "ddr.store.audit.entries.matching": "ddr audit export, for an assessor",
    "ddr.store.audit.entries.unsealed": "ddr audit verify says how many",
    "ddr.store.audit.packs._learn_words": "a day is packed",
    "ddr.store.audit.packs.add": "a day is packed",
    "ddr.store.audit.packs.count_unpacked": "a day is packed",
    "ddr.store.audit.packs.groups": "a day is packed, patient after patient",
    "ddr.store.audit.packs.rows_of": "ddr audit verify reads what is packed again",
    "ddr.store.authorization.par.sweep": "what has run out is deleted",
    "ddr.store.authorization.representations.end_due": "rights that are over are looked for",
    "ddr.store.authorization.restore.declare": "a restore is declared",
    "ddr.store.authorization.standings.Standings.check": "what was gathered is compared, pairing after pairing",
    "ddr.store.authorization.tokens.sweep": "what has run out is deleted",
    "ddr.store.authorization.unpairing.lose": "the DiGA-VZ took a kind of data from a DiGA",
    "ddr.store.authorization.unpairing.unpair_client": "the DiGA-VZ took a DiGA from the list",
    "ddr.store.authorization.unpairing.unpair_everyone": "the recorder no longer offers HDDT",
    "ddr.store.authorization.unpairing.unpair_expired": "consents that ran out are looked for",
    "ddr.store.database.distribute.distribute": "functions that run beside a patient's rows",
    "ddr.store.database.distribute.give_back": "triggers are made",
    "ddr.store.database.migrate._run": "the schema",
    "ddr.store.gateways.apps.sweep_codes": "what has run out is deleted",
    "ddr.store.gateways.requests.sweep": "what has run out is deleted",
    "ddr.store.gateways.tokens.count_good": "ddr credentials list",
    "ddr.store.gateways.tokens.end_app": "after a restore, for each end in the journal",
    "ddr.store.gateways.tokens.newest": "ddr gateway renew, by the app's name",
    "ddr.store.gateways.tokens.sweep": "what has run out is deleted",
    "ddr.store.patients.administration.by_serial": "ddr patient, found by a device",
    "ddr.store.patients.administration.described": "ddr patient, of one or several",
    "ddr.store.patients.erasure.contents": "ddr patient delete says what goes",
    "ddr.store.patients.erasure.delete_rest": "what came after a patient was deleted is deleted",
    "ddr.store.patients.files.sweep": "what has run out is deleted",
    "ddr.store.patients.research._write_down": "ddr research export is written down",
    "ddr.store.patients.research.agreed": "ddr research export asks all who agreed",
    "ddr.store.patients.research.still_agree": "ddr research export that was broken off is finished",
    "ddr.store.patients.retention._who": "what is too old is looked for, by batches of patients",
    "ddr.store.patients.retention.forget_pairings": "what is too old is deleted, by batches of patients",
    "ddr.store.patients.retention.patients_after": "the next batch of patients",
    "ddr.store.patients.sessions.sweep": "what has run out is deleted",
    "ddr.store.registries.losses.in_use": "how many pairings an end would concern",
    "ddr.store.registries.returning.give_back": "a ValueSet has a code again",
    "ddr.store.registries.terminology._move": "a ValueSet has a new version",
    "ddr.store.registries.terminology.consents": "which ValueSets there are consents for",
    "ddr.store.search.pages.sweep": "what has run out is deleted",
}

# Requests that name something other than the patient, and look up both at once.
FINDS_THE_PATIENT: Mapping[str, str] = {
    "ddr.store.authorization.access.admit": "a Pairing ID; each poll, so in one statement",
    "ddr.store.authorization.representations.choices": "a login, which may stand for several patients",
    "ddr.store.authorization.representations.open_of": "a login, which may stand for several patients",
    "ddr.store.authorization.reviews.awaits": "a login, which may stand for several patients",
    "ddr.store.authorization.rotations._rotate_one": "a Pairing ID; each refresh, so in one statement",
    "ddr.store.authorization.tokens.find_family": "a Pairing ID; a refresh that is not plainly right",
    "ddr.store.gateways.apps._exchanged": "a code that a patient typed into an app, kept with the patient",
    "ddr.store.gateways.tokens.find": "the hash of an app's token; each upload, so in one statement",
    "ddr.store.patients.sessions._load_by_steps": "a login, which may stand for several patients",
    "ddr.store.patients.sessions.load_session": "the hash of a cookie; each click, so in one statement",
}

# Queries of operators on their own listener, about all patients.
FIGURES: Mapping[str, str] = {
    "ddr.store.audit.entries.oldest_unsealed_ms": "/metrics; the index by number finds the one",
}

# A cloud bridge sends for many patients at once; a worker stores its notes about several requests together.
BATCHES: Mapping[str, str] = {
    "ddr.store.audit.request_log.add": "the entries of several requests, stored together",
    "ddr.store.audit.request_log._add_after": "the entries and rotations of several requests, stored together",
    "ddr.store.authorization.admissions.admit_all": "the pairings of requests that come at one time",
    "ddr.store.authorization.grace.GraceClaims.flush": "claims of many pairings are confirmed together",
    "ddr.store.authorization.rotations.rotate_all": "the grants of refreshes that come at one time",
    "ddr.store.gateways.bridges._found": "the patients of the logins that a bridge names",
    "ddr.store.series.bulk._hear": "the sensors of a bridge's batch",
    "ddr.store.series.bulk.append_all": "the readings of a bridge's batch",
    "ddr.store.series.sensors.load_all": "the sensors of a bridge's batch",
}

# Entries of a patient or a DiGA in a directory, queried by their owner.
IN_DIRECTORIES: Mapping[str, str] = {
    "ddr.store.authorization.par.open_requests": "a DiGA pushes a request: how many others of it wait",
    "ddr.store.authorization.representations.end": "sessions of a representative end with the right",
    "ddr.store.gateways.tokens._insert": "a token is made: how many others the patient has",
    "ddr.store.gateways.tokens.apps": "the page of apps",
    "ddr.store.gateways.tokens.revoke": "an app is disconnected: all its tokens",
    "ddr.store.patients.erasure.delete_patient": "all that is a patient's is deleted",
    "ddr.store.patients.logouts._end_sessions": "the OpenID provider ended a login: its sessions",
    "ddr.store.patients.sessions.close_all": "all sessions of a patient end",
}


GROUPS = (JOBS, FINDS_THE_PATIENT, FIGURES, BATCHES, IN_DIRECTORIES)


def allowed() -> Iterator[str]:
    """The `module.function` of all of them."""
    for group in GROUPS:
        yield from group
