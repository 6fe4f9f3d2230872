"""FHIR package archives (gzipped tar) read without trusting them: limits on sizes, nothing written to disk.

FHIR package specification (confluence.hl7.org, "FHIR Package Specification"); BfArM ZTS, packages API.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import dataclass
from typing import Any

import orjson

MAX_ARCHIVE_BYTES = 32 * 1024 * 1024
MAX_CONTENT_BYTES = 256 * 1024 * 1024  # unpacked; more is a decompression bomb
MAX_MEMBERS = 5000
FOLDER = "package/"
META = FOLDER + "miv.toml"  # not from the ZTS: an operator's package may add what a new code needs


class BadArchive(Exception):
    """The archive cannot be used; the message says why."""


@dataclass(frozen=True)
class Archive:
    """The content of an archive: its name, its version, its ValueSets, and miv.toml if there is one."""

    name: str
    version: str
    resources: tuple[dict[str, Any], ...]
    meta: str | None = None


def read_archive(packed: bytes) -> Archive:
    """The package in `packed`. Raises BadArchive.

    Only regular files directly in `package/` are read; links, devices and paths that lead elsewhere are ignored, and no
    name from the archive ever becomes the name of a file.
    """
    files = _files(_unpacked(packed))
    try:
        manifest = orjson.loads(files[FOLDER + "package.json"])
        name, version = str(manifest["name"]), str(manifest["version"])
        resources = [orjson.loads(body) for path, body in files.items() if path.startswith(FOLDER + "ValueSet-")]
        meta = files[META].decode() if META in files else None
    except KeyError as error:
        raise BadArchive(f"the package lacks {error}") from None
    except (ValueError, TypeError):
        raise BadArchive("a file of the package is not JSON or not UTF-8") from None
    valuesets = [one for one in resources if isinstance(one, dict) and one.get("resourceType") == "ValueSet"]
    return Archive(name, version, tuple(valuesets), meta)


def _unpacked(packed: bytes) -> bytes:
    if len(packed) > MAX_ARCHIVE_BYTES:
        raise BadArchive(f"the archive is larger than {MAX_ARCHIVE_BYTES} bytes")
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(packed, MAX_CONTENT_BYTES)
    except zlib.error:
        raise BadArchive("the archive is not gzip") from None
    if stream.unconsumed_tail:
        raise BadArchive(f"the archive unpacks to more than {MAX_CONTENT_BYTES} bytes")
    if not stream.eof:
        raise BadArchive("the archive is truncated")
    return plain


def _files(plain: bytes) -> dict[str, bytes]:
    """Regular files directly in the package folder, by path."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MAX_MEMBERS:
                    raise BadArchive(f"the archive has more than {MAX_MEMBERS} files")
                path = member.name.removeprefix("./")
                plain_file = member.isreg() and not member.issparse()  # a sparse file is as large as it claims
                if plain_file and path.startswith(FOLDER) and "/" not in path.removeprefix(FOLDER):
                    found = tar.extractfile(member)
                    files[path] = found.read() if found else b""
    except tarfile.TarError:
        raise BadArchive("the archive is not a tar") from None
    return files
