"""Who a cloud bridge is, and for whom it sends: the certificate of its connection, the accounts that it names.

A bridge is a backend of the manufacturer that sends for many patients. It authenticates with a registered certificate
and names a patient by the account with which the patient logs in: the subject at the OpenID provider or, in a
demonstration, the name of the built-in account. Accounts are in headers and bodies, never in a URL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from uuid import UUID

from ddr.gateway.problem import Problem, unauthorized
from ddr.http.asgi import Scope
from ddr.http.core import Core
from ddr.store.gateways import bridges as bridge_accounts
from ddr.store.gateways import certificates as gateway_certificates
from ddr.store.patients import identities
from ddr.tls.peer import client_certificate

ACCOUNT_HEADER = "patient-account"
LONGEST_ACCOUNT = 256
NO_BRIDGE = (
    "Patient-Account needs the registered certificate of a cloud bridge; an app must send its token without this header"
)


async def check_bridge(core: Core, scope: Scope) -> bytes:
    """The SHA-256 of the bridge's certificate. Raises Problem 403 for any other client."""
    der = await _certificate(core, scope)
    if der is None:
        raise Problem(403, "not-a-bridge", "This operation needs the registered certificate of a cloud bridge")
    return hashlib.sha256(der).digest()


async def patient_of_account(core: Core, scope: Scope, account: str) -> UUID:
    """The patient for whom a bridge makes a request that concerns one patient. Raises Problem 401 or 404.

    A PUT, which registers things, creates a patient for a user of the provider who has never been here, as a token
    does.
    """
    if await _certificate(core, scope) is None:
        raise unauthorized(token_given=False, detail=NO_BRIDGE)
    found = (await patients_of(core, [account])).get(account)
    if found is not None:
        return found
    if scope["method"] != "PUT" or core.identity is None or not _is_account(account):
        raise unknown_account()
    patient_id = await identities.patient_of(core.pool, core.identity.issuer, account, core.clock())
    if patient_id is None:
        raise unknown_account()
    return patient_id


def unknown_account() -> Problem:
    """404: nobody logs in under this name."""
    return Problem(404, "unknown-account", "No such account")


async def _certificate(core: Core, scope: Scope) -> bytes | None:
    """The connection's certificate if it is a bridge's; looked up on every request, so revocation is immediate."""
    der = client_certificate(scope)
    return der if der is not None and await gateway_certificates.let_in(core.pool, der, core.clock()) else None


async def patients_of(core: Core, accounts: Collection[str]) -> dict[str, UUID]:
    """The patients of those accounts that are known."""
    issuer = core.identity.issuer if core.identity else None
    return await bridge_accounts.patients(core.pool, issuer, [one for one in accounts if _is_account(one)])


def _is_account(text: str) -> bool:
    """True for a text that can be the name of an account."""
    return 1 <= len(text) <= LONGEST_ACCOUNT and text.isprintable()
