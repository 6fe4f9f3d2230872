"""Reads the settings from DDR_* variables, a TOML file and files with secrets; unknown names are refused."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from ddr.reasons import in_words
from ddr.settings import MivSettings, Settings, SettingsError
from ddr.settings_checks import check
from ddr.settings_recorders import with_file

OTHER_VARIABLES = frozenset(
    {
        "DDR_SETTINGS",
        "DDR_RECORDERS",  # several of them (ddr.settings_recorders)
        "DDR_RECORDER",
        "DDR_GATEWAY_TOKEN",  # ddr import
        # Of the project's own tests.
        "DDR_CGM_TRACE",
        "DDR_HDDT_ARTIFACTS",
        "DDR_MACHINE_EXAMPLES",
        "DDR_SCREENSHOTS",
        "DDR_STORM_FROM",
        "DDR_STORM_SEEDS",
        "DDR_STORM_STEPS",
        "DDR_TEST_CITUS_URL",
        "DDR_TEST_DATABASE_URL",
    }
)
# What Kubernetes adds to every container for a service whose name begins with "ddr".
_FOREIGN = re.compile(
    r"DDR_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|=(tcp|udp|sctp)://.*))"
)

FILE = "file:"
# Each may also be in a file of its own, given as `file:` and its path, so that neither environment nor settings file
# has it.
SECRETS = frozenset(
    {
        "database_url",
        "database_migration_url",
        "database_replica_url",
        "registry_token",
        "key_encryption_key",
        "key_encryption_key_old",
        "oidc_client_secret",
    }
)


# Omitted settings have meaningful defaults; an empty text instead comes from a variable that was never set.
_DEFAULTS = {field.name: str(field.default) for field in fields(Settings) if isinstance(field.default, str | Path)}

# File names may contain any byte but 0; text that is shown to anybody or sent may not.
_FILES = {"journal_dir", "oidc_ca", "operator_logo", "registry_ca"} | {
    field.name for field in fields(Settings) if isinstance(field.default, Path)
}

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")  # XML, FHIR's included, has no form for most


def _convert(name: str, wanted: Any, raw: Any) -> Any:
    if name in _DEFAULTS:
        return wanted(_text(name, raw))
    try:
        if wanted is bool:
            text = str(raw).lower()
            if text not in {"true", "false", "1", "0", "yes", "no"}:
                raise ValueError
            return text in {"true", "1", "yes"}
        return _whole(raw)
    except (TypeError, ValueError):
        raise SettingsError(f"setting {name}: {raw!r} is not a valid {wanted.__name__}") from None


def _text(name: str, raw: Any) -> str:
    """A text without surrounding blanks. Numbers are refused: 1.10 has lost a digit by then. No message repeats it."""
    if not isinstance(raw, str | Path):
        raise SettingsError(f"setting {name}: must be a single text in quotation marks")
    text = str(raw).strip()
    if "\0" in text or (name not in _FILES | SECRETS and _CONTROLS.search(text)):
        raise SettingsError(f"setting {name}: contains a control character")
    if name not in _FILES and text != text.encode("utf-8", "ignore").decode("utf-8"):
        raise SettingsError(f"setting {name}: is not UTF-8 text")
    if not text and (default := _DEFAULTS[name]):
        raise SettingsError(f"setting {name}: is empty; leave it out for {default}")
    return text


def _whole(raw: Any) -> int:
    """A whole number from a text or a number; a fraction is never dropped silently. Raises TypeError, ValueError."""
    if isinstance(raw, (bool, float)):
        raise ValueError("is not a whole number")
    return int(raw)


def _miv_settings(name: str, raw: Any) -> MivSettings:
    known = [field.name for field in fields(MivSettings)]
    given = raw if isinstance(raw, Mapping) else {}
    if unknown := sorted(given.keys() - set(known)):
        raise SettingsError("; ".join(f"unknown setting miv.{name}.{one}{_meant(one, known)}" for one in unknown))
    try:
        return MivSettings(**{one: _whole(given[one]) for one in known})
    except (KeyError, TypeError, ValueError):
        raise SettingsError(f"setting miv.{name}: needs the whole numbers {', '.join(known)}") from None


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the TOML file named by DDR_SETTINGS, then DDR_* variables, then `overrides`; later ones win.

    If there are several recorders, the file of the chosen one counts like variables. Raises SettingsError for unknown
    names and malformed values, and when none is chosen.
    """
    environ = with_file(os.environ if environ is None else environ)
    raw = _of_file(environ)
    if not isinstance(raw.get("miv", {}), Mapping):
        raise SettingsError("setting miv: must be a table of MIV packages")
    known = {f.name for f in fields(Settings)}
    raw = {**raw, **_from_environment(environ, known - {"miv"}), **overrides}
    if unknown := sorted(set(raw) - known):
        raise SettingsError("; ".join(f"unknown setting {name}{_meant(name, known)}" for name in unknown))
    miv = {
        name: value if isinstance(value, MivSettings) else _miv_settings(name, value)
        for name, value in raw.pop("miv", {}).items()
    }
    hints = get_type_hints(Settings)
    values = {name: _convert(name, hints[name], value) for name, value in raw.items()}
    values |= {name: _from_file(name, values[name]) for name in SECRETS & values.keys()}
    try:
        return check(replace(Settings(), miv=miv, **values))
    except SettingsError as error:
        if values or miv:
            raise
        raise SettingsError(
            f"{error}. No setting is given: DDR_SETTINGS names no file, and no DDR_* variable sets one"
        ) from None


