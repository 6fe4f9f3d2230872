"""The text of the page about research, word for word, as the proof of consent keeps it (GDPR Article 7(1))."""

from __future__ import annotations

import hashlib
from itertools import product

from ddr.patient_pages.consent_text import LANGUAGES, LEFT_OUT
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.representation import ROLES, role_name
from ddr.store.authorization.consents import Shown

# The page in order: a heading, and the text below it.
SECTIONS = {
    "passed": ("passed_values", "passed_age"),
    "kept": ("kept_name", "kept_day", "kept_rare"),
    "who": ("who_text",),
    "left": ("left_risk", "left_withdraw", "left_representative"),
}


def _words(lang: str, role: str) -> str:
    lines = [text(lang, f"research.{name}") for name in ("title", "intro", "voluntary")]
    for heading, below in SECTIONS.items():
        lines += [text(lang, f"research.{heading}"), *(f"- {text(lang, f'research.{name}')}" for name in below)]
    if role:
        lines.append(text(lang, "consent.for", person=LEFT_OUT, role=role_name(lang, role)))
    agree = text(lang, "research.agree_for", person=LEFT_OUT) if role else text(lang, "research.agree")
    return "\n".join([*lines, f"[x] {agree}", f"[{text(lang, 'research.give')}]"])


# Changes whenever a word on the page changes, in either language.
VERSION = hashlib.sha256("\n".join(_words(*one) for one in product(LANGUAGES, ("", *ROLES))).encode()).hexdigest()[:12]


def shown(lang: str, role: str = "") -> Shown:
    """What the page says in `lang` to the patient, or to a representative in this `role`; names are left out."""
    return Shown(lang, VERSION, _words(lang, role))


def agreed_to(digest: str, role: str = "") -> Shown | None:
    """The text whose digest (hex) a form carries, or None when the page says something else by now."""
    return next((one for lang in LANGUAGES if (one := shown(lang, role)).digest.hex() == digest), None)
