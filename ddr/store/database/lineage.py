"""Which cluster the recorder writes to, and its newest timeline: a former primary that comes back is not used again.

Promoting a standby begins a timeline with a higher number (PostgreSQL: continuous archiving, timelines). The newest one
is stored in the state directory for the next start, because the former primary knows nothing of it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import asyncpg
import orjson

from ddr.drafts import draft
from ddr.reasons import in_words
from ddr.store.database.faults import StaleServer

FILE = "database-timeline.json"

_IDENTITY = """
    SELECT (SELECT system_identifier FROM pg_control_system())::text AS system,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS wal_file"""

log = logging.getLogger(__name__)


class Lineage:
    """What is known of the cluster; shared by all connections of a process."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.system: str | None = None  # of the first server that this process used
        self.timeline = 0

    async def check(self, connection: asyncpg.Connection) -> bool:
        """True when the server has a newer timeline than all before: connections to other servers are then outdated.

        Raises StaleServer when the server must not be used.
        """
        try:
            system, wal_file = await connection.fetchrow(_IDENTITY)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
            return False  # a service that does not say
        timeline = int(wal_file[:8], 16) if wal_file else None
        return self.note(system, timeline)

    def note(self, system: str, timeline: int | None) -> bool:
        """As `check`, for a server of the cluster `system` that writes `timeline`, None for a standby.

        Raises StaleServer.
        """
        kept_system, kept_timeline = self._kept()
        if self.system is not None and system != self.system:
            raise StaleServer("the server belongs to another database cluster than the one in use")
        known = max(self.timeline, kept_timeline if kept_system == system else 0)
        if timeline is not None and timeline < known:
            raise StaleServer(
                f"the server writes timeline {timeline}, but {known} was in use: it is a former primary that was"
                f" replaced (after a restore on purpose, remove {FILE} from the state directory)"
            )
        newer = timeline is not None and 0 < self.timeline < timeline
        self.system = system
        self.timeline = max(known, timeline or 0)
        if timeline is not None and (kept_system, kept_timeline) != (system, self.timeline):
            self._keep()
        return newer

    def _kept(self) -> tuple[str | None, int]:
        if self.file is not None:
            with suppress(OSError, ValueError, KeyError, TypeError):
                kept = orjson.loads(self.file.read_bytes())
                return str(kept["system"]), int(kept["timeline"])
        return None, 0

    def _keep(self) -> None:
        """Write the file atomically; without it, only this process remembers."""
        if self.file is None:
            return
        try:
            with draft(self.file) as file:
                file.write(orjson.dumps({"system": self.system, "timeline": self.timeline}))
        except FileNotFoundError:  # a command where no recorder has run yet
            return
        except OSError as error:
            log.warning("database.timeline_not_kept", extra={"reason": in_words(error)})
