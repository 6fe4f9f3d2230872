"""Encryption of signing keys and server-wide secrets at rest: AES-256-GCM under the operator's key-encryption key."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ddr.appending import append, keep_names
from ddr.drafts import naming
from ddr.reasons import in_words
from ddr.settings import Settings, SettingsError

NONCE = 12
KEY_BYTES = 32
WAY_OUT = "; restore the right key, or, if it is lost, see `ddr keys replace` (docs/keys.md)"


@dataclass(frozen=True)
class KeyRing:
    """Key-encryption keys of 32 bytes: `current` seals, and all of them can open."""

    current: bytes
    old: tuple[bytes, ...] = ()


def key_encryption_key(settings: Settings, *, make: bool = True) -> KeyRing:
    """The keys of the settings, or else of a file in the state directory (development).

    `key_encryption_key` may have further keys on further lines: the first seals, and the others, like
    `key_encryption_key_old`, only open. With `make`, a missing file is created; pass False when the database already
    has secrets that a new key could not open. Raises SettingsError when the file is missing, or a line is not 32 bytes
    in base64.
    """
    text, where = settings.key_encryption_key, "key_encryption_key"
    if not text:
        file = settings.state_dir / "key-encryption.key"
        text, where = _kept(file, make), f"key_encryption_key: empty, and the file {file}"
    current, *others = [_decoded(line, where) for line in text.split() or [""]]
    older = [_decoded(line, "key_encryption_key_old") for line in settings.key_encryption_key_old.split()]
    return KeyRing(current, (*others, *older))


def check_keys(settings: Settings) -> None:
    """Raises SettingsError when a key of the settings is invalid; does not look for keys elsewhere."""
    for name in ("key_encryption_key", "key_encryption_key_old"):
        for line in getattr(settings, name).split():
            _decoded(line, name)


def seal(keys: KeyRing, plain: bytes, name: str) -> bytes:
    """`plain` encrypted; it can only be opened under the same `name`, so that rows cannot be exchanged."""
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(keys.current).encrypt(nonce, plain, name.encode())


def opened(keys: KeyRing, sealed: bytes, name: str) -> bytes | None:
    """What was sealed under `name` by one of the keys, or None."""
    for key in (keys.current, *keys.old):
        try:
            return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], name.encode())
        except InvalidTag:
            continue
    return None


def unseal(keys: KeyRing, sealed: bytes, name: str) -> bytes:
    """What was sealed under `name`. Raises SettingsError when none of the keys opens it."""
    plain = opened(keys, sealed, name)
    if plain is None:
        raise SettingsError(
            f"setting key_encryption_key: does not open the secrets that this database has sealed{WAY_OUT}"
        )
    return plain


def _decoded(text: str, setting: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(f"setting {setting}: must be 32 bytes in base64 (openssl rand -base64 32)")
    return key


def _kept(path: Path, make: bool) -> str:
    """The keys in `path`, made on first use; linking a finished file lets exactly one of several workers win.

    The file is on the disk before anything is sealed: if a power failure lost it, all that it opens would be lost.
    """
    if not path.exists():
        if not make:
            raise SettingsError(f"setting key_encryption_key: empty, and the file {path} is missing{WAY_OUT}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path)
        except OSError as error:
            raise SettingsError(
                f"setting key_encryption_key: empty, and the file {path} cannot be created: {in_words(error)}"
            ) from None
    with naming(path):
        return path.read_text("utf-8-sig", "replace")


def _make(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")  # not the process id: containers have the same ones
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            append(descriptor, base64.b64encode(secrets.token_bytes(KEY_BYTES)))
        finally:
            os.close(descriptor)
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another worker was faster; its key is used
    finally:
        draft.unlink(missing_ok=True)
    keep_names(path.parent)
