"""The settings in force with their limits, and the registered terms of each MIV beside its limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

from ddr.dossier.model import Chapter, Row
from ddr.miv.loader import load_catalog
from ddr.settings import Settings, SettingsError
from ddr.settings_checks import check
from ddr.settings_sources import SECRETS

# Values that no setting of that type accepts unless it accepts all: the error of the check contains its limits.
_BEYOND: dict[type, tuple[Any, ...]] = {int: (-1, 0, 1, 100_000, 2**31), str: ("?",)}


def in_force(settings: Settings) -> Chapter:
    """Every setting; for a secret only whether it is set."""
    rows = [
        {
            "setting": one.name,
            "in force": _shown(one.name, getattr(settings, one.name)),
            "default": _shown(one.name, one.default) if isinstance(one.default, str | int | Path) else "none",
            "meaning": one.metadata["doc"],
            "limits": "\n".join(dict.fromkeys(_limits(settings, one))),
        }
        for one in fields(Settings)
        if one.name != "miv"
    ]
    about = (
        "The settings with which the recorder runs. A limit is the message with which the recorder refuses to start"
        " beyond it; limits were found by trying one setting while the others stayed as they are."
    )
    return Chapter("Settings in force", about, rows)


def registered(settings: Settings) -> Chapter:
    """What must be in the HIIS-VZ for each MIV, beside the limits of the MIV's package. Raises MivError."""
    catalog = load_catalog(settings.miv_packages, settings.miv)
    rows: list[Row] = []
    for miv in catalog.mivs:
        own = catalog.terms[miv.valueset]
        rows.append(
            {
                "MIV": miv.name,
                "ValueSet": miv.valueset,
                "Historic-Data-Period": f"{own.historic_days} days",
                "at least": f"{miv.min_historic_days} days",
                "Grace-Period": f"{own.grace_seconds} s",
                "at most": f"{miv.max_grace_seconds} s",
                "Delay-From-Real-Time": f"{own.delay_seconds} s",
                "hold-up of the MIV": f"{miv.vendor_holdup_seconds} s",
            }
        )
    about = "The recorder keeps these values; the HIIS-VZ must have the same (`ddr hiis` writes the entry)."
    return Chapter("Registered values", about, rows)


def _shown(name: str, value: Any) -> str:
    if name in SECRETS:
        return "set (secret)" if value else "not set"
    return str(value) if value != "" else "empty"


def _limits(settings: Settings, one: Field[Any]) -> Iterator[str]:
    value = getattr(settings, one.name)
    for beyond in _BEYOND.get(type(value), ()):
        try:
            check(replace(settings, **{one.name: beyond}))
        except (SettingsError, ValueError) as error:
            about, _, rule = str(error).removeprefix("setting ").partition(": ")
            if about == one.name and one.name not in SECRETS:
                yield rule