def admin_port(environ: Mapping[str, str] | None = None) -> int:
    """The port of the admin listener. Other settings are not checked: later mistakes in them do not matter to a
    recorder that runs with the settings of its start, and a health check must not take it for dead.

    Raises SettingsError for an invalid port, and for a file that is not TOML; no file is read if a variable has the
    port.
    """
    environ = with_file(os.environ if environ is None else environ)
    given = environ.get("DDR_ADMIN_PORT")
    found = _of_file(environ).get("admin_port", Settings.admin_port) if given is None else given
    port = int(_convert("admin_port", int, found))
    if not 0 <= port <= 65_535:
        raise SettingsError("setting admin_port: is not a port number")
    return port


def _of_file(environ: Mapping[str, str]) -> dict[str, Any]:
    """The content of the TOML file named by DDR_SETTINGS, with or without a byte order mark. Raises SettingsError."""
    if not (path := environ.get("DDR_SETTINGS")):
        return {}
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings file {path}: {in_words(error)}") from None


def _from_file(name: str, value: str) -> str:
    """A secret as given, or the content of the file that `file:PATH` names. Raises SettingsError."""
    if not value.startswith(FILE):
        return value
    path = value.removeprefix(FILE)
    try:
        if found := Path(path).read_text("utf-8-sig").strip():
            return found
        raise SettingsError(f"setting {name}: {path}: is empty")
    except OSError as error:
        raise SettingsError(f"setting {name}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"setting {name}: {path}: is not text") from None


def _from_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """The settings among the variables. Raises SettingsError for an unknown DDR_* variable, which must be misspelt."""
    variables = {f"DDR_{name.upper()}": name for name in known}
    ours = {
        name for name, value in environ.items() if name.startswith("DDR_") and not _FOREIGN.fullmatch(f"{name}={value}")
    }
    if unknown := sorted(ours - variables.keys() - OTHER_VARIABLES):
        texts = [f"unknown variable {name}{_meant(name, {*variables, *OTHER_VARIABLES})}" for name in unknown]
        raise SettingsError("; ".join(texts))
    return {variables[name]: environ[name] for name in ours & variables.keys()}


def _meant(name: str, known: Collection[str]) -> str:
    closest = get_close_matches(name, sorted(known), 1)
    return f" (did you mean {closest[0]}?)" if closest else ""
