"""The OpenAPI description is true: each parameter works, each response occurs, and there are no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from ddr.demo.diga_client import DigaRefused
from ddr.diga_api.description.document import PATH
from ddr.fhir.search.grammar import PARAMETERS
from ddr.http import body
from ddr.oauth.app import create_oauth_backend, create_oauth_public
from ddr.operations.status.app import PATHS
from ddr.settings import Settings
from ddr.store.database.pool import open_pool
from tests.spec.world import HOUR, Scene, furnished, link
from tests.support.database import migrated_database
from tests.support.received import received
from tests.support.recorder import Recorder, recorder

Json = dict[str, Any]
SEARCHES = [f"/fhir/{kind}" for kind in PARAMETERS]
SUMMARY = "/fhir/Observation/$hddt-cgm-summary"
LIMIT = 20_000
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
async def narrow(
    settings: Settings, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Recorder]:
    """A recorder with low limits: registered Grace-Periods, one pushed request at a time, small bodies.

    It has a database of its own, because its clock is fast.
    """
    async with migrated_database(database_url) as url:
        tight = replace(settings, database_url=url, par_max_open=1, fhir_max_body_bytes=LIMIT)
        folder = tmp_path_factory.mktemp("narrow")
        async with await open_pool(tight) as pool, recorder(pool, tight, folder, received, {}) as running:
            yield running


async def test_it_is_valid_and_names_the_operations_that_there_are(ddr: Recorder) -> None:
    document = (await ddr.public.get(PATH)).json()
    validate(document)
    assert document == (await (await ddr.diga()).http.get(f"{ddr.settings.diga_base_url}{PATH}")).json()
    oauth = [
        (route.path, method.lower())  # type: ignore[attr-defined]
        for app in (create_oauth_backend(ddr.core), create_oauth_public(ddr.core))
        for route in app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
        if not route.path.startswith("//")  # type: ignore[attr-defined]  # HDDT's spelling of what is there
    ]
    below = (("", "get"), ("/_search", "post"), ("/{id}", "get"), ("/{id}/_history/{version}", "get"))
    fhir = [(f"{path}{rest}", method) for path in SEARCHES for rest, method in below]
    fhir += [(SUMMARY, "get"), (SUMMARY, "post"), ("/fhir/metadata", "get")]
    operations = {(path, name) for path, item in document["paths"].items() for name in item.keys() & {"get", "post"}}
    assert operations == {*oauth, *fhir, (PATH, "get"), *((path, "get") for path in PATHS)}
    flow = document["components"]["securitySchemes"]["tokens"]["flows"]["authorizationCode"]
    metadata = (await ddr.public.get("/.well-known/oauth-authorization-server")).json()
    assert list(flow["scopes"]) == metadata["scopes_supported"]
    assert (flow["authorizationUrl"], flow["tokenUrl"]) == (
        metadata["authorization_endpoint"],
        metadata["token_endpoint"],
    )
    assert f"{ddr.settings.public_base_url}{PATH}" in (await ddr.public.get("/fhir/metadata")).json()["description"]


@pytest.mark.parametrize("path", [*SEARCHES, SUMMARY])
async def test_every_parameter_works_and_no_other(ddr: Recorder, scene: Scene, path: str) -> None:
    found, below = ddr.described, path.removeprefix("/fhir/")
    parameters = {one["name"]: one for one in map(found.resolved, found.document["paths"][path]["get"]["parameters"])}
    parameters.pop("_page", None)  # of a link
    asked = [(name, value) for name, one in parameters.items() for value in examples(one)]
    for name, values in asked:
        answer = await scene.reader.get(f"{below}?{httpx.QueryParams([(name, value) for value in values])}")
        assert answer.status_code == 200, (name, answer.text)
    assert (await scene.reader.get(f"{below}?nonsense=1")).status_code == 400
    if path not in SEARCHES:
        return
    form = found.document["paths"][f"{path}/_search"]["post"]["requestBody"]["content"][FORM]["schema"]
    assert form["properties"].keys() == parameters.keys()
    for name, values in asked:
        content = str(httpx.QueryParams([(name, value) for value in values]))
        answer = await scene.reader.post(f"{below}/_search", content=content, headers={"content-type": FORM})
        assert answer.status_code == 200, (name, answer.text)
    resources = (await ddr.public.get("/fhir/metadata")).json()["rest"][0]["resource"]
    (stated,) = (one["searchParam"] for one in resources if one["type"] == below)
    assert {one["name"] for one in stated} <= parameters.keys()


def examples(parameter: Json) -> list[list[str]]:
    """Valid values: all those of an enumeration, and the example twice for a parameter that may be repeated."""
    if parameter["schema"]["type"] == "array":
        return [parameter["example"] * 2]
    return [[str(value)] for value in parameter["schema"].get("enum") or [parameter["example"]]]


class World:
    """A pairing, and each operation as a valid request that tests can spoil."""

    def __init__(self, ddr: Recorder, scene: Scene, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ddr, self.scene, self.ids, self.monkeypatch = ddr, scene, ids, monkeypatch
        self.reader = scene.reader

    async def fresh(self) -> None:
        """No Grace-Period is running, and the access token is valid for a while."""
        self.ddr.clock.ms += HOUR // 2
        await self.reader.get("Device?_count=0")

    async def ask(self, path: str, method: str, query: str = "", **options: Any) -> httpx.Response:
        """A request to an operation of the description."""
        kind = path.split("/")[2] if path.startswith("/fhir/") else ""
        below = path.removeprefix("/fhir/").replace("{id}", self.ids.get(kind, "")).replace("{version}", "1")
        if method == "post":
            options = {"content": b"", **options}
        headers = {**FORMS.get(path.rpartition("/")[2], {}), **options.pop("headers", {})}
        return await self.reader.send(method.upper(), f"{below}{query}", headers, **options)


FORMS = {
    "_search": {"content-type": FORM},
    "$hddt-cgm-summary": {"content-type": "application/fhir+json"},
}


async def slowly() -> AsyncIterator[bytes]:
    yield b"a="
    await asyncio.sleep(0.3)
    yield b"b"


async def provoke(world: World, path: str, method: str, status: str) -> None:
    """Make a FHIR operation answer with this status, by means that a DiGA has."""
    ask, ddr = world.ask, world.ddr
    await world.fresh()
    match status:
        case "200":
            await ask(path, method, headers={"accept": "application/fhir+xml"})
        case "304":
            await ask(path, method, headers={"if-none-match": "*"})
        case "400":
            await ask(path, method, "?_pretty=perhaps")
        case "401":
            await ask(path, method, headers={"authorization": "Bearer none"})
        case "404" if "{id}" in path:
            await ask(path.replace("{id}", "unknown"), method)
        case "404":
            entry = world.reader.diga.entry
            ddr.trust.add(replace(entry, valuesets=frozenset()))
            await ask(path, method)
            ddr.trust.add(entry)
        case "406":
            await ask(path, method, headers={"accept": "text/plain"})
        case "408":
            with world.monkeypatch.context() as patched:
                patched.setattr(body, "FIRST_SECONDS", 0.05)
                await ask(path, method, content=slowly())
        case "410" if "{id}" in path:
            await ask(path.replace("{id}", world.ids["erased"]), method)
        case "410":
            first = link((await ask(path.removesuffix("/_search"), "get", "?_count=1")).json(), "next")
            assert first
            ddr.clock.ms += 2 * HOUR
            await ask(path, method, "?" + first.partition("?")[2])
        case "413":
            await ask(path, method, content=b"a" * (LIMIT + 1))
        case "415":
            await ask(path, method, content=b"a", headers={"content-type": "text/plain"})
        case "429":
            asked = "" if "Observation" in path.split("/") else "?_revinclude=Observation:device"
            await ask(path, method, asked)
            await ask(path, method, asked)
        case "503":
            ddr.trust.is_stale = True
            await ask(path, method)
            ddr.trust.is_stale = False
        case _:
            raise AssertionError(f"{path} {status} is described, and nobody knows how it comes about")


async def test_every_answer_of_the_resource_server_comes(narrow: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await furnished(narrow)
    home = scene.home
    ids = {"Observation": home.ids["bg-new"], "Device": home.ids["meter"], "DeviceMetric": home.ids["metric"]}
    ids["erased"] = home.ids["bg-old"]
    await home.rtcgm(narrow.clock(), "second")
    await home.erase("bg-old")
    world = World(narrow, scene, ids, monkeypatch)
    narrow.described.seen.clear()
    wanted: set[tuple[str, str]] = set()
    for path, method, operation in operations(narrow, "/fhir/"):
        for status in operation["responses"]:
            await provoke(world, path, method, status)
            wanted.add((operation["operationId"], status))
    assert wanted - narrow.described.seen == set()


def operations(ddr: Recorder, prefix: str) -> list[tuple[str, str, Json]]:
    """Path, method and description."""
    return [
        (path, method, item[method])
        for path, item in ddr.described.document["paths"].items()
        for method in ("get", "post")
        if path.startswith(prefix) and method in item and path != "/fhir/metadata"
    ]


async def test_every_answer_of_the_authorization_server_comes(
    narrow: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    diga, found = await narrow.diga(), narrow.described
    tokens = await narrow.pair(diga, await narrow.patient())
    backend, public = narrow.settings.diga_base_url, narrow.settings.public_base_url
    who = {"client_id": diga.entry.client_id}
    renewal = {**who, "grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
    ending = {**who, "token": tokens.refresh_token}
    found.seen.clear()
    pushed = await diga.client.push_request(narrow.scopes("blood-glucose-measurement"))
    with pytest.raises(DigaRefused, match="429"):
        await diga.client.push_request(narrow.scopes("blood-glucose-measurement"))
    for path, form in (("/oauth/par", who), ("/oauth/token", renewal), ("/oauth/revoke", ending)):
        url = f"{backend}{path}"
        await diga.http.post(url, data=who)
        await diga.http.post(url, data={**form, "client_id": "urn:diga:bfarm:00000"})
        typed = {"content-type": FORM}
        await diga.http.post(url, content=b"a" * (LIMIT + 1), headers=typed)
        await diga.http.post(url, content=b"a", headers={**typed, "content-encoding": "br"})
        with monkeypatch.context() as patched:
            patched.setattr(body, "FIRST_SECONDS", 0.05)
            await diga.http.post(url, content=slowly(), headers=typed)
        narrow.trust.is_stale = True
        await diga.http.post(url, data=form)
        narrow.trust.is_stale = False
        if path != "/oauth/par":
            await diga.http.post(url, data=form)
    anyone = await narrow.client()
    authorize = f"{public}/oauth/authorize"
    asked = {**who, "request_uri": pushed.url.partition("request_uri=")[2].replace("%3A", ":")}
    for accept in ("text/html", "application/json"):
        headers = {"accept": accept}
        await anyone.get(authorize, params=asked, headers=headers)
        await anyone.get(authorize, params={**asked, "request_uri": "urn:none"}, headers=headers)
        narrow.trust.is_stale = True
        await anyone.get(authorize, params=asked, headers=headers)
        narrow.trust.is_stale = False
    await anyone.get(f"{public}/oauth/jwks")
    wanted = {
        (one["operationId"], status) for _, _, one in operations(narrow, "/oauth/") for status in one["responses"]
    }
    assert wanted - found.seen == set()


async def test_every_document_is_what_it_is_said_to_be(narrow: Recorder) -> None:
    found, diga, anyone = narrow.described, await narrow.diga(), await narrow.client()
    documents = [
        (path, item) for path, item in found.document["paths"].items() if not item.get("get", {}).get("security", True)
    ]
    assert len(documents) > 10
    for path, item in documents:
        responses = item["get"]["responses"]
        for server in item["servers"]:
            client = diga.http if server["url"] == narrow.settings.diga_base_url else anyone
            for media_type in responses.get("200", {}).get("content", ()):
                answer = await client.get(f"{server['url']}{path}", headers={"accept": media_type})
                await found.check(answer)
                assert answer.headers["content-type"].startswith(media_type)
            if path == "/fhir/metadata":
                for spoiled in ({"_pretty": "perhaps"}, {"_format": "pdf"}):
                    await found.check(await client.get(f"{server['url']}{path}", params=spoiled))
                for fields in ({"if-none-match": "*"}, {"content-type": "text/turtle"}):
                    await found.check(await client.get(f"{server['url']}{path}", headers=fields))
    missing = [(one["get"]["operationId"], status) for _, one in documents for status in one["get"]["responses"]]
    assert set(missing) - found.seen <= {("authorize", "303"), ("authorize", "400"), ("authorize", "503")}
