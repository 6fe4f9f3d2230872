"""Built-in accounts of the demonstration's patients, the same on every run with the same state directory."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import UUID

import asyncpg

from ddr.demo.cast import username
from ddr.drafts import OWN, draft
from ddr.http.clock import now_ms
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients.accounts import create_patient

AT_ONCE = 4
APP = "Muster-App (Demonstration)"


@dataclass(frozen=True)
class Account:
    """The credentials of a patient and of the patient's gateway app."""

    username: str
    password: str
    gateway_token: str


async def accounts(pool: asyncpg.Pool, state_dir: Path, count: int) -> list[Account]:
    """The first `count` patients; missing ones are created. Raises AccountError when a name is taken."""
    file = state_dir / "accounts.json"
    kept = {item["username"]: Account(**item) for item in json.loads(file.read_text("utf-8"))} if file.exists() else {}
    stored = dict(await pool.fetch("SELECT username, patient_id FROM account"))
    known = {name: account for name, account in kept.items() if name in stored}
    limit = asyncio.Semaphore(AT_ONCE)

    async def one_of(name: str) -> Account:
        async with limit:
            return await connected(pool, stored[name], known[name]) if name in known else await account(pool, name)

    wanted = await asyncio.gather(*(one_of(username(index)) for index in range(count)))
    everybody = {**known, **{one.username: one for one in wanted}}
    with draft(file, OWN) as out:
        out.write(json.dumps([asdict(one) for one in everybody.values()], indent=1).encode())
    return list(wanted)


async def account(pool: asyncpg.Pool, name: str) -> Account:
    """A new patient with an account, and a token for the gateway app. Raises AccountError when the name is taken."""
    password = secrets.token_urlsafe(9)
    patient_id = await create_patient(pool, name, password, now_ms())
    return Account(name, password, await gateway_tokens.create(pool, patient_id, now_ms(), name=APP))


async def connected(pool: asyncpg.Pool, patient_id: UUID, known: Account) -> Account:
    """The same account, with a new token when that of a former run is no longer valid: after a year, or after
    disconnecting on the page "My devices"."""
    holder = await gateway_tokens.find(pool, sha256(known.gateway_token), now_ms())
    if holder is not None and holder.good:
        return known
    return replace(known, gateway_token=await gateway_tokens.create(pool, patient_id, now_ms(), name=APP))
