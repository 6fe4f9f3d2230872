"""The ZTS (terminologien.bfarm.de): which packages contain our MIV ValueSets, in which versions, and their download.

Interface: BfArM's packages and feeds API (`/api-docs/packages.json`, `/api-docs/feeds.json`); HDDT
registries-and-zts.md. No token is sent: the MIV packages are not protected.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import Element, ParseError

import httpx
import orjson
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from ddr.aside import aside
from ddr.registries.archive import MAX_ARCHIVE_BYTES, Archive, BadArchive, read_archive
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import fetch
from ddr.registries.wording import LONGEST_NOTE, clean

NAME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+")
STABLE = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
DEPRECATED = "Veraltet:"
MAX_FEED_BYTES = 1024 * 1024  # about 500 of a publication
PIECE = 16 * 1024


@dataclass(frozen=True)
class Published:
    """A version of a package: the digest of its archive, and why it is deprecated (empty: it is not)."""

    name: str
    version: str
    shasum: str
    deprecated: str = ""

    @property
    def label(self) -> str:
        """name#version, as in the feed."""
        return f"{self.name}#{self.version}"


async def packages(
    http: httpx.AsyncClient, base: str, valuesets: Iterable[str], before: Collection[str] = ()
) -> list[Published]:
    """Every version of every package that contains one of `valuesets`. Raises RegistryFault.

    Empty when the ZTS does not publish them (yet): then the ValueSets of gematik's package stay in force. Packages of
    the last reading (`before`, their names) that the catalogue lacks are requested from the ZTS by name; it may not
    know them.
    """
    names: set[str] = set()
    for url in valuesets:
        found = await _json(http, f"{base}/packages/catalog?canonical={quote(url, safe=':/')}")
        if not isinstance(found, list):
            raise RegistryFault("the package catalogue is not a list")
        names |= {str(one.get("name")) for one in found if isinstance(one, dict)}
    published: list[Published] = []
    for name in sorted({*names, *before}):
        if NAME.fullmatch(name):
            try:
                published += _versions(name, await _json(http, f"{base}/packages/{name}"))
            except RegistryFault as error:
                if name in names or error.status not in (404, 410):
                    raise
    return published


async def deprecations(http: httpx.AsyncClient, base: str, name: str) -> list[str]:
    """Titles in the feed that announce a deprecated version of the package `name`. Raises RegistryFault."""
    _, body = await fetch(http, f"{base}/feeds/?packageName={name}&type=publication", limit=MAX_FEED_BYTES)
    titles = await aside(True, _titles, body or b"")
    return [clean(title, LONGEST_NOTE) for title in titles if title.startswith(DEPRECATED)]


def _titles(body: bytes) -> list[str]:
    parser = XMLParser(forbid_dtd=True)
    try:
        for start in range(0, len(body), PIECE):  # the parser does not yield to the event loop within a piece
            parser.feed(body[start : start + PIECE])
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError):
        raise RegistryFault("the feed is not XML") from None
    return [str(item.findtext("title") or "").strip() for item in root.iter("item")]


async def download(http: httpx.AsyncClient, base: str, package: Published) -> tuple[Archive, str]:
    """The package and the SHA-256 of its archive. Raises RegistryFault, or BadArchive when the content is invalid.

    The SHA-1 that the ZTS publishes protects against damage in transit; TLS protects against forgery.
    """
    _, body = await fetch(http, f"{base}/packages/{package.name}/{package.version}", limit=MAX_ARCHIVE_BYTES)
    return await aside(True, _opened, package, body or b"")


def _opened(package: Published, packed: bytes) -> tuple[Archive, str]:
    if hashlib.sha1(packed).hexdigest() != package.shasum.lower():  # noqa: S324
        raise BadArchive("the checksum of the archive differs from the one that the ZTS publishes")
    archive = read_archive(packed)
    if (archive.name, archive.version) != (package.name, package.version):
        raise BadArchive(f"the archive calls itself {archive.name}#{archive.version}")
    return archive, hashlib.sha256(packed).hexdigest()


def newest(published: Iterable[Published]) -> list[Published]:
    """For each package its highest stable version that is not deprecated (the ZTS's `latest` may be a prerelease)."""
    best: dict[str, Published] = {}
    for one in published:
        if STABLE.fullmatch(one.version) and not one.deprecated:
            known = best.get(one.name)
            best[one.name] = one if known is None or _order(one) > _order(known) else known
    return list(best.values())


def _order(package: Published) -> tuple[int, ...]:
    return tuple(map(int, package.version.split(".")))


def _versions(name: str, info: Any) -> list[Published]:
    versions = info.get("versions") if isinstance(info, dict) else None
    if not isinstance(versions, dict):
        raise RegistryFault(f"the information about package {name} lists no versions")
    return [_published(name, str(version), content) for version, content in versions.items()]


def _published(name: str, version: str, content: Any) -> Published:
    content = content if isinstance(content, Mapping) else {}
    dist = content.get("dist")
    shasum = str(dist.get("shasum") or "") if isinstance(dist, Mapping) else ""
    return Published(name, clean(version), shasum, clean(str(content.get("unlisted") or ""), LONGEST_NOTE))


async def _json(http: httpx.AsyncClient, url: str) -> Any:
    _, body = await fetch(http, url)
    try:
        return orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        raise RegistryFault(f"the response of {urlsplit(url).path} is not JSON") from None
