"""The HIIS-VZ as a DiGA needs it: from a device to the recorder that has its data, with addresses and times.

BfArM's profiles HiisDeviceDataRecorderDefinition, …Endpoint, HiisPersonalHealthDeviceDefinition and
HiisDeviceDefinitionMivSet; HDDT information-model.md. Its content may be used for up to four hours (HDDT caching).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx

from ddr.client import oauth
from ddr.client.answers import content_of, next_page, outcome_of, page_of
from ddr.client.diga import Diga
from ddr.client.errors import ODD, NotFound, Refused, Throttled, Unreachable

Json = dict[str, Any]
T = TypeVar("T")
BASE = "https://fhir.bfarm.de/StructureDefinition/"
RECORDER, ENDPOINT = BASE + "HiisDeviceDataRecorderDefinition", BASE + "HiisDeviceDataRecorderEndpoint"
DEVICE = BASE + "HiisPersonalHealthDeviceDefinition"
ENDPOINT_LINK, MIV_SET = BASE + "HiisDeviceDataRecorderEndpointLink", BASE + "HiisDeviceDefinitionMivSet"
DEVICE_LINK = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DeviceDefinition.link"
HIIS_ID = "https://fhir.bfarm.de/Identifier/HiisId"
FHIR, AUTHORIZATION = "hl7-fhir-rest", "oauth-authz-server"
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "wk": 604_800}
PAGE_SIZE, MOST_PAGES = 200, 500
FRESH_SECONDS = 900.0  # how long content is used before it is requested again
OLDEST_SECONDS = 4 * 3600.0  # how long it may be used while the registry does not answer


@dataclass(frozen=True)
class Terms:
    """The times of a MIV at a recorder, in seconds; None where the registry gives none."""

    grace: float | None
    history: float | None
    delay: float | None


@dataclass(frozen=True)
class Entry:
    """A recorder of the HIIS-VZ: the id of its own DeviceDefinition, and those of its `devices`.

    `mivs` are by the canonical URL of the ValueSet.
    """

    definition_id: str
    hiis_id: str
    name: str
    manufacturer: str
    fhir_base: str
    issuer: str
    mivs: Mapping[str, Terms]
    devices: frozenset[str]

    def diga(self, diga: Diga) -> Diga:
        """`diga` at this recorder."""
        return replace(diga, issuer=self.issuer, fhir_base=self.fhir_base)

    @property
    def grace(self) -> float | None:
        """The longest Grace-Period: the interval for a Watch of all kinds of data."""
        return max((one.grace for one in self.mivs.values() if one.grace is not None), default=None)


@dataclass(frozen=True)
class _Device:
    """A device of the HIIS-VZ, and the ids of DeviceDefinitions that may be its recorder."""

    id: str
    numbers: frozenset[str]
    names: frozenset[str]
    manufacturer: str
    parents: frozenset[str]


class Registry:
    """`base` is the URL of the FHIR interface, `token` the API user's; `http` may have proxies and a CA."""

    def __init__(self, http: httpx.AsyncClient, base: str, token: str = "") -> None:
        self._http, self._base = http, base.rstrip("/")
        self._headers = {"accept": "application/fhir+json", **({"authorization": f"Bearer {token}"} if token else {})}
        self._read = float("-inf")
        self._entries: list[Entry] = []
        self._devices: list[_Device] = []
        self._reading = asyncio.Lock()

    async def recorders(self) -> list[Entry]:
        """All usable recorders: those with both addresses. Raises Unreachable, Throttled, Refused when nothing that is
        young enough is known."""
        await self._fresh()
        return list(self._entries)

    async def find(self, device: str = "", manufacturer: str = "", model: str = "") -> Entry:
        """The recorder of a device: by its DeviceDefinition (`Device.definition`, id, or number in the
        Hilfsmittelverzeichnis), or by manufacturer and model as printed on it.

        Raises NotFound, and as `recorders`.
        """
        await self._fresh()
        wanted = {one.id for one in self._devices if _is(one, device, manufacturer, model)}
        parents = {parent for one in self._devices if one.id in wanted for parent in one.parents}
        for one in self._entries:
            if wanted & one.devices or one.definition_id in parents:
                return one
        raise NotFound("no recorder in the HIIS-VZ supports this device")

    async def _fresh(self) -> None:
        async with self._reading:
            age = time.monotonic() - self._read
            if age < FRESH_SECONDS:
                return
            try:
                definitions = await self._all("DeviceDefinition", RECORDER)
                devices = await self._all("DeviceDefinition", DEVICE)
                endpoints = {one["id"]: one for one in await self._all("Endpoint", ENDPOINT)}
            except (Unreachable, Throttled):
                if age < OLDEST_SECONDS:
                    return
                self._entries, self._devices = [], []
                raise
            found = _readable(definitions, lambda one: entry_of(one, endpoints))
            self._entries = [one for one in found if one.fhir_base and one.issuer]
            self._devices, self._read = list(_readable(devices, _device_of)), time.monotonic()

    async def _all(self, kind: str, profile: str) -> list[Json]:
        """Every resource of a profile. Raises Unreachable rather than returning a part."""
        url, found, pages = f"{self._base}/{kind}?{urlencode({'_profile': profile, '_count': PAGE_SIZE})}", [], 0
        while url:
            answer = await oauth.ask(self._http, "GET", url, headers=self._headers)
            if answer.status_code in (429, 503):
                raise Throttled(oauth.retry_seconds(answer))
            if answer.is_error and answer.status_code < 500:
                raise Refused(answer.status_code, *outcome_of(answer))
            if not answer.is_success or (pages := pages + 1) > MOST_PAGES:
                raise Unreachable("the HIIS-VZ does not return the complete list")
            bundle = page_of(content_of(answer))
            found += [one for entry in bundle.get("entry") or () if (one := entry.get("resource") or {}).get("id")]
            url = next_page(bundle, url)
        return [one for one in found if one.get("resourceType") == kind]


