"""All functions with statements that do not name one patient by a parameter on every table of patient data.

Beyond one server the tables are spread by patient (docs/scaling.md); such a statement asks all servers. On a request
there must be none but those that find out who the patient is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# Work without a request, and what an operator's command asks about all patients.
JOBS: Mapping[str, tuple[str, ...]] = {
    "ddr.store.audit.entries": ("between", "matching", "oldest_unsealed_ms", "unsealed"),
    "ddr.store.audit.packs": ("_learn_words", "count_unpacked"),
    "ddr.store.authorization.grace": ("GraceClaims.flush",),
    "ddr.store.authorization.representations": ("end_due",),
    "ddr.store.authorization.restore": ("declare", "end_consent"),
    "ddr.store.authorization.tokens": ("sweep",),
    "ddr.store.authorization.unpairing": ("lose", "unpair_client", "unpair_everyone", "unpair_expired"),
    "ddr.store.database.migrate": ("_run",),
    "ddr.store.gateways.apps": ("sweep_codes",),
    "ddr.store.gateways.requests": ("sweep",),
    "ddr.store.patients.administration": ("by_serial", "described"),
    "ddr.store.patients.files": ("sweep",),
    "ddr.store.patients.retention": ("forget_pairings", "forget_readings", "patients_after"),
    "ddr.store.registries.losses": ("in_use",),
    "ddr.store.registries.returning": ("give_back",),
    "ddr.store.registries.terminology": ("_move", "consents"),
    "ddr.store.search.pages": ("sweep",),
}

# Requests that come with something else than the patient: a Pairing ID, the hash of a token, code or cookie, a login.
# A login may stand for several patients.
FINDS_THE_PATIENT: Mapping[str, tuple[str, ...]] = {
    "ddr.store.authorization.access": ("admit",),
    "ddr.store.authorization.representations": ("choices", "end_all_of", "open_of"),
    "ddr.store.authorization.reviews": ("awaits",),
    "ddr.store.authorization.tokens": ("find_pairing", "redeem"),
    "ddr.store.gateways.apps": ("connect",),
    "ddr.store.gateways.tokens": ("find", "renew"),
    "ddr.store.patients.accounts": ("verify",),
    "ddr.store.patients.identities": ("patient_of",),
    "ddr.store.patients.relations": ("follow",),
    "ddr.store.patients.sessions": ("load_session",),
}

# A cloud bridge sends for many patients at once; a worker stores what it noted of several requests together.
BATCHES: Mapping[str, tuple[str, ...]] = {
    "ddr.store.audit.request_log": ("add",),
    "ddr.store.gateways.bridges": ("patients",),
    "ddr.store.series.bulk": ("_hear", "append_all"),
    "ddr.store.series.sensors": ("load_all",),
}


def allowed() -> Iterator[str]:
    """`module.function` of all of them."""
    for group in (JOBS, FINDS_THE_PATIENT, BATCHES):
        for module, functions in group.items():
            yield from (f"{module}.{function}" for function in functions)
