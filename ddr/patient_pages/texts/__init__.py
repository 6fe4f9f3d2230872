"""Every text of the patient's pages in German and English, one file per page."""

from __future__ import annotations

from ddr.http.language import Words
from ddr.patient_pages.texts import (
    access,
    connections,
    consent,
    copy,
    data,
    deletion,
    devices,
    file,
    frame,
    gateway_apps,
    login,
    representation,
    research,
)

TEXTS: dict[str, Words] = {
    f"{module.__name__.rpartition('.')[2]}.{name}": words
    for module in (
        frame,
        login,
        consent,
        connections,
        access,
        devices,
        gateway_apps,
        file,
        data,
        copy,
        deletion,
        representation,
        research,
    )
    for name, words in module.TEXTS.items()
}


def template(lang: str, name: str) -> str:
    """The text `name` ("page.key") in `lang` ("de" or "en") with {placeholders}."""
    return TEXTS[name].said(lang)


def text(lang: str, name: str, **values: object) -> str:
    """The text `name` with its {placeholders} filled."""
    return template(lang, name).format(**values)
