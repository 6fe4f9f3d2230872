"""The DiGA's side as a library: pair, keep tokens, pull what changed, read series. Imports nothing of the server.

docs/client.md is the way through; everything works against any recorder of HDDT 1.0.1.
"""

from ddr.client.diga import Diga
from ddr.client.errors import ClientError, PairingEnded, Refused, Throttled, Unreachable
from ddr.client.pairing import Pairing, Started
from ddr.client.pull import Change, Cursor, Kind
from ddr.client.recorder import Recorder
from ddr.client.series import Reading, readings
from ddr.client.tokens import FileTokens, Grant, SqliteTokens, TokenStore

__all__ = [
    "Change",
    "ClientError",
    "Cursor",
    "Diga",
    "FileTokens",
    "Grant",
    "Kind",
    "Pairing",
    "PairingEnded",
    "Reading",
    "Recorder",
    "Refused",
    "SqliteTokens",
    "Started",
    "Throttled",
    "TokenStore",
    "Unreachable",
    "readings",
]
