"""Why a connection ended, and why a DiGA was refused data."""

from ddr.http.language import Words

REASONS = {
    "consent-withdrawn": Words("Sie haben Ihre Zustimmung widerrufen.", "You withdrew your consent."),
    "withdrawn-by-representative": Words(
        "Wer Sie vertritt, hat die Zustimmung widerrufen.", "Whoever represents you withdrew the consent."
    ),
    "relation-ended": Words("Die Vertretung ist beendet.", "The representation has ended."),
    "majority": Words("Sie sind volljährig.", "You are of age."),
    "until-reached": Words("Die Vertretung war bis dahin befristet.", "The representation was limited until then."),
    "representative-deleted": Words(
        "Wer Sie vertreten hat, hat kein Konto mehr.", "Whoever represented you has no account any more."
    ),
    "data-deleted": Words("Sie haben Ihre Daten gelöscht.", "You deleted your data."),
    "consent-ended": Words("Ihre Zustimmung ist abgelaufen.", "Your consent has run out."),
    "revoked": Words("Die App hat die Verbindung beendet.", "The app ended the connection."),
    "diga-unlisted": Words(
        "Die App ist nicht mehr im Verzeichnis der zugelassenen Gesundheitsanwendungen.",
        "The app is no longer in the register of approved health applications.",
    ),
    "permission-lost": Words(
        "Die App ist dafür nicht mehr zugelassen. Ist sie es wieder, muss sie Sie neu fragen.",
        "The app is no longer approved for this. If it is again, it has to ask you anew.",
    ),
    "operator-request": Words(
        "Der Betreiber hat die Verbindung auf Ihren Wunsch beendet.",
        "The operator ended the connection at your request.",
    ),
    "account-disabled": Words("Ihr Konto war gesperrt.", "Your account was disabled."),
    "recorder-retired": Words(
        "Dieser Dienst gibt keine Daten mehr an Gesundheits-Apps weiter.",
        "This service no longer passes data on to health apps.",
    ),
}
UNKNOWN = Words("Die Verbindung wurde beendet.", "The connection was ended.")


def reason(lang: str, tag: str | None) -> str:
    """Why a pairing ended (`pairing.end_reason`), in words."""
    return REASONS.get(tag or "", UNKNOWN).said(lang)


# Of the trail (ddr.scopes.decision.Reason, reasons of the admission, ddr.store.audit.trail.UNANSWERED): whether it is
# ordinary or unusual.
REFUSALS = {
    "grace-period": Words(
        "Die App hatte kurz vorher schon gefragt und muss bis zur nächsten Anfrage warten.",
        "It had asked shortly before and has to wait until its next request.",
    ),
    "not-permitted": Words("Dafür gibt es keine Zustimmung.", "There is no consent to that."),
    "scope-missing": Words("Dafür gibt es keine Zustimmung.", "There is no consent to that."),
    "consent-ended": Words("Die Zustimmung gilt nicht mehr.", "The consent is no longer valid."),
    "pairing-ended": Words("Die Verbindung war schon beendet.", "The connection had ended before."),
    "miv-withdrawn": Words("Die App ist dafür nicht mehr zugelassen.", "The app is no longer approved for this."),
    "diga-inactive": Words(
        "Die App ist nicht mehr im Verzeichnis der zugelassenen Gesundheitsanwendungen.",
        "The app is no longer in the register of approved health applications.",
    ),
    "diga-unknown": Words(
        "Die App ist nicht im Verzeichnis der zugelassenen Gesundheitsanwendungen.",
        "The app is not in the register of approved health applications.",
    ),
    "registry-stale": Words(
        "Das Verzeichnis der zugelassenen Gesundheitsanwendungen war nicht erreichbar.",
        "The register of approved health applications could not be reached.",
    ),
    "token-foreign": Words(
        "Die App hat den Zugangsschlüssel einer anderen App benutzt.", "It used the access key of another app."
    ),
    "unanswered": Words(
        "Die App durfte lesen, bekam aber wegen einer Störung keine Antwort.",
        "It was allowed to read, but got no answer because of a fault.",
    ),
}


def refusal(lang: str, tag: str | None) -> str:
    """Why data was refused (`reason` of an entry of the trail), in words; "" where there is no text."""
    return REFUSALS.get(tag or "", Words("", "")).said(lang)
