"""The recorders of one installation: a directory with a file of settings for each; one is chosen by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ddr.reasons import in_words
from ddr.settings import SettingsError

DIRECTORY, CHOSEN = "DDR_RECORDERS", "DDR_RECORDER"
VARIABLES, TABLE = ".env", ".toml"  # lines of DDR_* variables, or what DDR_SETTINGS names, or both
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LINE = re.compile(r"(DDR_\w+)\s*=\s*(.*)")


def several(environ: Mapping[str, str]) -> bool:
    """True when there is a directory of recorders and none of them is chosen."""
    return bool(environ.get(DIRECTORY)) and not environ.get(CHOSEN)


def names(environ: Mapping[str, str]) -> list[str]:
    """The recorders, sorted; files with other suffixes are ignored. Raises SettingsError."""
    folder = Path(environ.get(DIRECTORY, ""))
    try:
        files = [path for path in folder.iterdir() if path.suffix in (VARIABLES, TABLE) and path.stem]
    except OSError as error:
        raise SettingsError(f"{DIRECTORY}: {folder}: {in_words(error)}") from None
    return sorted({path.stem for path in files if not path.name.startswith(".")})


def choosing(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """`environ` for the recorder `name` and its commands: its settings are those of its file, and no others."""
    kept = {key: value for key, value in environ.items() if not key.startswith("DDR_")}
    return kept | {DIRECTORY: environ.get(DIRECTORY, ""), CHOSEN: name}


def with_file(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ` with the variables of the chosen recorder's file, which those in `environ` itself override.

    Raises SettingsError when there is no such recorder, none is chosen, or a line is invalid.
    """
    if not (name := environ.get(CHOSEN)):
        if several(environ):
            known = ", ".join(names(environ)) or "there is none yet"
            raise SettingsError(f"{DIRECTORY}: choose a recorder with --recorder NAME: {known}")
        return environ
    if not environ.get(DIRECTORY):
        raise SettingsError(f"{DIRECTORY} must name the directory of the recorder {name}")
    if not _NAME.fullmatch(name):
        raise SettingsError("the name of a recorder must consist of at most 40 lower-case letters, digits and -")
    lines, table = (Path(environ[DIRECTORY], name + end) for end in (VARIABLES, TABLE))
    if not lines.exists() and not table.exists():
        raise SettingsError(f"there is no {lines.name} or {table.name} in {lines.parent}")
    found = _variables(lines) if lines.exists() else {}
    if table.exists():
        found.setdefault("DDR_SETTINGS", str(table))
    return {**found, **environ}


def _variables(file: Path) -> dict[str, str]:
    """The lines `DDR_NAME=value` of a file; values may be quoted. No message repeats a value."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file.name}: {in_words(error)}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in (DIRECTORY, CHOSEN):
            raise SettingsError(
                f"{file.name}: line {number} must be a comment, or DDR_NAME=value with the name of a setting"
            )
        if match[1] in found:
            raise SettingsError(f"{file.name}: line {number} sets {match[1]} a second time")
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text
