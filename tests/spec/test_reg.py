"""BfArM's registries as a running recorder uses them: REG-002 to REG-015 (HDDT registries-and-zts.md, caching)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ddr.demo import certs
from ddr.demo.diga_client import DigaRefused, Tokens
from ddr.demo.registry_state import ListedDiga, Package
from ddr.demo.registry_zts import PACKAGE, valuesets
from ddr.miv.loader import load_catalog
from ddr.registries.hiis import AUTHORIZATION, FHIR, bundle, read_registration, registration, resources
from ddr.registries.hiis_checks import live_problems
from ddr.settings import MivSettings, Settings
from tests.cli.recorder import ddr as command
from tests.cli.recorder import settings_for
from tests.spec.registries import DAY, HOUR, Listed, Registered, registered
from tests.spec.world import BG, BP, Home

requirement = pytest.mark.requirement


@pytest.fixture(scope="module")
async def world(
    pool: asyncpg.Pool, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Registered]:
    """A recorder that reads a stand-in; without Grace-Period."""
    catalog = load_catalog(settings.miv_packages, {})
    terms = {miv.name: MivSettings(0, miv.min_historic_days, miv.vendor_holdup_seconds) for miv in catalog.mivs}
    async with registered(pool, settings, tmp_path_factory.mktemp("registries"), terms) as running:
        yield running


@pytest.fixture
async def home(world: Registered) -> Home:
    """A patient with one blood glucose value and one blood pressure value of an hour ago."""
    home = Home(world.ddr, await world.ddr.patient())
    await home.device("meter")
    await home.glucose("value", world.ddr.clock() - HOUR * 1000)
    return home


@pytest.fixture
async def diga(world: Registered) -> AsyncIterator[Listed]:
    """A DiGA of the DiGA-VZ; changes of the test to the registries are undone afterwards."""
    yield await world.listed(BG, BP)
    world.state.fault = ""
    await world.pass_time(HOUR)


async def status(listed: Listed, tokens: Tokens) -> int:
    """The status of a search for blood glucose."""
    return (await search(listed, tokens)).status_code


async def search(listed: Listed, tokens: Tokens) -> httpx.Response:
    headers = {"authorization": f"Bearer {tokens.access_token}"}
    return await listed.client.http.get(f"{listed.client.fhir_base}/Observation?code=2339-0", headers=headers)


async def refused(listed: Listed, *mivs: str) -> DigaRefused:
    """The error of the refused pushed request."""
    with pytest.raises(DigaRefused) as error:
        await listed.client.push_request(listed.world.ddr.scopes(*mivs))
    return error.value


async def kept_alive(listed: Listed, tokens: Tokens) -> Tokens:
    """Tokens that are valid now, however much time has passed."""
    return await listed.client.refresh(tokens)


@requirement("REG-002", "TLS-004")
async def test_the_registration_is_what_the_servers_say(world: Registered) -> None:
    core = world.ddr.core
    built = resources(core.settings, core.catalog)
    read = read_registration(built[0], built[1:])
    assert read == registration(core.settings, core.catalog)
    assert {kind: address.url for kind, address in read.endpoints.items()} == {
        FHIR: core.settings.fhir_base,
        AUTHORIZATION: core.settings.public_base_url,
    }
    assert {address.fqdn for address in read.endpoints.values()} == {"localhost"}
    assert len(read.mivs) == 4 and None not in read.mivs.values()
    assert await live_problems(core.settings, core.catalog, str(world.ddr.authority.cert)) == []
    assert bundle(built)["entry"][0]["resource"]["resourceType"] == "DeviceDefinition"


@requirement("REG-003")
@pytest.mark.parametrize("terms", [(901, 30, 60), (900, 29, 60)])
async def test_terms_outside_the_limits_of_a_miv_do_not_start(tmp_path: Path, terms: tuple[int, int, int]) -> None:
    names = ("grace_seconds", "historic_days", "delay_seconds")
    lines = [f'[miv."{BG}"]', *(f"{name} = {value}" for name, value in zip(names, terms, strict=True))]
    file = tmp_path / "settings.toml"
    file.write_text("\n".join(lines))
    ended = await asyncio.to_thread(command, "serve", settings={**settings_for(tmp_path), "settings": file})
    assert ended.returncode == 1
    assert BG in ended.stderr and "period" in ended.stderr


@requirement("REG-004", "REG-005")
async def test_trust_comes_from_the_registries_alone(world: Registered, home: Home) -> None:
    world.asked.clear()
    await world.pass_time(HOUR)
    kinds = {path.rsplit("/", 1)[0] for path in world.asked if "packages" not in path}
    assert kinds == {"/api/fhir/v3.0", "/hiis/api/fhir/v3.0"}
    assert any(path.startswith("/zts/packages/catalog") for path in world.asked)
    listed = await world.listed(BG)
    tokens = await listed.pair(home.patient, BG)
    stranger = replace(listed.client, client_id="urn:diga:bfarm:99999")
    with pytest.raises(DigaRefused) as unknown:
        await stranger.push_request(world.ddr.scopes(BG))
    assert unknown.value.status == 401
    without = replace(listed, client=await world.client(listed.entry, world.ddr.spare()))
    assert (await refused(without, BG)).status == 401
    assert await status(without, tokens) == 401


@requirement("TLS-012")
async def test_another_certificate_of_the_same_key_and_name_is_none(
    world: Registered, diga: Listed, home: Home
) -> None:
    """Only the exact certificate counts: once in no entry any more, it is refused, and its successor is accepted."""
    pair = world.ddr.spare()
    diga.entry.certificates = [pair.der]
    await world.read_again()
    registered = replace(diga, client=await world.client(diga.entry, pair))
    tokens = await registered.pair(home.patient, BG)
    diga.entry.certificates = [_renewed(pair)]
    await world.read_again()
    assert (await refused(registered, BG)).status == 401
    assert await status(registered, tokens) == 401


def _renewed(pair: certs.Pair) -> bytes:
    """The next certificate, as DER, for the same key and name."""
    former = x509.load_der_x509_certificate(pair.der)
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(former.issuer, former.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(former.not_valid_before_utc).not_valid_after(former.not_valid_after_utc)
    for extension in former.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@requirement("REG-006")
@pytest.mark.parametrize("client_id", ["00001", "urn:diga:bfarm:1234", "urn:diga:bfarm:123456", "URN:DIGA:BFARM:12345"])
async def test_a_client_id_of_another_form_is_no_client(world: Registered, diga: Listed, client_id: str) -> None:
    diga.entry.client_id = client_id
    await world.pass_time(HOUR)
    with pytest.raises(DigaRefused) as error:
        await replace(diga.client, client_id=client_id).push_request(world.ddr.scopes(BG))
    assert error.value.status == 401


@requirement("REG-006", "REG-011")
async def test_a_changed_redirect_uri_holds_for_the_next_request(world: Registered, diga: Listed, home: Home) -> None:
    await diga.pair(home.patient, BG)
    diga.entry.redirect_uri = "https://moved.example/cb"
    await world.pass_time(900)
    assert (await refused(diga, BG)).status == 400
    moved = replace(diga, client=replace(diga.client, redirect_uri="https://moved.example/cb"))
    assert (await moved.pair(home.patient, BG)).access_token


@requirement("REG-007", "REG-008", "REG-013", "REG-014")
async def test_the_diga_vz_is_trusted_for_four_hours_and_not_longer(
    world: Registered, diga: Listed, home: Home
) -> None:
    tokens = await diga.pair(home.patient, BG)
    world.state.fault, world.state.fault_on = "error", "diga"
    read_ms = (await world.diga_vz.step()).seen_ms
    await world.pass_time(4 * HOUR - (world.ddr.clock() - read_ms) / 1000)
    tokens = await kept_alive(diga, tokens)
    assert await status(diga, tokens) == 200
    await world.pass_time(1)
    answer = await search(diga, tokens)
    assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (503, True)
    assert answer.json()["issue"][0]["code"] == "transient"
    pushed = (await refused(diga, BG)).response
    assert (pushed.status_code, pushed.json()["error"]) == (503, "temporarily_unavailable")
    assert pushed.headers["retry-after"].isdigit()
    with pytest.raises(DigaRefused) as refresh:
        await diga.client.refresh(tokens)
    assert refresh.value.status == 503
    feed = (await world.ddr.public.get("/status")).json()
    assert feed["status"] == "unavailable" and "diga-vz" in feed["events"][0]["cause"]
    world.state.fault = ""
    await world.pass_time(60)
    assert await status(diga, await kept_alive(diga, tokens)) == 200


@requirement("REG-007", "REG-008")
async def test_miv_valuesets_are_relied_on_for_a_day_and_not_longer(
    world: Registered, diga: Listed, home: Home
) -> None:
    tokens = await diga.pair(home.patient, BG)
    world.state.fault, world.state.fault_on = "html", "zts"
    read_ms = (await world.zts.step()).seen_ms
    await world.pass_time(DAY - (world.ddr.clock() - read_ms) / 1000)
    tokens = await kept_alive(diga, tokens)
    assert await status(diga, tokens) == 200
    await world.pass_time(1)
    assert await status(diga, tokens) == 503
    assert (await world.ddr.public.get("/status")).json()["registries"]["zts"]["reachable"] is False
    world.state.fault = ""
    await world.pass_time(60)
    assert await status(diga, tokens) == 200


@requirement("REG-007", "REG-008", "REG-010")
async def test_a_newest_package_that_cannot_be_opened_is_told_at_once_and_refuses_after_a_day(
    world: Registered, diga: Listed, home: Home
) -> None:
    """Nobody knows which codes have left the ValueSet, so the data is as old as the last package that could be read."""
    tokens = await diga.pair(home.patient, BG)
    read_ms = (await world.zts.step()).seen_ms
    packages = valuesets(world.ddr.core.settings.miv_packages)
    world.state.packages = [Package(PACKAGE, "1.0.7", [{**one, "version": "1.0.7"} for one in packages])]
    world.state.fault, world.state.fault_on = "checksum", "zts"
    await world.pass_time(3600)
    feed = (await world.ddr.public.get("/status")).json()
    assert feed["registries"]["zts"]["reachable"] is False
    tokens = await kept_alive(diga, tokens)
    assert await status(diga, tokens) == 200
    await world.pass_time(DAY - (world.ddr.clock() - read_ms) / 1000)
    tokens = await kept_alive(diga, tokens)
    assert await status(diga, tokens) == 200
    await world.pass_time(1)
    assert await status(diga, tokens) == 503
    world.state.fault = ""
    await world.pass_time(60)
    assert await status(diga, tokens) == 200
    world.state.packages = []


@requirement("REG-007", "REG-011", "REG-014", "TLS-006")
async def test_each_change_in_the_diga_vz_is_followed(world: Registered, diga: Listed, home: Home) -> None:
    tokens = await diga.pair(home.patient, BG, BP)
    new = world.ddr.spare()
    diga.entry.certificates.append(new.der)
    await world.pass_time(900)
    rolled = replace(diga, client=await world.client(diga.entry, new))
    tokens = await kept_alive(rolled, tokens)
    assert [await status(one, tokens) for one in (diga, rolled)] == [200, 200]
    diga.entry.certificates.pop(0)
    await world.pass_time(900)
    assert [await status(one, await kept_alive(rolled, tokens)) for one in (diga, rolled)] == [401, 200]


@requirement("REG-007", "REG-011")
async def test_a_lost_miv_narrows_tokens_at_once(world: Registered, diga: Listed, home: Home) -> None:
    tokens = await diga.pair(home.patient, BG, BP)
    found = await search(diga, tokens)
    assert found.json()["total"] == 1
    diga.entry.mivs = diga.entry.mivs[1:]
    await world.read_again()
    narrowed = (await search(diga, tokens)).json()
    assert narrowed["total"] == 0
    assert "Code 2339-0 not in ValueSet" in narrowed["entry"][0]["resource"]["issue"][0]["diagnostics"]
    assert (await refused(diga, BG)).status == 400
    diga.entry.mivs = []
    await world.read_again()
    assert await status(diga, tokens) == 404


@requirement("REG-011")
async def test_a_retired_diga_is_unpaired(world: Registered, diga: Listed, home: Home) -> None:
    tokens = await diga.pair(home.patient, BG)
    diga.entry.status = "retired"
    await world.pass_time(900)
    assert await status(diga, tokens) == 401
    diga.entry.status = "active"
    await world.pass_time(900)
    assert await status(diga, tokens) == 401, "a pairing that ended does not come back"
    with pytest.raises(DigaRefused) as error:
        await diga.client.refresh(tokens)
    assert error.value.response.json()["error"] == "invalid_grant"


@requirement("REG-009")
@pytest.mark.parametrize("setting", ["registry_max_age_seconds", "zts_max_age_seconds"])
async def test_caching_can_be_shorter(
    pool: asyncpg.Pool, settings: Settings, tmp_path_factory: pytest.TempPathFactory, setting: str
) -> None:
    """The limit of each registry is its own: data of the other one stays valid for hours."""
    async with registered(pool, settings, tmp_path_factory.mktemp("short"), {}, **{setting: HOUR}) as world:
        listed = await world.listed(BG)
        world.state.fault = "error"
        await world.pass_time(HOUR + 1)
        assert (await refused(listed, BG)).status == 503


@requirement("REG-010", "REG-015")
async def test_valuesets_of_the_package_hold_until_the_zts_publishes_others(
    world: Registered, diga: Listed, home: Home
) -> None:
    assert world.state.packages == []
    miv = world.ddr.core.catalog.by_name(BG)
    assert miv is not None and miv.version == "1.0.1" and miv.valueset.startswith("https://gematik.de/fhir/hddt/")
    tokens = await diga.pair(home.patient, BG)
    assert await status(diga, tokens) == 200
    folder = world.ddr.settings.miv_packages
    world.state.packages = [Package(PACKAGE, "1.1.0", [_newer(one) for one in valuesets(folder)])]
    await world.pass_time(HOUR)
    feed = (await world.ddr.public.get("/status")).json()
    assert feed["registries"]["zts"]["notes"] > 0, "a version that waits is told"
    assert feed["mivs"][miv.valueset] == "1.0.1", "nothing changes before the operator's decision"
    assert {one.version for one in world.zts.catalog.mivs} == {"1.0.1"}
    world.state.packages = []


def _newer(valueset: dict[str, Any]) -> dict[str, Any]:
    return {**valueset, "version": "1.1.0"}


@requirement("REG-002", "REG-004", "REG-007")
async def test_the_own_entry_is_compared_at_each_reading(world: Registered) -> None:
    core = world.ddr.core
    world.state.hiis = resources(core.settings, core.catalog)
    await world.pass_time(HOUR)
    feed = (await world.ddr.public.get("/status")).json()
    assert (feed["status"], feed["registries"]["hiis-vz"]["notes"]) == ("operational", 0)
    world.state.hiis[1]["address"] = "https://old.example/fhir"
    await world.pass_time(HOUR)
    feed = (await world.ddr.public.get("/status")).json()
    assert (feed["status"], feed["registries"]["hiis-vz"]["notes"]) == ("demoted", 1)
    assert "HIIS-VZ" in feed["events"][0]["cause"] and feed["events"][0]["functions"] == []


@requirement("REG-008")
@pytest.mark.parametrize("fault", ["error", "html", "truncated", "loop", "foreign-link", "empty", "huge", "stale"])
async def test_bad_answers_leave_the_last_good_state(world: Registered, diga: Listed, home: Home, fault: Any) -> None:
    tokens = await diga.pair(home.patient, BG)
    world.state.fault, world.state.fault_on = fault, "diga"
    await world.read_again()
    assert await status(diga, tokens) == 200
    feed = (await world.ddr.public.get("/status")).json()
    assert feed["registries"]["diga-vz"]["reachable"] is False


@requirement("REG-011")
async def test_a_broken_entry_disables_only_its_diga(world: Registered, diga: Listed, home: Home) -> None:
    other = await world.listed(BG)
    tokens, others = await diga.pair(home.patient, BG), await other.pair(home.patient, BG)
    diga.entry.certificates.append(b"no certificate")
    await world.read_again()
    assert [await status(diga, tokens), await status(other, others)] == [200, 200]
    diga.entry.redirect_uri = "/relative"
    await world.read_again()
    assert [await status(diga, tokens), await status(other, others)] == [401, 200]
    world.state.digas.append(replace_entry(other))
    await world.read_again()
    assert await status(other, others) == 401, "a client id in two entries names nobody"
    world.state.digas.pop()
    diga.entry.redirect_uri = diga.client.redirect_uri
    await world.read_again()
    assert [await status(diga, tokens), await status(other, others)] == [200, 200], "no pairing was lost"


def replace_entry(listed: Listed) -> ListedDiga:
    """Another entry with the same client id."""
    return replace(listed.entry, certificates=[])
