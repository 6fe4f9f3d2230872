"""The text of the consent page, word for word, as the proof of consent keeps it (GDPR Article 7(1)).

It contains nothing about the patient: names of devices and days, which differ between patients, are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ddr.miv.model import Miv
from ddr.patient_pages.names import title
from ddr.patient_pages.texts import consent, text
from ddr.patient_pages.texts.representation import role_name
from ddr.scopes.diga import Diga
from ddr.store.authorization.consents import Shown

LANGUAGES = ("de", "en")
LEFT_OUT = "…"
# Changes whenever a word on the page changes, in either language.
VERSION = hashlib.sha256(repr(sorted(consent.TEXTS.items())).encode()).hexdigest()[:12]


def period_text(miv: Miv) -> str:
    """The name of the text about the period: data to which others refer is shown however old it is."""
    referred_to = any(code.kind == "reference" for code in miv.codes)
    return "consent.period_text_reference" if referred_to else "consent.period_text"


def shown(diga: Diga, mivs: Iterable[Miv], lang: str, *, again: bool, role: str = "") -> Shown:
    """What the page says in `lang` when this DiGA requests `mivs`; `again`: a former consent exists.

    `role` is that of a representative; the patient's name is left out.
    """
    names = {"diga": diga.name, "manufacturer": diga.manufacturer}
    lines = [
        text(lang, "consent.title_for" if role else "consent.title", person=LEFT_OUT, **names),
        *([text(lang, "consent.for", person=LEFT_OUT, role=role_name(lang, role))] if role else []),
        text(lang, "consent.who", **names),
        text(lang, "consent.by_when", time=LEFT_OUT, **names),
        text(lang, "consent.choose", **names),
        text(lang, "consent.choose_hint_again" if again else "consent.choose_hint", **names),
    ]
    for miv in mivs:
        lines += [
            f"- {title(miv, lang)}: {miv.description_de if lang == 'de' else miv.description}",
            f"  {text(lang, 'consent.device')}: {text(lang, 'consent.device_text', devices=LEFT_OUT)}",
            f"  {text(lang, 'consent.period')}: {text(lang, period_text(miv), since=LEFT_OUT)}",
        ]
    lines += [text(lang, f"consent.{name}", **names) for name in ("periods", "periods_hint", "know")]
    lines += [f"- {text(lang, f'consent.know_{name}', **names)}" for name in ("who", "until", "withdraw", "audit")]
    lines += [f"[{text(lang, 'consent.approve')}] [{text(lang, 'consent.deny')}]"]
    return Shown(lang, VERSION, "\n".join(lines))


def agreed_to(diga: Diga, mivs: Iterable[Miv], digest: str, lang: str, *, again: bool, role: str = "") -> Shown | None:
    """The text whose digest (hex) a form carries, or None when the page says something else by now.

    A form without a digest agrees to what the page says in `lang`.
    """
    offered = tuple(mivs)
    if not digest:
        return shown(diga, offered, lang, again=again, role=role)
    candidates = (shown(diga, offered, one, again=two, role=role) for one in LANGUAGES for two in (False, True))
    return next((one for one in candidates if one.digest.hex() == digest), None)
