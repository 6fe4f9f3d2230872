"""Settings of a server or a role that may lose acknowledged data, or that change the meaning of statements.

In a session of our own they are corrected. Those of the server alone, or of a pooler, can only be reported.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import asyncpg

log = logging.getLogger(__name__)

# For each setting its unfit values, and the value that a session is set to; "": a session cannot set it. Code where a
# commit need not wait for the disk (the admission) sets that itself; `remote_apply` and the like are the operator's
# choice.
_UNFIT = {
    "synchronous_commit": (("off",), "on"),
    "default_transaction_isolation": (("repeatable read", "serializable"), "read committed"),
    "bytea_output": (("escape",), "hex"),  # from where patients are spread, bytes come as text
    "array_nulls": (("off",), "on"),  # NULL in arrays sent there as text
    "standard_conforming_strings": (("off",), "on"),
    # With it, no trigger and no foreign key works, and proofs of consent would be lost; so a role that may not set it
    # is not served.
    "session_replication_role": (("replica",), "origin"),
    "fsync": (("off",), ""),
    "full_page_writes": (("off",), ""),
}
# What a session of ours is set to, whatever is set for others. The server must not end a waiting connection at the very
# moment in which it is taken, nor end one in the middle of a migration (since PostgreSQL 17).
_ENDLESS = (
    "set_config('idle_session_timeout', '0', false)",
    "CASE WHEN current_setting('transaction_timeout', true) <> '0'"
    " THEN set_config('transaction_timeout', '0', false) END",
)
_ASKED = f"SELECT {', '.join(f'current_setting({name!r})' for name in _UNFIT)}"


class Fitting:
    """Which settings of a URL's servers have been warned of in the log; shared by all connections of a process."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    async def put_right(
        self, connection: asyncpg.Connection, own: bool, tells: bool, limits: Mapping[str, str]
    ) -> None:
        """Check a new connection; `own`: nobody else uses its session; `tells`: it serves requests.

        Its limits were set as it was opened, but a pooler in session mode ignores them (`ignore_startup_parameters`).
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
