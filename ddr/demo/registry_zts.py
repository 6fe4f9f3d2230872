"""The stand-in's ZTS: package catalogue, package information, downloads, and the feed of publications."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ddr.demo.registry_faults import aged, faulty
from ddr.demo.registry_state import Package, RegistryState, Resource

FHIR_VERSION = "4.0.1"
PACKAGE = "bfarm.terminologien.hddt"  # the name in drafts of HDDT; the ZTS has not published it yet
Answer = Callable[[RegistryState, Request], Response]


def zts_routes(path: str, state: RegistryState, look: Callable[[], None]) -> list[Route]:
    """The routes below `path`; like the real ZTS they need no token."""

    def serving(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            look()
            state.requests += 1
            response = await faulty(state, "zts", request) or answer(state, request)
            response.headers.update(aged(state, "zts"))
            return response

        return serve

    return [
        Route(f"{path}/packages/catalog", serving(_catalog)),
        Route(f"{path}/packages/{{name}}", serving(_info)),
        Route(f"{path}/packages/{{name}}/{{version}}", serving(_download)),
        Route(f"{path}/feeds/", serving(_feed)),
    ]


def valuesets(folder: Path) -> list[Resource]:
    """All ValueSets of the MIV packages in `folder`."""
    return [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*/package/ValueSet-*.json"))]


def archive(package: Package) -> bytes:
    """The package as gzipped tar, the same bytes each time."""
    manifest = {"name": package.name, "version": package.version, "fhirVersions": [FHIR_VERSION]}
    files = {"package.json": manifest} | {f"{one['resourceType']}-{one['id']}.json": one for one in package.resources}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            body = orjson.dumps(content)
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return gzip.compress(plain.getvalue(), mtime=0)


def _catalog(state: RegistryState, request: Request) -> Response:
    canonical = request.query_params.get("canonical", "")
    found: dict[str, list[Package]] = {}
    for package in [] if state.fault_of("zts") == "empty" else state.packages:
        if any(str(one.get("url", "")).startswith(canonical) for one in package.resources):
            found.setdefault(package.name, []).append(package)
    entries = [
        {"name": name, "packageVersions": [one.version for one in versions], "fhirVersion": "R4", "keywords": []}
        for name, versions in found.items()
    ]
    return JSONResponse(entries)


def _info(state: RegistryState, request: Request) -> Response:
    name = request.path_params["name"]
    found = [package for package in state.packages if package.name == name]
    if not found:
        return Response(status_code=404)
    return JSONResponse({"_id": name, "name": name, "versions": {one.version: _version(one, request) for one in found}})


def _version(package: Package, request: Request) -> dict[str, object]:
    shasum = hashlib.sha1(archive(package)).hexdigest()  # noqa: S324 - the ZTS has no other digest
    dist = {"shasum": shasum, "tarball": f"{request.url}/{package.version}"}
    unlisted = {"unlisted": package.unlisted} if package.unlisted else {}
    return {"name": package.name, "version": package.version, "dist": dist, "fhirVersion": "R4", **unlisted}


def _download(state: RegistryState, request: Request) -> Response:
    wanted = request.path_params["name"], request.path_params["version"]
    found = next((one for one in state.packages if (one.name, one.version) == wanted), None)
    if found is None:
        return Response(status_code=404)
    spoilt = b"\0" if state.fault_of("zts") == "checksum" else b""
    return Response(archive(found) + spoilt, media_type="application/octet-stream")


def _feed(state: RegistryState, request: Request) -> Response:
    """RSS 2.0 with publications and deprecations, newest first."""
    name = request.query_params.get("packageName", "")
    items = [_item(package) for package in reversed(state.packages) if package.name.startswith(name)]
    channel = f"<channel><title>ZTS</title><language>de</language>{''.join(items)}</channel>"
    return Response(f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>', media_type="application/rss+xml")


def _item(package: Package) -> str:
    word = "Veraltet" if package.unlisted else "Neuveröffentlichung"
    title = f"{word}: {package.name} ({package.version}) - {package.unlisted or package.name}"
    return f"<item><title>{escape(title)}</title><description>{escape(package.unlisted)}</description></item>"
