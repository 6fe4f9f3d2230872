"""Whether a folder with a release is what its makers signed: an Ed25519 signature over a list of SHA-256 checksums."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._+-]*)")


class ReleaseError(ValueError):
    """Why a folder is not the signed release; one line for the operator."""


def public_key(file: Path) -> Ed25519PublicKey:
    """The public key in a PEM file. Raises ReleaseError, OSError."""
    try:
        key = load_pem_public_key(file.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        raise ReleaseError(f"{file}: is not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ReleaseError(f"{file}: is not an Ed25519 key")
    return key


def sign(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write the checksums of all files in `folder`, in sha256sum's format, and the signature (64 bytes, RFC 8032)."""
    sums = "".join(f"{digest(file)}  {file.name}\n" for file in _files(folder)).encode()
    (folder / SUMS).write_bytes(sums)
    (folder / SIGNATURE).write_bytes(key.sign(sums))


def verify(folder: Path, key: Ed25519PublicKey) -> list[str]:
    """The names of the signed files, which must be all files in the folder. Raises ReleaseError, OSError."""
    sums = (folder / SUMS).read_bytes()
    try:
        key.verify((folder / SIGNATURE).read_bytes(), sums)
    except InvalidSignature:
        raise ReleaseError(f"{SIGNATURE} does not match {SUMS} and this key") from None
    listed = _listed(sums)
    there = {file.name for file in _files(folder)}
    wrong = [f"{name} is missing" for name in sorted(listed.keys() - there)]
    wrong += [f"{name} does not belong to this release" for name in sorted(there - listed.keys())]
    wrong += [f"{name} was changed" for name in sorted(listed.keys() & there) if digest(folder / name) != listed[name]]
    if wrong:
        raise ReleaseError("; ".join(wrong))
    return sorted(listed)


def digest(file: Path) -> str:
    """SHA-256 of a file's content in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Everything in the folder except the two files of the signature; subfolders and links are not allowed."""
    return sorted(one for one in folder.iterdir() if one.name not in (SUMS, SIGNATURE))


def _listed(sums: bytes) -> dict[str, str]:
    lines = [_LINE.fullmatch(line) for line in sums.decode("ascii").splitlines()]
    found = {line[2]: line[1] for line in lines if line}
    if not found or len(found) != len(lines):
        raise ReleaseError(f"{SUMS} cannot be read")
    return found
