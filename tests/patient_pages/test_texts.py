"""Both languages have the same texts, and templates name only texts that exist."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import ddr.patient_pages
from ddr.http.language import Words
from ddr.http.pages import PROBLEMS
from ddr.patient_pages import research_text
from ddr.patient_pages.dates import day, moment, short_moment
from ddr.patient_pages.texts import TEXTS
from ddr.patient_pages.texts.reasons import reason
from ddr.store.audit.trail import Event

SOURCES = [path for path in Path(ddr.patient_pages.__file__).parent.rglob("*") if path.suffix in {".html", ".py"}]


BUILT = (
    {f"frame.{name}" for name in ("connections", "access", "data", "devices")}
    | {f"data.{name}" for name in ("hour", "lowest", "middle", "highest", "count", "when", "what", "value")}
    | {f"data.range_{n}" for n in range(5)}
    | {f"file.{name}" for name in ("device", "kind", "count", "span")}
    | {f"research.{name}" for one in research_text.SECTIONS.items() for name in (one[0], *one[1])}
    | {"data.target_1", "data.target_3", "data.event_sensor", "data.event_calibration"}
)  # put together in a template


OF_NO_PATIENT = {
    Event.SIGNING_KEY_ROTATED,
    Event.SIGNING_KEYS_REPLACED,
    Event.ENCRYPTION_KEY_ROTATED,
    Event.GATEWAY_CERTIFICATE_ADDED,
    Event.GATEWAY_CERTIFICATE_REVOKED,
    Event.CREDENTIAL_FOUND,
    Event.CREDENTIAL_ASSIGNED,
    Event.CREDENTIAL_ENDED,
    Event.RESTORE_DECLARED,
}


def placeholders(text: str) -> set[str]:
    """Names of the {placeholders} of `text`."""
    return {field for _, field, _, _ in Formatter().parse(text) if field}


@pytest.mark.parametrize("name", TEXTS)
def test_both_languages_have_the_same_placeholders(name: str) -> None:
    assert placeholders(TEXTS[name].de) == placeholders(TEXTS[name].en)
    assert TEXTS[name].de.strip()
    assert TEXTS[name].en.strip()


def test_every_name_exists_and_every_text_is_used() -> None:
    source = "\n".join(path.read_text("utf-8") for path in SOURCES)
    pages = "|".join(sorted({name.partition(".")[0] for name in TEXTS}))
    named = set(re.findall(rf"""["']((?:{pages})\.(?!html)[a-z_]+)["']""", source))
    built = {name for name in TEXTS if ":" in name or name in BUILT}
    assert named <= set(TEXTS)
    assert set(TEXTS) - named - built == set()


def test_whatever_can_stand_in_the_trail_of_a_patient_has_words() -> None:
    assert {event for event in Event if f"access.{event}" not in TEXTS} == OF_NO_PATIENT


def test_an_unknown_reason_has_words() -> None:
    assert reason("de", None) == "Die Verbindung wurde beendet."
    assert reason("en", "something new") == "The connection was ended."


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_explained_in_both_languages(problem: str) -> None:
    for words in PROBLEMS[problem]:
        assert isinstance(words, Words)
        assert words.de != words.en


def test_days_are_german_days() -> None:
    just_after_midnight = 1_795_390_200_000  # 2026-11-22T23:30:00Z
    assert moment("de", just_after_midnight) == "23. November 2026, 00:30 Uhr"
    assert moment("en", just_after_midnight) == "23 November 2026, 00:30"
    assert short_moment("de", just_after_midnight) == "23.11.2026, 00:30"
    assert short_moment("en", just_after_midnight) == "23 Nov 2026, 00:30"
    assert day("de", 1_772_492_400_000) == "3. März 2026"
