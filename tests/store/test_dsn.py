"""The URL of the database: which hosts it names, and that no message repeats any part of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.store.database.dsn import check_url, hosts, shown
from ddr.store.database.errors import DatabaseAway, StoreError
from ddr.store.database.pool import connect
from tests.support.pooler import direct_only

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://ddr@/postgres?host=/tmp/x", [("/tmp/x", None)]),
        ("postgresql://ddr@/postgres?host=/tmp/x,/tmp/y", [("/tmp/x", None), ("/tmp/y", None)]),
        ("postgresql://ddr@/d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://ddr@/d?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u:p@a:1,b/d?target_session_attrs=primary", [("a", 1), ("b", None)]),
        ("postgres://[::1]:5,[::2]/d", [("::1", 5), ("::2", None)]),
        ("postgresql:///d", []),
        ("postgresql://u@%2Ftmp%2Fx/d", [("/tmp/x", None)]),
    ],
)
def test_the_hosts_of_a_url(url: str, found: list[tuple[str, int | None]]) -> None:
    check_url(url)
    assert hosts(url) == found


@pytest.mark.parametrize(
    "url",
    [
        f"host=db user=ddr password={SECRET}",
        f" host = db password = {SECRET}",
        f"mysql://ddr:{SECRET}@db/ddr",
        f"ddr:{SECRET}@db/ddr",
        f"postgresql:/ddr:{SECRET}@db/ddr",
        f"postgresql://ddr:12/{SECRET}@db/ddr",
        f"postgresql://ddr:1#{SECRET}@db/ddr",
        f"postgresql://ddr:1?{SECRET}@db/ddr",
        f"postgresql://ddr:1@{SECRET}@db/ddr",
        f"postgresql://ddr:1[{SECRET}@[db/ddr",
        f"postgresql://db:{SECRET}/ddr",
        f"postgresql://ddr:{SECRET}@db:port/ddr",
        f"postgresql://ddr:1 {SECRET}@db/ddr",
        f"postgresql://ddr:{SECRET}@db:99999/ddr",
        f"postgresql://ddr:{SECRET}@/ddr?host=a,b,c&port=1,2",
    ],
)
async def test_a_url_that_is_none_gets_one_line_without_any_of_it(url: str) -> None:
    with pytest.raises(StoreError) as refusal:
        await connect(url, 1)
    text = str(refusal.value)
    assert "database_url" in text
    assert SECRET not in text and "\n" not in text
    assert SECRET not in shown(url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ddr:{SECRET}@localhost:1/ddr",
        f"postgresql://{SECRET}@localhost:1/ddr",
        f"postgresql://ddr:{SECRET}@no-such-host.invalid/ddr",
        f"postgresql://ddr@localhost:1/ddr?password={SECRET}",
        f"postgresql://ddr@localhost:1/ddr?sslmode={SECRET}",
        f"postgresql://ddr@localhost:1/ddr?target_session_attrs={SECRET}",
        f"postgresql://ddr@localhost:1/ddr?port={SECRET}",
    ],
)
async def test_no_connection_tells_no_secret(url: str) -> None:
    with pytest.raises(StoreError) as refusal:
        await connect(url, 1)
    assert SECRET not in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("user", "said", "told"),
    [
        ("ddr", "no address left", "cannot connect: no address left$"),  # of which `ddr` is no word
        (SECRET, f"no {SECRET} here", f"connect: OSError: {os.strerror(errno.EADDRNOTAVAIL)}$"),
        ("d~", 'no "d~" here', f"connect: OSError: {os.strerror(errno.EADDRNOTAVAIL)}$"),
    ],
)
async def test_a_cause_is_told_that_does_not_name_the_user(
    user: str, said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, said)

    monkeypatch.setattr(asyncpg, "connect", failing)
    with pytest.raises(DatabaseAway, match=told):
        await connect(f"postgresql://{user}@127.0.0.1:1/ddr", 1)


@direct_only
async def test_a_wrong_user_gets_one_line(database_url: str) -> None:
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    with pytest.raises(StoreError, match="refuses the user or the password") as refusal:
        await connect(parts._replace(netloc=f"{SECRET}:x@{host}").geturl(), 1)
    assert SECRET not in str(refusal.value)


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_password_is_shown_whatever_it_looks_like(user: str, password: str) -> None:
    url = f"postgresql://{user}:{SECRET}{password}@db.example/ddr"
    assert SECRET not in shown(url)
    try:
        check_url(url)
    except StoreError as error:
        assert SECRET not in str(error)


async def test_a_parameter_with_a_wrong_value_is_told_in_words() -> None:
    with pytest.raises(StoreError) as caught:
        await connect(f"postgresql://ddr:{SECRET}@127.0.0.1:1/ddr?sslmode=requir", 1)
    assert "behind the ? of the URL" in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_server_that_shall_be_verified_needs_an_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where libpq's file for it would be
    with pytest.raises(StoreError, match="sslmode needs sslrootcert beside it"):
        await connect("postgresql://ddr@127.0.0.1:1/ddr?sslmode=verify-full", 1)
    with pytest.raises(StoreError, match=r"a file that the URL names behind its [?]: No such file or directory"):
        await connect(f"postgresql://ddr@127.0.0.1:1/ddr?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem", 1)
