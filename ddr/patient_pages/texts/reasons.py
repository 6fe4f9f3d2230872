"""Why a connection ended."""

from ddr.http.pages import Words

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
    words = REASONS.get(tag or "", UNKNOWN)
    return words.en if lang == "en" else words.de
