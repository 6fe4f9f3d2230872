"""Signing keys: sealed at rest, shared by workers, rotated without invalidating a token."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import asyncpg
import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet, KeySetSerialization

from ddr.oauth.keys import LEAD_MS, Keys, opening_key, replace_lost, reseal_all, rotate
from ddr.settings import Settings, SettingsError
from ddr.store.authorization import keys as store
from ddr.store.database.locks import Lock
from ddr.store.database.pool import connect
from ddr.store.database.sealing import KeyRing, key_encryption_key, seal, unseal
from tests.support.clock import Clock
from tests.support.database import migrated_database
from tests.support.full_disk import UNREADABLE, full_after

KEY, OTHER = KeyRing(b"k" * 32), KeyRing(b"x" * 32)


@pytest.fixture
async def empty(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database in which nothing is sealed yet."""
    async with migrated_database(database_url) as url, await connect(url, 5) as pool:
        yield pool


def kid_of(token: str) -> Any:
    return jws.extract_compact(token.encode()).headers()["kid"]


async def test_workers_that_start_together_have_one_key(empty: asyncpg.Pool, clock: Clock) -> None:
    workers = await asyncio.gather(*(Keys.load(empty, KEY, clock()) for _ in range(5)))
    assert len({repr(worker.jwks()) for worker in workers}) == 1
    assert len(workers[0].jwks()["keys"]) == 1


async def test_the_private_part_is_not_readable_in_the_database(empty: asyncpg.Pool, clock: Clock) -> None:
    await Keys.load(empty, KEY, clock())
    row = await empty.fetchrow("SELECT * FROM signing_key")
    assert b"PRIVATE" not in row["sealed_private"]
    assert b"PRIVATE" in unseal(KEY, row["sealed_private"], row["kid"])
    assert "d" not in row["public_jwk"]


async def test_another_key_encryption_key_is_told_apart(empty: asyncpg.Pool, clock: Clock) -> None:
    await Keys.load(empty, KEY, clock())
    for refused in (Keys.load(empty, OTHER, clock()), rotate(empty, OTHER, 600, clock())):
        with pytest.raises(SettingsError, match="key_encryption_key"):
            await refused
    assert await empty.fetchval("SELECT count(*) FROM signing_key") == 1


async def test_rotation_publishes_first_signs_later_and_then_forgets(empty: asyncpg.Pool, clock: Clock) -> None:
    keys = await Keys.load(empty, KEY, clock())
    old = keys.sign({"a": 1}, "at+jwt", clock())
    new_kid = await rotate(empty, KEY, 600, clock())
    await keys.read(empty, clock())
    assert keys.public_key(new_kid) is not None
    assert kid_of(keys.sign({}, "at+jwt", clock())) == kid_of(old)

    clock.advance(LEAD_MS / 1000)
    assert kid_of(keys.sign({}, "at+jwt", clock())) == new_kid
    await keys.read(empty, clock())
    assert jwt.decode(
        old, KeySet.import_key_set(cast(KeySetSerialization, keys.jwks())), algorithms=["ES256"]
    ).claims == {"a": 1}

    clock.advance(60 + 600)
    await keys.read(empty, clock())
    assert [key["kid"] for key in keys.jwks()["keys"]] == [new_kid]
    await rotate(empty, KEY, 600, clock())
    assert kid_of(old) not in {row["kid"] for row in await empty.fetch("SELECT kid FROM signing_key")}


async def test_no_key_is_sealed_by_one_that_is_exchanged_meanwhile(empty: asyncpg.Pool, clock: Clock) -> None:
    """`ddr keys rotate` on a host without the new key-encryption key, during `ddr keys rotate-encryption`."""
    await Keys.load(empty, KEY, clock())

    async def replaced(*arguments: Any) -> None:
        await reseal_all(empty, KeyRing(OTHER.current, (KEY.current,)), clock())
        await put_in_place(*arguments)

    put_in_place = store.replace
    with patch.object(store, "replace", replaced), pytest.raises(SettingsError, match="key_encryption_key"):
        await rotate(empty, KEY, 600, clock())
    assert len((await Keys.load(empty, OTHER, clock())).jwks()["keys"]) == 1


async def test_a_clock_that_was_set_back_leaves_a_key_to_sign_with(empty: asyncpg.Pool, clock: Clock) -> None:
    keys = await Keys.load(empty, KEY, clock())
    kid = kid_of(keys.sign({}, "at+jwt", clock()))
    await rotate(empty, KEY, 600, clock())
    await keys.read(empty, clock())
    assert kid_of(keys.sign({}, "at+jwt", clock() - 600_000)) == kid


def test_what_is_sealed_opens_under_its_name_only() -> None:
    sealed = seal(KEY, b"plain", "a")
    assert unseal(KEY, sealed, "a") == b"plain"
    assert seal(KEY, b"plain", "a") != sealed
    with pytest.raises(SettingsError):
        unseal(KEY, sealed, "b")


