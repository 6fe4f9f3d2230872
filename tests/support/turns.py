"""A process that takes turns at housekeeping like a worker, and records when it does.

`python -m tests.support.turns URL NAME LEASE_MS hold|round`: `hold` keeps its first turn until the process ends; two
with `round` begin together.
"""

from __future__ import annotations

import asyncio
import sys

from ddr.operations import housekeeping
from ddr.store.database import leases
from ddr.store.database.pool import connect

ROUNDS = 15


async def main(url: str, name: str, lease_ms: int, how: str) -> None:
    """Enter and leave as often as ROUNDS says, each recorded in the table `turn`, which the parent process has
    created."""
    leases.LEASE_MS = lease_ms
    async with await connect(url, 2, cache=0) as pool:
        if how == "round":
            await pool.execute("INSERT INTO turn (who, step) VALUES ($1, 'here')", name)
            while await pool.fetchval("SELECT count(*) FROM turn WHERE step = 'here'") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        rounds = 0
        while rounds < ROUNDS:
            async with housekeeping._alone(pool) as alone:
                if alone:
                    await pool.execute("INSERT INTO turn (who, step) VALUES ($1, 'in')", name)
                    if how == "hold":
                        await asyncio.get_running_loop().create_future()
                    await asyncio.sleep(0.005)
                    await pool.execute("INSERT INTO turn (who, step) VALUES ($1, 'out')", name)
                    rounds += 1
            await asyncio.sleep(0.003)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
