"""Logical ids shown outside: internal numbers encrypted with AES, so that they are short, stable and unguessable."""

from __future__ import annotations

import re
import struct
from enum import IntEnum

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = struct.Struct(">BHIIIB")  # kind, no (high 16 and low 32 bits), k, check, check
_HEX = re.compile("[0-9a-f]{32}")


class Kind(IntEnum):
    """What an id names. The numbers are part of published ids: never reuse or change one."""

    DEVICE = 1
    METRIC = 2  # no = epoch_no
    CHUNK = 3  # no = epoch_no, k = number of the chunk
    MEASUREMENT = 4
    GRANT = 5
    AUDIT = 7
    DAY = 8  # no = ordinal of the calendar day
    CONSENT = 9
    RESEARCH = 10  # no = number of the act by which a consent to research was given


class IdCipher:
    """Turns (kind, no, k) into 32 hex characters and back with one AES block.

    A block contains 40 zero bits, so a guessed id decrypts to something valid only with a probability of 1 : 2^40. A
    hit would still have to belong to the caller's patient, which every query checks. 32 hex characters fit the FHIR
    type `id`.
    """

    def __init__(self, key: bytes) -> None:
        cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - single blocks, each different
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update

    def encode(self, kind: Kind, no: int, k: int = 0) -> str:
        """The id of number `no` (0 ≤ no < 2^48) and part `k` (0 ≤ k < 2^32)."""
        return self._encrypt(_BLOCK.pack(kind, no >> 32, no & 0xFFFF_FFFF, k, 0, 0)).hex()

    def device(self, device_no: int) -> str:
        """The id of a Device."""
        return self.encode(Kind.DEVICE, device_no)

    def metric(self, epoch_no: int) -> str:
        """The id of a DeviceMetric."""
        return self.encode(Kind.METRIC, epoch_no)

    def chunk(self, epoch_no: int, k: int) -> str:
        """The id of the Observation that is chunk `k` of an epoch."""
        return self.encode(Kind.CHUNK, epoch_no, k)

    def measurement(self, measurement_no: int) -> str:
        """The id of the Observation of a dedicated measurement."""
        return self.encode(Kind.MEASUREMENT, measurement_no)

    def decode(self, text: str) -> tuple[Kind, int, int] | None:
        """(kind, no, k) of an id of ours, or None for any other text."""
        if not _HEX.fullmatch(text):
            return None
        kind, high, low, k, check, rest = _BLOCK.unpack(self._decrypt(bytes.fromhex(text)))
        if check or rest or kind not in _KINDS:
            return None
        return _KINDS[kind], high << 32 | low, k


_KINDS = {int(kind): kind for kind in Kind}