def entry_of(definition: Json, endpoints: Mapping[str, Json]) -> Entry:
    """What a DeviceDefinition and its Endpoints say; addresses are empty where they are missing."""
    addresses: dict[str, str] = {}
    for reference in _references(definition, ENDPOINT_LINK):
        endpoint = endpoints.get(_id_of(reference), {})
        if endpoint.get("status", "active") == "active" and endpoint.get("address"):
            kind = str((endpoint.get("connectionType") or {}).get("code"))
            # Some entries give the URL of the metadata document instead of the base URL.
            addresses[kind] = str(endpoint["address"]).split("/.well-known/")[0].rstrip("/")
    numbers = [str(one.get("value")) for one in definition.get("identifier") or () if one.get("system") == HIIS_ID]
    names = [str(one.get("name")) for one in definition.get("deviceName") or ()]
    linked = (_id_of(reference) for link in _extensions(definition, DEVICE_LINK) for reference in _all_references(link))
    return Entry(
        definition_id=str(definition["id"]),
        hiis_id=next(iter(numbers), ""),
        name=next(iter(names), ""),
        manufacturer=_manufacturer(definition),
        fhir_base=addresses.get(FHIR, ""),
        issuer=addresses.get(AUTHORIZATION, ""),
        mivs={next(iter(_references(one, "mivSet")), ""): _terms(one) for one in _extensions(definition, MIV_SET)},
        devices=frozenset(linked),
    )


def _device_of(device: Json) -> _Device:
    names = (device.get("modelNumber", ""), *(one.get("name") for one in device.get("deviceName") or ()))
    parents = ((device.get("parentDevice") or {}).get("reference"), *_miv_references(device))
    return _Device(
        id=device["id"],
        numbers=frozenset(str(one.get("value")) for one in device.get("identifier") or ()),
        names=frozenset(str(one).casefold() for one in names),
        manufacturer=_manufacturer(device).casefold(),
        parents=frozenset(map(_id_of, parents)),
    )


def _readable(resources: Iterable[Json], read: Callable[[Json], T]) -> Iterator[T]:
    """The results of `read`. Resources that do not have the form FHIR requires are left out, so that the others can be
    used."""
    for one in resources:
        with suppress(*ODD):
            yield read(one)


def _is(device: _Device, wanted: str, manufacturer: str, model: str) -> bool:
    if wanted:
        return wanted in device.numbers or device.id == _id_of(wanted)
    makers = {device.manufacturer, ""}
    return bool(model) and model.casefold() in device.names and manufacturer.casefold() in makers


def _manufacturer(definition: Json) -> str:
    reference = definition.get("manufacturerReference") or {}
    return str(definition.get("manufacturerString") or reference.get("display") or "")


def _miv_references(device: Json) -> Iterator[str]:
    """In gematik's examples a device's MIV set leads to its recorder."""
    for one in _extensions(device, MIV_SET):
        yield from _references(one, "mivSet")


def _terms(miv_set: Json) -> Terms:
    return Terms(*(_seconds(miv_set, name) for name in ("gracePeriod", "historicDataPeriod", "delayFromRealTime")))


def _seconds(miv_set: Json, name: str) -> float | None:
    """Seconds, from any unit: the guide's texts disagree about the unit."""
    for one in _extensions(miv_set, name):
        duration = one.get("valueDuration") or {}
        unit = SECONDS.get(str(duration.get("code") or duration.get("unit")))
        if unit is not None and isinstance(duration.get("value"), int | float):
            return float(duration["value"] * unit)
    return None


def _extensions(element: Json, url: str) -> list[Json]:
    return [one for one in element.get("extension") or () if one.get("url") == url]


def _references(element: Json, url: str) -> Iterable[str]:
    """References of the extensions with this URL, or of the parts of a complex extension with this name; "" where one
    is missing."""
    return [str((one.get("valueReference") or {}).get("reference") or "") for one in _extensions(element, url)]


def _all_references(element: Json) -> Iterator[str]:
    """All references within an element."""
    if "valueReference" in element:
        yield str(element["valueReference"].get("reference") or "")
    for one in element.get("extension") or ():
        yield from _all_references(one)


def _id_of(reference: Any) -> str:
    return str(reference or "").split("/_history/")[0].rsplit("/", 1)[-1]
