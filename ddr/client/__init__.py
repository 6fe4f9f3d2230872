"""The DiGA's side as a library: pair, keep tokens, pull what changed, read series. It imports nothing of the server.

docs/client.md is the guide; everything works with any recorder of HDDT 1.0.1.
"""

from ddr.client.data import Series
from ddr.client.diga import ConfigError, Diga
from ddr.client.errors import (
    BrokenGrant,
    Busy,
    ClientError,
    ConsentDenied,
    NoAnswerToThisRequest,
    NotFound,
    NotListed,
    PairingEnded,
    Refused,
    ScopeRefused,
    Throttled,
    Unanswered,
    Unreachable,
    Unreadable,
)
from ddr.client.journal import Journal, SqliteJournal
from ddr.client.pairing import Pairing, Started
from ddr.client.postgres import PostgresTokens
from ddr.client.postgres_journal import PostgresJournal
from ddr.client.pull import Change, Cursor, Kind, Step
from ddr.client.recorder import Recorder
from ddr.client.registry import Registry
from ddr.client.series import Reading, readings
from ddr.client.sqlite import SqliteTokens
from ddr.client.tokens import FileTokens, Grant, PairingStore, TokenStore
from ddr.client.watch import News, Watch

__all__ = [
    "BrokenGrant",
    "Busy",
    "Change",
    "ClientError",
    "ConfigError",
    "ConsentDenied",
    "Cursor",
    "Diga",
    "FileTokens",
    "Grant",
    "Journal",
    "Kind",
    "News",
    "NoAnswerToThisRequest",
    "NotFound",
    "NotListed",
    "Pairing",
    "PairingEnded",
    "PairingStore",
    "PostgresJournal",
    "PostgresTokens",
    "Reading",
    "Recorder",
    "Refused",
    "Registry",
    "ScopeRefused",
    "Series",
    "SqliteJournal",
    "SqliteTokens",
    "Started",
    "Step",
    "Throttled",
    "TokenStore",
    "Unanswered",
    "Unreachable",
    "Unreadable",
    "Watch",
    "readings",
]
