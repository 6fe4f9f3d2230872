"""Which exceptions mean that the database cannot serve now, in contrast to a fault of ours or of the request."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from asyncpg import exceptions

from ddr.fhir.outages import Outage
from ddr.reasons import NO_THREAD, in_words


class PoolBusy(TimeoutError):
    """No connection of the pool became free in time: more is asked than can be done."""


class PatientBusy(TimeoutError):
    """Others of this process write for the same patient, and did not come to an end in time."""


class ChangedMeanwhile(Exception):
    """What was read step by step is not whole: it was changed between two steps, in a way that hides some of it."""


class StaleServer(ConnectionError):
    """A server that must not be used: of another cluster, a former primary that was replaced, or with a schema of
    somebody else."""


@dataclass(frozen=True)
class Fault:
    """What a client is told: a stable code, a sentence without internals, and seconds until it may try again."""

    code: str
    detail: str
    retry_seconds: int
    outage: Outage = Outage.DEPENDENCY_FAILED


OVERLOADED = Fault("overloaded", "Too many requests at once", 2, Outage.TEMPORARY_DISRUPTION)
BUSY = Fault("busy", "The same data is being changed by another request", 2, Outage.TEMPORARY_DISRUPTION)
CHANGED = Fault("unavailable", "The database has just been changed", 1, Outage.TEMPORARY_DISRUPTION)
UNAVAILABLE = Fault("unavailable", "The database cannot be used at the moment", 5)
READ_ONLY = Fault("unavailable", "The database cannot store anything at the moment", 15)

_BY_TYPE: tuple[tuple[type[BaseException], Fault], ...] = (
    (PoolBusy, OVERLOADED),
    (PatientBusy, BUSY),
    (asyncpg.LockNotAvailableError, BUSY),
    (ChangedMeanwhile, BUSY),
    (asyncpg.TransactionRollbackError, BUSY),  # serialization, deadlock
    (exceptions.InvalidCachedStatementError, CHANGED),
    (exceptions.OutdatedSchemaCacheError, CHANGED),
    (asyncpg.ReadOnlySQLTransactionError, READ_ONLY),
    (asyncpg.DiskFullError, READ_ONLY),
    (asyncpg.PostgresConnectionError, UNAVAILABLE),
    (asyncpg.InsufficientResourcesError, UNAVAILABLE),
    (asyncpg.OperatorInterventionError, UNAVAILABLE),  # shut down, starting, statement_timeout
    (asyncpg.InvalidTransactionStateError, UNAVAILABLE),  # ended while idle in a transaction
    (asyncpg.ObjectNotInPrerequisiteStateError, UNAVAILABLE),
    (exceptions.PostgresSystemError, UNAVAILABLE),  # errors of input and output
    (exceptions.InternalServerError, UNAVAILABLE),  # damaged pages, a pooler without a server
    (asyncpg.InvalidAuthorizationSpecificationError, UNAVAILABLE),  # a password that was changed
    (asyncpg.InvalidCatalogNameError, UNAVAILABLE),  # a database that is being replaced
    (asyncpg.InsufficientPrivilegeError, UNAVAILABLE),
    (asyncpg.DuplicatePreparedStatementError, UNAVAILABLE),  # a pooler, see the setting database_statement_cache
    (asyncpg.InvalidSQLStatementNameError, UNAVAILABLE),
    (exceptions.InternalClientError, UNAVAILABLE),  # a connection that was cut at the wrong moment
    (asyncpg.InterfaceError, UNAVAILABLE),
    (TimeoutError, UNAVAILABLE),
    (OSError, UNAVAILABLE),
)

# Told as RuntimeError: by uvloop, a connection that was cut while something was written to it; by Python, that the
# machine or the container gives no thread.
_BY_TEXT = ("the handler is closed", NO_THREAD)

# Where PostgreSQL says that none is left before a vacuum. What else has this error code is a fault of ours.
_NO_TRANSACTION_ID = ("GetNewTransactionId", "GetNewMultiXactId")

FAULTS: tuple[type[BaseException], ...] = (*(kind for kind, _ in _BY_TYPE), asyncpg.ProgramLimitExceededError)
"""For `except`, where work without a request is tried again later."""


def reason_of(error: BaseException) -> str:
    """What is wrong in one line for operators, without what the database adds in detail: that quotes values of rows."""
    if isinstance(error, asyncpg.PostgresError) and error.args:
        return " ".join(str(error.args[0]).split())
    if isinstance(error, asyncpg.InterfaceError) and str(error).endswith("connection is closed"):
        return "the connection was lost"  # the driver names what of its own cannot be called now
    return in_words(error)


def fault_of(error: BaseException) -> Fault | None:
    """What is wrong around us when `error` says so, else None: then the fault is in this program or in the request."""
    if isinstance(error, ValueError) and isinstance(error, asyncpg.InterfaceError):
        return None  # arguments that do not fit their statement
    if getattr(error, "server_source_function", None) in _NO_TRANSACTION_ID:
        return READ_ONLY
    if isinstance(error, MemoryError):  # what others have in hand takes it, and gives it back
        return OVERLOADED
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _BY_TEXT):
        return UNAVAILABLE
    return next((fault for kind, fault in _BY_TYPE if isinstance(error, kind)), None)
