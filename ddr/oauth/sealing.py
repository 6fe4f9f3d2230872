"""Encryption of private signing keys at rest: AES-256-GCM under the key-encryption key of the operator."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ddr.settings import Settings, SettingsError

NONCE = 12
WAY_OUT = "; bring the right one back, or, when it is lost, see `ddr keys replace` (docs/backup.md)"


def key_encryption_key(settings: Settings, *, make: bool = True) -> bytes:
    """The 32 bytes of `settings.key_encryption_key`, else of a file in the state directory (development).

    With `make` a missing file is made; without it the database has keys already that a new one could not open.
    Raises SettingsError when it is missing, or the text is not 32 bytes in base64.
    """
    text = settings.key_encryption_key or _kept(settings.state_dir / "key-encryption.key", make)
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise SettingsError("setting key_encryption_key: must be 32 bytes in base64 (openssl rand -base64 32)")
    return key


def seal(key: bytes, plain: bytes, name: str) -> bytes:
    """`plain` encrypted; it can be opened under the same `name` only, so that rows cannot be exchanged."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, name.encode())


def unseal(key: bytes, sealed: bytes, name: str) -> bytes:
    """What was sealed under `name`. Raises SettingsError when `key` is another one."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], name.encode())
    except InvalidTag:
        raise SettingsError(
            f"setting key_encryption_key: does not open the signing keys of this database{WAY_OUT}"
        ) from None


def _kept(path: Path, make: bool) -> str:
    """The key in `path`, made on first use; linking a finished file lets exactly one of several workers win."""
    if not path.exists():
        if not make:
            raise SettingsError(f"setting key_encryption_key: empty, and the file {path} is missing{WAY_OUT}")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(base64.b64encode(secrets.token_bytes(32)).decode())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass  # another worker was faster; its key counts
        finally:
            draft.unlink()
    return path.read_text().strip()
