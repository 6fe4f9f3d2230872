"""Which exceptions mean that the database cannot serve at present, as opposed to a fault of ours or of the request."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from asyncpg import exceptions

from ddr.fhir.outages import Outage
from ddr.reasons import NO_THREAD, in_words


class PoolBusy(TimeoutError):
    """No connection of the pool became free in time: there are more requests than can be served."""


class PatientBusy(TimeoutError):
    """Other requests of this process write for the same patient, and did not finish in time."""


class ChangedMeanwhile(Exception):
    """Data read in several steps is not consistent: it was changed between two steps in a way that hides some of it."""


class StaleServer(ConnectionError):
    """A server that must not be used: it belongs to another cluster, is a former primary that was replaced, or has
    somebody else's schema."""


@dataclass(frozen=True)
class Fault:
    """What a client is told: a stable code, a sentence without internals, and the seconds until it may retry."""

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
    (asyncpg.OperatorInterventionError, UNAVAILABLE),  # shutting down, starting, statement_timeout
    (asyncpg.InvalidTransactionStateError, UNAVAILABLE),  # the session ended while idle in a transaction
    (asyncpg.ObjectNotInPrerequisiteStateError, UNAVAILABLE),
    (exceptions.PostgresSystemError, UNAVAILABLE),  # I/O errors
    (exceptions.InternalServerError, UNAVAILABLE),  # damaged pages, or a pooler without a server
    (asyncpg.InvalidAuthorizationSpecificationError, UNAVAILABLE),  # a changed password
    (asyncpg.InvalidCatalogNameError, UNAVAILABLE),  # a database that is being replaced
    (asyncpg.InsufficientPrivilegeError, UNAVAILABLE),
    (asyncpg.DuplicatePreparedStatementError, UNAVAILABLE),  # a pooler; see the setting database_statement_cache
    (asyncpg.InvalidSQLStatementNameError, UNAVAILABLE),
    (exceptions.InternalClientError, UNAVAILABLE),  # a connection lost at the wrong moment
    (asyncpg.InterfaceError, UNAVAILABLE),
    (TimeoutError, UNAVAILABLE),
    (OSError, UNAVAILABLE),
)

# Raised as RuntimeError: by uvloop for a connection that was lost during a write, by Python when the machine or the
# container gives no thread.
_BY_TEXT = ("the handler is closed", NO_THREAD)

# Where PostgreSQL reports that no transaction ids are left before a vacuum, and where Citus passes on the error of
# another server. Any other error with this code is a fault of ours.
_NO_TRANSACTION_ID = ("GetNewTransactionId", "GetNewMultiXactId", "ReportResultError")

FAULTS: tuple[type[BaseException], ...] = (*(kind for kind, _ in _BY_TYPE), asyncpg.ProgramLimitExceededError)
"""For `except`, where work without a request is tried again later."""


def reason_of(error: BaseException) -> str:
    """What is wrong, in one line for operators, without the database's detail, which quotes values of rows."""
    if isinstance(error, asyncpg.PostgresError) and error.args:
        return " ".join(str(error.args[0]).split())
    if isinstance(error, asyncpg.InterfaceError) and str(error).endswith("connection is closed"):
        return "the connection was lost"  # the driver names its own functions that cannot be called now
    return in_words(error)


def fault_of(error: BaseException) -> Fault | None:
    """What is wrong in our environment when `error` shows it; None: the fault is in this program or in the request."""
    if isinstance(error, ValueError) and isinstance(error, asyncpg.InterfaceError):
        return None  # arguments that do not fit their statement
    if isinstance(error, asyncpg.ProgramLimitExceededError) and error.server_source_function in _NO_TRANSACTION_ID:
        return READ_ONLY
    if isinstance(error, MemoryError):  # other work in progress has taken the memory, and will free it
        return OVERLOADED
    if isinstance(error, RuntimeError) and any(text in str(error) for text in _BY_TEXT):
        return UNAVAILABLE
    return next((fault for kind, fault in _BY_TYPE if isinstance(error, kind)), None)
