"""Settings of a server or a role by which what it acknowledges may be lost, or which change what statements say.

A session of our own is put right. What is the server's alone, or a pooler's, can only be told.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import asyncpg

log = logging.getLogger(__name__)

# By name what is unfit, and what a session is set to; "": no session can. Where a commit need not wait for the disk
# (the admission) it is asked for; `remote_apply` and the like are the operator's choice.
_UNFIT = {
    "synchronous_commit": (("off",), "on"),
    "default_transaction_isolation": (("repeatable read", "serializable"), "read committed"),
    "bytea_output": (("escape",), "hex"),  # bytes that come as text, from where patients are spread
    "array_nulls": (("off",), "on"),  # NULL in arrays that go as text, to there
    "standard_conforming_strings": (("off",), "on"),
    # No trigger and no foreign key holds then, so who may not set it is not served: proofs of consent were lost
    "session_replication_role": (("replica",), "origin"),
    "fsync": (("off",), ""),
    "full_page_writes": (("off",), ""),
}
# What a session of ours is set to whatever is set for others: a connection that waits for requests is ended neither by
# the server, in the very moment in which one takes it, nor in the middle of a migration (since PostgreSQL 17).
_ENDLESS = (
    "set_config('idle_session_timeout', '0', false)",
    "CASE WHEN current_setting('transaction_timeout', true) <> '0'"
    " THEN set_config('transaction_timeout', '0', false) END",
)
_ASKED = f"SELECT {', '.join(f'current_setting({name!r})' for name in _UNFIT)}"


class Fitting:
    """Which settings the log has warned of, of the servers of a URL; shared by all connections of a process."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    async def put_right(
        self, connection: asyncpg.Connection, own: bool, tells: bool, limits: Mapping[str, str]
    ) -> None:
        """Look at a new connection; `own`: its session is nobody else's; `tells`: it serves requests.

        Its limits were named as it began, but a pooler in session mode passes that over (`ignore_startup_parameters`).
        """
        once_more = (f"set_config('{name}', '{value}', false)" for name, value in limits.items())
        found = await connection.fetchrow(", ".join([_ASKED, *((*_ENDLESS, *once_more) if own else ())]))
        for (name, (unfit, fit)), value in zip(_UNFIT.items(), found[: len(_UNFIT)], strict=True):
            if value not in unfit:
                continue
            if own and fit:
                await connection.execute(f"SET {name} = '{fit}'")
            elif tells and name not in self._warned:
                self._warned.add(name)
                log.warning("database.setting_unfit", extra={"setting": name, "value": value})
