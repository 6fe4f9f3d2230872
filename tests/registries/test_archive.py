"""Package archives: valid, broken, or hostile."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping

import httpx
import pytest

from ddr.demo.registry_state import Package
from ddr.demo.registry_zts import archive
from ddr.registries import archive as reading
from ddr.registries import zts
from ddr.registries.archive import BadArchive, read_archive
from ddr.registries.errors import RegistryFault
from tests.support.lags import Lags

VALUESET = {"resourceType": "ValueSet", "id": "a", "url": "https://x.example/a", "version": "1"}
MANIFEST = json.dumps({"name": "a.b", "version": "1.0.0"}).encode()


def packed(files: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(body), kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO(body))
    return gzip.compress(plain.getvalue(), mtime=0)


def test_valuesets_are_read() -> None:
    found = read_archive(archive(Package("a.b", "1.0.0", [VALUESET])))
    assert (found.name, found.version, found.resources, found.meta) == ("a.b", "1.0.0", (VALUESET,), None)


def test_what_lies_elsewhere_is_passed_over() -> None:
    valueset = json.dumps(VALUESET).encode()
    files = {"package/package.json": MANIFEST, "package/miv.toml": b"a = 1"}
    stray = dict.fromkeys(("../package/ValueSet-x.json", "/ValueSet-x.json", "package/a/ValueSet-x.json"), valueset)
    found = read_archive(packed({**files, **stray}))
    assert (found.resources, found.meta) == ((), "a = 1")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_not_followed(kind: bytes) -> None:
    with pytest.raises(BadArchive, match="lacks"):
        read_archive(packed({"package/package.json": b""}, kind))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"<html>",
        gzip.compress(b"no tar at all" * 100, mtime=0),
        archive(Package("a.b", "1.0.0", [VALUESET]))[:-20],
        packed({"package/package.json": b"[]"}),
        packed({"package/package.json": b"{"}),
        packed({"package/package.json": MANIFEST, "package/ValueSet-x.json": b"\xff"}),
        packed({"package/package.json": MANIFEST, "package/miv.toml": b"\xff"}),
    ],
    ids=["nothing", "html", "no tar", "cut off", "list", "no JSON", "no UTF-8", "no UTF-8 in miv.toml"],
)
def test_what_is_no_package_is_refused(broken: bytes) -> None:
    with pytest.raises(BadArchive):
        read_archive(broken)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_CONTENT_BYTES", 1024 * 1024)
    with pytest.raises(BadArchive, match="unpacks to more"):
        read_archive(gzip.compress(bytes(2 * 1024 * 1024)))
    monkeypatch.setattr(reading, "MAX_ARCHIVE_BYTES", 10)
    with pytest.raises(BadArchive, match="larger"):
        read_archive(bytes(11))


def test_a_file_that_only_says_how_large_it_is_is_passed_over() -> None:
    """A sparse member (GNU tar) of 8 GB has no bytes in the archive, and would be read as that many."""
    member = tarfile.TarInfo("package/ValueSet-x.json")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (8**10 * 8 - 1, 0)  # one piece of data: none, at the end
    header[482:495] = b"\0%011o\0" % (8**10 * 8 - 1)  # no further header; the size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    plain = gzip.decompress(packed({"package/package.json": MANIFEST}))
    with tarfile.open(fileobj=io.BytesIO(bytes(header) + plain)) as tar:
        assert tar.getmembers()[0].size == 8**11 - 1
    assert read_archive(gzip.compress(bytes(header) + plain, mtime=0)).resources == ()


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_MEMBERS", 3)
    with pytest.raises(BadArchive, match="more than 3 files"):
        read_archive(packed({f"package/{n}": b"" for n in range(4)}))


async def test_a_feed_of_nothing_but_elements_keeps_nobody_waiting() -> None:
    lags = Lags()
    feeds = {
        name: b"<rss>" + b"<a/>" * (size // 4) + b"</rss>" for name, size in (("small", 10**6), ("large", 2 * 10**6))
    }

    async def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(feeds[request.url.params["packageName"]]))

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as http:
        assert await lags.during(zts.deprecations(http, "https://zts.example", "small")) == []
        with pytest.raises(RegistryFault, match="larger"):
            await zts.deprecations(http, "https://zts.example", "large")
    assert len(lags.seconds) > 10  # turns of the event loop meanwhile; there was none
