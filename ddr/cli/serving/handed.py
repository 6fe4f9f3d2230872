"""What `ddr serve` passes to its workers: the settings and certificate that it has checked, whatever the files say by
then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from ddr.settings import MivSettings, Settings
from ddr.tls.pair import ServerPair


def handed(settings: Settings) -> str:
    """`settings` as JSON, secrets included: for a pipe, not for a file. Unlike orjson's, this form can hold any
    path."""
    return json.dumps(asdict(settings), default=str)


def taken_over(text: str) -> Settings:
    """The inverse of `handed`. Nothing is checked again: a file deleted since must not stop a worker."""
    told: dict[str, Any] = json.loads(text)
    paths = {name for name, kind in get_type_hints(Settings).items() if kind is Path}
    known = {one.name: told[one.name] for one in fields(Settings) if one.name in told}
    values: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in known.items()}
    values["miv"] = {name: MivSettings(**terms) for name, terms in known.get("miv", {}).items()}
    return Settings(**values)


def handed_pair(pair: ServerPair | None) -> dict[str, str] | None:
    """The server's certificate and key for JSON: for a pipe, too. This encoding has a character for every byte."""
    return pair and {name: content.decode("latin-1") for name, content in pair._asdict().items()}


def taken_pair(told: Mapping[str, str] | None) -> ServerPair | None:
    """The inverse of `handed_pair`."""
    return ServerPair(**{name: text.encode("latin-1") for name, text in told.items()}) if told else None