def test_the_key_comes_from_the_setting(settings: Settings) -> None:
    assert (
        key_encryption_key(replace(settings, key_encryption_key=base64.b64encode(KEY.current).decode()), make=False)
        == KEY
    )


@pytest.mark.parametrize("text", ["short", base64.b64encode(b"x" * 31).decode(), "=" * 44])
def test_a_malformed_key_is_refused(settings: Settings, text: str) -> None:
    with pytest.raises(SettingsError, match="32 bytes"):
        key_encryption_key(replace(settings, key_encryption_key=text), make=True)


def test_in_development_it_is_kept_in_a_private_file(settings: Settings, tmp_path: Path) -> None:
    development = replace(settings, state_dir=tmp_path / "state")
    key = key_encryption_key(development, make=True)
    assert key_encryption_key(development, make=False) == key and len(key.current) == 32
    (file,) = development.state_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_who_makes_it_at_once_under_one_process_id_has_the_same(settings: Settings, tmp_path: Path) -> None:
    """As in two containers with one state directory."""
    for number in range(20):
        development, together = replace(settings, state_dir=tmp_path / f"{number}"), threading.Barrier(4)

        def made(own: Settings = development, barrier: threading.Barrier = together) -> KeyRing:
            barrier.wait(60)
            return key_encryption_key(own, make=True)

        with ThreadPoolExecutor(4) as threads:
            found = {one.result().current for one in [threads.submit(made) for _ in range(4)]}
        assert found == {key_encryption_key(development, make=False).current}


@pytest.mark.parametrize("content", [b"", b"short", b"\xdc" * 32])
def test_a_file_that_holds_no_key_is_named(settings: Settings, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key-encryption.key"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"the file {file}: must be 32 bytes in base64"):
        key_encryption_key(replace(settings, state_dir=tmp_path), make=True)
    assert file.read_bytes() == content


@pytest.mark.skipif(not UNREADABLE.exists(), reason="no file that fails when it is read")
def test_a_file_that_its_disk_does_not_give_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "key-encryption.key").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error") as failed:
        key_encryption_key(replace(settings, state_dir=tmp_path), make=True)
    assert failed.value.filename == str(tmp_path / "key-encryption.key")


def test_it_is_on_the_disk_before_it_has_its_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power failure could take away everything that was sealed."""
    true_fsync, kept = os.fsync, list[tuple[bool, bool]]()

    def noted(descriptor: int) -> None:
        kept.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "key-encryption.key").exists()))
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    key_encryption_key(replace(settings, state_dir=tmp_path), make=True)
    assert kept == [(False, False), (True, True)]


def test_a_full_disk_for_it_is_named_and_nothing_is_left(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with full_after(tmp_path / "empty", 10), pytest.raises(SettingsError) as full:
        key_encryption_key(replace(settings, state_dir=tmp_path), make=True)
    assert str(full.value).endswith(f"{tmp_path / 'key-encryption.key'} cannot be created: No space left on device")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"]


async def test_housekeeping_keeps_no_worker_from_starting(empty: asyncpg.Pool, clock: Clock) -> None:
    async with empty.acquire() as housekeeping, asyncio.timeout(60):
        await housekeeping.execute("SELECT pg_advisory_lock($1)", Lock.MIGRATION)
        await Keys.load(empty, KEY, clock())
        await housekeeping.execute("SELECT pg_advisory_unlock($1)", Lock.MIGRATION)


async def test_a_lost_file_is_not_replaced_silently(
    empty: asyncpg.Pool, settings: Settings, tmp_path: Path, clock: Clock
) -> None:
    """A new key could not open the keys in the database: nothing is written, and the text names the way out."""
    lost = replace(settings, state_dir=tmp_path / "lost")
    await Keys.load(empty, await opening_key(empty, lost), clock())
    (file,) = lost.state_dir.iterdir()
    before, text = await empty.fetch("SELECT * FROM signing_key"), file.read_text()
    file.unlink()
    with pytest.raises(SettingsError, match=r"is missing; .*ddr keys replace"):
        await opening_key(empty, lost)
    assert not list(lost.state_dir.iterdir()) and await empty.fetch("SELECT * FROM signing_key") == before
    file.write_text(text)
    await Keys.load(empty, await opening_key(empty, lost), clock())


async def test_beginning_anew_when_the_key_is_gone(empty: asyncpg.Pool, clock: Clock) -> None:
    old = await Keys.load(empty, KEY, clock())
    token = old.sign({"sub": "x"}, "at+jwt", clock())
    kid, _ = await replace_lost(empty, OTHER, clock())
    keys = await Keys.load(empty, OTHER, clock())
    assert [one["kid"] for one in keys.jwks()["keys"]] == [kid]
    assert keys.sign({"sub": "x"}, "at+jwt", clock()) != token
    with pytest.raises(SettingsError, match="does not open"):
        await Keys.load(empty, KEY, clock())
