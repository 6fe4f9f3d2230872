"""A registry stand-in over real HTTPS, certificates for its DiGA, and a reader on a table of its own state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.demo import certs
from ddr.demo.registry import DIGA_PATH, HIIS_PATH, ZTS_PATH, create_registry
from ddr.demo.registry_state import ListedDiga, RegistryState
from ddr.demo.server import serving
from ddr.registries.diga_vz import DigaVz
from ddr.settings import Settings
from tests.support.clock import Clock

BLOOD_GLUCOSE = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-blood-glucose-measurement"
TOKEN = "test-token"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run's certificates are."""
    return tmp_path_factory.mktemp("certs")


@pytest.fixture(scope="session")
def authority(folder: Path) -> certs.Pair:
    return certs.authority(folder)


@pytest.fixture(scope="session")
def der(folder: Path, authority: certs.Pair) -> dict[str, bytes]:
    """Four client certificates: a and b self-signed, c and d from an authority."""
    issuers = {"a": None, "b": None, "c": authority, "d": authority}
    return {name: certs.client_certificate(folder, name, issuer).der for name, issuer in issuers.items()}


@pytest.fixture
def diga(der: dict[str, bytes]) -> ListedDiga:
    return ListedDiga("00001", "Eins", "Eins GmbH", "https://eins.example/cb", [BLOOD_GLUCOSE], [der["a"]])


@pytest.fixture
def other(der: dict[str, bytes]) -> ListedDiga:
    return ListedDiga("00002", "Zwei", "Zwei AG", "https://zwei.example/cb", [BLOOD_GLUCOSE], [der["b"]], pem=True)


@pytest.fixture
def state(diga: ListedDiga, other: ListedDiga) -> RegistryState:
    """What the stand-in serves."""
    return RegistryState([diga, other])


@pytest.fixture
async def registry_settings(
    settings: Settings, state: RegistryState, folder: Path, authority: certs.Pair
) -> AsyncIterator[Settings]:
    """Settings that lead to a running stand-in."""
    server = certs.server_certificate(folder, authority)
    async with serving(create_registry(state, TOKEN), server) as port:
        base = f"https://127.0.0.1:{port}"
        yield replace(
            settings,
            diga_vz_base=base + DIGA_PATH,
            hiis_vz_base=base + HIIS_PATH,
            zts_base=base + ZTS_PATH,
            registry_token=TOKEN,
            registry_ca=str(authority.cert),
        )


@pytest.fixture
async def empty_store(pool: asyncpg.Pool) -> asyncpg.Pool:
    """The pool, with nothing known of any registry, and none of other tests' pairings with the DiGA of this one."""
    await pool.execute(
        "UPDATE pairing SET ended_ms = 1 WHERE client_id LIKE 'urn:diga:bfarm:0000_' AND ended_ms IS NULL"
    )
    await pool.execute("TRUNCATE registry_source, registry_entry, registry_event, registry_loss, miv_version")
    return pool


@pytest.fixture
def vz(registry_settings: Settings, empty_store: asyncpg.Pool, clock: Clock) -> DigaVz:
    """A worker's allow list, not yet started."""
    return DigaVz(registry_settings, empty_store, clock)
