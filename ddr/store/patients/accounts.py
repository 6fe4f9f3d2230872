"""Built-in accounts of patients, for demonstration and tests: argon2id, with the same effort for unknown names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID, uuid4

import asyncpg
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ddr.store.database.able import able
from ddr.store.database.names import account_name, normal

# The parameters that OWASP recommends for argon2id. Each hash takes 19 MiB: two threads limit the memory that
# concurrent attempts take.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
_THREADS = ThreadPoolExecutor(2, "argon2")
# The hash of a random, discarded password, with which a password given for an unknown name is compared.
NOBODYS_HASH = "$argon2id$v=19$m=19456,t=2,p=1$Dso2zQ/OOluvKbXzqTJitQ$uMRGk8KkCkv4+dTg7dRY1RKpcCE3z+V7A4WJgHCd2QE"
T = TypeVar("T")
LONGEST = 256  # characters of a name or password


class AccountError(Exception):
    """The account cannot be created; the text is one line for the operator."""


async def create_patient(pool: asyncpg.Pool, username: str, password: str, now_ms: int) -> UUID:
    """A new patient with an account. Raises AccountError for a name that is taken and for invalid input."""
    username = account_name(username)
    if not 1 <= len(username) <= LONGEST or not username.isprintable():
        raise AccountError(f"username must have 1 to {LONGEST} characters, all printable")
    if not 8 <= len(password) <= LONGEST:
        raise AccountError(f"password must have 8 to {LONGEST} characters")
    password_hash = await _in_thread(_HASHER.hash, normal(password))
    return await _insert(pool, username, password_hash, now_ms)


async def _insert(pool: asyncpg.Pool, username: str, password_hash: str, now_ms: int) -> UUID:
    patient_id = uuid4()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", patient_id, now_ms)
        added = await connection.execute(  # a conflict would put the name into the database's log
            "INSERT INTO account (username, patient_id, password_hash, created_ms) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING",
            username,
            patient_id,
            password_hash,
            now_ms,
        )
        if added == "INSERT 0 0":
            raise AccountError("username is already taken")
    return patient_id


async def verify(pool: asyncpg.Pool, username: str, password: str) -> UUID | None:
    """The patient of this account, or None. An unknown name takes as much time as a wrong password.

    An account that the operator disabled is treated like an unknown one.
    """
    username = account_name(username)
    row = await pool.fetchrow(
        "SELECT patient_id, password_hash FROM account WHERE username = $1", username if username.isprintable() else ""
    )
    right = await _in_thread(_matches, row["password_hash"] if row else NOBODYS_HASH, normal(password))
    patient_id: UUID | None = row["patient_id"] if row else None
    usable = await able(pool, patient_id)
    return patient_id if right and usable else None


async def _in_thread(function: Callable[..., T], *arguments: str) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
