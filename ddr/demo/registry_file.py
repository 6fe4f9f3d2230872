"""The stand-in's data as a JSON file that may be edited while it runs."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson

from ddr.demo.registry_state import FAULTS, PARTS, ListedDiga, Package, RegistryState
from ddr.drafts import draft
from ddr.reasons import in_words

COUNTERS = ("requests", "unchanged")
PEM = "-----BEGIN CERTIFICATE-----"


class DataError(Exception):
    """The data cannot be used; the message is one line for the person who edited it."""


def save(state: RegistryState, file: Path) -> None:
    """Write `state`; certificates become base64 of their DER."""
    content = {name: value for name, value in asdict(state).items() if name not in COUNTERS}
    for diga in content["digas"]:
        diga["certificates"] = [base64.b64encode(der).decode() for der in diga["certificates"]]
    with draft(file) as out:
        out.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def load(file: Path) -> RegistryState:
    """The state in `file`; certificates may be base64, PEM text, or the name of a PEM file. Raises DataError."""
    try:
        content = orjson.loads(file.read_bytes())
        if not isinstance(content, dict):
            raise DataError(f"{file}: is not a JSON object")
        digas = [_diga(one, file.parent) for one in content.pop("digas", [])]
        packages = [Package(**one) for one in content.pop("packages", [])]
        state = RegistryState(digas=digas, packages=packages, **content)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {in_words(error)}") from None
    except (TypeError, AttributeError, KeyError):  # their messages are about our own classes
        raise DataError(f"{file}: a member is missing, unknown or of the wrong type") from None
    if state.fault not in FAULTS or state.fault_on not in PARTS:
        raise DataError(f"{file}: fault must be one of {', '.join(FAULTS[1:])}; fault_on one of {', '.join(PARTS)}")
    return state


def following(state: RegistryState, file: Path) -> Callable[[], None]:
    """A function that copies `file` into `state` when it has changed since the last call.

    An invalid file changes nothing: somebody may just be editing it.
    """
    seen = file.stat().st_mtime_ns

    def look() -> None:
        nonlocal seen
        try:
            mark = file.stat().st_mtime_ns
            if mark == seen:
                return
            fresh = load(file)
        except (OSError, DataError):
            return
        seen = mark
        for field in fields(RegistryState):
            if field.name not in COUNTERS:
                setattr(state, field.name, getattr(fresh, field.name))

    return look


def certificate(text: str, folder: Path) -> bytes:
    """DER of a certificate given as base64, as PEM, or as a file of PEM. Raises ValueError, OSError."""
    if text.endswith((".pem", ".crt")):
        text = (folder / text).read_text("utf-8")
    if PEM in text:
        return ssl.PEM_cert_to_DER_cert(text[text.index(PEM) : text.index("-----END CERTIFICATE-----") + 25] + "\n")
    return base64.b64decode(text, validate=True)


def _diga(content: dict[str, Any], folder: Path) -> ListedDiga:
    ders = [certificate(text, folder) for text in content.pop("certificates", [])]
    return ListedDiga(certificates=ders, **content)
