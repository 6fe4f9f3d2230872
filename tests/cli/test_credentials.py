"""`ddr credentials`, and what the register learns automatically (docs/credentials.md)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.cli.main import main
from ddr.demo.certs import client_certificate
from ddr.http.core import Core
from ddr.operations.credentials import UNUSED_MS, follow
from ddr.operations.host_figures import host_figures
from ddr.operations.status.board import shared
from ddr.registries.certificates import expires_ms, fingerprint
from ddr.store.credentials import register
from ddr.store.credentials.register import SOON_MS, Credential, Kind
from ddr.store.database.digest import sha256
from ddr.store.database.pool import open_pool
from ddr.store.gateways import certificates
from ddr.store.gateways.certificates import Facts, let_in
from tests.support.clock import Clock
from tests.support.database import migrated_database

Run = Callable[..., Awaitable[tuple[int, str, str]]]
DAY_MS = 86_400_000


@pytest.fixture
async def own(core: Core, database_url: str, clock: Clock) -> AsyncIterator[Core]:
    """A recorder with a database of its own: the register concerns the whole installation."""
    async with migrated_database(database_url) as url:
        settings = replace(core.settings, database_url=url, registry_token="old-token new-token")
        async with await open_pool(settings) as pool:
            yield replace(core, settings=settings, pool=pool, clock=clock)


@pytest.fixture
def run(own: Core, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ddr credentials`; status, output, error."""
    monkeypatch.setenv("DDR_DATABASE_URL", own.settings.database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")

    async def called(*arguments: str) -> tuple[int, str, str]:
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(None, main, ["credentials", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return called


async def of(core: Core, kind: Kind) -> dict[str, Credential]:
    """The credentials of this kind by mark."""
    return {one.mark: one for one in await register.every(core.pool) if one.kind is kind}


async def steps(core: Core) -> list[str]:
    """What the trail says of credentials."""
    rows = await core.pool.fetch("SELECT event FROM audit WHERE event LIKE '%:credential:%' ORDER BY audit_no")
    return [row["event"] for row in rows]


async def test_tokens_of_the_settings_are_met_assigned_and_leave(own: Core, run: Run, clock: Clock) -> None:
    old, new = (sha256(token).hex() for token in ("old-token", "new-token"))
    await follow(own, clock())
    before = await steps(own)
    await follow(own, clock())
    assert await steps(own) == before, "what is known is not found again"
    assert (await of(own, Kind.REGISTRY)).keys() == {old, new}
    status, out, _ = await run("list")
    assert status == 0 and f"registry bfarm {old[:16]}: NO OWNER, NO PURPOSE" in out and "NO KNOWN END" in out
    words = ("--owner", "Team Betrieb", "--purpose", "DiGA-VZ lesen", "--until", "2030-01-01")
    assert await run("assign", "registry", old[:12], *words) == (0, "", "")
    _, out, _ = await run("list")
    assert f"registry bfarm {old[:16]}: owner Team Betrieb, DiGA-VZ lesen, since" in out and "until 2030-01-01" in out
    own.settings = replace(own.settings, registry_token="new-token")
    clock.advance(UNUSED_MS / 1000)
    await follow(own, clock())
    assert (await of(own, Kind.REGISTRY))[old].ended_ms is None  # another host may have it
    clock.advance(1)
    await follow(own, clock())
    assert (await of(own, Kind.REGISTRY))[old].ended_ms == clock()
    assert (await steps(own))[-2:] == ["operator:credential:assigned", "system:credential:ended"]
    trail = "SELECT detail::text FROM audit WHERE event LIKE '%:credential:%'"
    assert not any("Team" in row[0] or "token" in row[0] for row in await own.pool.fetch(trail))


async def test_roles_are_met_with_their_end_and_their_use(own: Core, run: Run, clock: Clock) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    await own.pool.execute(f"CREATE ROLE {role} LOGIN VALID UNTIL '2090-01-01T00:00:00Z'")
    try:
        await follow(own, clock())
        assert role not in await of(own, Kind.DATABASE)  # it may read nothing here
        await own.pool.execute(f"GRANT SELECT ON patient TO {role}")
        await follow(own, clock())
        found = await of(own, Kind.DATABASE)
        assert (found[role].until_ms, found[role].used_ms) == (3_786_912_000_000, None)
        me = await own.pool.fetchval("SELECT current_user")
        told = "SELECT count(*) FROM audit WHERE event = 'system:credential:found' AND detail ->> 'sha256' = $1"
        digests = [sha256(name).hex() for name in (me, role)]
        assert [await own.pool.fetchval(told, one) for one in digests] == [0, 1]  # one's own is no news
        assert found[me].used_ms == clock() // 3_600_000 * 3_600_000
        words = ("--owner", "K. Muster", "--purpose", "Auswertung")
        assert (await run("assign", "database", role, *words))[0] == 0
        assert (await run("assign", "database", role, *words, "--until", "2030-01-01"))[0] == 1
        assert f"database {role}: owner K. Muster, Auswertung" in (await run("list"))[1]
        trail = await own.pool.fetch("SELECT detail::text FROM audit WHERE event LIKE '%:credential:%'")
        assert not any(role in row[0] for row in trail)
        await own.pool.execute(f"ALTER ROLE {role} VALID UNTIL '2020-01-01'")
        await follow(own, clock())
        assert (await of(own, Kind.DATABASE))[role].ended_ms == clock()
    finally:
        await own.pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_the_end_of_a_role_that_was_put_off_or_lifted_is_followed(own: Core, run: Run, clock: Clock) -> None:
    """What the database says of it holds: nobody can tell the register otherwise, and it warned of it for good."""
    role = f"reader_{secrets.token_hex(4)}"
    await own.pool.execute(f"CREATE ROLE {role} LOGIN")
    try:
        await own.pool.execute(f"GRANT SELECT ON patient TO {role}")
        for ends, until_ms in (
            ("2090-01-01Z", 3_786_912_000_000),
            ("infinity", None),
            ("2091-01-01Z", 3_818_448_000_000),
            ("99999-01-01Z", None),
        ):
            await own.pool.execute(f"ALTER ROLE {role} VALID UNTIL '{ends}'")
            await follow(own, clock())
            assert (await of(own, Kind.DATABASE))[role].until_ms == until_ms
            assert (await run("list"))[0] == 0
        await own.pool.execute(f"ALTER ROLE {role} VALID UNTIL '2090-01-01Z'")
        await follow(own, clock())
        await own.pool.execute(f"ALTER ROLE {role} VALID UNTIL '2020-01-01Z'")
        await follow(own, clock())
        await own.pool.execute(f"ALTER ROLE {role} VALID UNTIL 'infinity'")
        await follow(own, clock())
        found = (await of(own, Kind.DATABASE))[role]
        assert (found.ended_ms, found.until_ms) == (None, None)
    finally:
        await own.pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_certificates_have_an_owner_a_use_and_a_warning_until_another_follows(
    own: Core, clock: Clock, tmp_path: Path
) -> None:
    old, new = (client_certificate(tmp_path, name).der for name in ("old", "new"))
    until_ms = clock() + 30 * DAY_MS
    await certificates.add(own.pool, old, Facts("cloud", until_ms, "Team Cloud", "Werte senden"), clock())
    assert await let_in(own.pool, old, clock())
    found = (await of(own, Kind.BRIDGE))[fingerprint(old)]
    assert (found.owner, found.complete, found.used_ms) == ("Team Cloud", True, clock() // 3_600_000 * 3_600_000)
    ending = 'ddr_credentials_ending{kind="bridge"}'
    assert (await host_figures(own))[ending] == 0
    assert not [one for one in (await shared(own)).troubles if one.key == "credential-bridge"]
    clock.advance((until_ms - SOON_MS - clock()) / 1000)
    (told,) = [one for one in (await shared(own)).troubles if one.key == "credential-bridge"]
    assert (await host_figures(own))[ending] == 1
    assert told.cause.startswith("The certificate of a cloud bridge expires at 2026-12-")
    assert told.cause_de.startswith("Das Zertifikat einer Cloud-Bridge endet: 2026-12-") and told.functions == []
    await certificates.add(own.pool, new, Facts("cloud", until_ms + 365 * DAY_MS), clock())
    assert not [one for one in (await shared(own)).troubles if one.key == "credential-bridge"]
    figures = await host_figures(own)
    assert (figures[ending], figures["ddr_credentials_incomplete"]) == (0, 1)
    assert await certificates.revoke(own.pool, fingerprint(new), clock())
    assert (await of(own, Kind.BRIDGE))[fingerprint(new)].ended_ms == clock()
    assert [one.key for one in (await shared(own)).troubles if one.key.startswith("credential")]


async def test_certificates_of_before_the_register_get_their_end(own: Core, clock: Clock, tmp_path: Path) -> None:
    der = client_certificate(tmp_path, "old").der
    await certificates.add(own.pool, der, Facts("cloud", 0), clock())
    for former in ("UPDATE credential SET until_ms = NULL", "DELETE FROM credential"):
        await own.pool.execute(former)
        await follow(own, clock())
        found = (await of(own, Kind.BRIDGE))[fingerprint(der)]
        assert (found.until_ms, found.name, found.ended_ms) == (expires_ms(der), "cloud", None)


async def test_many_at_once_are_two(own: Core, clock: Clock) -> None:
    async def add() -> bool:
        try:
            await certificates.add(own.pool, secrets.token_bytes(64), Facts("cloud", clock() + DAY_MS), clock())
        except register.Enough:
            return False
        return True

    assert sum(await asyncio.gather(*(add() for _ in range(6)))) == 2
    assert await own.pool.fetchval("SELECT count(*) FROM gateway_certificate") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("registry", "ffff", "--owner", "x", "--purpose", "y"),
        ("bridge", "{mark}", "--owner", "\x07", "--purpose", "y"),
        ("bridge", "{mark}", "--owner", "x", "--purpose", "y", "--until", "2030-01-01"),
        ("registry", "{token}", "--owner", "x", "--purpose", "y", "--until", "2020-01-01"),
        ("database", "nobody", "--owner", "x", "--purpose", "y"),
    ],
)
async def test_what_cannot_be_is_one_line(
    own: Core, run: Run, clock: Clock, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    der = client_certificate(tmp_path, "x").der
    await certificates.add(own.pool, der, Facts("cloud", expires_ms(der)), clock())
    await follow(own, clock())
    marks = {"mark": fingerprint(der), "token": sha256("old-token").hex()}
    status, _, error = await run("assign", *(word.format(**marks) for word in arguments))
    assert (status, error.count("\n")) == (1, 1)
